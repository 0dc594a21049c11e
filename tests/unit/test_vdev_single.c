/* SPDX-License-Identifier: MIT */
/* Queues that are started and stopped one by one, as vhost-user does it. */
#include <check.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fake_bdev.h"
#include "ring_region.h"
#include "run_suite.h"
#include "vblk/vdev/vdev.h"

#define QUEUES	    3u
#define RING_SIZE   16u
#define PATIENCE_MS 20000
#define ARENA_BYTES (1u << 20)

static struct vdev *vdev;
static struct fake_bdev *fake;
static struct blk_params blk;
static struct ring *rings[QUEUES];
static struct memmap *map;
static struct vdev_ring conf[QUEUES];
static struct vq_inflight *records[QUEUES];
static int irq_fd[QUEUES];
static unsigned int stopped[QUEUES], failed_cnt, error_cnt;

static void on_inject(void *ctx VBLK_UNUSED, unsigned int idx)
{
	uint64_t one = 1;
	ssize_t n = write(irq_fd[idx], &one, sizeof(one));

	(void)n;
}

static int on_map_get(void *ctx VBLK_UNUSED, struct memmap **ret_map)
{
	*ret_map = memmap_ref(map);
	return 0;
}

static void on_stopped(void *ctx VBLK_UNUSED)
{
	ck_abort_msg("the device was never started as a whole");
}

static void on_queue_stopped(void *ctx VBLK_UNUSED, unsigned int idx)
{
	ck_assert(vdev_queue_is_idle(vdev, idx));
	stopped[idx]++;
}

static void on_error(void *ctx VBLK_UNUSED, unsigned int idx VBLK_UNUSED)
{
	__atomic_fetch_add(&error_cnt, 1, __ATOMIC_RELAXED);
}

static void on_broken(void *ctx VBLK_UNUSED, unsigned int idx VBLK_UNUSED,
		      enum vq_fault fault VBLK_UNUSED)
{
}

static void on_failed(void *ctx VBLK_UNUSED, unsigned int idx VBLK_UNUSED, int err VBLK_UNUSED)
{
	failed_cnt++;
}

static void on_stuck(void *ctx VBLK_UNUSED, unsigned int idx VBLK_UNUSED, bool is_stuck VBLK_UNUSED)
{
}

static const struct vdev_transport_ops ops = {
	.inject_irq = on_inject,
	.map_get = on_map_get,
	.stopped = on_stopped,
	.queue_stopped = on_queue_stopped,
	.queue_error = on_error,
	.queue_broken = on_broken,
	.queue_failed = on_failed,
	.queue_stuck = on_stuck,
};

static void make_queue(unsigned int i, struct memmap_region *ret_region)
{
	size_t bytes = vq_inflight_packed_bytes(RING_SIZE);

	irq_fd[i] = eventfd(0, EFD_CLOEXEC);
	rings[i] = ring_new(RING_SIZE, ARENA_BYTES, (uint64_t)(i + 1) << 32);
	records[i] = aligned_alloc(64, bytes);
	ck_assert_ptr_nonnull(records[i]);
	memset(records[i], 0, bytes);
	records[i]->size = VQ_INFLIGHT_CLEAN;
	*ret_region = ring_region(rings[i]);
	conf[i] = (struct vdev_ring){
		.enabled = true,
		.kick_fd = -1,
		.vq = ring_vq_config(rings[i]),
	};
	conf[i].vq.inflight = records[i];
	conf[i].vq.recover = true;
}

static void setup(void)
{
	struct bdev_limits limits = fake_bdev_default_limits();
	struct memmap_region regions[QUEUES];
	struct vdev_params params = { .blk = &blk, .ops = &ops, .fence_fd = -1 };

	fake = fake_bdev_new(&limits);
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	blk_params_init(&blk, &limits, QUEUES, RING_SIZE, "");
	for (unsigned int i = 0; i < QUEUES; i++)
		make_queue(i, &regions[i]);
	ck_assert_int_eq(memmap_new(regions, QUEUES, NULL, NULL, &map), 0);
	params.bdev = fake_bdev_get(fake);
	ck_assert_int_eq(vdev_new(&params, &vdev), 0);
}

