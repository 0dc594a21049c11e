/* SPDX-License-Identifier: MIT */
#include "blk_account.h"

#include "vblk/util/clock.h"

_Static_assert(STATS_OP_CNT == BDEV_OP_CNT, "an operation is an index");

void blk_account_runs(struct blk_account *account)
{
	struct stats_queue *stats = account->stats;
	uint64_t now_ns;

	if (!account->run_cnt)
		return;
	now_ns = clock_now_ns();
	for (unsigned int i = 0; i < account->run_cnt; i++) {
		const struct blk_run *run = &account->runs[i];
		uint64_t latency_ns = now_ns - run->taken_ns;

		stats_add(&stats->requests[run->op], run->cnt);
		stats_add(&stats->bytes[run->op], run->bytes);
		stats_add(&stats->latency_sum_ns[run->op], latency_ns * run->cnt);
		stats_add(&stats->latency[run->op][stats_bucket(latency_ns)], run->cnt);
	}
	account->run_cnt = 0;
	if (account->inline_cnt)
		stats_add(&stats->inline_ends, account->inline_cnt);
	account->inline_cnt = 0;
}
