/* SPDX-License-Identifier: MIT */
/* Packed rings: start, stop, places, wrap counters, and who owns a descriptor when. */
#include "run_suite.h"
#include "test_virtqueue.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "vblk/util/compiler.h"

static void set_size_0(void)
{
	fx.cfg.size = 0;
}

static void set_size_too_large(void)
{
	fx.cfg.size = 9;
}

static void set_ring_unaligned(void)
{
	fx.cfg.packed_desc = (void *)((char *)fx.cfg.packed_desc + 8);
}

static void set_driver_unaligned(void)
{
	fx.cfg.driver_event = (void *)((char *)fx.cfg.driver_event + 2);
}

static void set_device_unaligned(void)
{
	fx.cfg.device_event = (void *)((char *)fx.cfg.device_event + 2);
}

static void set_no_ring(void)
{
	fx.cfg.packed_desc = NULL;
}

static void set_no_driver(void)
{
	fx.cfg.driver_event = NULL;
}

static void set_no_device(void)
{
	fx.cfg.device_event = NULL;
}

static void set_record_unaligned(void)
{
	fx.cfg.inflight = (void *)((char *)fx.rec + 4);
}

static void set_recover_from_nothing(void)
{
	fx.cfg.recover = true;
}

static void set_base_outside(void)
{
	fx.cfg.base = 0x80078007;
}

static void set_base_outstanding(void)
{
	fx.cfg.base = 0x80008001;
}

static void set_base_other_lap(void)
{
	fx.cfg.base = 0x00038003;
}

static void (*const bad_configs[])(void) = {
	set_size_0,
	set_size_too_large,
	set_ring_unaligned,
	set_driver_unaligned,
	set_device_unaligned,
	set_no_ring,
	set_no_driver,
	set_no_device,
	set_record_unaligned,
	set_base_outside,
	set_recover_from_nothing,
	set_base_outstanding,
	set_base_other_lap,
};

START_TEST(start_refuses_a_packed_ring_it_cannot_use)
{
	fx_init_packed(7, 0, true);
	bad_configs[_i]();
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	ck_assert(!vq_is_started(fx.vq));
	ck_assert(!vq_has_available(fx.vq));
	ck_assert_uint_eq(fx.packed->device->flags, 0);
	fx_fini();
}
END_TEST

static const struct {
	uint32_t given, stands;
} base_cases[] = {
	{ VQ_BASE_PACKED_NEW, VQ_BASE_PACKED_NEW },
	{ 0x8000, VQ_BASE_PACKED_NEW }, /* sixteen bits only */
	{ 0x00000000, 0x00000000 },
	{ 0x80068006, 0x80068006 },
	{ 0x00060006, 0x00060006 },
};

START_TEST(fresh_ring_stands_where_its_base_says)
{
	fx_init_packed(7, base_cases[_i].stands & 0x7fff, base_cases[_i].stands & 0x8000);
	fx.cfg.base = base_cases[_i].given;
	fx_start();
	ck_assert_uint_eq(vq_base(fx.vq), base_cases[_i].stands);
	ck_assert_uint_eq(vq_last_avail_idx(fx.vq), base_cases[_i].stands & 0xffff);
	fx_packed_turn(5);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(packed_ring_reap(fx.packed), 1);
	ck_assert_uint_eq(vq_base(fx.vq), packed_pos_word(fx.packed->avail) * 0x10001u);
	fx_fini();
}
END_TEST

START_TEST(base_tells_what_is_outstanding)
{
	fx_init_packed(7, 5, true);
	fx_start();
	fx_packed_make_chain(1, 3);
	(void)fx_take();
	ck_assert_uint_eq(vq_base(fx.vq), 0x80050001);
	fx_fini();
}
END_TEST

