/* SPDX-License-Identifier: MIT */
/*
 * A virtio-blk device as its transports see it: N queue threads that are
 * started on rings, stopped and drained. Knows no transport.
 *
 *            vdev_start()                    vdev_stop()
 *   STOPPED -------------> RUNNING -----------------------> DRAINING
 *      ^                                                        |
 *      +---- every queue thread has nothing left in flight -----+
 *            (vdev_handle_events() calls ops->stopped)
 *
 * A transport whose driver starts and stops rings one by one uses vdev_queue_start()
 * and its kin instead, never both: the device then counts as STOPPED throughout.
 *
 * Threads: one control thread calls everything here except where said. It
 * never waits for a queue thread after vdev_new(); it posts a command and
 * learns the end through vdev_event_fd().
 */
#ifndef VBLK_VDEV_VDEV_H
#define VBLK_VDEV_VDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vblk/bdev/bdev.h"
#include "vblk/blk/blk_config.h"
#include "vblk/blk/blk_queue.h"
#include "vblk/mem/memmap.h"
#include "vblk/stats/stats.h"
#include "vblk/util/compiler.h"
#include "vblk/virtqueue/vq.h"

#define VDEV_QUEUES_MAX 64u

/**
 * struct vdev_transport_ops - what the shared core needs of a transport
 *
 * @inject_irq: queue thread: tell the driver that queue @idx has news. Errors
 *              are the transport's own affair.
 * @map_get:    queue thread, at the first request after vdev_start(): the
 *              driver's memory. May block for setting it up, not for a backend;
 *              several threads may call at once. Returns 0 and an owned
 *              reference, or -errno: the queue then stays quiet until restarted.
 * @stopped:    control thread, from vdev_handle_events(): every queue is
 *              drained, no memory of the driver is referenced any more.
 * @queue_stopped: control thread, from vdev_handle_events(): queue @idx, which
 *              vdev_queue_stop() was called for, references no memory of the driver's any
 *              more, nor its kick_fd. NULL where that is not used.
 * @queue_error: queue thread: something is wrong that queue_broken or queue_failed is going
 *              to tell. NULL: nobody wants to know that early.
 * @queue_broken: control thread: queue @idx met a fault and pops no more.
 * @queue_failed: control thread: queue @idx serves nothing until restarted.
 *              @err: -EUCLEAN vq_start() refused the ring or its in-flight
 *              record (a retry would end the same); -EFAULT memory of the ring is
 *              gone; else what map_get() returned.
 * @queue_stuck: control thread: the backend has had a request of queue @idx for longer
 *              than stuck_ms (vdev_queue_oldest() names it), or no longer has one
 */
struct vdev_transport_ops {
	void (*inject_irq)(void *ctx, unsigned int idx);
	int (*map_get)(void *ctx, struct memmap **ret_map);
	void (*stopped)(void *ctx);
	void (*queue_stopped)(void *ctx, unsigned int idx);
	void (*queue_error)(void *ctx, unsigned int idx);
	void (*queue_broken)(void *ctx, unsigned int idx, enum vq_fault fault);
	void (*queue_failed)(void *ctx, unsigned int idx, int err);
	void (*queue_stuck)(void *ctx, unsigned int idx, bool is_stuck);
};

/**
 * struct vdev_ring - where one queue's ring is
 * @enabled: false: the driver does not use this queue
 * @kick_fd: eventfd that the driver signals, borrowed until stopped, polled and
 *           never read; -1 when the transport gave the driver vdev_kick_fd() of
 *           the queue (cheapest)
 * @vq: passed to vq_start(); memory borrowed until stopped
 */
struct vdev_ring {
	bool enabled;
	int kick_fd;
	struct vq_config vq;
};

/* Whether queue threads look for work by spinning; where vdev_can_poll(), elsewhere as OFF. */
enum vdev_poll_mode {
	VDEV_POLL_OFF,	    /* sleep at once */
	VDEV_POLL_ADAPTIVE, /* first spin some tens of microseconds, where that has paid lately */
	VDEV_POLL_ON,	    /* spin, until nothing has come for a second */
};

/**
 * struct vdev_params - constant facts
 * @bdev, @blk: borrowed until vdev_free()
 * @sched_batch: queue threads run under SCHED_BATCH: they let the submitter fill
 *               a batch instead of preempting it at every kick. Not where they look all the time
 * @eager: an interrupt costs little: where there is more than one CPU, what has completed is
 *         shown before the batch is through (blk_queue_set_eager())
 * @poll: never with real-time priority
 * @keep_real_time: queue threads that inherit real time keep it for good, and not only until they
 *               have the driver's memory: the kernel's reserve of memory is theirs
 * @fence_fd: file that every queue's io_uring holds open until all its requests
 *               have ended, also after a SIGKILL; -1 for none. A transport gives
 *               the file that its successor must open exclusively, so that no
 *               old write can come after a new one.
 * @stuck_ms: age at which a request counts as stuck and ops->queue_stuck() is called, up to
 *            half as much later; 0 = never
 * @stats: one for each queue, borrowed until vdev_free() and added to; NULL: memory of its own,
 *         from zero
 */
