/* SPDX-License-Identifier: MIT */
/* Start, stop, the two rings and who owns a head when. */
#include "run_suite.h"
#include "test_virtqueue.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "vblk/util/compiler.h"

static const struct {
	uint16_t size_max;
	int result;
} size_cases[] = {
	{ 0, -EINVAL }, { 1, 0 },     { 2, 0 },		  { 3, -EINVAL },
	{ 256, 0 },	{ 32768, 0 }, { 32769, -EINVAL }, { 65535, -EINVAL },
};

START_TEST(new_takes_powers_of_two)
{
	struct vq *vq = NULL;

	ck_assert_int_eq(vq_new(size_cases[_i].size_max, &vq), size_cases[_i].result);
	vq_free(vq);
}
END_TEST

START_TEST(start_refuses_a_ring_it_cannot_use)
{
	struct vq_config good;

	fx_init(8, 0);
	good = fx.cfg;
	fx.cfg.size = 16; /* larger than vq_new() said */
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	fx.cfg.size = 6;
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	fx.cfg.size = 0;
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	fx.cfg = good;
	fx.cfg.desc = (void *)((char *)good.desc + 8);
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	fx.cfg = good;
	fx.cfg.avail = (void *)((char *)good.avail + 1);
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	fx.cfg = good;
	fx.cfg.used = (void *)((char *)good.used + 2);
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	fx.cfg = good;
	fx.cfg.used = NULL;
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	ck_assert(!vq_is_started(fx.vq));
	fx_fini();
}
END_TEST

START_TEST(stopped_queue_does_nothing)
{
	fx_init(8, 0);
	fx_make(0);
	ck_assert_int_eq(fx_pop(), 0);
	ck_assert(!vq_kick_enable(fx.vq));
	ck_assert(!vq_publish(fx.vq));
	vq_kick_suppress(fx.vq);
	vq_stop(fx.vq);
	ck_assert_uint_eq(ring_used_flags(fx.ring), 0);
	fx_fini();
}
END_TEST

START_TEST(without_a_map_requests_wait)
{
	fx_init(8, 0);
	fx_start();
	fx_make(0);
	vq_set_map(fx.vq, NULL);
	ck_assert_int_eq(fx_pop(), 0);
	ck_assert(!vq_kick_enable(fx.vq));
	vq_set_map(fx.vq, fx.map);
	ck_assert_int_eq(fx_pop(), 1);
	fx_fini();
}
END_TEST

/* Sizes at the edges; every index wraps. */
static const uint16_t wrap_sizes[] = { 1, 2, 8, 256 };

START_TEST(indexes_wrap_at_two_to_the_sixteen)
{
	uint16_t size = wrap_sizes[_i];

	fx_init(size, 65500);
	fx_start();
	for (unsigned int i = 0; i < 2000; i++) {
		uint16_t head = (uint16_t)((i * 7) % size);

		fx_make(head);
		ck_assert_uint_eq(fx_take(), head);
		ck_assert_int_eq(fx_pop(), 0);
		vq_push(fx.vq, head, i);
		(void)vq_publish(fx.vq);
		ck_assert_uint_eq(ring_reap(fx.ring), 1);
		ck_assert_uint_eq(fx.ring->done_cnt[head], 1);
		ck_assert_uint_eq(fx.ring->done_bytes[head], i);
	}
	ck_assert_uint_eq(vq_last_avail_idx(fx.vq), (uint16_t)(65500 + 2000));
	fx_fini();
}
END_TEST

static void full_round(uint16_t size)
{
	for (unsigned int i = 0; i < size; i++) {
		ring_desc_set(fx.ring, i, .addr = fx.ring->iova, .len = 1);
		ring_avail_add(fx.ring, (uint16_t)i);
	}
	ring_avail_show(fx.ring);
	for (unsigned int i = 0; i < size; i++)
		ck_assert_uint_eq(fx_take(), i);
	ck_assert_int_eq(fx_pop(), 0);
	ck_assert_uint_eq(vq_inflight_cnt(fx.vq), size);
	for (unsigned int i = size; i-- > 0;)
		vq_push(fx.vq, (uint16_t)i, 1);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(ring_reap(fx.ring), size);
}

START_TEST(largest_ring_goes_round_three_times)
{
	static const struct memmap_region all = { .va = (void *)1, .len_bytes = 4096, .perm = 3 };
	struct memmap_region region = all;
	struct memmap *map;

	fx_init(1, 0);
	fx_fini();
	fx = (struct fx){ .ring = ring_new(32768, 2u << 20, 0) };
	region.va = fx.ring->mem;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
	fx.map = map;
	ck_assert_int_eq(vq_new(32768, &fx.vq), 0);
	vq_set_map(fx.vq, map);
	fx.cfg = (struct vq_config){ .size = 32768,
				     .desc = fx.ring->desc,
				     .avail = fx.ring->avail,
				     .used = fx.ring->used,
				     .event_idx = true };
	fx_start();
	for (int i = 0; i < 3; i++)
		full_round(32768);
	fx_fini();
}
END_TEST

