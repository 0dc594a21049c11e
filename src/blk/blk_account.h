/* SPDX-License-Identifier: MIT */
/*
 * Counting what a queue does. The end of a request costs it a few
 * instructions; counters and histograms are touched and the clock is read once
 * a batch, behind its publication, for all requests of one turn and operation
 * together ("run").
 *
 * What a killed process had not published is done again by its successor, and
 * is counted there.
 *
 * Context: the thread of the queue.
 */
#ifndef VBLK_SRC_BLK_ACCOUNT_H
#define VBLK_SRC_BLK_ACCOUNT_H

#include <stdint.h>

#include "vblk/bdev/bdev.h"
#include "vblk/stats/stats.h"

/* Requests that were taken together, of one operation, and ended one after the other. */
struct blk_run {
	uint64_t taken_ns;
	uint64_t bytes;
	enum bdev_op op;
	unsigned int cnt;
};

/**
 * struct blk_account - of one queue
 * @stats: where it goes
 * @runs: ended and not published, up to @run, which alone may have no request yet
 * @run_max: how many there is room for
 * @inside: 1 while requests are being handed to the backend: what ends now ended inline
 * @inline_cnt: of those in @runs
 */
struct blk_account {
	struct stats_queue *stats;
	struct blk_run *runs;
	struct blk_run *run;
	unsigned int run_max;
	unsigned int inside;
	unsigned int inline_cnt;
};

/* The runs go to the counters. */
void blk_account_runs(struct blk_account *account);
/* Nobody is to hear of the runs. */
void blk_account_forget(struct blk_account *account);
/* Another run begins. */
struct blk_run *blk_account_next(struct blk_account *account, enum bdev_op op, uint64_t taken_ns);

/* A request ends. @bytes: 0 after an error */
static inline void blk_account_end(struct blk_account *account, enum bdev_op op, uint64_t taken_ns,
				   uint64_t bytes)
{
	struct blk_run *run = account->run;

	account->inline_cnt += account->inside;
	if (run->taken_ns != taken_ns || run->op != op)
		run = blk_account_next(account, op, taken_ns);
	run->bytes += bytes;
	run->cnt++;
}

#endif
