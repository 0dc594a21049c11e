/* SPDX-License-Identifier: MIT */
/*
 * One helper thread for what blocks and io_uring cannot do: the ioctls that
 * discard, erase and zero a block device. Jobs go over and come back through
 * rings with one writer and one reader each, so neither side waits for a lock.
 */
#ifndef VBLK_BDEV_OFFLOAD_H
#define VBLK_BDEV_OFFLOAD_H

#include <stdint.h>

#include "vblk/loop/loop.h"
#include "vblk/util/compiler.h"

struct offload;

/* The system as the helper sees it; tests put their own in. */
struct offload_sys {
	/* @range: offset and length in bytes. Returns 0 or -errno. Helper thread; blocks. */
	int (*ioctl)(int fd, unsigned long req, uint64_t range[2]);
};

extern const struct offload_sys offload_sys_kernel;

/**
 * struct offload_job - embed it; not touched by its owner from submit to done
 * @done: in the thread that owns the loop, once, with 0 or -errno
 */
struct offload_job {
	unsigned long req;
	uint64_t range[2];
	int result;
	void (*done)(struct offload_job *job, int result);
};

/**
 * offload_new() - start the thread
 * @depth: most jobs at a time
 * Return: 0; -ENOMEM; other -errno of eventfd(2) or pthread_create(3).
 */
int offload_new(struct loop *loop, int fd, unsigned int depth, const struct offload_sys *sys,
		struct offload **ret_off) VBLK_MUST_CHECK;
/* Ends the thread; no job may be there. NULL is fine. */
void offload_free(struct offload *off);

/* Context: thread of the loop; does not block or allocate. */
void offload_submit(struct offload *off, struct offload_job *job);

#endif
