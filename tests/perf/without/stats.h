/* SPDX-License-Identifier: MIT */
/* For tests/perf/run --safety: nothing is counted, and the clock is not read for latencies. */
#ifndef VBLK_WITHOUT_STATS_H
#define VBLK_WITHOUT_STATS_H

#include "../../../src/blk/blk_account.h"

#define stats_add(counter, n)			      ((void)(counter), (void)(n))
#define stats_at_least(counter, n)		      ((void)(counter), (void)(n))
#define blk_account_end(account, op, taken_ns, bytes) ((void)(account), (void)(op), (void)(bytes))

#endif
