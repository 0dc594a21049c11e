/* SPDX-License-Identifier: MIT */
/* What the administrator asked for: filled once from the options, then read-only. */
#ifndef VBLKD_CONFIG_H
#define VBLKD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "privileges.h"
#include "serve_socket.h"
#include "vblk/bdev/bdev.h"
#include "vblk/blk/blk_config.h"
#include "vblk/util/log.h"
#include "vblk/util/parse.h"
#include "vblk/vdev/vdev.h"
#include "vblk/vduse/vduse_dev.h"

#define CONFIG_QUEUES_DEFAULT_MAX     4u
#define CONFIG_QUEUE_SIZE_DEFAULT     1024u
#define CONFIG_MSG_TIMEOUT_DEFAULT_S  60u
#define CONFIG_ATTACH_TIMEOUT_DEFAULT 60u
#define CONFIG_SOCKET_MODE_DEFAULT    0600

/**
 * struct vblkd_config - one device
 * @socket: path of the socket that it is served on, absolute; empty: it is a disk of this host
 * @socket_fd: that socket, where systemd made it; -1
 * @given: the options that were, as bits, see option_set()
 * @bdev: spec is an absolute path for files, so that it means the same everywhere
 * @msg_timeout_s: how long the kernel waits for an answer, never 0
 * @bounce_bytes: 0 = the kernel's default
 * @attach_timeout_s: when a start that hangs is reported
 * @indirect_set, @poll_set: was asked for; the default depends on @socket
 * @served: vblkctl wants a socket; as @detached, it wants a disk otherwise
 * @in_file: a configuration file is just being read
 * @config_file: where options were read from, NULL = nowhere; borrowed
 * @check_config: only tell the mistakes in files
 * @handover_fd: record of the program that runs now, -1 = a start of its own
 * @handover_check: only say whether it could be taken over
 * @user: to run as after the start; empty: PRIVILEGES_USER_DEFAULT where there is one
 * @seccomp: restrict system calls
 * @detached: started by vblkctl: log to syslog, to stderr only until ready
 */
struct vblkd_config {
	char name[DEVICE_NAME_MAX + 1];
	char serial[BLK_SERIAL_BYTES + 1];
	char *backend;
	char socket[SERVE_PATH_MAX];
	mode_t socket_mode;
	int socket_fd;
	uint64_t given;
	struct bdev_params bdev;
	uint16_t queues;
	uint16_t queue_size;
	bool indirect;
	bool indirect_set;
	uint32_t msg_timeout_s;
	uint64_t bounce_bytes;
	enum vduse_umem umem;
	enum vdev_poll_mode poll;
	bool poll_set;
	uint32_t attach_timeout_s;
	enum log_level log_level;
	char user[PRIVILEGES_USER_MAX];
	bool seccomp;
	bool detached;
	bool served;
	bool in_file;
	const char *config_file;
	bool check_config;
	int handover_fd;
	bool handover_check;
};

/* Every default, and no name, serial or backend. */
void config_init(struct vblkd_config *config);
void config_fini(struct vblkd_config *config);

/**
 * config_check_backend() - what can be said of @backend without opening it
 * @absolute: a path must be absolute
 * Return: 0; -EINVAL with the sentence to tell in @why.
 */
int config_check_backend(const char *backend, bool absolute, char why[BDEV_WHY_MAX]);

/**
 * config_finish() - check what concerns several options and derive what was not given
 * @backend: the BACKEND argument; NULL: the one that is in @config
 * Return: 0; -EINVAL with the sentence to tell in @why.
 */
int config_finish(struct vblkd_config *config, const char *backend, char why[BDEV_WHY_MAX]);

#endif
