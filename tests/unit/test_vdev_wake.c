/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "run_suite.h"
#include "vdev_wake.h"

static struct loop loop;
static struct vdev_wake wake;
static int own_fd;

static void setup(void)
{
	int r = loop_init(&loop, 16);

	if (r == -ENOSYS || r == -EPERM) {
		(void)printf("skipped: io_uring is not available\n");
		exit(77);
	}
	ck_assert_int_eq(r, 0);
	own_fd = eventfd(0, EFD_CLOEXEC);
	vdev_wake_init(&wake, &loop, own_fd);
}

static void teardown(void)
{
	vdev_wake_fini(&wake);
	loop_fini(&loop);
	close(own_fd);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(fd, &one, sizeof(one)), sizeof(one));
}

START_TEST(idle_thread_sleeps_in_read)
{
	uint64_t before = loop.enter_cnt;

	signal_fd(own_fd);
	vdev_wake_sleep(&wake, false);
	ck_assert(!wake.in_ring);
	ck_assert_uint_eq(loop.enter_cnt, before);
}
END_TEST

START_TEST(read_mode_copes_with_a_non_blocking_descriptor)
{
	ck_assert_int_eq(fcntl(own_fd, F_SETFL, O_NONBLOCK), 0);
	signal_fd(own_fd);
	vdev_wake_sleep(&wake, false);
	signal_fd(own_fd);
	vdev_wake_sleep(&wake, false);
	ck_assert(!wake.in_ring);
}
END_TEST

/* Multishot polls, and the fall-back of kernels without. */
START_TEST(kicks_wake_a_thread_with_io_in_flight)
{
	unsigned int i;

	wake.multishot = !_i;
	for (i = 0; i < 100; i++) {
		signal_fd(own_fd);
		vdev_wake_sleep(&wake, true);
		ck_assert(wake.in_ring);
	}
	ck_assert_int_eq(wake.multishot, !_i);
}
END_TEST

START_TEST(no_kick_is_lost_between_the_two_ways)
{
	unsigned int i;

	wake.multishot = !_i;
	signal_fd(own_fd);
	vdev_wake_sleep(&wake, true);
	/* Each signal ends a sleep; going back to read() ends one by itself. */
	for (i = 0; i < 3 * VDEV_WAKE_IDLE_MAX; i++) {
		signal_fd(own_fd);
		vdev_wake_sleep(&wake, false);
	}
	ck_assert(!wake.in_ring && !wake.own.armed);
}
END_TEST

START_TEST(foreign_descriptor_is_polled_and_never_read)
{
	int kick_fd = eventfd(0, EFD_CLOEXEC);
	uint64_t cnt = 0;

	vdev_wake_set_kick(&wake, kick_fd);
	signal_fd(kick_fd);
	vdev_wake_sleep(&wake, false);
	signal_fd(kick_fd);
	vdev_wake_sleep(&wake, false);
	signal_fd(own_fd);
	vdev_wake_sleep(&wake, false);
	ck_assert_int_eq(read(kick_fd, &cnt, sizeof(cnt)), sizeof(cnt));
	ck_assert_uint_eq(cnt, 2);
	vdev_wake_set_kick(&wake, -1);
	ck_assert(!wake.kick.armed);
	close(kick_fd);
	signal_fd(own_fd);
	vdev_wake_sleep(&wake, false);
}
END_TEST

START_TEST(descriptor_that_hangs_up_does_not_spin)
{
	int pipe_fd[2];
	uint64_t before;

	ck_assert_int_eq(pipe(pipe_fd), 0);
	close(pipe_fd[1]);
	wake.multishot = !_i;
	vdev_wake_set_kick(&wake, pipe_fd[0]);
	vdev_wake_sleep(&wake, false);
	ck_assert(wake.kick.dead);
	before = loop.enter_cnt;
	signal_fd(own_fd);
	vdev_wake_sleep(&wake, true);
	ck_assert_uint_le(loop.enter_cnt - before, 2);
	vdev_wake_set_kick(&wake, -1);
	close(pipe_fd[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vdev_wake");
	TCase *tc = tcase_create("wake");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 20);
	tcase_add_test(tc, idle_thread_sleeps_in_read);
	tcase_add_test(tc, read_mode_copes_with_a_non_blocking_descriptor);
	tcase_add_loop_test(tc, kicks_wake_a_thread_with_io_in_flight, 0, 2);
	tcase_add_loop_test(tc, no_kick_is_lost_between_the_two_ways, 0, 2);
	tcase_add_test(tc, foreign_descriptor_is_polled_and_never_read);
	tcase_add_loop_test(tc, descriptor_that_hangs_up_does_not_spin, 0, 2);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