START_TEST(push_is_invisible_until_publish)
{
	fx_init(8, 0);
	fx_start();
	fx_turn(3);
	fx_turn(5);
	ck_assert_uint_eq(ring_reap(fx.ring), 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(ring_reap(fx.ring), 2);
	ck_assert_uint_eq(ring_used_elem(fx.ring, 0).id, 3);
	ck_assert_uint_eq(ring_used_elem(fx.ring, 1).id, 5);
	fx_fini();
}
END_TEST

START_TEST(completions_may_overtake)
{
	fx_init(8, 0);
	fx_start();
	for (uint16_t i = 0; i < 3; i++) {
		fx_make(i);
		ck_assert_uint_eq(fx_take(), i);
	}
	vq_push(fx.vq, 2, 20);
	vq_push(fx.vq, 0, 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(ring_reap(fx.ring), 2);
	ck_assert_uint_eq(fx.ring->done_cnt[1], 0);
	ck_assert_uint_eq(fx.ring->done_bytes[2], 20);
	ck_assert_uint_eq(vq_inflight_cnt(fx.vq), 1);
	vq_push(fx.vq, 1, 10);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(ring_reap(fx.ring), 1);
	fx_fini();
}
END_TEST

START_TEST(head_made_available_twice_breaks_the_queue)
{
	fx_init(8, 0);
	fx_start();
	fx_make(2);
	fx_make(2);
	ck_assert_uint_eq(fx_take(), 2);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_HEAD_BUSY);
	fx_fini();
}
END_TEST

START_TEST(head_is_busy_until_it_is_published)
{
	fx_init(8, 0);
	fx_start();
	fx_turn(2);
	fx_make(2);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_HEAD_BUSY);
	fx_fini();
}
END_TEST

START_TEST(broken_queue_still_returns_what_it_holds)
{
	fx_init(8, 0);
	fx_start();
	fx_make(0);
	fx_make(1);
	ring_publish(fx.ring, 9999);
	ck_assert_uint_eq(fx_take(), 0);
	ck_assert_uint_eq(fx_take(), 1);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	vq_push(fx.vq, 1, 0);
	vq_push(fx.vq, 0, 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(ring_reap(fx.ring), 2);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	fx_fini();
}
END_TEST

START_TEST(start_clears_a_fault)
{
	fx_init(8, 0);
	fx_start();
	ring_publish(fx.ring, 9999);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	vq_stop(fx.vq);
	ring_set_start_idx(fx.ring, 0);
	fx_start();
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_NONE);
	fx_turn(1);
	fx_fini();
}
END_TEST

/* A driver that scribbles over the device's part harms only itself. */
START_TEST(used_ring_is_never_read_back)
{
	fx_init(8, 0);
	fx_start();
	fx_turn(1);
	fx.ring->used->ring[0].id = 7;
	fx.ring->used->idx = 1234;
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(ring_used_idx(fx.ring), 1);
	fx_turn(1); /* free again although the ring said 7 */
	fx_fini();
}
END_TEST

START_TEST(avail_index_is_checked_again_for_each_batch)
{
	fx_init(8, 0);
	fx_start();
	for (uint16_t i = 0; i < 8; i++)
		fx_make(i);
	for (uint16_t i = 0; i < 8; i++)
		ck_assert_uint_eq(fx_take(), i);
	ring_avail_idx_set(fx.ring, 17);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_AVAIL_IDX);
	fx_fini();
}
END_TEST

#ifndef NDEBUG
START_TEST(push_of_a_head_not_popped_aborts)
{
	fx_init(8, 0);
	fx_start();
	fx_turn(1);
	vq_push(fx.vq, 1, 0);
}
END_TEST
#endif

void fx_suite_ring(Suite *s)
{
	TCase *tc = tcase_create("ring");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, new_takes_powers_of_two, 0, ARRAY_SIZE(size_cases));
	tcase_add_test(tc, start_refuses_a_ring_it_cannot_use);
	tcase_add_test(tc, stopped_queue_does_nothing);
	tcase_add_test(tc, without_a_map_requests_wait);
	tcase_add_loop_test(tc, indexes_wrap_at_two_to_the_sixteen, 0, ARRAY_SIZE(wrap_sizes));
	tcase_add_test(tc, largest_ring_goes_round_three_times);
	tcase_add_test(tc, push_is_invisible_until_publish);
	tcase_add_test(tc, completions_may_overtake);
	tcase_add_test(tc, head_made_available_twice_breaks_the_queue);
	tcase_add_test(tc, head_is_busy_until_it_is_published);
	tcase_add_test(tc, broken_queue_still_returns_what_it_holds);
	tcase_add_test(tc, start_clears_a_fault);
	tcase_add_test(tc, used_ring_is_never_read_back);
	tcase_add_test(tc, avail_index_is_checked_again_for_each_batch);
#ifndef NDEBUG
	tcase_add_test_raise_signal(tc, push_of_a_head_not_popped_aborts, SIGABRT);
#endif
}

int main(void)
{
	Suite *s = suite_create("virtqueue");

	fx_suite_ring(s);
	fx_suite_chain(s);
	fx_suite_notify(s);
	fx_suite_recover(s);
	fx_suite_gone(s);
	fx_suite_race(s);
	return run_suite(s);
}
