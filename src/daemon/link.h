/* SPDX-License-Identifier: MIT */
/*
 * The socket pair between keeper and worker: fixed-size messages of
 * SOCK_SEQPACKET, never blocking. Both ends are this program, but the keeper
 * has privileges, so it checks what it reads all the same.
 */
#ifndef VBLKD_LINK_H
#define VBLKD_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/host/host_vdpa.h"
#include "vblk/util/compiler.h"

#define LINK_TEXT_MAX 512

/* Changes with the messages: after an upgrade the keeper meets a worker of the program before. */
#define LINK_VERSION 1u

enum link_type {
	/* worker to keeper */
	LINK_SERVING = 1, /* answers the kernel from now on */
	LINK_DETACH,  /* a control client asks; @flag: force; @number: ms to wait, 0 = default */
	LINK_RESIZE,  /* a control client asks; @size_bytes: 0 = the backend's; @flag: force */
	LINK_UPGRADE, /* a control client asks */
	/* keeper to worker */
	LINK_STATE,	    /* @text: state; @node: disk; @number: restarts */
	LINK_DETACH_FAILED, /* @error, @text: why; the device goes on */
	LINK_DETACHED,	    /* the device is off the bus: let go of it and exit */
	/* the disk has @size_bytes, by its @number; or @error, @text; @flag: would cut blocks off
	 */
	LINK_RESIZED,
	LINK_GIVE_UP,	     /* the kernel waits too long for the backend: fail all requests */
	LINK_UPGRADE_FAILED, /* @error, @text: why; everything goes on as it was */
	LINK_RETIRE, /* end what is in flight, take no more, let go of the device and exit */
	/* worker to keeper */
	LINK_RELEASED, /* retired: the device can be opened by a successor; the exit takes longer */
	LINK_LOG_LEVEL, /* @number: enum log_level from now on */
	/* keeper to worker: answer with the same; a worker that does not know it is never asked */
	LINK_PING,
	/* keeper to worker: --direct-rings: see whose the rings shall be */
	LINK_RINGS,
};

struct link_msg {
	uint32_t type;
	int32_t error; /* -errno */
	uint32_t flag;
	uint32_t number;
	uint64_t size_bytes;
	char node[HOST_NODE_MAX];
	char text[LINK_TEXT_MAX];
};

/* Both ends close-on-exec and non-blocking. Return: 0 or -errno. */
int link_new(int ret_fds[2]) VBLK_MUST_CHECK;

/* Return: 0; -EPIPE the other end is gone; -EAGAIN it does not read. */
int link_send(int fd, const struct link_msg *msg);

/* Return: 1 with @ret_msg (texts terminated); 0 nothing there; -EPIPE; -EBADMSG. */
int link_recv(int fd, struct link_msg *ret_msg) VBLK_MUST_CHECK;

#endif
