/* SPDX-License-Identifier: MIT */
/* Spinning: what is learnt from sleeps, and that between spin and sleep no request is lost. */
#include <check.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "fake_bdev.h"
#include "ring_builder.h"
#include "run_suite.h"
#include "vblk/util/clock.h"
#include "vblk/vdev/vdev.h"
#include "vdev_poll.h"

#define RING_SIZE   16u
#define ARENA_BYTES (1u << 20)
#define PATIENCE_NS (20 * NSEC_PER_SEC)

/* --- what is learnt --- */

static struct vdev_poll state;
static unsigned int looks_left;

/* As on a machine with enough CPUs, whatever this one has. */
static void learn_setup(void)
{
	vdev_poll_init(&state, VDEV_POLL_OFF);
	state.mode = VDEV_POLL_ADAPTIVE;
}

static bool news_after_some_looks(void *arg VBLK_UNUSED)
{
	return !looks_left || !--looks_left;
}

static bool never_news(void *arg VBLK_UNUSED)
{
	return false;
}

static void sleep_shortly(unsigned int cnt)
{
	while (cnt--)
		vdev_poll_slept(&state, VDEV_POLL_SHORT_NS - 1);
}

START_TEST(adaptive_begins_with_sleeping_and_spins_after_short_sleeps_in_a_row)
{
	ck_assert(!vdev_poll_wants(&state));
	sleep_shortly(VDEV_POLL_WANT_MIN - 1);
	vdev_poll_slept(&state, VDEV_POLL_SHORT_NS);
	sleep_shortly(VDEV_POLL_WANT_MIN - 1);
	ck_assert(!vdev_poll_wants(&state));
	sleep_shortly(1);
	ck_assert(vdev_poll_wants(&state));
}
END_TEST

START_TEST(spin_that_meets_something_is_followed_by_more)
{
	sleep_shortly(VDEV_POLL_WANT_MIN);
	for (unsigned int i = 0; i < 3; i++) {
		looks_left = i;
		ck_assert(vdev_poll_spin(&state, false, news_after_some_looks, NULL));
		ck_assert(vdev_poll_wants(&state));
	}
}
END_TEST

START_TEST(spins_that_mostly_meet_something_go_on)
{
	sleep_shortly(VDEV_POLL_WANT_MIN);
	looks_left = 0;
	for (unsigned int i = 0; i < 100; i++) {
		for (unsigned int k = 0; k < VDEV_POLL_CREDIT_MISS + 1; k++)
			ck_assert(vdev_poll_spin(&state, false, news_after_some_looks, NULL));
		ck_assert(!vdev_poll_spin(&state, false, never_news, NULL));
		ck_assert(vdev_poll_wants(&state));
	}
	/* And end when they no longer do, whatever was before. */
	for (unsigned int i = 0; i < VDEV_POLL_CREDIT_MAX / VDEV_POLL_CREDIT_MISS; i++)
		(void)vdev_poll_spin(&state, false, never_news, NULL);
	ck_assert(!vdev_poll_wants(&state));
}
END_TEST

START_TEST(spins_for_nothing_become_rare_and_useful_ones_common_again)
{
	unsigned int want = VDEV_POLL_WANT_MIN;

	while (want < VDEV_POLL_WANT_MAX) {
		sleep_shortly(want);
		ck_assert(vdev_poll_wants(&state));
		ck_assert(!vdev_poll_spin(&state, false, never_news, NULL));
		want *= 2;
		sleep_shortly(want - 1);
		ck_assert(!vdev_poll_wants(&state));
		sleep_shortly(1);
		ck_assert(vdev_poll_wants(&state));
	}
	ck_assert(!vdev_poll_spin(&state, false, never_news, NULL));
	ck_assert_uint_eq(state.want_cnt, VDEV_POLL_WANT_MAX);
	looks_left = 0;
	while (want > VDEV_POLL_WANT_MIN) {
		ck_assert(vdev_poll_spin(&state, false, news_after_some_looks, NULL));
		want /= 2;
		ck_assert_uint_eq(state.want_cnt, want);
	}
}
END_TEST

