/* SPDX-License-Identifier: MIT */
/* Hand-made histories: what must be seen, and what must not be taken for a fault. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lin_data.h"
#include "lin_history.h"
#include "run_suite.h"

#define W(value, start, end)                  \
	{                                     \
		(start), (end), (value), true \
	}
#define R(value, start, end)                   \
	{                                      \
		(start), (end), (value), false \
	}
#define OPS_MAX 8

static const struct {
	const char *name;
	enum lin_verdict verdict;
	struct lin_op ops[OPS_MAX]; /* up to the first that is all zero */
} histories[] = {
	{ "nothing", LIN_OK, { W(1, 1, 2) } },
	{ "one after the other", LIN_OK, { W(1, 1, 2), R(1, 3, 4), W(2, 5, 6), R(2, 7, 8) } },
	{ "order of the log does not matter",
	  LIN_OK,
	  { R(2, 7, 8), W(2, 5, 6), R(1, 3, 4), W(1, 1, 2) } },
	{ "a read beside a write sees the old", LIN_OK, { W(1, 1, 2), W(2, 3, 9), R(1, 4, 5) } },
	{ "a read beside a write sees the new", LIN_OK, { W(1, 1, 2), W(2, 3, 9), R(2, 4, 5) } },
	{ "old, then new, beside a write",
	  LIN_OK,
	  { W(1, 1, 2), W(2, 3, 9), R(1, 4, 5), R(2, 6, 7) } },
	{ "writes beside each other, one is seen",
	  LIN_OK,
	  { W(1, 1, 9), W(2, 1, 9), R(2, 10, 11), R(2, 12, 13) } },
	{ "writes beside each other, both are seen",
	  LIN_OK,
	  { W(1, 1, 9), W(2, 1, 9), R(2, 3, 4), R(1, 10, 11) } },
	{ "a write that nobody saw", LIN_OK, { W(1, 1, 2), W(2, 3, 4), W(3, 5, 6), R(3, 7, 8) } },
	{ "a long read may be early or late",
	  LIN_OK,
	  { W(1, 1, 2), R(1, 3, 20), W(2, 5, 6), R(2, 7, 8) } },
	{ "times that touch count as overlapping", LIN_OK, { W(1, 1, 2), W(2, 2, 3), R(1, 3, 4) } },
	{ "a stale read", LIN_CONFLICT, { W(1, 1, 2), W(2, 3, 4), R(1, 5, 6) } },
	{ "a lost write, seen by all",
	  LIN_CONFLICT,
	  { W(1, 1, 2), W(2, 3, 4), R(1, 5, 6), R(1, 7, 8) } },
	{ "new, then old, beside a write",
	  LIN_CONFLICT,
	  { W(1, 1, 2), W(2, 3, 9), R(2, 4, 5), R(1, 6, 7) } },
	{ "an old write comes late, over a newer one",
	  LIN_CONFLICT,
	  { W(1, 1, 4), W(2, 5, 6), R(2, 7, 8), R(1, 9, 10) } },
	{ "readers disagree about the order",
	  LIN_CONFLICT,
	  { W(1, 1, 9), W(2, 1, 9), R(1, 10, 11), R(2, 12, 13) } },
	{ "back and forth beside two writes",
	  LIN_CONFLICT,
	  { W(1, 1, 20), W(2, 1, 20), R(1, 3, 4), R(2, 5, 6), R(1, 7, 8) } },
	{ "from nowhere", LIN_NEVER_WRITTEN, { W(1, 1, 2), R(3, 3, 4) } },
	{ "from the future", LIN_FUTURE_READ, { W(1, 1, 2), R(2, 3, 4), W(2, 5, 6) } },
	{ "a value written twice", LIN_BAD_HISTORY, { W(1, 1, 2), W(1, 3, 4) } },
	{ "an end before its start", LIN_BAD_HISTORY, { W(1, 3, 2) } },
};

START_TEST(a_history_is_judged_right)
{
	size_t cnt = 0;

	while (cnt < OPS_MAX && histories[_i].ops[cnt].end_ns)
		cnt++;
	ck_assert_msg(lin_check(histories[_i].ops, cnt).verdict == histories[_i].verdict, "%s: %s",
		      histories[_i].name,
		      lin_verdict_str(lin_check(histories[_i].ops, cnt).verdict));
}
END_TEST

/* A real register, its writes and reads at random points of random intervals. */
START_TEST(a_register_is_never_suspected)
{
	struct lin_op ops[400];
	unsigned int seed = 17 + (unsigned int)_i;
	uint8_t held = 0;

	ops[0] = (struct lin_op){ 1, 2, 0, true };
	for (unsigned int i = 1; i < 400; i++) {
		uint64_t at = 1000 + i * 10ull;
		bool is_write = rand_r(&seed) % 2 && held < LIN_VALUES - 1;

		held = (uint8_t)(held + is_write);
		ops[i] = (struct lin_op){ at - (unsigned int)rand_r(&seed) % 200,
					  at + (unsigned int)rand_r(&seed) % 200, held, is_write };
	}
	ck_assert_int_eq(lin_check(ops, 400).verdict, LIN_OK);
}
END_TEST

