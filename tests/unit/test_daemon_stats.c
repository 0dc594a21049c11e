/* SPDX-License-Identifier: MIT */
/* The file of the statistics, and the reply that is made of it. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_bdev.h"
#include "run_suite.h"
#include "stats_file.h"
#include "stats_json.h"
#include "vblk/control/varlink.h"
#include "vblk/util/clock.h"

#define QUEUES 3u

static char dir_template[] = "/tmp/vblkd-test.XXXXXX";
static char dir[sizeof(dir_template)];
static int dir_fd;

static void setup(void)
{
	memcpy(dir, dir_template, sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir_fd, 0);
}

static void teardown(void)
{
	(void)unlinkat(dir_fd, "stats", 0);
	(void)unlinkat(dir_fd, "other", 0);
	close(dir_fd);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* Leaves a file in which queue 2 has read once. */
static uint64_t leave_file(void)
{
	struct stats_file file;
	uint64_t since_ns;

	ck_assert_int_eq(stats_file_create(dir_fd, QUEUES, &file), 0);
	stats_add(&stats_file_queues(&file)[2].requests[0], 1);
	since_ns = file.since_ns;
	stats_file_close(&file);
	ck_assert_ptr_null(stats_file_queues(&file));
	return since_ns;
}

START_TEST(counters_outlive_their_processes)
{
	uint64_t since_ns = leave_file();
	struct stats_file file;

	ck_assert_int_eq(stats_file_adopt(dir_fd, QUEUES, &file), 0);
	ck_assert_uint_eq(file.since_ns, since_ns);
	ck_assert_uint_eq(stats_file_queues(&file)[2].requests[0], 1);
	/* Each queue's on lines of its own. */
	ck_assert_uint_eq((uintptr_t)&stats_file_queues(&file)[1] % 128, 0);
	stats_file_close(&file);

	ck_assert_int_eq(stats_file_create(dir_fd, QUEUES, &file), 0);
	ck_assert_uint_eq(stats_file_queues(&file)[2].requests[0], 0);
	stats_file_close(&file);
}
END_TEST

static void patch(off_t at, const void *bytes, size_t len)
{
	int fd = openat(dir_fd, "stats", O_WRONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, bytes, len, at), (int)len);
	close(fd);
}

static void make_short(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/stats", dir);
	ck_assert_int_eq(truncate(path, 4096), 0);
}

static void make_public(void)
{
	ck_assert_int_eq(fchmodat(dir_fd, "stats", 0666, 0), 0);
}

static void make_linked(void)
{
	ck_assert_int_eq(linkat(dir_fd, "stats", dir_fd, "other", 0), 0);
}

static void make_symlink(void)
{
	ck_assert_int_eq(renameat(dir_fd, "stats", dir_fd, "other"), 0);
	ck_assert_int_eq(symlinkat("other", dir_fd, "stats"), 0);
}

static void make_fifo(void)
{
	ck_assert_int_eq(unlinkat(dir_fd, "stats", 0), 0);
	ck_assert_int_eq(mkfifoat(dir_fd, "stats", 0600), 0);
}

static void make_foreign(void)
{
	patch(0, "x", 1);
}

static void make_other_layout(void)
{
	patch(8, "\x7f", 1);
}

static void make_other_queues(void)
{
	patch(12, "\x07", 1);
}

static void make_other_size(void)
{
	patch(16, "\x08", 1);
}

static void make_future(void)
{
	uint64_t ns = clock_now_ns() + 3600 * NSEC_PER_SEC;

	patch(24, &ns, sizeof(ns));
}

static void remove_it(void)
{
	ck_assert_int_eq(unlinkat(dir_fd, "stats", 0), 0);
}

static void (*const damages[])(void) = {
	make_short,	 make_public,  make_linked,	  make_symlink,
	make_fifo,	 make_foreign, make_other_layout, make_other_queues,
	make_other_size, make_future,  remove_it,
};

START_TEST(a_file_that_does_not_fit_is_replaced)
{
	struct stats_file file;

	(void)leave_file();
	damages[_i]();
	ck_assert_int_eq(stats_file_adopt(dir_fd, QUEUES, &file), 0);
	ck_assert_uint_eq(stats_file_queues(&file)[2].requests[0], 0);
	stats_file_close(&file);
	/* And the new one is good. */
	ck_assert_int_eq(stats_file_adopt(dir_fd, QUEUES, &file), 0);
	stats_file_close(&file);
}
END_TEST