struct vdev_params {
	struct bdev *bdev;
	const struct blk_params *blk;
	const struct vdev_transport_ops *ops;
	void *ctx;
	bool sched_batch;
	bool eager;
	enum vdev_poll_mode poll;
	bool keep_real_time;
	int fence_fd;
	unsigned int stuck_ms;
	struct stats_queue *stats;
};

enum vdev_state {
	VDEV_STOPPED,
	VDEV_RUNNING,
	VDEV_DRAINING,
};

struct vdev;

/* Any thread: is there a second CPU that it may run on? On a single one a spin only delays. */
bool vdev_can_poll(void);

/**
 * vdev_new() - create the queue threads with all they will ever need, and wait
 * until each is ready
 * Return: 0; -EINVAL no queue or more than VDEV_QUEUES_MAX; -ENOMEM; -errno of thread creation,
 * io_uring or the backend.
 */
int vdev_new(const struct vdev_params *params, struct vdev **ret_vdev) VBLK_MUST_CHECK;
/* Only when STOPPED: ends and joins the threads. NULL is fine. */
void vdev_free(struct vdev *vdev);

/**
 * vdev_start() - run on @rings[queue_cnt]; only when STOPPED
 * Queues look at their ring once without waiting for a kick.
 * Return: 0; -EBUSY not STOPPED, or a queue is not idle; -ESHUTDOWN after vdev_give_up().
 */
int vdev_start(struct vdev *vdev, const struct vdev_ring *rings) VBLK_MUST_CHECK;

/* Post "stop taking, finish what you hold" to all queues. STOPPED or DRAINING: no-op. */
void vdev_stop(struct vdev *vdev);

enum vdev_stop {
	VDEV_STOP_NOW,	  /* finish what it holds; what a predecessor left stays in the record */
	VDEV_STOP_REDONE, /* do that again, too, but nothing new */
};

/**
 * vdev_queue_start() - run queue @idx alone on @ring; only when it is idle
 * Return: 0; -EBUSY it is not idle; -ESHUTDOWN after vdev_give_up().
 */
int vdev_queue_start(struct vdev *vdev, unsigned int idx,
		     const struct vdev_ring *ring) VBLK_MUST_CHECK;
/* Post it; ops->queue_stopped() tells the end. Idle or draining already: no-op. */
void vdev_queue_stop(struct vdev *vdev, unsigned int idx, enum vdev_stop how);
/* Never started, or ops->queue_stopped() was called. */
bool vdev_queue_is_idle(const struct vdev *vdev, unsigned int idx);

/**
 * vdev_expect_redo() - queue @idx has requests of a predecessor in its record
 * Nothing new begins on any queue before it has been started (with recover) and has ended
 * them, even if it is stopped and started meanwhile. Before any queue is started.
 */
void vdev_expect_redo(struct vdev *vdev, unsigned int idx);
/* They will not be done again: the driver that waits for them is gone. All queues idle. */
void vdev_forget_redo(struct vdev *vdev);
/* Is it one of those that the others wait for? */
bool vdev_queue_is_expected(const struct vdev *vdev, unsigned int idx);

/* Ends a system call that the queue's thread waits in, with EINTR; it may be none at all. */
void vdev_queue_interrupt(struct vdev *vdev, unsigned int idx);

/*
 * Has queue @idx, if it is running, call ops->inject_irq() though it may have no news: for a
 * transport that has changed how the driver is told, and may have told it the old way.
 */
void vdev_queue_remind(struct vdev *vdev, unsigned int idx);

/* As blk_queue_set_write_through(), for all queues; any state. */
void vdev_set_write_through(struct vdev *vdev, bool on);

/*
 * Any state: all requests in flight and to come fail with IOERR, so that a device can be
 * taken away whose backend does not answer. The backend may still be at work in the driver's
 * memory, whose map stays referenced; hence vdev_start() is refused and vdev_free() forbidden
 * from now on: what can follow is _exit().
 */
void vdev_give_up(struct vdev *vdev);

enum vdev_state vdev_state(const struct vdev *vdev);

/* Becomes readable when vdev_handle_events() has something to do. */
int vdev_event_fd(const struct vdev *vdev);
void vdev_handle_events(struct vdev *vdev);

/* The queue's own eventfd, which a transport may hand to the driver. */
int vdev_kick_fd(const struct vdev *vdev, unsigned int idx);

/**
 * struct vdev_queue_info - a snapshot of one queue, any thread
 * @inflight_cnt: requests held now
 * @draining: was told to stop and finishes what it holds
 * @fault: VQ_FAULT_NONE or why it stands still
 * @last_avail_idx: exact only when STOPPED
 * @base: as vq_base(), likewise
 */
struct vdev_queue_info {
	unsigned int inflight_cnt;
	bool draining;
	enum vq_fault fault;
	uint16_t last_avail_idx;
	uint32_t base;
	pid_t thread_id;
	struct stats_queue stats;
};

void vdev_queue_info(const struct vdev *vdev, unsigned int idx, struct vdev_queue_info *ret_info);
unsigned int vdev_queue_cnt(const struct vdev *vdev);

/* Any thread: as blk_queue_oldest(). Looks at no request of a queue that holds none. */
unsigned int vdev_queue_oldest(const struct vdev *vdev, unsigned int idx, uint64_t before_ns,
			       struct blk_held *ret_held, unsigned int max,
			       unsigned int *ret_total_cnt);

#endif