START_TEST(stopped_packed_queue_does_nothing)
{
	fx_init_packed(8, 0, true);
	fx_packed_make(0);
	fx_start();
	ck_assert(vq_has_available(fx.vq));
	vq_stop(fx.vq);
	ck_assert_int_eq(fx_pop(), 0);
	ck_assert(!vq_kick_enable(fx.vq));
	ck_assert(!vq_publish(fx.vq));
	ck_assert(!vq_has_available(fx.vq));
	vq_kick_suppress(fx.vq);
	ck_assert_uint_eq(fx.packed->device->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
	fx_fini();
}
END_TEST

START_TEST(without_a_map_packed_requests_wait)
{
	fx_init_packed(8, 0, true);
	fx_start();
	fx_packed_make(0);
	vq_set_map(fx.vq, NULL);
	ck_assert_int_eq(fx_pop(), 0);
	ck_assert(!vq_kick_enable(fx.vq));
	ck_assert(vq_has_available(fx.vq));
	vq_set_map(fx.vq, fx.map);
	ck_assert_int_eq(fx_pop(), 1);
	ck_assert(!vq_has_available(fx.vq));
	fx_fini();
}
END_TEST

/* Any size is allowed; chains of 1 to 3 descriptors meet the end everywhere. */
static const uint16_t sizes[] = { 1, 2, 3, 7, 8, 255, 256 };

START_TEST(places_and_wrap_counters_go_round)
{
	uint16_t size = sizes[_i];

	fx_init_packed(size, 0, true);
	fx_start();
	for (unsigned int i = 0; i < 2000; i++) {
		unsigned int len = 1 + i % (size < 3 ? size : 3);
		uint16_t id = (uint16_t)(i * 40503u);

		fx_packed_make_chain(id, len);
		vq_push(fx.vq, fx_take(), i);
		ck_assert_uint_eq(fx.chain.readable_cnt, len);
		ck_assert_int_eq(fx_pop(), 0);
		(void)vq_publish(fx.vq);
		ck_assert_uint_eq(packed_ring_reap(fx.packed), 1);
		ck_assert_uint_eq(fx.packed->done_cnt[id], 1);
		ck_assert_uint_eq(fx.packed->done_bytes[id], i);
	}
	ck_assert_uint_eq(vq_base(fx.vq), packed_pos_word(fx.packed->used) * 0x10001u);
	fx_fini();
}
END_TEST

static void full_round(uint16_t size)
{
	uint16_t *heads = calloc(size, sizeof(*heads));

	ck_assert_ptr_nonnull(heads);
	for (unsigned int i = 0; i < size; i++)
		packed_ring_add(fx.packed, (uint16_t)i,
				&(struct packed_buf){ .addr = fx.ring->iova, .len = 1 }, 1);
	for (unsigned int i = 0; i < size; i++) {
		heads[i] = fx_take();
		ck_assert_uint_lt(heads[i], size);
	}
	/* Full is not empty: what is at the next place is the device's already. */
	ck_assert_int_eq(fx_pop(), 0);
	ck_assert(!vq_kick_enable(fx.vq));
	ck_assert_uint_eq(vq_inflight_cnt(fx.vq), size);
	for (unsigned int i = size; i-- > 0;)
		vq_push(fx.vq, heads[i], 1);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(packed_ring_reap(fx.packed), size);
	for (unsigned int i = 0; i < size; i++)
		ck_assert_uint_eq(fx.packed->order[i], size - 1u - i);
	free(heads);
}

static const uint16_t full_sizes[] = { 1, 5, 8, 100 };

START_TEST(full_ring_goes_round)
{
	fx_init_packed(full_sizes[_i], 0, true);
	fx_start();
	for (int i = 0; i < 5; i++)
		full_round(full_sizes[_i]);
	fx_fini();
}
END_TEST

START_TEST(largest_packed_ring_goes_round_three_times)
{
	struct memmap_region region = { .len_bytes = 4096, .perm = MEMMAP_READ, .fd = -1 };

	fx = (struct fx){ .packed = packed_ring_new(32768, 1u << 20, 0) };
	fx.ring = fx.packed->arena;
	region.va = fx.ring->mem;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &fx.map), 0);
	ck_assert_int_eq(vq_new(32768, &fx.vq), 0);
	vq_set_map(fx.vq, fx.map);
	fx.cfg = (struct vq_config){
		.size = 32768,
		.packed = true,
		.packed_desc = fx.packed->desc,
		.driver_event = fx.packed->driver,
		.device_event = fx.packed->device,
		.base = VQ_BASE_PACKED_NEW,
		.event_idx = true,
	};
	fx_start();
	for (int i = 0; i < 3; i++)
		full_round(32768);
	fx_fini();
}
END_TEST

