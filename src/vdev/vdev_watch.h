/* SPDX-License-Identifier: MIT */
/*
 * A coarse alarm of a queue thread, for looking after requests that stand still.
 * A timer of the thread's ring, so it costs no system call; it is armed while
 * requests are in flight and not again after, so an idle queue sleeps on.
 */
#ifndef VBLK_VDEV_WATCH_H
#define VBLK_VDEV_WATCH_H

#include <stdbool.h>

#include "vblk/loop/loop.h"

/**
 * struct vdev_watch - one thread's alarm
 * @due: it went off; the owner clears it
 */
struct vdev_watch {
	struct loop *loop;
	struct loop_op op;
	struct loop_op cancel_op;
	struct __kernel_timespec period;
	bool armed;
	bool cancelling;
	bool due;
};

/* @period_ms: 0 = it never goes off */
void vdev_watch_init(struct vdev_watch *watch, struct loop *loop, unsigned int period_ms);
/* Before loop_fini(). Other requests of the loop may complete meanwhile. */
void vdev_watch_fini(struct vdev_watch *watch);

void vdev_watch_arm_slow(struct vdev_watch *watch);

/* No-op while it is armed. */
static inline void vdev_watch_arm(struct vdev_watch *watch)
{
	if (!watch->armed)
		vdev_watch_arm_slow(watch);
}

#endif
