/* SPDX-License-Identifier: MIT */
#include "blk_account.h"

#include "vblk/util/clock.h"

_Static_assert(STATS_OP_CNT == BDEV_OP_CNT, "an operation is an index");

void blk_account_runs(struct blk_account *account)
{
	struct stats_queue *stats = account->stats;
	uint64_t now_ns;

	if (!account->run->cnt)
		return;
	now_ns = clock_now_ns();
	for (const struct blk_run *run = account->runs; run <= account->run; run++) {
		uint64_t latency_ns = now_ns - run->taken_ns;

		stats_add(&stats->requests[run->op], run->cnt);
		stats_add(&stats->bytes[run->op], run->bytes);
		stats_add(&stats->latency_sum_ns[run->op], latency_ns * run->cnt);
		stats_add(&stats->latency[run->op][stats_bucket(latency_ns)], run->cnt);
	}
	if (account->inline_cnt)
		stats_add(&stats->inline_ends, account->inline_cnt);
	blk_account_forget(account);
}

void blk_account_forget(struct blk_account *account)
{
	account->run = account->runs;
	*account->run = (struct blk_run){ .cnt = 0 };
	account->inline_cnt = 0;
}

struct blk_run *blk_account_next(struct blk_account *account, enum bdev_op op, uint64_t taken_ns)
{
	if (account->run == account->runs + account->run_max - 1)
		blk_account_runs(account);
	if (account->run->cnt)
		account->run++;
	*account->run = (struct blk_run){ .taken_ns = taken_ns, .op = op };
	return account->run;
}