/* ---- the reply ---- */

static void ignore_irq(void *ctx, unsigned int idx)
{
	(void)ctx;
	(void)idx;
}

static const struct vdev_transport_ops ops = { .inject_irq = ignore_irq };

static struct stats_queue queues[VDEV_QUEUES_MAX];
static struct fake_bdev *fake;
static struct blk_params blk;
static struct vdev *vdev;

static void setup_vdev(void)
{
	struct vdev_params params = { .blk = &blk, .ops = &ops, .fence_fd = -1, .stats = queues };

	fake = fake_bdev_new(NULL);
	params.bdev = fake_bdev_get(fake);
	blk_params_init(&blk, &params.bdev->limits, VDEV_QUEUES_MAX, 16, "");
	ck_assert_int_eq(vdev_new(&params, &vdev), 0);
}

static void teardown_vdev(void)
{
	vdev_free(vdev);
	fake_bdev_free(fake);
	memset(queues, 0, sizeof(queues));
}

static json_int_t int_at(const json_t *obj, const char *a, const char *b)
{
	const json_t *value = json_object_get(json_object_get(obj, a), b);

	return json_is_integer(value) ? json_integer_value(value) : -1;
}

START_TEST(reply_adds_queues_up)
{
	const struct stats_facts facts = { .name = "disk", .since_ns = 1, .restarts = 4 };
	json_t *obj, *total, *latency;

	for (unsigned int i = 0; i < 3; i++) {
		queues[i].requests[BDEV_WRITE] = 10;
		queues[i].latency[BDEV_WRITE][stats_bucket(1000)] = 7;
		queues[i].latency[BDEV_WRITE][STATS_BUCKET_CNT - 1] = 3;
		queues[i].kicks = 100 + i;
		queues[i].inflight_max = i;
	}
	queues[63].requests[BDEV_WRITE] = UINT64_MAX - 100;
	obj = stats_json(vdev, &facts, 1);
	total = json_object_get(obj, "total");
	ck_assert_int_eq(int_at(total, "requests", "write"), INT64_MAX);
	ck_assert_ptr_null(json_object_get(json_object_get(total, "requests"), "read"));
	ck_assert_int_eq(int_at(obj, "total", "kicks"), 303);
	ck_assert_int_eq(int_at(obj, "total", "inflight_max"), 2);
	ck_assert_uint_eq(json_array_size(json_object_get(obj, "per_queue")), VDEV_QUEUES_MAX);
	latency = json_object_get(json_object_get(obj, "latency"), "write");
	ck_assert_uint_eq(json_array_size(latency), 2);
	ck_assert_int_eq(
		json_integer_value(json_object_get(json_array_get(latency, 0), "below_ns")), 1024);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(latency, 0), "count")),
			 7);
	ck_assert(json_is_null(json_object_get(json_array_get(latency, 1), "below_ns")));
	json_decref(obj);

	obj = stats_json(vdev, &facts, STATS_ALL_QUEUES);
	latency = json_object_get(json_object_get(obj, "latency"), "write");
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(latency, 0), "count")),
			 21);
	json_decref(obj);
}
END_TEST

/* 64 queues that have done more than any disk will. */
START_TEST(reply_fits_into_a_message)
{
	const struct stats_facts facts = { .name = "disk", .since_ns = 1 };
	json_t *message;
	char *data;
	size_t len;

	for (unsigned int i = 0; i < VDEV_QUEUES_MAX; i++)
		for (size_t k = 0; k < sizeof(queues[i]) / 8; k++)
			((uint64_t *)&queues[i])[k] = 1000000000000000ull + k;
	message = json_pack("{s:{s:o}}", "parameters", "stats",
			    stats_json(vdev, &facts, STATS_ALL_QUEUES));
	ck_assert_int_eq(varlink_encode(message, &data, &len), 0);
	free(data);
	json_decref(message);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("daemon_stats");
	TCase *tc = tcase_create("file");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, counters_outlive_their_processes);
	tcase_add_loop_test(tc, a_file_that_does_not_fit_is_replaced, 0, ARRAY_SIZE(damages));
	suite_add_tcase(suite, tc);
	tc = tcase_create("reply");
	tcase_add_checked_fixture(tc, setup_vdev, teardown_vdev);
	tcase_add_test(tc, reply_adds_queues_up);
	tcase_add_test(tc, reply_fits_into_a_message);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
