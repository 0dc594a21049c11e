/* SPDX-License-Identifier: MIT */
/*
 * Attach and detach happen in a process of their own that does one of the two
 * for one name and ends: the netlink call returns only when the driver has
 * probed or removed the disk, it may never return, and it cannot be killed
 * while it waits. The keeper goes on meanwhile.
 */
#ifndef VBLKD_ATTACH_HELPER_H
#define VBLKD_ATTACH_HELPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "link.h"
#include "vblk/host/host_vdpa.h"
#include "vblk/util/compiler.h"

enum helper_op {
	HELPER_ATTACH, /* put on the bus (or find it there), bind, find the disk, tune it */
	HELPER_FLUSH,  /* write out what the kernel has cached of the disk; takes no lock */
	HELPER_DETACH,
};

/**
 * struct helper_request - what to do
 * @uid: whose the node of an attached disk shall be
 * @adopt: it is no error when the device is on the bus already
 * @force: detach without claiming the disk first
 * @bus_fd: socket to the vdpa bus, -1 = made by the helper
 * @rotational: what the disk's queue should say
 */
struct helper_request {
	enum helper_op op;
	const char *name;
	uid_t uid;
	bool adopt;
	bool force;
	bool rotational;
	int bus_fd;
};

/**
 * struct helper_result - what came of it
 * @error: 0 or -errno; -EBUSY for a detach: the disk is in use
 * @on_bus: the device is on the bus now
 * @text: sentence about @error
 */
struct helper_result {
	int32_t error;
	uint8_t on_bus;
	char disk[HOST_NODE_MAX];
	char text[LINK_TEXT_MAX];
};

/**
 * helper_start() - fork
 * @out_fd: write end of a pipe, whose other end is readable when the result is there (or the
 *          helper died); the caller closes its copy
 */
int helper_start(const struct helper_request *req, int out_fd, pid_t *ret_pid) VBLK_MUST_CHECK;

/**
 * helper_prepare() - fork an attach that stays root and begins at a word of its starter
 * @ret_go_fd: owned; writing helper_go() to it starts the helper, closing it ends it. No other
 *             process may keep a copy.
 */
int helper_prepare(const struct helper_request *req, int out_fd, int *ret_go_fd,
		   pid_t *ret_pid) VBLK_MUST_CHECK;
/* Return: 0; -errno: it is gone. Closes @go_fd. */
int helper_go(int go_fd) VBLK_MUST_CHECK;

/* Reads the result; a helper that died without one gives -ECHILD. Never blocks. */
void helper_result_read(int fd, struct helper_result *ret_result);

#endif
