/* SPDX-License-Identifier: MIT */
/*
 * What a queue counts. One thread writes, with plain relaxed stores and no
 * read-modify-write that others could see; any thread or process reads, each
 * number consistent in itself.
 *
 * The structure lives in memory that outlives the process (src/daemon/stats_file.h),
 * so its layout is a format: change STATS_LAYOUT with it. Whoever reads it gets
 * numbers from a process with less rights, and may use them as numbers only.
 */
#ifndef VBLK_STATS_STATS_H
#define VBLK_STATS_STATS_H

#include <stdint.h>

#include "vblk/util/compiler.h"

#define STATS_LAYOUT 1u

/* As enum bdev_op. */
#define STATS_OP_CNT 6

/*
 * Latencies are counted in buckets, four to each power of two: the limits are 25 % apart
 * at most. The first has all below 2^STATS_BUCKET_FIRST_LOG2 ns, the last all from
 * 2^STATS_BUCKET_LAST_LOG2 ns (68 s) on.
 */
#define STATS_BUCKET_FIRST_LOG2 8u
#define STATS_BUCKET_LAST_LOG2	36u
#define STATS_BUCKET_CNT	((STATS_BUCKET_LAST_LOG2 - STATS_BUCKET_FIRST_LOG2) * 4u + 2u)

/**
 * struct stats_queue - counters of one queue; no two queues share a cache line
 * @requests: ended by the backend and shown to the driver, by operation
 * @bytes: of those that ended with OK
 * @errors: of them, those that ended with an I/O error
 * @latency_sum_ns: from taking a request off the ring to showing its end, all of them
 * @get_ids: asked for the serial
 * @other_requests: malformed, not offered, or refused: answered without the backend
 * @batches: completions shown to the driver together
 * @interrupts: the driver wanted to be told of a batch
 * @kicks: wake-ups by the driver
 * @uring_enters: system calls to io_uring
 * @inline_ends: of @requests, ended while they were being submitted; the others were handed
 *               to io_uring or a thread
 * @recovered: requests taken over from a predecessor that died
 * @inflight_max: most requests held at a time
 * @latency: by operation, see stats_bucket()
 */
struct stats_queue {
	uint64_t requests[STATS_OP_CNT];
	uint64_t bytes[STATS_OP_CNT];
	uint64_t errors[STATS_OP_CNT];
	uint64_t latency_sum_ns[STATS_OP_CNT];
	uint64_t get_ids;
	uint64_t other_requests;
	uint64_t batches;
	uint64_t interrupts;
	uint64_t kicks;
	uint64_t uring_enters;
	uint64_t inline_ends;
	uint64_t recovered;
	uint64_t inflight_max;
	uint64_t latency[STATS_OP_CNT][STATS_BUCKET_CNT];
	/* The neighbour's counters begin where no prefetcher brings them along. */
} __attribute__((aligned(128)));

/* The one writer. */
static inline void stats_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void stats_at_least(uint64_t *counter, uint64_t n)
{
	if (*counter < n)
		__atomic_store_n(counter, n, __ATOMIC_RELAXED);
}

/* Where a latency is counted: an index into stats_queue.latency[op]. */
static inline unsigned int stats_bucket(uint64_t ns)
{
	unsigned int log2;

	if (ns >> STATS_BUCKET_LAST_LOG2)
		return STATS_BUCKET_CNT - 1;
	if (!(ns >> STATS_BUCKET_FIRST_LOG2))
		return 0;
	log2 = 63u - (unsigned int)__builtin_clzll(ns);
	return 1u + (log2 - STATS_BUCKET_FIRST_LOG2) * 4u + ((unsigned int)(ns >> (log2 - 2)) & 3u);
}

/* What a bucket counts is shorter than this; 0 for the last one, which has no limit. */
uint64_t stats_bucket_limit_ns(unsigned int bucket);

/* Any thread: a snapshot, each number consistent in itself. */
void stats_copy(const struct stats_queue *from, struct stats_queue *ret_copy);

/* Adds @more, a snapshot, to the sum of several queues; maxima become the largest one. */
void stats_merge(struct stats_queue *sum, const struct stats_queue *more);

#endif
