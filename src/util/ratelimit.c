/* SPDX-License-Identifier: MIT */
#include "vblk/util/ratelimit.h"

bool ratelimit_allows(struct ratelimit *rl, uint64_t now_ns)
{
	if (now_ns - rl->window_start_ns >= rl->interval_ns) {
		rl->window_start_ns = now_ns;
		rl->window_count = 0;
	}
	if (rl->window_count >= rl->burst) {
		rl->suppressed++;
		return false;
	}
	rl->window_count++;
	return true;
}
