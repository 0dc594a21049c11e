/* SPDX-License-Identifier: MIT */
#include "run_suite.h"
#include "vblk/loop/loop.h"
#include "vblk/loop/loop_probe.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#define ENTRIES 8u

struct counted {
	struct loop_op op;
	struct loop *loop;
	int done_cnt;
	int last_res;
	uint32_t last_flags;
	int again_cnt;
};

static struct loop loop;

static int refusals; /* submissions yet to be refused */
static int refusal;

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	return refusals-- > 0 ? refusal : __real_io_uring_submit(ring);
}

static void counted_done(struct loop_op *op, int res, uint32_t flags)
{
	struct counted *c = container_of(op, struct counted, op);

	c->done_cnt++;
	c->last_res = res;
	c->last_flags = flags;
}

static void start_nop(struct loop_op *op)
{
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);

	io_uring_prep_nop(sqe);
	loop_sqe_bind(sqe, op);
}

static void again_done(struct loop_op *op, int res, uint32_t flags)
{
	struct counted *c = container_of(op, struct counted, op);

	counted_done(op, res, flags);
	if (c->again_cnt-- > 0) {
		start_nop(op);
		ck_assert_int_eq(loop_submit(&loop), 0);
	}
}

static void setup(void)
{
	ck_assert_int_eq(loop_init(&loop, ENTRIES), 0);
}

static void teardown(void)
{
	loop_fini(&loop);
}

START_TEST(fini_copes_with_a_zeroed_loop)
{
	struct loop zero;

	memset(&zero, 0, sizeof(zero));
	loop_fini(&zero);
	loop_fini(&zero);
}
END_TEST

START_TEST(wait_submits_and_runs_the_completion)
{
	struct counted c = { .op = { counted_done }, .last_res = -1 };

	start_nop(&c.op);
	ck_assert_int_eq(loop_wait(&loop), 1);
	ck_assert_int_eq(c.done_cnt, 1);
	ck_assert_int_eq(c.last_res, 0);
	ck_assert_uint_eq(loop.enter_cnt, 1);
}
END_TEST

START_TEST(errors_of_a_request_reach_its_op)
{
	struct counted c = { .op = { counted_done } };
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);
	char byte;

	io_uring_prep_read(sqe, -1, &byte, 1, 0);
	loop_sqe_bind(sqe, &c.op);
	ck_assert_int_eq(loop_wait(&loop), 1);
	ck_assert_int_eq(c.last_res, -EBADF);
}
END_TEST

START_TEST(poll_without_work_makes_no_system_call)
{
	ck_assert_int_eq(loop_poll(&loop), 0);
	ck_assert_int_eq(loop_submit(&loop), 0);
	ck_assert_uint_eq(loop.enter_cnt, 0);
}
END_TEST

START_TEST(poll_brings_completions_that_the_kernel_deferred)
{
	struct counted c = { .op = { counted_done } };
	int fd = eventfd(0, EFD_CLOEXEC);
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	loop_sqe_bind(sqe, &c.op);
	ck_assert_int_eq(loop_submit(&loop), 0);
	ck_assert_int_eq(loop_poll(&loop), 0);
	ck_assert_int_eq(eventfd_write(fd, 1), 0);
	while (!c.done_cnt)
		ck_assert_int_ge(loop_poll(&loop), 0);
	ck_assert_int_eq(c.last_res & POLLIN, POLLIN);
	close(fd);
}
END_TEST

START_TEST(multishot_runs_once_a_completion)
{
	struct counted c = { .op = { counted_done } };
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);
	eventfd_t v;

	io_uring_prep_poll_multishot(sqe, fd, POLLIN);
	loop_sqe_bind(sqe, &c.op);
	for (int i = 1; i <= 5; i++) {
		ck_assert_int_eq(loop_submit(&loop), 0);
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		while (c.done_cnt < i)
			ck_assert_int_ge(loop_wait(&loop), 0);
		ck_assert_int_eq(c.done_cnt, i);
		ck_assert(c.last_flags & IORING_CQE_F_MORE);
		ck_assert_int_eq(eventfd_read(fd, &v), 0);
	}
	close(fd);
}
END_TEST

START_TEST(full_submission_queue_is_submitted_and_never_refuses)
{
	struct counted c = { .op = { counted_done } };

	for (unsigned int i = 0; i < ENTRIES * 3; i++)
		start_nop(&c.op);
	while (c.done_cnt < (int)(ENTRIES * 3))
		ck_assert_int_gt(loop_wait(&loop), 0);
	ck_assert_int_eq(c.done_cnt, ENTRIES * 3);
}
END_TEST

