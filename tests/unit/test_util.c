/* SPDX-License-Identifier: MIT */
#include "run_suite.h"
#include "test_util.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "vblk/util/clock.h"
#include "vblk/util/compiler.h"
#include "vblk/util/le.h"
#include "vblk/util/math.h"
#include "vblk/util/parse.h"
#include "vblk/util/prefault.h"
#include "vblk/util/ratelimit.h"

static const struct {
	uint64_t first, len, cap;
	bool ok;
} range_cases[] = {
	{ 0, 8, 8, true },
	{ 1, 8, 8, false },
	{ 8, 0, 8, true },
	{ 9, 0, 8, false },
	{ UINT64_MAX, 1, 8, false },
	{ 1, UINT64_MAX, 8, false },
	{ 0, UINT64_MAX, UINT64_MAX, true },
	{ UINT64_MAX, UINT64_MAX, UINT64_MAX, false },
	{ 0, 0, 0, true },
};

START_TEST(range_fits_at_the_edges)
{
	ck_assert_int_eq(range_fits(range_cases[_i].first, range_cases[_i].len,
				    range_cases[_i].cap),
			 range_cases[_i].ok);
}
END_TEST

START_TEST(arithmetic_does_not_wrap_unseen)
{
	uint64_t v = 0;

	ck_assert(checked_add(UINT64_MAX - 1, 1, &v));
	ck_assert_uint_eq(v, UINT64_MAX);
	ck_assert(!checked_add(UINT64_MAX, 1, &v));
	ck_assert(checked_mul(1ull << 32, (1ull << 32) - 1, &v));
	ck_assert(!checked_mul(1ull << 32, 1ull << 32, &v));
	ck_assert(is_power_of_two(1) && is_power_of_two(1ull << 63));
	ck_assert(!is_power_of_two(0) && !is_power_of_two(3));
	ck_assert_uint_eq(align_up(1, 4096), 4096);
	ck_assert_uint_eq(align_up(4096, 4096), 4096);
	ck_assert_uint_eq(align_down(4095, 4096), 0);
	ck_assert(is_aligned(0, 512) && !is_aligned(511, 512));
	ck_assert_uint_eq(log2_of(1), 0);
	ck_assert_uint_eq(log2_of(4096), 12);
	ck_assert_int_eq(MIN(-1, 1), -1);
	ck_assert_int_eq(MAX(-1, 1), 1);
}
END_TEST

START_TEST(fields_are_little_endian)
{
	uint8_t bytes[8] __attribute__((aligned(8))) = { 1, 2, 3, 4, 5, 6, 7, 8 };

	ck_assert_uint_eq(load_le16((uint16_t *)bytes), 0x0201);
	ck_assert_uint_eq(load_acquire_le16((uint16_t *)bytes), 0x0201);
	ck_assert_uint_eq(load_le32((uint32_t *)bytes), 0x04030201);
	ck_assert_uint_eq(load_le64((uint64_t *)bytes), 0x0807060504030201ull);
	store_le32((uint32_t *)bytes, 0xa0b0c0d0);
	ck_assert_uint_eq(bytes[0], 0xd0);
	store_release_le16((uint16_t *)bytes, 0x1122);
	ck_assert_uint_eq(bytes[0], 0x22);
}
END_TEST

static const struct {
	const char *text;
	int result;
	uint64_t value;
} size_cases[] = {
	{ "0", 0, 0 },
	{ "4096", 0, 4096 },
	{ "64K", 0, 65536 },
	{ "64k", 0, 65536 },
	{ "10M", 0, 10u << 20 },
	{ "1G", 0, 1ull << 30 },
	{ "2t", 0, 2ull << 40 },
	{ "9223372036854775807", 0, INT64_MAX },
	{ "9223372036854775808", -ERANGE, 0 },
	{ "8388607T", 0, 8388607ull << 40 },
	{ "8388608T", -ERANGE, 0 },
	{ "99999999999999999999999", -ERANGE, 0 },
	{ "", -EINVAL, 0 },
	{ "K", -EINVAL, 0 },
	{ "-1", -EINVAL, 0 },
	{ "+1", -EINVAL, 0 },
	{ " 1", -EINVAL, 0 },
	{ "1 ", -EINVAL, 0 },
	{ "1KB", -EINVAL, 0 },
	{ "1.5G", -EINVAL, 0 },
	{ "0x10", -EINVAL, 0 },
	{ "1P", -EINVAL, 0 },
	{ "99999999999999999999999x", -EINVAL, 0 },
};