static void pump(void)
{
	struct pollfd pfd = { .fd = vdev_event_fd(vdev), .events = POLLIN };

	ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
	vdev_handle_events(vdev);
}

static void wait_idle(unsigned int idx)
{
	while (!vdev_queue_is_idle(vdev, idx))
		pump();
}

static void stop(unsigned int idx, enum vdev_stop how)
{
	vdev_queue_stop(vdev, idx, how);
	wait_idle(idx);
}

static void start(unsigned int idx)
{
	ck_assert_int_eq(vdev_queue_start(vdev, idx, &conf[idx]), 0);
}

static void teardown(void)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		stop(i, VDEV_STOP_NOW);
	vdev_free(vdev);
	for (unsigned int i = 0; i < QUEUES; i++) {
		ring_free(rings[i]);
		free(records[i]);
		(void)close(irq_fd[i]);
	}
	memmap_unref(map);
	fake_bdev_free(fake);
}

static struct ring_blk_req submit_at(unsigned int idx, uint64_t sector)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_IN,
		.sector = sector,
		.seg_cnt = 1,
		.seg_bytes = { 512 },
	};
	struct ring_blk_req req;

	ring_blk_submit(rings[idx], &spec, &req);
	return req;
}

static void kick(unsigned int idx)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(vdev_kick_fd(vdev, idx), &one, sizeof(one)), sizeof(one));
}

static void wait_done(unsigned int idx, struct ring_blk_req *req)
{
	struct pollfd pfd = { .fd = irq_fd[idx], .events = POLLIN };
	uint64_t cnt;

	for (;;) {
		ring_reap(rings[idx]);
		if (ring_blk_is_done(rings[idx], req))
			break;
		ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
		ck_assert_int_eq(read(irq_fd[idx], &cnt, sizeof(cnt)), sizeof(cnt));
	}
	ck_assert_uint_eq(*req->status, VIRTIO_BLK_S_OK);
}

/* A request that a predecessor had in flight. */
static struct ring_blk_req leave(unsigned int idx, uint64_t sector)
{
	struct ring_blk_req req = submit_at(idx, sector);

	records[idx]->size = RING_SIZE;
	records[idx]->seq[req.head] = 1;
	vdev_expect_redo(vdev, idx);
	return req;
}

/* The I/O for @sector, which was submitted. */
static unsigned int io_of_sector(uint64_t sector)
{
	for (unsigned int nr = 0; nr < fake_bdev_submitted_cnt(fake); nr++)
		if (fake_bdev_record(fake, nr).offset_bytes == sector * 512)
			return nr;
	ck_abort_msg("no I/O for sector %u", (unsigned int)sector);
}

START_TEST(one_works_while_the_others_do_not)
{
	struct ring_blk_req req = submit_at(1, 0), other = submit_at(0, 8);
	struct vdev_queue_info info;

	start(1);
	wait_done(1, &req);
	ck_assert_int_eq(vdev_queue_start(vdev, 1, &conf[1]), -EBUSY);
	ck_assert_int_eq(vdev_start(vdev, conf), -EBUSY);
	ck_assert(vdev_queue_is_idle(vdev, 0));
	stop(1, VDEV_STOP_REDONE);
	ck_assert_uint_eq(stopped[1], 1);
	vdev_queue_info(vdev, 1, &info);
	ck_assert_uint_eq(info.base, 1);
	ring_reap(rings[0]);
	ck_assert(!ring_blk_is_done(rings[0], &other));
	/* And again from there. */
	start(1);
	req = submit_at(1, 0);
	kick(1);
	wait_done(1, &req);
	start(0);
	wait_done(0, &other);
}
END_TEST

START_TEST(stop_is_told_once_however_often_it_is_said)
{
	vdev_queue_stop(vdev, 0, VDEV_STOP_NOW);
	for (unsigned int round = 1; round < 200; round++) {
		start(0);
		vdev_queue_stop(vdev, 0, round % 2 ? VDEV_STOP_NOW : VDEV_STOP_REDONE);
		vdev_queue_stop(vdev, 0, VDEV_STOP_REDONE);
		wait_idle(0);
		ck_assert_uint_eq(stopped[0], round);
	}
}
END_TEST

