/* SPDX-License-Identifier: MIT */
/*
 * Another size for the disk: what may be done, and the process that asks the
 * backend. A network filesystem that hangs would hold whoever asks it, so that
 * is a short-lived process, not the keeper.
 */
#ifndef VBLKD_RESIZE_H
#define VBLKD_RESIZE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "link.h"
#include "vblk/bdev/bdev.h"
#include "vblk/util/compiler.h"

/**
 * struct resize_request - what was asked for
 * @size_bytes: 0 = as large as the backend is now
 * @force: cut off blocks at the end if need be
 */
struct resize_request {
	uint64_t size_bytes;
	bool force;
};

/**
 * struct resize_result - what came of it
 * @error: 0; -errno
 * @would_cut: the error is that blocks at the end would go, and force was not given
 * @size_bytes: the new capacity, also the one that would cut
 * @text: sentence about @error
 */
struct resize_result {
	int32_t error;
	bool would_cut;
	uint64_t size_bytes;
	char text[LINK_TEXT_MAX];
};

/* Can it be answered without asking the backend? Then true, and @ret_result says why not. */
bool resize_refused(const struct bdev_limits *limits, const struct resize_request *req,
		    struct resize_result *ret_result);

/* What the disk becomes on a backend of @backend_bytes, which holds what was asked for. */
void resize_settle(const struct bdev_limits *limits, const struct resize_request *req,
		   uint64_t backend_bytes, struct resize_result *ret_result);

/**
 * resize_start() - fork a process that asks the backend, and grows it
 * @spec: of @bdev, for messages
 * @close_fds: @close_cnt descriptors of the caller's that the process must not hold (-1 passes)
 * @out_fd: write end of a pipe; its other end has the result, or the end of the file
 */
int resize_start(struct bdev *bdev, const char *spec, const struct resize_request *req,
		 const int *close_fds, unsigned int close_cnt, int out_fd,
		 pid_t *ret_pid) VBLK_MUST_CHECK;

/* Reads the result; a process that died without one gives -ECHILD. Never blocks. */
void resize_result_read(int fd, struct resize_result *ret_result);

#endif