START_TEST(push_is_invisible_until_publish)
{
	fx_init_packed(8, 6, true);
	fx_start();
	fx_packed_turn(3);
	fx_packed_turn(5);
	fx_packed_turn(9);
	ck_assert_uint_eq(packed_ring_reap(fx.packed), 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(packed_ring_reap(fx.packed), 3);
	ck_assert_uint_eq(fx.packed->order[0], 3);
	ck_assert_uint_eq(fx.packed->order[1], 5);
	ck_assert_uint_eq(fx.packed->order[2], 9);
	fx_fini();
}
END_TEST

/* Chains of 3, 1 and 2 descriptors; used ones overwrite those of requests in flight. */
START_TEST(completions_may_overtake)
{
	uint16_t a, b, c;

	fx_init_packed(6, 4, true);
	fx_start();
	fx_packed_make_chain(10, 3);
	fx_packed_make_chain(11, 1);
	fx_packed_make_chain(12, 2);
	a = fx_take();
	b = fx_take();
	c = fx_take();
	vq_push(fx.vq, c, 20);
	vq_push(fx.vq, b, 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(packed_ring_reap(fx.packed), 2);
	ck_assert_uint_eq(fx.packed->done_bytes[12], 20);
	ck_assert_uint_eq(fx.packed->free_cnt, 3);
	/* Room for three while the oldest is still in flight. */
	fx_packed_make_chain(13, 3);
	b = fx_take();
	ck_assert_uint_ne(a, b);
	vq_push(fx.vq, b, 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(packed_ring_reap(fx.packed), 1);
	vq_push(fx.vq, a, 10);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(packed_ring_reap(fx.packed), 1);
	ck_assert_uint_eq(fx.packed->done_bytes[10], 10);
	ck_assert_uint_eq(fx.packed->free_cnt, 6);
	fx_fini();
}
END_TEST

START_TEST(used_descriptor_says_whether_something_was_written)
{
	fx_init_packed(8, 0, true);
	fx_start();
	fx_packed_make(1);
	fx_packed_make(2);
	vq_push(fx.vq, fx_take(), 0);
	vq_push(fx.vq, fx_take(), 7);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(fx.packed->desc[0].flags & VRING_DESC_F_WRITE, 0);
	ck_assert_uint_eq(fx.packed->desc[1].flags & VRING_DESC_F_WRITE, VRING_DESC_F_WRITE);
	ck_assert_uint_eq(fx.packed->desc[1].len, 7);
	fx_fini();
}
END_TEST

/* That is between the driver and itself: both come back, each at its own place. */
START_TEST(buffer_id_in_use_twice_is_harmless)
{
	const struct packed_buf buf = { .addr = fx_iova(FX_BUF), .len = 16 };
	uint16_t first, second;

	fx_init_packed(8, 0, true);
	fx_start();
	packed_ring_add_raw(fx.packed, 65535, &buf, 1);
	packed_ring_add_raw(fx.packed, 65535, &buf, 1);
	first = fx_take();
	second = fx_take();
	ck_assert_uint_ne(first, second);
	vq_push(fx.vq, second, 2);
	vq_push(fx.vq, first, 1);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(fx.packed->desc[0].id, 65535);
	ck_assert_uint_eq(fx.packed->desc[0].len, 2);
	ck_assert_uint_eq(fx.packed->desc[1].id, 65535);
	ck_assert_uint_eq(fx.packed->desc[1].len, 1);
	fx_fini();
}
END_TEST

START_TEST(broken_packed_queue_still_returns_what_it_holds)
{
	const struct packed_buf empty = { .addr = fx_iova(FX_BUF) };
	uint16_t first, second;

	fx_init_packed(8, 0, true);
	fx_start();
	fx_packed_make(1);
	fx_packed_make(2);
	packed_ring_add_raw(fx.packed, 3, &empty, 1);
	first = fx_take();
	second = fx_take();
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	vq_push(fx.vq, second, 0);
	vq_push(fx.vq, first, 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(packed_ring_reap(fx.packed), 2);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert(!vq_kick_enable(fx.vq));
	/* The next start begins anew. */
	vq_stop(fx.vq);
	packed_ring_set_start(fx.packed, 0, true);
	fx_start();
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_NONE);
	fx_packed_turn(1);
	fx_fini();
}
END_TEST

/* A driver that scribbles over what was pushed harms only itself. */
START_TEST(packed_ring_is_never_read_back)
{
	fx_init_packed(4, 0, true);
	fx_start();
	for (uint16_t i = 0; i < 20; i++) {
		fx_packed_make_chain(i, 2);
		(void)fx_take();
		for (unsigned int j = 0; j < 4; j++)
			fx.packed->desc[j].id = 0x5555;
		vq_push(fx.vq, fx.chain.head, 1);
		(void)vq_publish(fx.vq);
		ck_assert_uint_eq(packed_ring_reap(fx.packed), 1);
		ck_assert_uint_eq(fx.packed->order[0], i);
	}
	fx_fini();
}
END_TEST

START_TEST(queue_takes_rings_of_either_kind_in_turn)
{
	struct vq_config packed;

	fx_init_packed(8, 0, true);
	packed = fx.cfg;
	fx_start();
	fx_packed_turn(3);
	(void)vq_publish(fx.vq);
	vq_stop(fx.vq);
	fx.cfg = (struct vq_config){
		.size = 1,
		.desc = ring_alloc(fx.ring, 16, 16),
		.avail = ring_alloc(fx.ring, 8, 2),
		.used = ring_alloc(fx.ring, 16, 4),
	};
	fx.cfg.desc->addr = fx_iova(FX_BUF);
	fx.cfg.desc->len = 1;
	fx.cfg.avail->idx = 1;
	fx_start();
	ck_assert_uint_eq(vq_base(fx.vq), 0);
	vq_push(fx.vq, fx_take(), 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(fx.cfg.used->idx, 1);
	ck_assert_uint_eq(vq_base(fx.vq), 1);
	vq_stop(fx.vq);
	fx.cfg = packed;
	packed_ring_set_start(fx.packed, 0, true);
	fx_start();
	fx_packed_turn(3);
	fx_fini();
}
END_TEST

#ifndef NDEBUG
START_TEST(push_of_a_packed_request_not_popped_aborts)
{
	fx_init_packed(8, 0, true);
	fx_start();
	fx_packed_turn(1);
	vq_push(fx.vq, fx.chain.head, 0);
}
END_TEST
#endif

void fx_suite_packed_ring(Suite *s)
{
	TCase *tc = tcase_create("ring");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, start_refuses_a_packed_ring_it_cannot_use, 0,
			    ARRAY_SIZE(bad_configs));
	tcase_add_loop_test(tc, fresh_ring_stands_where_its_base_says, 0, ARRAY_SIZE(base_cases));
	tcase_add_test(tc, base_tells_what_is_outstanding);
	tcase_add_test(tc, stopped_packed_queue_does_nothing);
	tcase_add_test(tc, without_a_map_packed_requests_wait);
	tcase_add_loop_test(tc, places_and_wrap_counters_go_round, 0, ARRAY_SIZE(sizes));
	tcase_add_loop_test(tc, full_ring_goes_round, 0, ARRAY_SIZE(full_sizes));
	tcase_add_test(tc, largest_packed_ring_goes_round_three_times);
	tcase_add_test(tc, push_is_invisible_until_publish);
	tcase_add_test(tc, completions_may_overtake);
	tcase_add_test(tc, used_descriptor_says_whether_something_was_written);
	tcase_add_test(tc, buffer_id_in_use_twice_is_harmless);
	tcase_add_test(tc, broken_packed_queue_still_returns_what_it_holds);
	tcase_add_test(tc, packed_ring_is_never_read_back);
	tcase_add_test(tc, queue_takes_rings_of_either_kind_in_turn);
#ifndef NDEBUG
	tcase_add_test_raise_signal(tc, push_of_a_packed_request_not_popped_aborts, SIGABRT);
#endif
}

int main(void)
{
	Suite *s = suite_create("virtqueue_packed");

	fx_suite_packed_ring(s);
	fx_suite_packed_chain(s);
	fx_suite_packed_notify(s);
	fx_suite_packed_recover(s);
	return run_suite(s);
}