/* Mostly the thread hears of both at once. */
START_TEST(stop_right_behind_a_start_leaves_the_ring_where_it_is)
{
	struct ring_blk_req req = submit_at(0, 0);
	struct vdev_queue_info info;

	start(0);
	wait_done(0, &req);
	stop(0, VDEV_STOP_NOW);
	for (unsigned int round = 0; round < 200; round++) {
		start(0);
		stop(0, VDEV_STOP_NOW);
		vdev_queue_info(vdev, 0, &info);
		ck_assert_uint_eq(info.base, 1);
	}
}
END_TEST

START_TEST(draining_one_leaves_the_others_at_work)
{
	struct ring_blk_req held, req;

	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	held = submit_at(0, 8);
	start(0);
	start(1);
	ck_assert(fake_bdev_wait_submitted(fake, 1, PATIENCE_MS));
	vdev_queue_stop(vdev, 0, VDEV_STOP_NOW);
	req = submit_at(1, 16);
	kick(1);
	ck_assert(fake_bdev_wait_submitted(fake, 2, PATIENCE_MS));
	fake_bdev_complete(fake, 1, 0);
	wait_done(1, &req);
	ck_assert(!vdev_queue_is_idle(vdev, 0));
	fake_bdev_complete(fake, 0, 0);
	wait_idle(0);
	ck_assert_uint_eq(stopped[1], 0);
	wait_done(0, &held);
}
END_TEST

START_TEST(nothing_new_begins_before_the_last_to_start_has_redone)
{
	struct ring_blk_req old[2], fresh[3];

	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	for (unsigned int i = 0; i < 2; i++)
		old[i] = leave(i, 8 + i);
	for (unsigned int i = 0; i < 3; i++)
		fresh[i] = submit_at(i, 16 + i);
	/* 2 has nothing to do again, and waits as well. */
	start(2);
	start(0);
	ck_assert(fake_bdev_wait_submitted(fake, 1, PATIENCE_MS));
	fake_bdev_complete(fake, io_of_sector(8), 0);
	wait_done(0, &old[0]);
	kick(2);
	ck_assert(vdev_queue_is_expected(vdev, 1));
	ck_assert(!fake_bdev_wait_submitted(fake, 2, 100));

	/* A pause of those that have ended theirs changes nothing. */
	stop(0, VDEV_STOP_REDONE);
	ck_assert(!vdev_queue_is_expected(vdev, 0));
	start(0);
	ck_assert(!fake_bdev_wait_submitted(fake, 2, 100));

	start(1);
	ck_assert(fake_bdev_wait_submitted(fake, 2, PATIENCE_MS));
	ck_assert(!fake_bdev_wait_submitted(fake, 3, 100));
	fake_bdev_complete(fake, io_of_sector(9), 0);
	wait_done(1, &old[1]);
	ck_assert(fake_bdev_wait_submitted(fake, 5, PATIENCE_MS));
	(void)fake_bdev_complete_all(fake, 0);
	for (unsigned int i = 0; i < 3; i++)
		wait_done(i, &fresh[i]);
}
END_TEST

START_TEST(stop_can_wait_for_what_is_to_be_redone)
{
	struct ring_blk_req old = leave(0, 8), fresh = submit_at(0, 16);

	/* Nothing new begins however late the stop comes: 1 is waited for. */
	vdev_expect_redo(vdev, 1);
	/* Also where the thread has not seen yet that it was to run. */
	for (unsigned int round = 0; round < 2; round++) {
		start(0);
		stop(0, VDEV_STOP_REDONE);
	}
	wait_done(0, &old);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 1);
	ck_assert(!vdev_queue_is_expected(vdev, 0));
	vdev_forget_redo(vdev);
	start(0);
	wait_done(0, &fresh);
}
END_TEST

