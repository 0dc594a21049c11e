/* SPDX-License-Identifier: MIT */
#include "bdev_offload.h"
#include "run_suite.h"

#include <check.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>

#include "test_bdev_fixture.h"

#define JOBS 8

struct seen {
	struct offload_job job;
	int done_cnt;
	int result;
	int again_cnt;
};

static struct loop loop;
static struct offload *off;
static int call_cnt; /* helper thread until it is joined */

static int fake_ioctl(int fd, unsigned long req, uint64_t range[2])
{
	call_cnt++;
	if (fd != 42 || req != BLKDISCARD)
		return -EBADF;
	return range[0] == 13 ? -EIO : 0;
}

static const struct offload_sys fake_sys = { .ioctl = fake_ioctl };

static void job_done(struct offload_job *job, int result)
{
	struct seen *s = container_of(job, struct seen, job);

	s->done_cnt++;
	s->result = result;
	if (s->again_cnt-- > 0)
		offload_submit(off, job);
}

static void begin(struct seen *s, uint64_t offset)
{
	s->job = (struct offload_job){ .req = BLKDISCARD,
				       .range = { offset, 512 },
				       .done = job_done };
	offload_submit(off, &s->job);
}

static void setup(void)
{
	ck_assert_int_eq(loop_init(&loop, 8), 0);
	ck_assert_int_eq(offload_new(&loop, 42, JOBS, &fake_sys, &off), 0);
}

static void teardown(void)
{
	offload_free(off);
	loop_fini(&loop);
}

START_TEST(every_job_comes_back_once_with_its_own_result)
{
	struct seen s[JOBS] = { 0 };

	for (int i = 0; i < JOBS; i++)
		begin(&s[i], i == 3 ? 13 : 512);
	for (int i = 0; i < JOBS; i++) {
		while (!s[i].done_cnt)
			ck_assert_int_ge(loop_wait(&loop), 0);
	}
	for (int i = 0; i < JOBS; i++) {
		ck_assert_int_eq(s[i].done_cnt, 1);
		ck_assert_int_eq(s[i].result, i == 3 ? -EIO : 0);
	}
}
END_TEST

START_TEST(done_may_submit_again)
{
	struct seen s = { .again_cnt = 999 };

	begin(&s, 0);
	while (s.done_cnt < 1000)
		ck_assert_int_ge(loop_wait(&loop), 0);
	ck_assert_int_eq(s.done_cnt, 1000);
	offload_free(off);
	off = NULL;
	ck_assert_int_eq(call_cnt, 1000);
}
END_TEST

START_TEST(free_without_any_job_ends_the_thread)
{
	offload_free(off);
	off = NULL;
	offload_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bdev_offload");
	TCase *tc = tcase_create("offload");

	fx_skip_without_uring();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, every_job_comes_back_once_with_its_own_result);
	tcase_add_test(tc, done_may_submit_again);
	tcase_add_test(tc, free_without_any_job_ends_the_thread);
	suite_add_tcase(s, tc);

	return run_suite(s);
}
