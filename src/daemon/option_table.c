/* SPDX-License-Identifier: MIT */
#include "option_table.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk/util/math.h"
#include "vblk/vdev/vdev.h"
#include "vblk/vduse/vduse_ctl.h"

#define BOUNCE_BYTES_MIN (1ull << 20)
#define BOUNCE_BYTES_MAX (1ull << 30)

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

/* A flag alone is on; with a value it can also undo what a configuration file says. */
static int set_flag(const char *value, bool *ret_on)
{
	if (value)
		return parse_on_off(value, ret_on);
	*ret_on = true;
	return 0;
}

static int set_read_only(struct vblkd_config *config, const char *value)
{
	return set_flag(value, &config->bdev.read_only);
}

static int set_direct_rings(struct vblkd_config *config, const char *value)
{
	return set_flag(value, &config->bdev.direct_rings);
}

static int set_direct(struct vblkd_config *config, const char *value)
{
	return set_flag(value, &config->bdev.direct);
}

/* The service's own directory is not the administrator's: no relative path in a file. */
static int set_backend(struct vblkd_config *config, const char *value)
{
	char why[BDEV_WHY_MAX];
	char *backend;

	if (config_check_backend(value, true, why) < 0)
		return -EINVAL;
	backend = strdup(value);
	if (!backend)
		return -ENOMEM;
	free(config->backend);
	config->backend = backend;
	return 0;
}

static int set_config(struct vblkd_config *config, const char *value)
{
	config->config_file = value;
	return *value ? 0 : -EINVAL;
}

static int set_check_config(struct vblkd_config *config, const char *value VBLK_UNUSED)
{
	config->check_config = true;
	return 0;
}

static int set_detached(struct vblkd_config *config, const char *value VBLK_UNUSED)
{
	config->detached = true;
	return 0;
}

