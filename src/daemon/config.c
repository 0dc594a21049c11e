/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk/util/math.h"

void config_init(struct vblkd_config *config)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	*config = (struct vblkd_config){
		.bdev = { .discard = true },
		.queues = (uint16_t)MIN((unsigned long)MAX(cpus, 1L),
					(unsigned long)CONFIG_QUEUES_DEFAULT_MAX),
		.queue_size = CONFIG_QUEUE_SIZE_DEFAULT,
		.msg_timeout_s = CONFIG_MSG_TIMEOUT_DEFAULT_S,
		.umem = VDUSE_UMEM_AUTO,
		.attach_timeout_s = CONFIG_ATTACH_TIMEOUT_DEFAULT,
		.log_level = LOG_LEVEL_INFO,
		.handover_fd = -1,
	};
}

void config_fini(struct vblkd_config *config)
{
	free(config->backend);
	config->backend = NULL;
}

/* What is behind "fault:RULES:"; all of it where that is not complete, which bdev_open() tells. */
static const char *innermost(const char *backend)
{
	while (!strncmp(backend, "fault:", 6)) {
		const char *colon = strchr(backend + 6, ':');

		if (!colon)
			break;
		backend = colon + 1;
	}
	return backend;
}

/* "null:1G" and the like name no file. */
static bool is_path(const char *backend)
{
	return strncmp(backend, "null:", 5) != 0 && strncmp(backend, "mem:", 4) != 0;
}

/* "mem:12Q" is a mistake of the command line, not of a backend. */
static int check_size(const char *backend, char why[BDEV_WHY_MAX])
{
	const char *text;
	uint64_t bytes;

	backend = innermost(backend);
	text = strchr(backend, ':');
	if (is_path(backend) || parse_size_bytes(text + 1, &bytes) == 0)
		return 0;
	snprintf(why, BDEV_WHY_MAX,
		 "'%s': the size is not a number with K, M, G or T, for example %.*s:10G", backend,
		 (int)(text - backend), backend);
	return -EINVAL;
}

/* The spec with an absolute path, so that it means the same from every directory. */
static char *absolute_spec(const char *backend)
{
	char resolved[PATH_MAX], *spec;
	const char *inner = innermost(backend), *path = inner;

	if (is_path(inner) && !strncmp(inner, "file:", 5))
		path += 5;
	/* A path that does not resolve is left to the backend, which says why. */
	if (is_path(inner) && realpath(path, resolved))
		path = resolved;
	if (asprintf(&spec, "%.*s%s", (int)(inner - backend), backend, path) < 0)
		return NULL;
	return spec;
}

/* "disk" of "/images/disk.img": a name to start with when none was given. */
static void name_from_backend(const char *backend, char *ret_name, size_t len)
{
	const char *base = strrchr(backend, '/');
	size_t n = 0;

	base = base ? base + 1 : backend;
	for (; *base && n + 1 < len; base++) {
		char one[2] = { *base, '\0' };

		if (*base == '.' || *base == ':')
			break;
		ret_name[n++] = parse_device_name(one) == 0 ? *base : '_';
	}
	ret_name[n] = '\0';
}

/* The name itself where it can be a serial, else what remains of it. */
static void serial_from_name(const char *name, char ret_serial[BLK_SERIAL_BYTES + 1])
{
	size_t n = 0;

	for (; *name && n < BLK_SERIAL_BYTES; name++)
		ret_serial[n++] = *name == '.' ? '_' : *name;
	ret_serial[n] = '\0';
}

int config_finish(struct vblkd_config *config, const char *backend, char why[BDEV_WHY_MAX])
{
	if (check_size(backend, why) < 0)
		return -EINVAL;
	free(config->backend);
	config->backend = absolute_spec(backend);
	if (!config->backend)
		return -ENOMEM;
	config->bdev.spec = config->backend;
	config->bdev.queue_cnt = config->queues;

	if (!config->name[0]) {
		name_from_backend(config->backend, config->name, sizeof(config->name));
		if (parse_device_name(config->name) < 0) {
			snprintf(why, BDEV_WHY_MAX,
				 "cannot make a device name of '%s': give one with --name",
				 backend);
			return -EINVAL;
		}
	}
	if (!config->serial[0])
		serial_from_name(config->name, config->serial);
	return 0;
}
