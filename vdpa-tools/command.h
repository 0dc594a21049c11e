/* SPDX-License-Identifier: MIT */
#ifndef VBLKCTL_COMMAND_H
#define VBLKCTL_COMMAND_H

/* Exit codes, promised in vblkctl(8). */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1, /* a message on stderr says why */
	EXIT_USAGE = 2,
};

/**
 * struct command - one row of vblkctl's table
 * @run: argv[0] is the command's name; returns an exit code, after its message
 * @args: for the usage line
 * @help: one line
 * @details: lines for "help NAME", each ended; options are listed here and nowhere else
 */
struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *args;
	const char *help;
	const char *details;
};

int cmd_attach(int argc, char **argv);
int cmd_detach(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_log_level(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_resize(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_upgrade(int argc, char **argv);

#endif
