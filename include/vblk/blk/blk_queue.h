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
#include "vblk/util/compiler.h"
#include "vblk/virtqueue/vq.h"

/**
 * struct blk_stats - counters of one queue, written by its thread only (relaxed
 * atomic stores), readable by any thread
 */
struct blk_stats {
	uint64_t requests[BDEV_OP_CNT]; /* completed, by operation */
	uint64_t bytes[BDEV_OP_CNT];
	uint64_t errors[BDEV_OP_CNT];	/* completed with IOERR */
	uint64_t other_requests;	/* GET_ID and what was refused unparsed */
	uint64_t batches;		/* vq_publish() calls that published something */
	uint64_t interrupts;		/* of them, those the driver wanted to hear of */
	uint64_t recovered;		/* taken over from a predecessor */
};

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

/* The virtqueue; the caller starts, stops and asks it, and does not pop or push. */
struct vq *blk_queue_vq(struct blk_queue *q);

/* New memory for requests to come; nothing may be in flight. Borrowed. */
void blk_queue_set_map(struct blk_queue *q, const struct memmap *map);

/**
 * blk_queue_take() - pop what the driver has made available and submit it
 * Return: number of requests taken; 0; -EBADMSG the queue is broken (vq_fault()).
 */
int blk_queue_take(struct blk_queue *q) VBLK_MUST_CHECK;

/**
 * blk_queue_publish() - show the driver what has completed
 * Return: true when it wants an interrupt.
 */
bool blk_queue_publish(struct blk_queue *q);

/* Requests held: popped and not yet pushed. */
unsigned int blk_queue_inflight_cnt(const struct blk_queue *q);

/* Any thread: a snapshot, each counter consistent in itself. */
void blk_queue_stats(const struct blk_queue *q, struct blk_stats *ret_stats);

#endif
