/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "config_file.h"
#include "option_table.h"
#include "vblk/util/log.h"
#include "vblk/util/math.h"
#include "vblk/util/suggest.h"

#define OPTION_HELP	 1000
#define OPTION_VERSION	 1001
#define LONG_OPTIONS_MAX 64
#define OPTION_WORD_MAX	 40

static void print_help(void)
{
	puts("Usage: vblkd [OPTION]... BACKEND");
	puts("       vblkd [OPTION]... --config=FILE");
	puts("       vblkd --check-config FILE...");
	puts("Serve BACKEND as a disk (/dev/vdX) of this host, or with --socket as a vhost-user-blk");
	puts("device to a virtual machine or the like, in the foreground, until SIGTERM.");
	puts("");
	puts("BACKEND is a regular file or block device (PATH or file:PATH), mem:SIZE, null:SIZE, or");
	puts("vhost-user:PATH, the disk of a vhost-user-blk server that listens there;");
	puts("fault:RULES:BACKEND lets requests to one of these fail, wait or hang, for tests.");
	puts("SIZE and BYTES take K, M, G and T (powers of 1024).");
	puts("");
	puts("Options:");
	for (size_t i = 0; i < option_row_cnt; i++) {
		const struct option_row *row = &option_rows[i];
		char left[48];

		if (!row->help)
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", row->name, row->arg ? "=" : "",
			 row->arg ? row->arg : "");
		printf("  %-28s %s\n", left, row->help);
	}
	printf("  %-28s %s\n  %-28s %s\n", "--help", "show this text and exit", "--version",
	       "show the version and exit");
	puts("\nvblkctl(8) starts, lists and stops devices; vblkd(8) tells more.");
}

static int arg_kind(const struct option_row *row)
{
	if (row->arg)
		return required_argument;
	/* "--direct=off" undoes what a file says. */
	return row->wants ? optional_argument : no_argument;
}

/* Values are numbers of rows. */
static void fill_long_options(struct option ret_options[LONG_OPTIONS_MAX])
{
	size_t cnt = 0;

	for (size_t i = 0; i < option_row_cnt && cnt < LONG_OPTIONS_MAX - 3; i++)
		if (option_rows[i].place != OPTION_KEY_ONLY)
			ret_options[cnt++] = (struct option){
				.name = option_rows[i].name,
				.has_arg = arg_kind(&option_rows[i]),
				.val = (int)i,
			};
	ret_options[cnt++] = (struct option){ .name = "help", .val = OPTION_HELP };
	ret_options[cnt++] = (struct option){ .name = "version", .val = OPTION_VERSION };
	ret_options[cnt] = (struct option){ 0 };
}

/* getopt_long() takes any unique beginning of a name; a later option would change its meaning. */
static bool is_spelled_out(const struct option_row *row, char **argv)
{
	const char *word = argv[optind - 1];
	size_t len = strlen(row->name);

	if (row->arg && optarg == word)
		word = argv[optind - 2];
	return !strncmp(word + 2, row->name, len) && (!word[2 + len] || word[2 + len] == '=');
}

static enum options_result apply(struct vblkd_config *config, const struct option_row *row,
				 const char *value)
{
	if (option_set(config, row, value) == 0)
		return OPTIONS_RUN;
	log_error("--%s '%s' does not fit: it takes %s", row->name, value ? value : "", row->wants);
	return OPTIONS_USAGE;
}

/* The option that was meant by @typed, without a value; "" when nobody knows. */
static void find_near_option(const char *typed, char ret_near[OPTION_WORD_MAX])
{
	char words[LONG_OPTIONS_MAX][OPTION_WORD_MAX];
	const char *names[LONG_OPTIONS_MAX] = { "--help", "--version" }, *near;
	size_t cnt = 2;

	for (size_t i = 0; i < option_row_cnt && cnt < LONG_OPTIONS_MAX; i++) {
		if (!option_rows[i].help || option_rows[i].place == OPTION_KEY_ONLY)
			continue;
		snprintf(words[cnt], OPTION_WORD_MAX, "--%s", option_rows[i].name);
		names[cnt] = words[cnt];
		cnt++;
	}
	near = suggest_option(typed, names, cnt);
	snprintf(ret_near, OPTION_WORD_MAX, "%s", near ? near : "");
}

static enum options_result unknown_option(int code, char **argv)
{
	char typed[OPTION_WORD_MAX], near[OPTION_WORD_MAX];