START_TEST(sizes_are_parsed_strictly)
{
	uint64_t v = 7;

	ck_assert_int_eq(parse_size_bytes(size_cases[_i].text, &v), size_cases[_i].result);
	ck_assert_uint_eq(v, size_cases[_i].result ? 7 : size_cases[_i].value);
}
END_TEST

static const struct {
	const char *text;
	uint64_t min, max;
	int result;
} u64_cases[] = {
	{ "18446744073709551615", 0, UINT64_MAX, 0 },
	{ "18446744073709551616", 0, UINT64_MAX, -ERANGE },
	{ "1", 1, 4, 0 },
	{ "4", 1, 4, 0 },
	{ "5", 1, 4, -ERANGE },
	{ "0", 1, 4, -ERANGE },
	{ "007", 1, 9, 0 },
	{ "", 0, 9, -EINVAL },
	{ "1x", 0, 9, -EINVAL },
	{ "18446744073709551616x", 0, 9, -EINVAL },
};

START_TEST(numbers_are_parsed_strictly)
{
	uint64_t v;

	ck_assert_int_eq(parse_u64(u64_cases[_i].text, u64_cases[_i].min, u64_cases[_i].max, &v),
			 u64_cases[_i].result);
}
END_TEST

START_TEST(on_and_off_are_the_only_words)
{
	bool on = false;

	ck_assert_int_eq(parse_on_off("on", &on), 0);
	ck_assert(on);
	ck_assert_int_eq(parse_on_off("off", &on), 0);
	ck_assert(!on);
	ck_assert_int_eq(parse_on_off("On", &on), -EINVAL);
	ck_assert_int_eq(parse_on_off("", &on), -EINVAL);
	ck_assert_int_eq(parse_on_off("onn", &on), -EINVAL);
}
END_TEST

#define NAME_63 "a23456789012345678901234567890123456789012345678901234567890123"

static const struct {
	const char *name;
	int result;
} name_cases[] = {
	{ "disk0", 0 },
	{ "_x", 0 },
	{ "0", 0 },
	{ "a.b-c_d", 0 },
	{ NAME_63, 0 },
	{ NAME_63 "4", -ENAMETOOLONG },
	{ "", -EINVAL },
	{ ".", -EINVAL },
	{ "..", -EINVAL },
	{ "-a", -EINVAL },
	{ "a/b", -EINVAL },
	{ "a b", -EINVAL },
	{ "a\n", -EINVAL },
	{ "\xc3\xa4", -EINVAL },
	{ "control", -EINVAL },
	{ "uevent", -EINVAL },
	{ "vq0", -EINVAL },
	{ "vq12", -EINVAL },
	{ "vq", 0 },
	{ "vq1a", 0 },
	{ "vqx", 0 },
	{ "controls", 0 },
};

START_TEST(device_names_are_checked)
{
	ck_assert_int_eq(parse_device_name(name_cases[_i].name), name_cases[_i].result);
}
END_TEST

START_TEST(serials_are_checked)
{
	ck_assert_int_eq(parse_serial("A-b_9"), 0);
	ck_assert_int_eq(parse_serial("12345678901234567890"), 0);
	ck_assert_int_eq(parse_serial("123456789012345678901"), -ENAMETOOLONG);
	ck_assert_int_eq(parse_serial(""), -EINVAL);
	ck_assert_int_eq(parse_serial("a b"), -EINVAL);
	ck_assert_int_eq(parse_serial("a."), -EINVAL);
}
END_TEST

