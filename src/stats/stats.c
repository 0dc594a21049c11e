/* SPDX-License-Identifier: MIT */
#include "vblk/stats/stats.h"

#include "vblk/util/math.h"

#define WORD_CNT (sizeof(struct stats_queue) / sizeof(uint64_t))

uint64_t stats_bucket_limit_ns(unsigned int bucket)
{
	unsigned int step = bucket - 1;

	if (bucket >= STATS_BUCKET_CNT - 1)
		return 0;
	if (!bucket)
		return 1ull << STATS_BUCKET_FIRST_LOG2;
	return (step % 4 + 5ull) << (step / 4 + STATS_BUCKET_FIRST_LOG2 - 2);
}

void stats_copy(const struct stats_queue *from, struct stats_queue *ret_copy)
{
	const uint64_t *src = (const uint64_t *)from;
	uint64_t *dst = (uint64_t *)ret_copy;

	_Static_assert(sizeof(struct stats_queue) % sizeof(uint64_t) == 0, "all are 64 bit");
	for (size_t i = 0; i < WORD_CNT; i++)
		dst[i] = __atomic_load_n(&src[i], __ATOMIC_RELAXED);
}

void stats_merge(struct stats_queue *sum, const struct stats_queue *more)
{
	uint64_t inflight_max = MAX(sum->inflight_max, more->inflight_max);
	const uint64_t *src = (const uint64_t *)more;
	uint64_t *dst = (uint64_t *)sum;

	for (size_t i = 0; i < WORD_CNT; i++)
		dst[i] += src[i];
	sum->inflight_max = inflight_max;
}
