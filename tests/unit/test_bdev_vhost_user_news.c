/* SPDX-License-Identifier: MIT */
/* What the server of a backend tells, or is told of: its size, that it is gone and is back. */
#include "run_suite.h"

#include <errno.h>
#include <string.h>

#include "test_vhu_bdev_rig.h"

START_TEST(size_is_the_servers_when_somebody_asks)
{
	uint64_t bytes = 0;

	rig_start();
	rig_check_write_read(0, 1);
	ck_assert_int_eq(bdev_resize(fx.bdev, fx.spec, 0, &bytes, fx.why), 0);
	ck_assert_uint_eq(bytes, 1u << 20);
	fake_vhu_resize(fx.srv, 4096);
	ck_assert_int_eq(bdev_resize(fx.bdev, fx.spec, 0, &bytes, fx.why), 0);
	ck_assert_uint_eq(bytes, 2u << 20);
	ck_assert_int_eq(bdev_resize(fx.bdev, fx.spec, 4u << 20, &bytes, fx.why), -ENOSPC);
	ck_assert_uint_eq(fx.bdev->limits.capacity_bytes, 1u << 20);
}
END_TEST

START_TEST(server_tells_its_size_by_itself)
{
	uint64_t bytes = 0;

	fx.params.logical_block_bytes = 4096;
	rig_start();
	rig_check_write_read(0, 1);
	ck_assert(!rig_was_told(0));
	fake_vhu_resize(fx.srv, 4097);
	ck_assert(rig_was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 2u << 20);
	ck_assert(!rig_was_told(0));
	/* The same size is no news, nor is one that somebody has asked for. */
	fake_vhu_resize(fx.srv, 4097);
	rig_check_write_read(1, 2);
	ck_assert_int_eq(bdev_resize(fx.bdev, fx.spec, 0, &bytes, fx.why), 0);
	ck_assert(!rig_was_told(0));
	/* Smaller is told as well; what becomes of it is decided elsewhere. */
	fake_vhu_resize(fx.srv, 1024);
	ck_assert(rig_was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 512u << 10);
	ck_assert_uint_eq(fx.bdev->limits.capacity_bytes, 1u << 20);
	/* Of all that nobody has heard of the last one counts. */
	fake_vhu_resize(fx.srv, 3000);
	fake_vhu_resize(fx.srv, 8192);
	while (bdev_size_told(fx.bdev) != 4u << 20)
		ck_assert(rig_was_told(PATIENCE_MS));
}
END_TEST

START_TEST(server_that_comes_back_larger_tells)
{
	rig_start();
	rig_check_write_read(0, 1);
	stop_server();
	fx.options.config.capacity = htole64(4096);
	start_server();
	rig_check_write_read(0, 2);
	ck_assert(rig_was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 2u << 20);
	/* And the next time it has the same. */
	stop_server();
	start_server();
	rig_check_write_read(0, 3);
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 2u << 20);
}
END_TEST

/* @state: as bdev_server() */
static void wait_for_server(int state)
{
	while (bdev_server(fx.bdev, fx.why) != state)
		rig_run();
}

/* Told when it goes and when it comes; in between the reason is that of the last attempt. */
START_TEST(server_that_goes_and_comes_is_news)
{
	rig_start();
	rig_check_write_read(0, 1);
	ck_assert_int_eq(bdev_server(fx.bdev, fx.why), 1);
	ck_assert(!rig_was_told(0));

	stop_server();
	ck_assert(rig_was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 1u << 20);
	wait_for_server(-ENOENT);
	ck_assert_msg(strstr(fx.why, fx.spec) && strstr(fx.why, "server"), "%s", fx.why);
	ck_assert(!rig_was_told(0));

	start_server();
	ck_assert(rig_was_told(PATIENCE_MS));
	ck_assert_int_eq(bdev_server(fx.bdev, fx.why), 1);
	rig_check_write_read(0, 2);
	(void)bdev_size_told(fx.bdev);
	ck_assert(!rig_was_told(0));
}
END_TEST

START_TEST(server_that_comes_back_with_shorter_rings_is_told_of)
{
	unsigned int before;

	rig_start();
	rig_check_write_read(0, 1);
	stop_server();
	fx.options.ring_max = 2;
	start_server();
	wait_for_server(-EREMOTEIO);
	ck_assert_msg(strstr(fx.why, "are its queues as long"), "%s", fx.why);
	/* It is tried again and again, which is no news. */
	(void)bdev_size_told(fx.bdev);
	before = fake_vhu_connections(fx.srv);
	while (fake_vhu_connections(fx.srv) < before + 5)
		rig_run();
	ck_assert(!rig_was_told(0));
	stop_server();
	fx.options.ring_max = 0;
	start_server();
	rig_check_write_read(0, 2);
	/* After so many that were of no use it is not believed at once. */
	wait_for_server(1);
	ck_assert(rig_was_told(0));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("bdev_vhost_user_news");
	TCase *tc = tcase_create("bdev_vhost_user_news");

	tcase_add_checked_fixture(tc, rig_setup, rig_teardown);
	tcase_add_test(tc, size_is_the_servers_when_somebody_asks);
	tcase_add_test(tc, server_tells_its_size_by_itself);
	tcase_add_test(tc, server_that_comes_back_larger_tells);
	tcase_add_test(tc, server_that_goes_and_comes_is_news);
	tcase_add_test(tc, server_that_comes_back_with_shorter_rings_is_told_of);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	fx_skip_without_uring();
	return run_suite(suite());
}