static const struct {
	uint64_t bytes;
	const char *text;
} format_cases[] = {
	{ 0, "0B" },
	{ 512, "512B" },
	{ 1023, "1023B" },
	{ 1024, "1K" },
	{ 1536, "1.5K" },
	{ 65536, "64K" },
	{ (10u << 20) - 1, "9.9M" },
	{ 102300, "99.9K" },
	{ 102912, "100K" },
	{ 1023 * 1024, "1023K" },
	{ 1ull << 40, "1T" },
	{ (1ull << 40) + (1ull << 39), "1.5T" },
	{ 1ull << 60, "1E" },
	{ UINT64_MAX, "15.9E" },
};

START_TEST(sizes_are_rounded_down)
{
	char buf[FORMAT_SIZE_MAX];

	ck_assert_str_eq(format_size_bytes(format_cases[_i].bytes, buf), format_cases[_i].text);
}
END_TEST

START_TEST(ratelimit_lets_a_burst_through_each_interval)
{
	struct ratelimit rl = { .interval_ns = 10 * NSEC_PER_SEC, .burst = 2 };
	uint64_t now = 12345 * NSEC_PER_SEC;

	ck_assert(ratelimit_allows(&rl, now));
	ck_assert(ratelimit_allows(&rl, now + 1));
	ck_assert(!ratelimit_allows(&rl, now + 2));
	ck_assert(!ratelimit_allows(&rl, now + rl.interval_ns - 1));
	ck_assert_uint_eq(rl.suppressed, 2);
	ck_assert(ratelimit_allows(&rl, now + rl.interval_ns));
}
END_TEST

/* The machine is up for less than the interval: the first burst counts too. */
START_TEST(ratelimit_works_right_after_boot)
{
	struct ratelimit rl = { .interval_ns = 10 * NSEC_PER_SEC, .burst = 1 };

	ck_assert(ratelimit_allows(&rl, 1));
	ck_assert(!ratelimit_allows(&rl, 2));
}
END_TEST

/* From the middle of a page into the middle of another: each that is met, no other. */
START_TEST(prefault_keeps_what_is_there)
{
	enum {
		PAGE = 4096,
		PAGES = 8
	};
	unsigned char present[PAGES];
	char *p = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	(void)madvise(p, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE);
	p[2 * PAGE] = 'a';
	prefault(p + PAGE + 100, (size_t)5 * PAGE);
	ck_assert_int_eq(mincore(p, (size_t)PAGES * PAGE, present), 0);
	for (unsigned int i = 0; i < PAGES; i++)
		ck_assert_int_eq(present[i] & 1, i >= 1 && i <= 6);
	ck_assert_int_eq(p[2 * PAGE], 'a');
	prefault(NULL, 100);
	prefault(p + 100, 0);
	ck_assert_int_eq(mincore(p, PAGE, present), 0);
	ck_assert_int_eq(present[0] & 1, 0);
	(void)munmap(p, (size_t)PAGES * PAGE);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("util");
	TCase *tc = tcase_create("util");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, range_fits_at_the_edges, 0, ARRAY_SIZE(range_cases));
	tcase_add_test(tc, arithmetic_does_not_wrap_unseen);
	tcase_add_test(tc, fields_are_little_endian);
	tcase_add_loop_test(tc, sizes_are_parsed_strictly, 0, ARRAY_SIZE(size_cases));
	tcase_add_loop_test(tc, numbers_are_parsed_strictly, 0, ARRAY_SIZE(u64_cases));
	tcase_add_test(tc, on_and_off_are_the_only_words);
	tcase_add_loop_test(tc, device_names_are_checked, 0, ARRAY_SIZE(name_cases));
	tcase_add_test(tc, serials_are_checked);
	tcase_add_loop_test(tc, sizes_are_rounded_down, 0, ARRAY_SIZE(format_cases));
	tcase_add_test(tc, ratelimit_lets_a_burst_through_each_interval);
	tcase_add_test(tc, ratelimit_works_right_after_boot);
	tcase_add_test(tc, prefault_keeps_what_is_there);
	util_suite_iov(s);
	return run_suite(s);
}