START_TEST(no_completion_is_lost_when_the_completion_queue_overflows)
{
	struct counted c = { .op = { counted_done } };
	int total = 1000;

	for (int i = 0; i < total; i++)
		start_nop(&c.op);
	while (c.done_cnt < total)
		ck_assert_int_gt(loop_wait(&loop), 0);
	ck_assert_int_eq(loop_poll(&loop), 0);
	ck_assert_int_eq(c.done_cnt, total);
}
END_TEST

START_TEST(refused_submission_sets_completions_aside_and_loses_none)
{
	static const int errors[] = { -EBUSY, -EAGAIN, -EINTR };
	struct counted early = { .op = { counted_done } }, late = { .op = { counted_done } };

	for (unsigned int i = 0; i < ENTRIES; i++)
		start_nop(&early.op);
	ck_assert_int_eq(loop_submit(&loop), 0);
	refusal = errors[_i];
	refusals = 3;
	for (unsigned int i = 0; i < ENTRIES * 2; i++)
		start_nop(&late.op);
	ck_assert_uint_eq(loop.stash_cnt, ENTRIES);
	/* Nothing runs while its starter is in the middle of something. */
	ck_assert_int_eq(early.done_cnt, 0);
	ck_assert_int_gt(loop_wait(&loop), 0);
	ck_assert_int_eq(early.done_cnt, ENTRIES);
	while (late.done_cnt < (int)ENTRIES * 2)
		ck_assert_int_gt(loop_wait(&loop), 0);
	ck_assert_uint_eq(loop.stash_cnt, 0);
}
END_TEST

START_TEST(refused_entries_stay_for_the_next_submission)
{
	struct counted c = { .op = { counted_done } };

	start_nop(&c.op);
	refusal = -EAGAIN;
	refusals = 1;
	ck_assert_int_eq(loop_submit(&loop), 0);
	ck_assert_int_eq(loop_wait(&loop), 1);
	refusal = -EBADF;
	refusals = 1;
	start_nop(&c.op);
	ck_assert_int_eq(loop_submit(&loop), -EBADF);
}
END_TEST

START_TEST(completions_that_start_more_do_not_keep_the_caller)
{
	struct counted c = { .op = { again_done }, .again_cnt = 1000 };

	start_nop(&c.op);
	ck_assert_int_eq(loop_wait(&loop), 1);
	ck_assert_int_eq(c.done_cnt, 1);
	ck_assert_int_eq(loop_wait(&loop), 1);
	ck_assert_int_eq(c.done_cnt, 2);
	while (c.done_cnt < 1001)
		ck_assert_int_gt(loop_wait(&loop), 0);
}
END_TEST

START_TEST(requests_without_op_are_counted_and_ignored)
{
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);

	io_uring_prep_nop(sqe);
	loop_sqe_bind(sqe, NULL);
	ck_assert_int_eq(loop_wait(&loop), 1);
}
END_TEST

static void on_alarm(int sig VBLK_UNUSED)
{
}

START_TEST(signal_ends_the_wait_with_zero)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
	struct itimerval off = { { 0, 0 }, { 0, 0 } };

	ck_assert_int_eq(sigaction(SIGALRM, &sa, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &off, NULL), 0);
}
END_TEST

/* liburing 2.3 and Linux 6.1 are required, so nothing may be missing where a ring can be made. */
START_TEST(probe_finds_every_operation)
{
	char missing[128] = "x";

	ck_assert_int_eq(loop_probe(missing, sizeof(missing)), 0);
	ck_assert_str_eq(missing, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("loop");
	TCase *tc = tcase_create("loop");
	int failed = loop_init(&loop, ENTRIES);

	if (failed == -ENOSYS || failed == -EPERM) {
		printf("SKIP: io_uring is not allowed here\n");
		return 77;
	}
	loop_fini(&loop);

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, fini_copes_with_a_zeroed_loop);
	tcase_add_test(tc, wait_submits_and_runs_the_completion);
	tcase_add_test(tc, errors_of_a_request_reach_its_op);
	tcase_add_test(tc, poll_without_work_makes_no_system_call);
	tcase_add_test(tc, poll_brings_completions_that_the_kernel_deferred);
	tcase_add_test(tc, multishot_runs_once_a_completion);
	tcase_add_test(tc, full_submission_queue_is_submitted_and_never_refuses);
	tcase_add_test(tc, no_completion_is_lost_when_the_completion_queue_overflows);
	tcase_add_loop_test(tc, refused_submission_sets_completions_aside_and_loses_none, 0, 3);
	tcase_add_test(tc, refused_entries_stay_for_the_next_submission);
	tcase_add_test(tc, completions_that_start_more_do_not_keep_the_caller);
	tcase_add_test(tc, requests_without_op_are_counted_and_ignored);
	tcase_add_test(tc, signal_ends_the_wait_with_zero);
	tcase_add_test(tc, probe_finds_every_operation);
	suite_add_tcase(s, tc);

	return run_suite(s);
}