START_TEST(on_looks_around_between_spins_and_sleeps_when_long_idle)
{
	uint64_t begun_ns = clock_now_ns();

	state.mode = VDEV_POLL_ON;
	ck_assert(vdev_poll_wants(&state));
	while (vdev_poll_spin(&state, false, never_news, NULL))
		;
	ck_assert_uint_ge(clock_now_ns() - begun_ns, VDEV_POLL_IDLE_NS);
	/* Woken again it has as long. */
	vdev_poll_slept(&state, NSEC_PER_SEC);
	ck_assert(vdev_poll_wants(&state));
	ck_assert(vdev_poll_spin(&state, false, never_news, NULL));
}
END_TEST

START_TEST(nobody_spins_with_real_time)
{
	struct sched_param rr = { .sched_priority = 1 }, other = { .sched_priority = 0 };

	state.mode = VDEV_POLL_ON;
	if (sched_setscheduler(0, SCHED_RR, &rr) < 0)
		return;
	ck_assert(!vdev_poll_wants(&state));
	ck_assert_int_eq(sched_setscheduler(0, SCHED_OTHER, &other), 0);
	/* It hears of that in time, and of the opposite while it spins. */
	for (unsigned int i = 0; i < 1000; i++)
		(void)vdev_poll_wants(&state);
	ck_assert(vdev_poll_wants(&state));
	ck_assert_int_eq(sched_setscheduler(0, SCHED_RR, &rr), 0);
	ck_assert(!vdev_poll_spin(&state, false, never_news, NULL));
	ck_assert(!vdev_poll_wants(&state));
}
END_TEST

START_TEST(single_cpu_is_never_spun_on)
{
	struct vdev_poll poll;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(cpus), &cpus), 0);
	ck_assert(!vdev_can_poll());
	vdev_poll_init(&poll, VDEV_POLL_ON);
	ck_assert(!vdev_poll_wants(&poll));
}
END_TEST

/* --- a queue that does it --- */

static struct vdev *vdev;
static struct fake_bdev *fake;
static struct blk_params blk;
static struct ring *ring;
static struct memmap *map;
static struct vdev_ring conf;
static unsigned int stopped_cnt, kick_cnt;

static void on_inject(void *ctx VBLK_UNUSED, unsigned int idx VBLK_UNUSED)
{
}

static int on_map_get(void *ctx VBLK_UNUSED, struct memmap **ret_map)
{
	*ret_map = memmap_ref(map);
	return 0;
}

static void on_stopped(void *ctx VBLK_UNUSED)
{
	stopped_cnt++;
}

static void on_broken(void *ctx VBLK_UNUSED, unsigned int idx VBLK_UNUSED, enum vq_fault fault)
{
	ck_abort_msg("broken: %d", fault);
}

static void on_failed(void *ctx VBLK_UNUSED, unsigned int idx VBLK_UNUSED, int err)
{
	ck_abort_msg("failed: %d", err);
}

static void on_stuck(void *ctx VBLK_UNUSED, unsigned int idx VBLK_UNUSED, bool is_stuck VBLK_UNUSED)
{
}

static const struct vdev_transport_ops ops = {
	.inject_irq = on_inject,
	.map_get = on_map_get,
	.stopped = on_stopped,
	.queue_broken = on_broken,
	.queue_failed = on_failed,
	.queue_stuck = on_stuck,
};

static void queue_setup(enum vdev_poll_mode mode, bool event_idx)
{
	struct bdev_limits limits = fake_bdev_default_limits();
	struct memmap_region region;
	struct vdev_params params = {
		.blk = &blk,
		.ops = &ops,
		.sched_batch = true,
		.poll = mode,
		.fence_fd = -1,
	};

	fake = fake_bdev_new(&limits);
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	params.bdev = fake_bdev_get(fake);
	blk_params_init(&blk, &limits, 1, RING_SIZE, "");
	ring = ring_new(RING_SIZE, ARENA_BYTES, 1ull << 32);
	region = (struct memmap_region){
		.iova = ring->iova,
		.len_bytes = ARENA_BYTES,
		.va = ring->mem,
		.perm = MEMMAP_READ | MEMMAP_WRITE,
		.fd = -1,
	};
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
	conf = (struct vdev_ring){
		.enabled = true,
		.kick_fd = -1,
		.vq = { .size = RING_SIZE,
			.desc = ring->desc,
			.avail = ring->avail,
			.used = ring->used,
			.event_idx = event_idx },
	};
	ck_assert_int_eq(vdev_new(&params, &vdev), 0);
	ck_assert_int_eq(vdev_start(vdev, &conf), 0);
}

