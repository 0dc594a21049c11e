/* SPDX-License-Identifier: MIT */
/*
 * What a running keeper leaves to the program that replaces it in the same
 * process: numbers of open files, which exec keeps, and facts. Written as JSON
 * into a memory file. It holds the complete configuration, so that neither a
 * default of the new program nor a link or file that has changed since the
 * start can make another disk of it.
 */
#ifndef VBLKD_HANDOVER_H
#define VBLKD_HANDOVER_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "config.h"
#include "serve_socket.h"
#include "vblk/bdev/bdev.h"
#include "vblk/host/host_vdpa.h"
#include "vblk/util/compiler.h"

/* A program that reads another one than this takes nothing over. */
#define HANDOVER_FORMAT 1
/* With --direct-rings, which a program must know of that takes over; otherwise the same. */
#define HANDOVER_FORMAT_DIRECT 2
/* Of a disk on a socket, which a program must know of as well. */
#define HANDOVER_FORMAT_SERVE 3
#define HANDOVER_VERSION_MAX  64
/* What a program says that can take over. A successful exit alone may be that of anything. */
#define HANDOVER_YES "vblkd can take over"

/**
 * struct handover_serve - what a disk that is served on a socket has instead of a file of records
 * @socket: fd -1: it is none
 * @fence_fd: as the keeper's
 * @features: that clients were offered
 * @capacity_bytes, @size_number: of now, and how often that was decided
 */
struct handover_serve {
	struct serve_socket socket;
	int fence_fd;
	uint64_t features;
	uint64_t capacity_bytes;
	uint32_t size_number;
};

/**
 * struct handover - the record
 * @version: of the program that wrote it
 * @program: path from which the next upgrade starts its program
 * @umem_fd: memory of the device, -1 = none
 * @ctl_fd: -1: it is served on a socket
 * @bus_fd: socket to the vdpa bus, -1 = none
 * @link_fd, @link_version: to the worker, and the form of its messages
 * @config: handover_fini() frees what it owns
 */
struct handover {
	char version[HANDOVER_VERSION_MAX];
	char program[PATH_MAX];
	struct vblkd_config config;
	struct bdev_handover bdev;
	char run_dir[PATH_MAX];
	int run_dir_fd;
	int lock_fd;
	int ctl_fd;
	int listen_fd;
	int umem_fd;
	int bus_fd;
	int link_fd;
	unsigned int link_version;
	pid_t worker_pid;
	unsigned int restarts;
	unsigned int upgrades;
	time_t started_at;
	char disk[HOST_NODE_MAX];
	uint64_t bounce_bytes;
	bool created;
	bool adopted;
	struct handover_serve serve;
};

/* Return: 0 and an owned descriptor of a sealed memory file (close-on-exec); -errno. */
int handover_write(const struct handover *handover, int *ret_fd) VBLK_MUST_CHECK;

/**
 * handover_read() - the record behind @fd, checked, its descriptors open and close-on-exec
 * Return: 0; -EINVAL with @why, a sentence: no record of ours, of another format, or one that
 *         names what is not there; -ENOMEM; other -errno of reading.
 */
int handover_read(int fd, struct handover *ret_handover, char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/* Shall exec keep the descriptors that @handover names? Return: 0 or -errno. */
int handover_keep_fds(const struct handover *handover, bool keep) VBLK_MUST_CHECK;

void handover_fini(struct handover *handover);

#endif
