/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk/util/math.h"

#define CONFIG_SUFFIX ".conf"

void config_init(struct vblkd_config *config)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	*config = (struct vblkd_config){
		.bdev = { .discard = true },
		.queues = (uint16_t)MIN((unsigned long)MAX(cpus, 1L),
					(unsigned long)CONFIG_QUEUES_DEFAULT_MAX),
		.queue_size = CONFIG_QUEUE_SIZE_DEFAULT,
		.socket_mode = CONFIG_SOCKET_MODE_DEFAULT,
		.socket_fd = -1,
		.msg_timeout_s = CONFIG_MSG_TIMEOUT_DEFAULT_S,
		.umem = VDUSE_UMEM_AUTO,
		.attach_timeout_s = CONFIG_ATTACH_TIMEOUT_DEFAULT,
		.log_level = LOG_LEVEL_INFO,
		.seccomp = true,
		.handover_fd = -1,
	};
}

void config_fini(struct vblkd_config *config)
{
	free(config->backend);
	config->backend = NULL;
}

/* What is behind "fault:RULES:"; all of it where that is not complete. */
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

int config_check_backend(const char *backend, bool absolute, char why[BDEV_WHY_MAX])
{
	const char *inner = innermost(backend), *size = strchr(inner, ':');
	uint64_t bytes;

	if (bdev_check_faults(backend, why) < 0)
		return -EINVAL;
	if (!is_path(inner)) {
		/* "mem:12Q" is a mistake of the command line, not of a backend. */
		if (parse_size_bytes(size + 1, &bytes) == 0)
			return 0;
		snprintf(why, BDEV_WHY_MAX,
			 "'%s': the size is not a number with K, M, G or T, for example %.*s:10G",
			 inner, (int)(size - inner), inner);
		return -EINVAL;
	}
	if (!strncmp(inner, "file:", 5))
		inner += 5;
	if (!absolute || *inner == '/')
		return 0;
	snprintf(why, BDEV_WHY_MAX, "'%s' is not an absolute path", inner);
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

/* "disk" of "/images/disk.img" or "/run/disk.sock": a name when none was given. */
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

/* "db" of "/etc/vblkd/db.conf" */
static void name_from_file(const char *path, char *ret_name, size_t len)
{
	const char *base = strrchr(path, '/');
	size_t n;

	base = base ? base + 1 : path;
	n = strlen(base);
	if (n > strlen(CONFIG_SUFFIX) && !strcmp(base + n - strlen(CONFIG_SUFFIX), CONFIG_SUFFIX))
		n -= strlen(CONFIG_SUFFIX);
	/* One that is too long is no name, and neither is an empty one. */
	snprintf(ret_name, len, "%.*s", n < len ? (int)n : 0, base);
}

static int make_name(struct vblkd_config *config, const char *backend, char why[BDEV_WHY_MAX])
{
	const char *from = config->config_file ? config->config_file
			   : config->socket[0] ? config->socket
					       : backend;

	if (config->config_file)
		name_from_file(from, config->name, sizeof(config->name));
	else
		name_from_backend(from, config->name, sizeof(config->name));
	if (parse_device_name(config->name) == 0)
		return 0;
	snprintf(why, BDEV_WHY_MAX, "cannot make a device name of '%s': give one with --name",
		 from);
	return -EINVAL;
}

/* What vblkctl's two commands, or systemd, say of the door. */
static int check_door(const struct vblkd_config *config, char why[BDEV_WHY_MAX])
{
	bool wants_disk = config->detached && !config->served;

	if (config->served && !config->socket[0])
		snprintf(why, BDEV_WHY_MAX, "serve needs a socket: give its path with --socket");
	else if (wants_disk && config->socket[0])
		snprintf(why, BDEV_WHY_MAX,
			 "attach makes disks of this host; for a socket there is 'vblkctl serve'");
	else
		return 0;
	return -EINVAL;
}

/* The server gets requests as the kernel makes them, and answers them by itself. */
static int finish_direct_rings(struct vblkd_config *config, char why[BDEV_WHY_MAX])
{
	const char *what = NULL;

	if (strncmp(config->backend, "vhost-user:", strlen("vhost-user:")) != 0) {
		snprintf(why, BDEV_WHY_MAX,
			 "--direct-rings is for the backend vhost-user:PATH, not for '%s'",
			 config->backend);
		return -EINVAL;
	}
	if (config->serial[0])
		what = "--serial";
	else if (config->poll != VDEV_POLL_OFF)
		what = "--poll";
	else if (config->umem == VDUSE_UMEM_ON)
		what = "--umem=on";
	if (what) {
		snprintf(
			why, BDEV_WHY_MAX,
			"%s has no effect on requests that the server takes from the kernel: leave it out, or --direct-rings",
			what);
		return -EINVAL;
	}
	/* It would end with a worker, and the server go on in memory that is nobody's. */
	config->umem = VDUSE_UMEM_OFF;
	return 0;
}

int config_finish(struct vblkd_config *config, const char *backend, char why[BDEV_WHY_MAX])
{
	const char *given = backend ? backend : config->backend;
	char *spec;

	if (check_door(config, why) < 0)
		return -EINVAL;
	if (!given) {
		snprintf(why, BDEV_WHY_MAX, "the key 'backend' is missing");
		return -EINVAL;
	}
	if (config_check_backend(given, false, why) < 0)
		return -EINVAL;
	if (!config->name[0] && make_name(config, given, why) < 0)
		return -EINVAL;
	spec = absolute_spec(given);
	if (!spec)
		return -ENOMEM;
	free(config->backend);
	config->backend = spec;
	config->bdev.spec = config->backend;
	config->bdev.queue_cnt = config->queues;
	/* The kernel's driver would use a table for each request, which costs memory and time. */
	if (!config->indirect_set)
		config->indirect = config->socket[0] != '\0';
	/* A kick and a wake-up are most of what a request over a socket takes. */
	if (!config->poll_set && config->socket[0])
		config->poll = VDEV_POLL_ADAPTIVE;
	config->bdev.queue_size = config->queue_size;
	if (config->bdev.direct_rings)
		return finish_direct_rings(config, why);
	if (!config->serial[0])
		serial_from_name(config->name, config->serial);
	return 0;
}
