/* SPDX-License-Identifier: MIT */
#include "test_util.h"

#include <errno.h>
#include <string.h>

#include "vblk/util/compiler.h"
#include "vblk/util/iov.h"

static char text[] = "abcdefghij";

/* "abc", "", "defg", "", "hij" */
static const struct iovec parts[] = {
	{ text, 3 }, { text + 3, 0 }, { text + 3, 4 }, { text + 7, 0 }, { text + 7, 3 },
};

static struct iov_cursor cursor(void)
{
	memcpy(text, "abcdefghij", sizeof(text));
	return iov_cursor_init(parts, ARRAY_SIZE(parts));
}

START_TEST(copy_out_stops_at_the_end)
{
	struct iov_cursor cur = cursor();
	char buf[16] = "";

	ck_assert_uint_eq(iov_remaining_bytes(&cur), 10);
	ck_assert_uint_eq(iov_copy_out(&cur, buf, 0), 0);
	ck_assert_uint_eq(iov_copy_out(&cur, buf, 4), 4);
	ck_assert_str_eq(buf, "abcd");
	ck_assert_uint_eq(iov_remaining_bytes(&cur), 6);
	ck_assert_uint_eq(iov_copy_out(&cur, buf, sizeof(buf)), 6);
	ck_assert_mem_eq(buf, "efghij", 6);
	ck_assert_uint_eq(iov_copy_out(&cur, buf, 1), 0);
	ck_assert_uint_eq(iov_remaining_bytes(&cur), 0);
}
END_TEST

START_TEST(copy_in_and_fill_stop_at_the_end)
{
	struct iov_cursor cur = cursor();

	ck_assert_uint_eq(iov_copy_in(&cur, "12345", 5), 5);
	ck_assert_uint_eq(iov_fill(&cur, 'x', 100), 5);
	ck_assert_str_eq(text, "12345xxxxx");
	ck_assert_uint_eq(iov_fill(&cur, 'y', 1), 0);
	ck_assert_uint_eq(iov_copy_in(&cur, "z", 1), 0);
}
END_TEST

START_TEST(skip_goes_over_borders)
{
	struct iov_cursor cur = cursor();
	char c;

	ck_assert_uint_eq(iov_skip(&cur, 3), 3);
	ck_assert_uint_eq(cur.skip_bytes, 0); /* settled on the next filled buffer */
	ck_assert_uint_eq(iov_copy_out(&cur, &c, 1), 1);
	ck_assert_int_eq(c, 'd');
	ck_assert_uint_eq(iov_skip(&cur, UINT64_MAX), 6);
	ck_assert_uint_eq(cur.cnt, 0);
}
END_TEST

START_TEST(empty_cursors_have_nothing)
{
	static const struct iovec empty[] = { { text, 0 }, { NULL, 0 } };
	struct iov_cursor none = iov_cursor_init(NULL, 0);
	struct iov_cursor zero = iov_cursor_init(empty, ARRAY_SIZE(empty));
	struct iovec out;
	char c;

	ck_assert_uint_eq(iov_remaining_bytes(&none), 0);
	ck_assert_uint_eq(iov_remaining_bytes(&zero), 0);
	ck_assert_uint_eq(iov_copy_out(&zero, &c, 1), 0);
	ck_assert_int_eq(iov_slice(&none, 0, &out, 1), 0);
	ck_assert_int_eq(iov_slice(&zero, 1, &out, 1), -ERANGE);
}
END_TEST

static const struct {
	uint64_t skip, len;
	unsigned int max;
	int result;
} slice_cases[] = {
	{ 0, 0, 0, 0 },	       { 0, 1, 1, 1 },
	{ 0, 3, 1, 1 },	       { 0, 4, 2, 2 },
	{ 0, 4, 1, -E2BIG },   { 0, 10, 3, 3 },
	{ 0, 10, 2, -E2BIG },  { 0, 11, 8, -ERANGE },
	{ 2, 2, 2, 2 },	       { 3, 4, 1, 1 },
	{ 9, 1, 1, 1 },	       { 9, 2, 8, -ERANGE },
	{ 10, 1, 1, -ERANGE }, { 0, UINT64_MAX, 8, -ERANGE },
};

START_TEST(slice_describes_the_next_bytes)
{
	struct iov_cursor cur = cursor(), before;
	struct iovec out[8];
	int r;

	iov_skip(&cur, slice_cases[_i].skip);
	before = cur;
	r = iov_slice(&cur, slice_cases[_i].len, out, slice_cases[_i].max);
	ck_assert_int_eq(r, slice_cases[_i].result);
	ck_assert_ptr_eq(cur.iov, before.iov);
	ck_assert_uint_eq(cur.skip_bytes, before.skip_bytes);
	if (r > 0) {
		ck_assert_uint_eq(iov_total_bytes(out, (unsigned int)r), slice_cases[_i].len);
		ck_assert_ptr_eq(out[0].iov_base, text + slice_cases[_i].skip);
	}
	for (int i = 0; i < r; i++)
		ck_assert_uint_gt(out[i].iov_len, 0);
}
END_TEST

void util_suite_iov(Suite *s)
{
	TCase *tc = tcase_create("iov");

	suite_add_tcase(s, tc);
	tcase_add_test(tc, copy_out_stops_at_the_end);
	tcase_add_test(tc, copy_in_and_fill_stop_at_the_end);
	tcase_add_test(tc, skip_goes_over_borders);
	tcase_add_test(tc, empty_cursors_have_nothing);
	tcase_add_loop_test(tc, slice_describes_the_next_bytes, 0, ARRAY_SIZE(slice_cases));
}
