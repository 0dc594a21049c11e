/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "vblk/util/log.h"
#include "vblk/util/suggest.h"

static const struct command commands[] = {
	{ "attach", cmd_attach, "[OPTION]... BACKEND", "make a disk of an image, print its node",
	  "  Starts a vblkd for BACKEND (an image file, block device, mem:SIZE or null:SIZE),\n"
	  "  waits until the disk can be used, and prints its path, such as /dev/vda.\n"
	  "  Options are those of vblkd ('vblkd --help' lists all), among them:\n"
	  "    --name NAME       name of the device (default: from the image's file name)\n"
	  "    --serial TEXT     serial number, for /dev/disk/by-id/virtio-TEXT\n" },
	{ "detach", cmd_detach, "[--force] [--timeout SEC] NAME", "take a disk away",
	  "  NAME is a device's name, node (/dev/vda) or socket. A disk in use is refused, and so is\n"
	  "  a socket with a client.\n"
	  "    --force           detach although it is in use: filesystems on it lose what they\n"
	  "                      have not written yet, and programs get I/O errors\n"
	  "    --timeout SEC     give up after SEC seconds, 1 to 3600 (default 30)\n" },
	{ "doctor", cmd_doctor, "[--json]", "examine whether this host can make disks",
	  "  One verdict a line: ok, warning or problem, each with what to do. Exit code 0 when\n"
	  "  disks can be made, 1 when there is a problem. Without root it sees less.\n"
	  "    --json            the same as a JSON object\n" },
	{ "list", cmd_list, "[--json]", "list all devices",
	  "    --json            the same, and more, as a JSON array\n" },
	{ "log-level", cmd_log_level, "NAME LEVEL", "change which messages a daemon writes",
	  "  LEVEL is error, warning, notice, info or debug: the least important ones that are\n"
	  "  written. It holds for the life of the device, over restarts and upgrades.\n" },
	{ "metrics", cmd_metrics, "[NAME]", "print statistics for Prometheus",
	  "  OpenMetrics text of all devices, or of NAME (a device's name or node).\n" },
	{ "resize", cmd_resize, "[--force] NAME [SIZE]", "give a disk another size",
	  "  NAME is a device's name or node (/dev/vda). SIZE (such as 20G) is the new size; an\n"
	  "  image file that is shorter is grown to it. Without SIZE: as large as the image or\n"
	  "  device is now. The disk may be in use; its filesystem is grown afterwards, with\n"
	  "  resize2fs or xfs_growfs.\n"
	  "    --force           also make it smaller: what a filesystem has in the blocks at the\n"
	  "                      end is no longer there for it\n" },
	{ "serve", cmd_serve, "[OPTION]... BACKEND", "serve an image on a socket, print its path",
	  "  Starts a vblkd that serves BACKEND as a vhost-user-blk device, for virtual machines; no\n"
	  "  root is needed. Prints the path of the socket when a client can connect.\n"
	  "    --socket PATH     where (needed)\n"
	  "    --socket-mode MODE  who may connect, as for chmod(1) (default 0600)\n"
	  "  Other options are those of vblkd, as with attach.\n" },
	{ "show", cmd_show, "[--json] NAME", "show everything known of a device",
	  "  NAME is a device's name or node (/dev/vda).\n"
	  "    --json            the same as a JSON object\n" },
	{ "stats", cmd_stats, "[--json] [--watch[=SEC]] NAME", "show rates, latencies and depth",
	  "  NAME is a device's name or node (/dev/vda), or 'all'. Figures are since the attach.\n"
	  "    --watch[=SEC]     then, every SEC seconds (default 1), those since the report before,\n"
	  "                      until Ctrl-C\n"
	  "    --json            all counters and latency histograms as JSON; with --watch one line\n"
	  "                      a report, always since the attach\n" },
	{ "upgrade", cmd_upgrade, "NAME", "replace the running daemon by the installed one",
	  "  NAME is a device's name or node (/dev/vda), which stays, also under load: I/O pauses\n"
	  "  for some milliseconds. A new vblkd that cannot take over leaves everything as it was.\n" },
};

static void print_usage(FILE *f)
{
	fputs("Usage: vblkctl COMMAND [OPTION]... [ARGUMENT]\n"
	      "Make disks (/dev/vdX) of images, list them, take them away.\n"
	      "\n"
	      "Commands:\n",
	      f);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-9s %-32s %s\n", commands[i].name, commands[i].args,
			commands[i].help);
	fputs("\n'vblkctl help COMMAND' or 'vblkctl COMMAND --help' tells more; so does "
	      "vblkctl(8).\n",
	      f);
}

/* For somebody who typed nothing else: what next, in a few lines. */
static void print_first_steps(FILE *f)
{
	fputs("vblkctl makes disks (/dev/vdX) of images and block devices:\n"
	      "  vblkctl attach --name db disk.img    make a disk, print its node\n"
	      "  vblkctl list                         all disks; 'detach NAME' takes one away\n"
	      "  vblkctl doctor                       can this host make disks? what is missing?\n"
	      "  vblkctl --help                       all commands and their options\n",
	      f);
}

static int unknown_option(const char *arg)
{
	static const char *const options[] = { "--help", "--version" };
	const char *near = suggest_option(arg, options, ARRAY_SIZE(options));

	if (near)
		log_error("unknown option '%s'; did you mean '%s'?", arg, near);
	else
		log_error("unknown option '%s' (see 'vblkctl --help')", arg);
	return EXIT_USAGE;
}

static int help_all(void)
{
	print_usage(stdout);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		printf("\nvblkctl %s %s\n%s", commands[i].name, commands[i].args,
		       commands[i].details);
	puts("\nvblkctl --help        show this text\n"
	     "vblkctl --version     show the version");
	return EXIT_DONE;
}

static int help_one(const struct command *command)
{
	printf("Usage: vblkctl %s %s\n%c%s.\n%s", command->name, command->args,
	       toupper((unsigned char)command->help[0]), command->help + 1, command->details);
	return EXIT_DONE;
}

/* NULL after a message. */
static const struct command *find_command(const char *name)
{
	const char *names[ARRAY_SIZE(commands)], *near;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		names[i] = commands[i].name;
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	near = suggest_word(name, names, ARRAY_SIZE(names));
	if (near)
		log_error("unknown command '%s'; did you mean '%s'?", name, near);
	else
		log_error("unknown command '%s' (see 'vblkctl --help')", name);
	return NULL;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (!strcmp(argv[i], "--help"))
			return true;
	return false;
}

static int run_command(int argc, char **argv)
{
	const struct command *command;
	bool help = !strcmp(argv[0], "help");

	if (help && argc == 1)
		return help_all();
	command = find_command(help ? argv[1] : argv[0]);
	if (!command)
		return EXIT_USAGE;
	return help || wants_help(argc, argv) ? help_one(command) : command->run(argc, argv);
}

int main(int argc, char **argv)
{
	int code;

	log_setup("vblkctl", LOG_TARGET_STDERR, LOG_LEVEL_INFO);
	if (argc < 2) {
		print_first_steps(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help")) {
		code = help_all();
	} else if (!strcmp(argv[1], "--version")) {
		puts("vblkctl " VBLK_VERSION);
		code = EXIT_DONE;
	} else if (argv[1][0] == '-') {
		code = unknown_option(argv[1]);
	} else {
		code = run_command(argc - 1, argv + 1);
	}
	/* Output that did not arrive (a full disk, a closed pipe) is a failure. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		log_error("cannot write to standard output");
		code = EXIT_FAILED;
	}
	return code;
}