	if (code == ':') {
		log_error("option '%s' needs a value (see --help)", argv[optind - 1]);
		return OPTIONS_USAGE;
	}
	if (optopt && optopt < OPTION_HELP && optopt > ' ')
		snprintf(typed, sizeof(typed), "-%c", optopt);
	else
		snprintf(typed, sizeof(typed), "%.*s", (int)strcspn(argv[optind - 1], "="),
			 argv[optind - 1]);
	find_near_option(typed, near);
	if (near[0])
		log_error("unknown option '%s'; did you mean '%s'? (see --help)", typed, near);
	else
		log_error("unknown option '%s' (see --help)", typed);
	return OPTIONS_USAGE;
}

/* What decides how all others are read. */
static bool is_first(const struct option_row *row)
{
	return row->place == OPTION_NO_KEY;
}

/* One pass over the options: those that come @first, or all others. */
static enum options_result parse_options(int argc, char **argv, bool first,
					 struct vblkd_config *config)
{
	struct option long_options[LONG_OPTIONS_MAX];
	enum options_result result;
	int code;

	fill_long_options(long_options);
	opterr = 0;
	optind = 0;
	while ((code = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		switch (code) {
		case OPTION_HELP:
			print_help();
			return OPTIONS_DONE;
		case OPTION_VERSION:
			puts("vblkd " VBLK_VERSION);
			return OPTIONS_DONE;
		case '?':
		case ':':
			return unknown_option(code, argv);
		}
		if (!is_spelled_out(&option_rows[code], argv))
			return unknown_option('?', argv);
		if (is_first(&option_rows[code]) != first)
			continue;
		result = apply(config, &option_rows[code], optarg);
		if (result != OPTIONS_RUN)
			return result;
	}
	return OPTIONS_RUN;
}

static enum options_result check_files(int argc, char **argv)
{
	enum options_result result = OPTIONS_DONE;

	if (optind == argc) {
		log_error("--check-config needs a file: vblkd --check-config /etc/vblkd/NAME.conf");
		return OPTIONS_USAGE;
	}
	for (int i = optind; i < argc; i++)
		if (config_file_check(argv[i]) < 0)
			result = OPTIONS_USAGE;
	return result;
}

static enum options_result check_backend_cnt(int argc, char **argv,
					     const struct vblkd_config *config)
{
	int cnt = argc - optind;

	if (cnt > 1)
		log_error("only one BACKEND can be served, but '%s' came too (see --help)",
			  argv[optind + 1]);
	else if (!cnt && !config->config_file)
		log_error(
			"no BACKEND given: name an image file, block device, mem:SIZE or null:SIZE (see --help)");
	else
		return OPTIONS_RUN;
	return OPTIONS_USAGE;
}

/* Where systemd passes a socket on, it is that one. */
static int inherit_socket(struct vblkd_config *config, char why[BDEV_WHY_MAX])
{
	char path[SERVE_PATH_MAX];
	int fd, r = serve_socket_inherit(&fd, path, why);

	if (r <= 0)
		return r;
	if (config->socket[0] && strcmp(config->socket, path) != 0) {
		snprintf(why, BDEV_WHY_MAX,
			 "systemd passed the socket '%.108s' on, but '%.108s' is to be served",
			 path, config->socket);
		return -EINVAL;
	}
	config->socket_fd = fd;
	strcpy(config->socket, path);
	return 0;
}

enum options_result options_parse(int argc, char **argv, struct vblkd_config *config)
{
	enum options_result result = parse_options(argc, argv, true, config);
	char why[BDEV_WHY_MAX] = "";

	if (result == OPTIONS_RUN && config->check_config)
		return check_files(argc, argv);
	/* A program that takes over goes by the record; the file may have changed since. */
	if (result == OPTIONS_RUN && config->config_file && config->handover_fd < 0 &&
	    config_file_read(config->config_file, config) < 0)
		return OPTIONS_USAGE;
	if (result == OPTIONS_RUN)
		result = parse_options(argc, argv, false, config);
	if (result == OPTIONS_RUN)
		result = check_backend_cnt(argc, argv, config);
	if (result != OPTIONS_RUN || config->handover_fd >= 0)
		return result;
	if (inherit_socket(config, why) < 0 || config_finish(config, argv[optind], why) < 0 ||
	    option_check_door(config, why) < 0) {
		log_error("%s", why[0] ? why : "out of memory");
		return OPTIONS_USAGE;
	}
	return OPTIONS_RUN;
}