/* The same, but one read sees the value before the last: must be found. */
START_TEST(one_stale_read_among_many_is_found)
{
	struct lin_op ops[301];

	for (unsigned int i = 0; i < 100; i++) {
		uint64_t at = 10 + i * 100ull;

		ops[3 * i] = (struct lin_op){ at, at + 30, (uint8_t)i, true };
		ops[3 * i + 1] = (struct lin_op){ at + 20, at + 60, (uint8_t)i, false };
		ops[3 * i + 2] = (struct lin_op){ at + 25, at + 70, (uint8_t)i, false };
	}
	ck_assert_int_eq(lin_check(ops, 300).verdict, LIN_OK);
	ops[300] = (struct lin_op){ 10 + 50 * 100 + 40, 10 + 50 * 100 + 45, 49, false };
	ck_assert_int_eq(lin_check(ops, 301).verdict, LIN_CONFLICT);
}
END_TEST

static const struct lin_place here = { .epoch = 7, .block = 5, .run = 0xa5 };

START_TEST(a_block_reads_back_its_value)
{
	uint32_t block_bytes = 512u << _i;
	uint64_t buf[LIN_BLOCK_MAX / 8];
	uint8_t values[LIN_REGS_MAX];
	char why[256];

	lin_fill(buf, block_bytes, &here, 200);
	ck_assert_int_eq(lin_read(buf, block_bytes, &here, 200, values, why), 0);
	for (unsigned int i = 0; i < lin_regs(block_bytes); i++)
		ck_assert_uint_eq(values[i], 200);
	/* Not given out yet. */
	ck_assert_int_eq(lin_read(buf, block_bytes, &here, 199, values, why), -EILSEQ);
}
END_TEST

START_TEST(a_block_may_be_torn_between_writes_of_its_epoch)
{
	uint8_t old[LIN_BLOCK_MAX], new[LIN_BLOCK_MAX];
	uint8_t values[LIN_REGS_MAX];
	char why[256];

	lin_fill(old, sizeof(old), &here, 3);
	lin_fill(new, sizeof(new), &here, 4);
	memcpy(old, new, 1000);
	ck_assert_int_eq(lin_read(old, sizeof(old), &here, 4, values, why), 0);
	ck_assert_uint_eq(values[0], 4);
	ck_assert_uint_eq(values[2], 4); /* the second sector begins */
	ck_assert_uint_eq(values[3], 3); /* and ends */
	ck_assert_uint_eq(values[15], 3);
}
END_TEST

static const struct lin_place elsewhere[] = {
	{ .epoch = 6, .block = 5, .run = 0xa5 },
	{ .epoch = 7, .block = 4, .run = 0xa5 },
	{ .epoch = 7, .block = 5, .run = 0xa4 },
};

START_TEST(a_word_of_elsewhere_is_found)
{
	uint64_t buf[LIN_BLOCK_MAX / 8], other[LIN_BLOCK_MAX / 8];
	uint8_t values[LIN_REGS_MAX];
	char why[256];

	lin_fill(other, sizeof(other), &elsewhere[_i], 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(buf); i++) {
		lin_fill(buf, sizeof(buf), &here, 1);
		buf[i] = other[i];
		ck_assert_int_eq(lin_read(buf, sizeof(buf), &here, 1, values, why), -EILSEQ);
	}
	/* Right words, but a sector further. */
	lin_fill(buf, sizeof(buf), &here, 1);
	memmove(buf, buf + 64, 512);
	ck_assert_int_eq(lin_read(buf, sizeof(buf), &here, 1, values, why), -EILSEQ);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lincheck");
	TCase *history = tcase_create("history");
	TCase *data = tcase_create("data");

	tcase_add_loop_test(history, a_history_is_judged_right, 0, ARRAY_SIZE(histories));
	tcase_add_loop_test(history, a_register_is_never_suspected, 0, 50);
	tcase_add_test(history, one_stale_read_among_many_is_found);
	suite_add_tcase(suite, history);
	tcase_add_loop_test(data, a_block_reads_back_its_value, 0, 4);
	tcase_add_test(data, a_block_may_be_torn_between_writes_of_its_epoch);
	tcase_add_loop_test(data, a_word_of_elsewhere_is_found, 0, ARRAY_SIZE(elsewhere));
	suite_add_tcase(suite, data);
	return run_suite(suite);
}