static int set_served(struct vblkd_config *config, const char *value VBLK_UNUSED)
{
	config->served = true;
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

static int set_poll(struct vblkd_config *config, const char *value)
{
	bool on;

	config->poll_set = true;
	if (!strcmp(value, "adaptive")) {
		config->poll = VDEV_POLL_ADAPTIVE;
		return 0;
	}
	if (parse_on_off(value, &on) < 0)
		return -EINVAL;
	config->poll = on ? VDEV_POLL_ON : VDEV_POLL_OFF;
	return 0;
}

/* The service's own directory is not the administrator's: no relative path in a file. */
static int set_socket(struct vblkd_config *config, const char *value)
{
	char why[BDEV_WHY_MAX];

	return config->in_file && *value != '/' ? -EINVAL
						: serve_socket_path(value, config->socket, why);
}

/* Octal, as chmod(1) takes it. Without the bits of a writer nobody can connect. */
static int set_socket_mode(struct vblkd_config *config, const char *value)
{
	size_t len = strspn(value, "01234567");

	if (len < 3 || len > 4 || value[len] || strtoul(value, NULL, 8) > 0777)
		return -EINVAL;
	config->socket_mode = (mode_t)strtoul(value, NULL, 8);
	return 0;
}

static int set_indirect(struct vblkd_config *config, const char *value)
{
	config->indirect_set = true;
	return parse_on_off(value, &config->indirect);
}

static int set_user(struct vblkd_config *config, const char *value)
{
	if (!*value || strlen(value) >= sizeof(config->user))
		return -EINVAL;
	strcpy(config->user, value);
	return 0;
}

static int set_seccomp(struct vblkd_config *config, const char *value)
{
	return parse_on_off(value, &config->seccomp);
}

static int set_log_level(struct vblkd_config *config, const char *value)
{
	return log_level_parse(value, &config->log_level);
}

/* clang-format off */
const struct option_row option_rows[] = {
	{ "name", OPTION_EVERYWHERE, "NAME", set_name,
	  "1 to 63 of A-Z a-z 0-9 _ . -, beginning with a letter, digit or _, and no name that sysfs uses",
	  "name of the device (default: the file name of the image, or socket, up to its first dot)" },
	{ "socket", OPTION_EVERYWHERE, "PATH", set_socket, "a path of at most 107 characters, absolute in a file",
	  "serve vhost-user-blk on this socket instead of making a disk of this host" },
	{ "socket-mode", OPTION_OF_SOCKET, "MODE", set_socket_mode, "an octal number, 000 to 0777",
	  "permissions of the socket (default 0600)" },
	{ "serial", OPTION_EVERYWHERE, "TEXT", set_serial, "1 to 20 of A-Z a-z 0-9 _ -",
	  "serial number, for /dev/disk/by-id (default: the name)" },
	{ "read-only", OPTION_EVERYWHERE, NULL, set_read_only, "on or off", "refuse writes, open the image read-only" },
	{ "queues", OPTION_EVERYWHERE, "N", set_queues, "1 to 64",
	  "request queues, a thread each (default: one a CPU, at most 4)" },
	{ "queue-size", OPTION_EVERYWHERE, "N", set_queue_size, "a power of two, 16 to 1024",
	  "descriptors of a queue; a request takes 3 or more (default 1024)" },
	{ "indirect", OPTION_EVERYWHERE, "on|off", set_indirect, "on or off",
	  "let the driver put a request's descriptors in a table of its own (default on with --socket, else off)" },
	{ "block-size", OPTION_EVERYWHERE, "BYTES", set_block_size, "512, 1K, 2K or 4K",
	  "logical block size (default 512, or what the backend needs)" },
	{ "physical-block-size", OPTION_EVERYWHERE, "BYTES", set_physical_block_size, "a power of two, 512 to 1M",
	  "size of writes that are not torn (default 4K, or the backend's)" },
	{ "direct", OPTION_EVERYWHERE, NULL, set_direct, "on or off", "bypass the page cache (O_DIRECT)" },
	{ "direct-rings", OPTION_OF_DISK, NULL, set_direct_rings, "on or off",
	  "let the server of vhost-user:PATH work on the kernel's rings" },
	{ "cache", OPTION_EVERYWHERE, "MODE", set_cache, "writeback or writethrough",
	  "writeback: durable after a flush (default); writethrough: durable when completed" },
	{ "discard", OPTION_EVERYWHERE, "on|off", set_discard, "on or off",
	  "pass discards on to the backend, freeing space (default on)" },
	{ "msg-timeout", OPTION_OF_DISK, "SECONDS", set_msg_timeout, "5 to 3600",
	  "how long the kernel waits for an answer of the daemon (default 60)" },
	{ "bounce-size", OPTION_OF_DISK, "BYTES", set_bounce_size, "1M to 1G, a multiple of 4K",
	  "memory for data in flight, kernel 6.12 and newer (default: the kernel's, 64M)" },
	{ "umem", OPTION_OF_DISK, "auto|on|off", set_umem, "auto, on or off",
	  "own the memory for data in flight (default auto: on with --direct)" },
	{ "poll", OPTION_EVERYWHERE, "off|adaptive|on", set_poll, "off, adaptive or on",
	  "look for requests by spinning before a queue sleeps: a CPU for latency (default adaptive with --socket, else off)" },
	{ "attach-timeout", OPTION_OF_DISK, "SECONDS", set_attach_timeout, "5 to 3600",
	  "report a start that takes longer as failed (default 60)" },
	{ "user", OPTION_EVERYWHERE, "NAME", set_user, "the name of a user",
	  "run as this user after the start (default vblkd where there is one, else root)" },
	{ "seccomp", OPTION_EVERYWHERE, "on|off", set_seccomp, "on or off",
	  "restrict the system calls of the data path; off is for debugging (default on)" },
	{ "log-level", OPTION_EVERYWHERE, "LEVEL", set_log_level, "error, warning, notice, info or debug",
	  "least important messages to write (default info)" },
	{ "backend", OPTION_KEY_ONLY, NULL, set_backend, "an absolute path, mem:SIZE or null:SIZE", NULL },
	{ "config", OPTION_NO_KEY, "FILE", set_config, "a path", "read options and BACKEND from FILE, see vblkd.conf(5)" },
	{ "check-config", OPTION_NO_KEY, NULL, set_check_config, NULL,
	  "tell the mistakes in the configuration files that follow, and exit" },
	{ "detached", OPTION_NO_KEY, NULL, set_detached, NULL, NULL },
	{ "served", OPTION_NO_KEY, NULL, set_served, NULL, NULL },
	{ HANDOVER_OPTION, OPTION_NO_KEY, "FD", set_handover, "a descriptor", NULL },
	{ HANDOVER_CHECK_OPTION, OPTION_NO_KEY, "FD", set_handover_check, "a descriptor", NULL },
};
/* clang-format on */

const size_t option_row_cnt = ARRAY_SIZE(option_rows);

/* A bit each. */
_Static_assert(ARRAY_SIZE(option_rows) <= 64, "struct vblkd_config.given");

int option_set(struct vblkd_config *config, const struct option_row *row, const char *value)
{
	int r = row->set(config, value);

	if (r == 0)
		config->given |= 1ull << (row - option_rows);
	return r;
}

int option_check_door(const struct vblkd_config *config, char why[BDEV_WHY_MAX])
{
	enum option_place wrong = config->socket[0] ? OPTION_OF_DISK : OPTION_OF_SOCKET;

	for (size_t i = 0; i < option_row_cnt; i++) {
		const char *name = option_rows[i].name;

		if (option_rows[i].place != wrong || !(config->given & 1ull << i))
			continue;
		if (wrong == OPTION_OF_DISK)
			snprintf(why, BDEV_WHY_MAX,
				 "'%s' is of use for disks of this host only, not with a socket",
				 name);
		else
			snprintf(why, BDEV_WHY_MAX, "'%s' is of use with a socket only (--socket)",
				 name);
		return -EINVAL;
	}
	return 0;
}
