/* SPDX-License-Identifier: MIT */
/*
 * How a queue thread sleeps. Two ways, chosen by what it waits for:
 *
 *   nothing in flight:  read() of its own eventfd, the cheapest sleep there is (measured)
 *   I/O in flight:      in io_uring, with polls armed on the eventfds
 *
 * A poll that stays armed while the thread sleeps in read() would post one
 * completion a kick, and each would cost a system call to collect. So the
 * thread stays with io_uring once it needed it, and goes back to read() after
 * VDEV_WAKE_IDLE_MAX sleeps in a row without I/O in flight.
 *
 * A descriptor of another party (vhost-user) is only ever polled, never read:
 * whatever it is and whatever its flags, it cannot block the thread.
 *
 * Context: the queue thread that owns the loop.
 */
#ifndef VBLK_VDEV_WAKE_H
#define VBLK_VDEV_WAKE_H

#include <stdbool.h>

#include "vblk/loop/loop.h"

#define VDEV_WAKE_IDLE_MAX 16u

/**
 * struct vdev_wake_src - one descriptor that wakes the thread
 * @armed: a poll is in the ring
 * @dead: polling it fails or ends at once; not tried again
 * @foreign: belongs to another party
 */
struct vdev_wake_src {
	struct loop_op op;
	struct vdev_wake *wake;
	int fd;
	bool armed;
	bool dead;
	bool foreign;
};

/**
 * struct vdev_wake - the sources of one thread
 * @own: the thread's own eventfd
 * @kick: the driver's, or fd -1
 * @multishot: the kernel keeps a poll armed after it fired; set by init, cleared when refused
 * @in_ring: sleeps are in io_uring
 * @idle_cnt: sleeps since I/O was last in flight
 * @kick_cnt: how often a source fired
 */
struct vdev_wake {
	struct loop *loop;
	struct vdev_wake_src own;
	struct vdev_wake_src kick;
	struct loop_op cancel_op;
	unsigned int cancel_cnt;
	bool multishot;
	bool in_ring;
	unsigned int idle_cnt;
	uint64_t kick_cnt;
};

void vdev_wake_init(struct vdev_wake *wake, struct loop *loop, int own_fd);
/* Before loop_fini(). Other requests of the loop may complete meanwhile. */
void vdev_wake_fini(struct vdev_wake *wake);

/* The driver's eventfd, borrowed until replaced; -1 takes it away. */
void vdev_wake_set_kick(struct vdev_wake *wake, int fd);

/**
 * vdev_wake_sleep() - until a source fires or I/O completes; may return early
 * @inflight: requests of the loop are outstanding
 */
void vdev_wake_sleep(struct vdev_wake *wake, bool inflight);

#endif
