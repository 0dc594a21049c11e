/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>

#include "run_suite.h"
#include "vblk/stats/stats.h"

START_TEST(buckets_have_no_gap_and_no_overlap)
{
	uint64_t from = 0;

	for (unsigned int i = 0; i + 1 < STATS_BUCKET_CNT; i++) {
		uint64_t limit = stats_bucket_limit_ns(i);

		ck_assert_uint_gt(limit, from);
		ck_assert_uint_eq(stats_bucket(from), i);
		ck_assert_uint_eq(stats_bucket(limit - 1), i);
		/* A quarter of what it begins at: 25 % are promised. */
		if (i)
			ck_assert_uint_le(4 * (limit - from), from);
		from = limit;
	}
	ck_assert_uint_eq(from, 1ull << STATS_BUCKET_LAST_LOG2);
	ck_assert_uint_eq(stats_bucket(from), STATS_BUCKET_CNT - 1);
	ck_assert_uint_eq(stats_bucket(UINT64_MAX), STATS_BUCKET_CNT - 1);
	ck_assert_uint_eq(stats_bucket_limit_ns(STATS_BUCKET_CNT - 1), 0);
}
END_TEST

/* Prometheus is shown these alone. */
START_TEST(each_power_of_two_is_a_limit)
{
	for (unsigned int log2 = STATS_BUCKET_FIRST_LOG2; log2 <= STATS_BUCKET_LAST_LOG2; log2++) {
		unsigned int before = stats_bucket((1ull << log2) - 1);

		ck_assert_uint_eq(stats_bucket_limit_ns(before), 1ull << log2);
	}
}
END_TEST

START_TEST(snapshots_are_added_up)
{
	static struct stats_queue live[2], sum, copy;

	stats_add(&live[0].requests[1], 5);
	stats_add(&live[1].requests[1], 7);
	stats_add(&live[1].latency[5][STATS_BUCKET_CNT - 1], 9);
	stats_at_least(&live[0].inflight_max, 30);
	stats_at_least(&live[1].inflight_max, 20);
	stats_at_least(&live[1].inflight_max, 10);
	for (unsigned int i = 0; i < 2; i++) {
		stats_copy(&live[i], &copy);
		stats_merge(&sum, &copy);
	}
	ck_assert_uint_eq(sum.requests[1], 12);
	ck_assert_uint_eq(sum.latency[5][STATS_BUCKET_CNT - 1], 9);
	ck_assert_uint_eq(copy.inflight_max, 20);
	ck_assert_uint_eq(sum.inflight_max, 30);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("stats");
	Suite *suite = suite_create("stats");

	tcase_add_test(tc, buckets_have_no_gap_and_no_overlap);
	tcase_add_test(tc, each_power_of_two_is_a_limit);
	tcase_add_test(tc, snapshots_are_added_up);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
