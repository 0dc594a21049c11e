/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vblk/util/math.h"
#include "vblk/vdev/vdev.h"
#include "vblk/vduse/vduse_ctl.h"

#define BOUNCE_BYTES_MIN (1ull << 20)
#define BOUNCE_BYTES_MAX (1ull << 30)

/**
 * struct option_row - one option; the only place that knows it
 * @arg: what --help calls its value, NULL for a flag
 * @set: checks @value and stores it; returns 0 or -errno
 * @wants: what a good value is, for the message about a bad one
 * @help: NULL keeps it out of --help
 */
struct option_row {
	const char *name;
	const char *arg;
	int (*set)(struct vblkd_config *config, const char *value);
	const char *wants;
	const char *help;
};

static int set_name(struct vblkd_config *config, const char *value)
{
	int r = parse_device_name(value);

	if (r == 0)
		strcpy(config->name, value);
	return r;
}

static int set_serial(struct vblkd_config *config, const char *value)
{
	int r = parse_serial(value);

	if (r == 0)
		strcpy(config->serial, value);
	return r;
}

static int set_read_only(struct vblkd_config *config, const char *value VBLK_UNUSED)
{
	config->bdev.read_only = true;
	return 0;
}

static int set_direct(struct vblkd_config *config, const char *value VBLK_UNUSED)
{
	config->bdev.direct = true;
	return 0;
}

static int set_detached(struct vblkd_config *config, const char *value VBLK_UNUSED)
{
	config->detached = true;
	return 0;
}

static int set_handover(struct vblkd_config *config, const char *value)
{
	uint64_t v;
	int r = parse_u64(value, STDERR_FILENO + 1, INT_MAX, &v);

	if (r == 0)
		config->handover_fd = (int)v;
	return r;
}

static int set_handover_check(struct vblkd_config *config, const char *value)
{
	config->handover_check = true;
	return set_handover(config, value);
}

static int set_queues(struct vblkd_config *config, const char *value)
{
	uint64_t v;
	int r = parse_u64(value, 1, VDEV_QUEUES_MAX, &v);

	if (r == 0)
		config->queues = (uint16_t)v;
	return r;
}

static int set_queue_size(struct vblkd_config *config, const char *value)
{
	uint64_t v;
	int r = parse_u64(value, VDUSE_QUEUE_SIZE_MIN, VDUSE_QUEUE_SIZE_MAX, &v);

	if (r == 0 && !is_power_of_two(v))
		r = -EINVAL;
	if (r == 0)
		config->queue_size = (uint16_t)v;
	return r;
}

static int parse_block_bytes(const char *value, uint64_t max, uint32_t *ret_bytes)
{
	uint64_t v;
	int r = parse_size_bytes(value, &v);

	if (r < 0)
		return r;
	if (v < SECTOR_BYTES || v > max || !is_power_of_two(v))
		return -ERANGE;
	*ret_bytes = (uint32_t)v;
	return 0;
}

static int set_block_size(struct vblkd_config *config, const char *value)
{
	return parse_block_bytes(value, 4096, &config->bdev.logical_block_bytes);
}

static int set_physical_block_size(struct vblkd_config *config, const char *value)
{
	return parse_block_bytes(value, 1u << 20, &config->bdev.physical_block_bytes);
}

static int set_cache(struct vblkd_config *config, const char *value)
{
	if (strcmp(value, "writeback") != 0 && strcmp(value, "writethrough") != 0)
		return -EINVAL;
	config->bdev.writethrough = !strcmp(value, "writethrough");
	return 0;
}

static int set_discard(struct vblkd_config *config, const char *value)
{
	return parse_on_off(value, &config->bdev.discard);
}

static int set_seconds(const char *value, uint32_t *ret_seconds)
{
	uint64_t v;
	int r = parse_u64(value, 5, 3600, &v);

	if (r == 0)
		*ret_seconds = (uint32_t)v;
	return r;
}

