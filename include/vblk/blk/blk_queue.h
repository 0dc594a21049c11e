/* SPDX-License-Identifier: MIT */
/*
 * One queue at work: virtqueue on one side, backend queue on the other, a
 * preallocated slot for every head between them. Every popped request ends in
 * exactly one vq_push(), whatever happens.
 *
 * Context: the queue thread that owns the virtqueue, the loop and the backend queue.
 */
#ifndef VBLK_BLK_BLK_QUEUE_H
#define VBLK_BLK_BLK_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/bdev/bdev.h"
#include "vblk/blk/blk_config.h"
#include "vblk/stats/stats.h"
#include "vblk/util/compiler.h"
#include "vblk/virtqueue/vq.h"

/*
 * Most requests of one blk_queue_take(): a driver that always has one more, on a backend
 * that completes at once, must still see its completions.
 */
#define BLK_QUEUE_TAKE_MAX 64
/* What completes inside before an eager queue lets the driver begin with it. */
#define BLK_QUEUE_EAGER_MAX   16u
#define BLK_QUEUE_EAGER_BYTES (64u << 10)

struct blk_queue;

/**
 * blk_queue_new() - slots for @params->queue_size requests
 * @params, @bdev: borrowed until blk_queue_free()
 * @loop: of this thread
 * Return: 0; -ENOMEM; -errno of the backend's queue_new().
 */
int blk_queue_new(const struct blk_params *params, struct bdev *bdev, struct loop *loop,
		  struct blk_queue **ret_q) VBLK_MUST_CHECK;
/* Nothing in flight. NULL is fine. */
void blk_queue_free(struct blk_queue *q);

/*
 * Counts into @stats from now on (borrowed, and added to), instead of memory of its own. Before
 * the first blk_queue_take().
 */
void blk_queue_use_stats(struct blk_queue *q, struct stats_queue *stats);

/* What probes call this queue; 0 until then. */
void blk_queue_set_idx(struct blk_queue *q, unsigned int idx);

/* The virtqueue; the caller starts, stops and asks it, and does not pop or push. */
struct vq *blk_queue_vq(struct blk_queue *q);

/*
 * New memory for requests to come, tells the backend; nothing may be in flight. Borrowed.
 * To be called at each start of the ring, before the first blk_queue_take().
 */
void blk_queue_set_map(struct blk_queue *q, const struct memmap *map);

/*
 * Any thread: while on, a request that changes the disk completes when it is durable, also one
 * that is in flight now; a backend without a volatile cache does that anyway. What completed
 * before becomes durable with the next such request, or flush.
 */
void blk_queue_set_write_through(struct blk_queue *q, bool on);

/* While on hold, only requests that a predecessor left are taken, and no new ones. */
void blk_queue_hold(struct blk_queue *q, bool on_hold);

/*
 * The driver has a CPU of its own: it is shown what has completed while the rest of a batch is
 * worked at, at the price of more interrupts. Where it shares the CPU it could do nothing with it.
 */
void blk_queue_set_eager(struct blk_queue *q, bool eager);

/**
 * blk_queue_take() - pop what the driver has made available and submit it
 *
 * Stops after BLK_QUEUE_TAKE_MAX requests, an eager queue when enough has completed inside.
 * A turn of the caller:
 *
 *	n = blk_queue_take(q);
 *	if (blk_queue_publish(q))
 *		interrupt the driver;
 *	n > 0:  vq_kick_suppress(vq), loop_poll(), next turn
 *	n == 0: vq_kick_enable(vq) ? next turn : loop_wait(), next turn
 *	n < 0:  loop_wait(), next turn, until nothing is in flight
 *
 * Return: number of requests taken; 0 nothing available; -EBADMSG the queue is broken
 *         (vq_fault()), now and at each call until the next vq_start(). Requests taken
 *         before the fault was met go on and are completed as usual: keep publishing.
 */
int blk_queue_take(struct blk_queue *q) VBLK_MUST_CHECK;

/**
 * blk_queue_publish() - show the driver what has completed
 *
 * Also commits what completions have submitted (the next range of a request), so it is to be
 * called after loop_wait() even when nothing is taken any more, as while draining.
 *
 * Return: true when it wants an interrupt.
 */
bool blk_queue_publish(struct blk_queue *q);

/*
 * Fails every request that waits for the backend, and from now on every one that comes,
 * with IOERR. For a device that is taken away while its backend does not answer.
 *
 * The backend may still be at work: neither the memory of those requests nor this queue can
 * be given back any more, only the process can end. Not to be undone.
 */
void blk_queue_give_up(struct blk_queue *q);

/* Requests held: popped and not yet pushed. */
unsigned int blk_queue_inflight_cnt(const struct blk_queue *q);

/* What it counts: its thread may add, any thread may stats_copy(). */
struct stats_queue *blk_queue_stats(const struct blk_queue *q);

/**
 * struct blk_held - a request that a queue holds
 * @offset_bytes, @len_bytes: 0 for BDEV_FLUSH; of a request of several ranges: the one that is
 *                            with the backend
 * @taken_ns: CLOCK_MONOTONIC when it was taken from the ring; of what a predecessor had in
 *            flight: when it was taken again
 */
struct blk_held {
	enum bdev_op op;
	uint64_t offset_bytes;
	uint64_t len_bytes;
	uint64_t taken_ns;
};

/**
 * blk_queue_oldest() - the oldest requests that wait for the backend, any thread
 * @before_ns: only those taken then or earlier
 * @ret_held: room for @max, oldest first
 * @ret_total_cnt: how many there are in all
 *
 * A request that begins or ends during the look may be left out; what is returned was one
 * request each.
 *
 * Return: entries of @ret_held, at most @max.
 */
unsigned int blk_queue_oldest(const struct blk_queue *q, uint64_t before_ns,
			      struct blk_held *ret_held, unsigned int max,
			      unsigned int *ret_total_cnt);

#endif