START_TEST(what_was_not_redone_stays_to_be)
{
	struct ring_blk_req old = leave(0, 8), fresh = submit_at(1, 16);
	uint64_t seq = records[0]->seq[old.head];

	/* Expected, and gone before it began: the others still wait. */
	start(1);
	ck_assert(vdev_queue_is_expected(vdev, 0));
	ck_assert(!fake_bdev_wait_submitted(fake, 1, 100));
	ck_assert_uint_eq(records[0]->seq[old.head], seq);
	/* The driver that waits is gone: nobody has to. */
	stop(1, VDEV_STOP_NOW);
	vdev_forget_redo(vdev);
	ck_assert(!vdev_queue_is_expected(vdev, 0));
	start(1);
	wait_done(1, &fresh);
}
END_TEST

START_TEST(errors_are_told_in_the_thread_and_after)
{
	conf[0].vq.size = 3;
	start(0);
	while (!failed_cnt)
		pump();
	ck_assert_uint_eq(__atomic_load_n(&error_cnt, __ATOMIC_RELAXED), 1);
	/* It was expected and cannot: the others go on. */
	stop(0, VDEV_STOP_NOW);
	vdev_expect_redo(vdev, 0);
	start(0);
	start(1);
	while (failed_cnt < 2)
		pump();
	{
		struct ring_blk_req req = submit_at(1, 8);

		kick(1);
		wait_done(1, &req);
	}
}
END_TEST

/* A driver that fills the eventfd of its interrupts, so that a write to it waits. */
START_TEST(thread_that_waits_for_the_driver_is_called_back)
{
	uint64_t full = UINT64_MAX - 1;

	ck_assert_int_eq(write(irq_fd[0], &full, sizeof(full)), sizeof(full));
	(void)submit_at(0, 8);
	start(0);
	vdev_queue_stop(vdev, 0, VDEV_STOP_NOW);
	while (!vdev_queue_is_idle(vdev, 0)) {
		vdev_queue_interrupt(vdev, 0);
		vdev_handle_events(vdev);
		(void)sched_yield();
	}
}
END_TEST

START_TEST(reminder_interrupts_without_news)
{
	struct pollfd pfd = { .fd = irq_fd[0], .events = POLLIN };
	struct ring_blk_req req = submit_at(0, 8);
	uint64_t cnt;

	/* Nobody is told of a queue that does not run. */
	vdev_queue_remind(vdev, 0);
	start(1);
	stop(1, VDEV_STOP_NOW);
	ck_assert_int_eq(poll(&pfd, 1, 0), 0);
	start(0);
	wait_done(0, &req);
	for (unsigned int i = 0; i < 50; i++) {
		/* The interrupt of the request may come after what it tells. */
		while (poll(&pfd, 1, i ? 0 : 50) == 1)
			ck_assert_int_eq(read(irq_fd[0], &cnt, sizeof(cnt)), sizeof(cnt));
		vdev_queue_remind(vdev, 0);
		ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
	}
}
END_TEST

START_TEST(write_through_reaches_all_queues)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_OUT, .from_driver = true, .seg_cnt = 1, .seg_bytes = { 512 }
	};
	struct ring_blk_req req;

	vdev_set_write_through(vdev, true);
	for (unsigned int i = 0; i < QUEUES; i++) {
		start(i);
		ring_blk_submit(rings[i], &spec, &req);
		kick(i);
		wait_done(i, &req);
		ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 2 * (i + 1));
		ck_assert_int_eq(fake_bdev_record(fake, 2 * i + 1).op, BDEV_FLUSH);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vdev_single");
	TCase *tc = tcase_create("queues one by one");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, one_works_while_the_others_do_not);
	tcase_add_test(tc, stop_is_told_once_however_often_it_is_said);
	tcase_add_test(tc, stop_right_behind_a_start_leaves_the_ring_where_it_is);
	tcase_add_test(tc, draining_one_leaves_the_others_at_work);
	tcase_add_test(tc, nothing_new_begins_before_the_last_to_start_has_redone);
	tcase_add_test(tc, stop_can_wait_for_what_is_to_be_redone);
	tcase_add_test(tc, what_was_not_redone_stays_to_be);
	tcase_add_test(tc, errors_are_told_in_the_thread_and_after);
	tcase_add_test(tc, thread_that_waits_for_the_driver_is_called_back);
	tcase_add_test(tc, reminder_interrupts_without_news);
	tcase_add_test(tc, write_through_reaches_all_queues);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
