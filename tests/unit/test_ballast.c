/* SPDX-License-Identifier: MIT */
/* Memory that is held until it is needed. */
#include <check.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ballast.h"
#include "run_suite.h"

#define LEN_BYTES (1u << 20)
#define PAGES_MAX (LEN_BYTES / 4096u)

static struct ballast ballast;

static void setup(void)
{
	ck_assert_int_eq(ballast_init(&ballast, LEN_BYTES), 0);
}

static void teardown(void)
{
	ballast_fini(&ballast);
	ck_assert_ptr_null(ballast.addr);
}

/* What the kernel says is there. */
static size_t resident_bytes(void)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), sum = 0;
	unsigned char pages[PAGES_MAX];

	ck_assert_int_eq(mincore(ballast.addr, LEN_BYTES, pages), 0);
	for (size_t i = 0; i < LEN_BYTES / page_bytes; i++)
		sum += pages[i] & 1 ? page_bytes : 0;
	return sum;
}

START_TEST(nothing_is_held_at_first_nor_while_memory_is_short)
{
	ck_assert_uint_eq(resident_bytes(), 0);
	ck_assert(!ballast_fill(&ballast, UINT64_MAX));
	ck_assert_uint_eq(resident_bytes(), 0);
}
END_TEST

START_TEST(is_filled_dropped_and_filled_again)
{
	for (unsigned int i = 0; i < 2; i++) {
		ck_assert(ballast_fill(&ballast, 0));
		ck_assert_uint_eq(resident_bytes(), LEN_BYTES);
		ballast_drop(&ballast);
		ck_assert_uint_eq(resident_bytes(), 0);
	}
	ballast_drop(&ballast);
}
END_TEST

/* As the keeper does: all that is mapped later would be there at once. */
START_TEST(nothing_is_held_at_first_where_all_is_locked)
{
	ballast_fini(&ballast);
	if (mlockall(MCL_FUTURE) < 0)
		return;
	ck_assert_int_eq(ballast_init(&ballast, LEN_BYTES), 0);
	ck_assert_uint_eq(resident_bytes(), 0);
	ck_assert(ballast_fill(&ballast, 0));
	ballast_drop(&ballast);
	ck_assert_uint_eq(resident_bytes(), 0);
}
END_TEST

/* What it shared with a child would not be free when it is dropped. */
START_TEST(a_child_has_none_of_it)
{
	unsigned char pages[PAGES_MAX];
	int status;
	pid_t pid;

	ck_assert(ballast_fill(&ballast, 0));
	pid = fork();
	if (pid == 0)
		_exit(mincore(ballast.addr, LEN_BYTES, pages) < 0 ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(without_one_nothing_is_done)
{
	ballast_fini(&ballast);
	ballast_fini(&ballast);
	ballast_drop(&ballast);
	ck_assert(ballast_fill(&ballast, 0));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ballast");
	TCase *tc = tcase_create("ballast");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, nothing_is_held_at_first_nor_while_memory_is_short);
	tcase_add_test(tc, is_filled_dropped_and_filled_again);
	tcase_add_test(tc, nothing_is_held_at_first_where_all_is_locked);
	tcase_add_test(tc, a_child_has_none_of_it);
	tcase_add_test(tc, without_one_nothing_is_done);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