static void queue_teardown(void)
{
	struct pollfd pfd = { .fd = vdev_event_fd(vdev), .events = POLLIN };

	vdev_stop(vdev);
	while (!stopped_cnt) {
		ck_assert_int_eq(poll(&pfd, 1, 20000), 1);
		vdev_handle_events(vdev);
	}
	vdev_free(vdev);
	ring_free(ring);
	memmap_unref(map);
	fake_bdev_free(fake);
}

/* One request by a driver that kicks only when it is asked to. */
static void run_request(void)
{
	struct ring_blk_spec spec = { .type = VIRTIO_BLK_T_IN, .seg_cnt = 1, .seg_bytes = { 512 } };
	uint64_t begun_ns = clock_now_ns();
	uint16_t before = ring->avail_idx;
	struct ring_blk_req req;
	uint64_t one = 1;

	ring_blk_submit(ring, &spec, &req);
	if (ring_kick_wanted(ring, before, conf.vq.event_idx)) {
		kick_cnt++;
		ck_assert_int_eq(write(vdev_kick_fd(vdev, 0), &one, sizeof(one)), sizeof(one));
	}
	for (;;) {
		ring_reap(ring);
		if (ring_blk_is_done(ring, &req))
			break;
		ck_assert_uint_lt(clock_now_ns() - begun_ns, PATIENCE_NS);
		(void)sched_yield();
	}
	ck_assert_uint_eq(*req.status, VIRTIO_BLK_S_OK);
	ring_blk_put(ring, &req);
	ring_alloc_reset(ring);
}

static void pause_ns(uint64_t ns)
{
	uint64_t begun_ns = clock_now_ns();

	while (clock_now_ns() - begun_ns < ns)
		;
}

/* Pauses around the length of a spin, so that requests meet its end and the sleep's beginning. */
START_TEST(no_request_is_lost_between_spin_and_sleep)
{
	queue_setup(_i & 2 ? VDEV_POLL_ON : VDEV_POLL_ADAPTIVE, _i & 1);
	srandom((unsigned int)_i);
	for (unsigned int i = 0; i < 600; i++) {
		run_request();
		/* Quick ones in between, which teach it to spin. */
		if (i % 32 >= 16)
			pause_ns((uint64_t)random() % (2 * VDEV_POLL_SPIN_NS));
	}
	queue_teardown();
}
END_TEST

START_TEST(on_needs_hardly_any_kick_and_an_idle_queue_asks_for_one)
{
	struct vdev_queue_info info;
	uint64_t begun_ns;

	if (!vdev_can_poll())
		return;
	queue_setup(VDEV_POLL_ON, true);
	for (unsigned int i = 0; i < 500; i++)
		run_request();
	ck_assert_uint_lt(kick_cnt, 100);
	/* What works for it has its policy, and must be able to preempt it. */
	vdev_queue_info(vdev, 0, &info);
	ck_assert_int_eq(sched_getscheduler(info.thread_id), SCHED_OTHER);
	begun_ns = clock_now_ns();
	while (ring_avail_event(ring) != ring->avail_idx) {
		ck_assert_uint_lt(clock_now_ns() - begun_ns, PATIENCE_NS);
		(void)usleep(1000);
	}
	kick_cnt = 0;
	run_request();
	ck_assert_uint_eq(kick_cnt, 1);
	queue_teardown();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vdev_poll");
	TCase *learn = tcase_create("learn"), *queue = tcase_create("queue");

	tcase_add_checked_fixture(learn, learn_setup, NULL);
	tcase_set_timeout(learn, 60);
	tcase_add_test(learn, adaptive_begins_with_sleeping_and_spins_after_short_sleeps_in_a_row);
	tcase_add_test(learn, spin_that_meets_something_is_followed_by_more);
	tcase_add_test(learn, spins_that_mostly_meet_something_go_on);
	tcase_add_test(learn, spins_for_nothing_become_rare_and_useful_ones_common_again);
	tcase_add_test(learn, on_looks_around_between_spins_and_sleeps_when_long_idle);
	tcase_add_test(learn, nobody_spins_with_real_time);
	tcase_add_test(learn, single_cpu_is_never_spun_on);
	suite_add_tcase(s, learn);
	tcase_set_timeout(queue, 120);
	tcase_add_loop_test(queue, no_request_is_lost_between_spin_and_sleep, 0, 4);
	tcase_add_test(queue, on_needs_hardly_any_kick_and_an_idle_queue_asks_for_one);
	suite_add_tcase(s, queue);
	return run_suite(s);
}