static int set_msg_timeout(struct vblkd_config *config, const char *value)
{
	return set_seconds(value, &config->msg_timeout_s);
}

static int set_attach_timeout(struct vblkd_config *config, const char *value)
{
	return set_seconds(value, &config->attach_timeout_s);
}

static int set_bounce_size(struct vblkd_config *config, const char *value)
{
	uint64_t v;
	int r = parse_size_bytes(value, &v);

	if (r < 0)
		return r;
	if (v < BOUNCE_BYTES_MIN || v > BOUNCE_BYTES_MAX || !is_aligned(v, 4096))
		return -ERANGE;
	config->bounce_bytes = v;
	return 0;
}

static int set_umem(struct vblkd_config *config, const char *value)
{
	bool on;

	if (!strcmp(value, "auto")) {
		config->umem = VDUSE_UMEM_AUTO;
		return 0;
	}
	if (parse_on_off(value, &on) < 0)
		return -EINVAL;
	config->umem = on ? VDUSE_UMEM_ON : VDUSE_UMEM_OFF;
	return 0;
}

static int set_indirect(struct vblkd_config *config, const char *value)
{
	return parse_on_off(value, &config->indirect);
}

static int set_log_level(struct vblkd_config *config, const char *value)
{
	static const struct {
		const char *word;
		enum log_level level;
	} levels[] = {
		{ "error", LOG_LEVEL_ERROR },	{ "warning", LOG_LEVEL_WARNING },
		{ "notice", LOG_LEVEL_NOTICE }, { "info", LOG_LEVEL_INFO },
		{ "debug", LOG_LEVEL_DEBUG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (!strcmp(value, levels[i].word)) {
			config->log_level = levels[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

/* clang-format off */
static const struct option_row rows[] = {
	{ "name", "NAME", set_name,
	  "1 to 63 of A-Z a-z 0-9 _ . -, beginning with a letter, digit or _, and no name that sysfs uses",
	  "name of the device (default: the image's file name up to its first dot)" },
	{ "serial", "TEXT", set_serial, "1 to 20 of A-Z a-z 0-9 _ -",
	  "serial number, for /dev/disk/by-id (default: the name)" },
	{ "read-only", NULL, set_read_only, NULL, "refuse writes, open the image read-only" },
	{ "queues", "N", set_queues, "1 to 64",
	  "request queues, a thread each (default: one a CPU, at most 4)" },
	{ "queue-size", "N", set_queue_size, "a power of two, 16 to 1024",
	  "descriptors of a queue; a request takes 3 or more (default 1024)" },
	{ "indirect", "on|off", set_indirect, "on or off",
	  "let the kernel put a request's descriptors in a table of its own (default off)" },
	{ "block-size", "BYTES", set_block_size, "512, 1K, 2K or 4K",
	  "logical block size (default 512, or what the backend needs)" },
	{ "physical-block-size", "BYTES", set_physical_block_size, "a power of two, 512 to 1M",
	  "size of writes that are not torn (default 4K, or the backend's)" },
	{ "direct", NULL, set_direct, NULL, "bypass the page cache (O_DIRECT)" },
	{ "cache", "MODE", set_cache, "writeback or writethrough",
	  "writeback: durable after a flush (default); writethrough: durable when completed" },
	{ "discard", "on|off", set_discard, "on or off",
	  "pass discards on to the backend, freeing space (default on)" },
	{ "msg-timeout", "SECONDS", set_msg_timeout, "5 to 3600",
	  "how long the kernel waits for an answer of the daemon (default 60)" },
	{ "bounce-size", "BYTES", set_bounce_size, "1M to 1G, a multiple of 4K",
	  "memory for data in flight, kernel 6.12 and newer (default: the kernel's, 64M)" },
	{ "umem", "auto|on|off", set_umem, "auto, on or off",
	  "own the memory for data in flight (default auto: on with --direct)" },
	{ "attach-timeout", "SECONDS", set_attach_timeout, "5 to 3600",
	  "report a start that takes longer as failed (default 60)" },
	{ "log-level", "LEVEL", set_log_level, "error, warning, notice, info or debug",
	  "least important messages to write (default info)" },
	{ "detached", NULL, set_detached, NULL, NULL },
	{ HANDOVER_OPTION, "FD", set_handover, "a descriptor", NULL },
	{ HANDOVER_CHECK_OPTION, "FD", set_handover_check, "a descriptor", NULL },
};
/* clang-format on */

#define OPTION_HELP    1000
#define OPTION_VERSION 1001

static void print_help(void)
{
	puts("Usage: vblkd [OPTION]... BACKEND");
	puts("Serve BACKEND as a disk (/dev/vdX) of this host, in the foreground, until SIGTERM.");
	puts("");
	puts("BACKEND is a regular file or block device (PATH or file:PATH), mem:SIZE or null:SIZE;");
	puts("fault:RULES:BACKEND lets requests to one of these fail, wait or hang, for tests.");
	puts("SIZE and BYTES take K, M, G and T (powers of 1024).");
	puts("");
	puts("Options:");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char left[48];

		if (!rows[i].help)
			continue;
		snprintf(left, sizeof(left), "--%s%s%s", rows[i].name, rows[i].arg ? "=" : "",
			 rows[i].arg ? rows[i].arg : "");
		printf("  %-28s %s\n", left, rows[i].help);
	}
	printf("  %-28s %s\n  %-28s %s\n", "--help", "show this text and exit", "--version",
	       "show the version and exit");
	puts("\nvblkctl(8) starts, lists and stops devices; vblkd(8) tells more.");
}

static void fill_long_options(struct option *ret_options)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		ret_options[i] = (struct option){
			.name = rows[i].name,
			.has_arg = rows[i].arg ? required_argument : no_argument,
			.val = (int)i,
		};
	ret_options[i++] = (struct option){ .name = "help", .val = OPTION_HELP };
	ret_options[i++] = (struct option){ .name = "version", .val = OPTION_VERSION };
	ret_options[i] = (struct option){ 0 };
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
	if (row->set(config, value) == 0)
		return OPTIONS_RUN;
	log_error("--%s '%s' does not fit: it takes %s", row->name, value, row->wants);
	return OPTIONS_USAGE;
}

static enum options_result unknown_option(int code, char **argv)
{
	if (code == ':')
		log_error("option '%s' needs a value (see --help)", argv[optind - 1]);
	else if (optopt && optopt < OPTION_HELP && optopt > ' ')
		log_error("unknown option '-%c' (see --help)", optopt);
	else
		log_error("unknown option '%s' (see --help)", argv[optind - 1]);
	return OPTIONS_USAGE;
}

static enum options_result parse_options(int argc, char **argv, struct vblkd_config *config)
{
	struct option long_options[ARRAY_SIZE(rows) + 3];
	enum options_result result;
	int code;

	fill_long_options(long_options);
	opterr = 0;
	optind = 1;
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
		if (!is_spelled_out(&rows[code], argv))
			return unknown_option('?', argv);
		result = apply(config, &rows[code], optarg);
		if (result != OPTIONS_RUN)
			return result;
	}
	return OPTIONS_RUN;
}

enum options_result options_parse(int argc, char **argv, struct vblkd_config *config)
{
	enum options_result result = parse_options(argc, argv, config);
	char why[BDEV_WHY_MAX] = "";

	if (result != OPTIONS_RUN)
		return result;
	if (argc - optind != 1) {
		if (argc == optind)
			log_error(
				"no BACKEND given: name an image file, block device, mem:SIZE or null:SIZE (see --help)");
		else
			log_error("only one BACKEND can be served, but '%s' came too (see --help)",
				  argv[optind + 1]);
		return OPTIONS_USAGE;
	}
	if (config_finish(config, argv[optind], why) < 0) {
		log_error("%s", why[0] ? why : "out of memory");
		return OPTIONS_USAGE;
	}
	return OPTIONS_RUN;
}
