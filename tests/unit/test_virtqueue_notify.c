/* SPDX-License-Identifier: MIT */
/* Kicks and interrupts: who is told, and that nobody sleeps for ever. */
#include "test_virtqueue.h"

#include <stdlib.h>

#include "vblk/util/compiler.h"

/* Past the first publish, which always interrupts. */
static void settle_irq(uint16_t head)
{
	fx_turn(head);
	ck_assert(vq_publish(fx.vq));
	ring_reap(fx.ring);
}

static void start(uint16_t size, uint16_t idx, bool event_idx)
{
	fx_init(size, idx);
	fx.cfg.event_idx = event_idx;
	fx_start();
}

START_TEST(first_publish_interrupts_whatever_was_asked)
{
	start(8, 100, _i);
	ring_avail_flags_set(fx.ring, VRING_AVAIL_F_NO_INTERRUPT);
	ring_used_event_set(fx.ring, 5000);
	ck_assert(!vq_publish(fx.vq)); /* nothing to tell */
	fx_turn(0);
	ck_assert(vq_publish(fx.vq));
	fx_turn(0);
	ck_assert(!vq_publish(fx.vq));
	fx_fini();
}
END_TEST

START_TEST(no_interrupt_flag_is_obeyed)
{
	start(8, 0, false);
	settle_irq(0);
	ring_used_event_set(fx.ring, 5000); /* means nothing without EVENT_IDX */
	fx_turn(0);
	ck_assert(vq_publish(fx.vq));
	ck_assert(!vq_publish(fx.vq)); /* empty batch */
	ring_avail_flags_set(fx.ring, VRING_AVAIL_F_NO_INTERRUPT);
	ring_used_event_set(fx.ring, 2);
	fx_turn(0);
	ck_assert(!vq_publish(fx.vq));
	ring_avail_flags_set(fx.ring, 0);
	fx_turn(0);
	ck_assert(vq_publish(fx.vq));
	fx_fini();
}
END_TEST

START_TEST(flag_means_nothing_with_event_idx)
{
	start(8, 0, true);
	settle_irq(0);
	ring_avail_flags_set(fx.ring, VRING_AVAIL_F_NO_INTERRUPT);
	ring_used_event_set(fx.ring, 1);
	fx_turn(0);
	ck_assert(vq_publish(fx.vq));
	fx_fini();
}
END_TEST

/* used->idx goes from @start + 1 to @start + 1 + @batch; is @event in between? */
static const struct {
	uint16_t start;
	unsigned int batch;
	uint16_t event;
	bool wanted;
} event_cases[] = {
	{ 0, 1, 1, true },	    { 0, 1, 0, false },	       { 0, 1, 2, false },
	{ 0, 4, 1, true },	    { 0, 4, 2, true },	       { 0, 4, 4, true },
	{ 0, 4, 5, false },	    { 0, 4, 0, false },	       { 0, 4, 0x8000, false },
	{ 0, 4, 0xffff, false },    { 65533, 1, 65534, true }, { 65533, 1, 65535, false },
	{ 65533, 4, 65534, true },  { 65533, 4, 65535, true }, { 65533, 4, 0, true },
	{ 65533, 4, 1, true },	    { 65533, 4, 2, false },    { 65533, 4, 65533, false },
	{ 65534, 1, 65535, true },  { 65534, 1, 0, false },    { 65535, 1, 0, true },
	{ 65535, 1, 65535, false }, { 65535, 8, 7, true },     { 65535, 8, 8, false },
};

START_TEST(used_event_is_looked_for_in_the_whole_batch)
{
	start(8, event_cases[_i].start, true);
	settle_irq(0);
	ring_used_event_set(fx.ring, event_cases[_i].event);
	for (unsigned int i = 0; i < event_cases[_i].batch; i++)
		fx_turn((uint16_t)i);
	ck_assert_int_eq(vq_publish(fx.vq), event_cases[_i].wanted);
	fx_fini();
}
END_TEST

START_TEST(starts_with_kicks_wanted)
{
	fx_init(8, 77);
	fx.ring->used->flags = VRING_USED_F_NO_NOTIFY; /* left by a predecessor */
	fx.cfg.event_idx = _i;
	fx_start();
	fx_make(0);
	ck_assert(ring_kick_wanted(fx.ring, 77, _i));
	fx_fini();
}
END_TEST

START_TEST(suppressed_kicks_are_not_wanted)
{
	start(8, 65535, _i);
	fx_make(0);
	ck_assert_uint_eq(fx_take(), 0);
	vq_kick_suppress(fx.vq);
	fx_make(1);
	ck_assert(!ring_kick_wanted(fx.ring, 0, _i));
	ck_assert_uint_eq(ring_used_flags(fx.ring), _i ? 0 : VRING_USED_F_NO_NOTIFY);
	/* Found without a kick. */
	ck_assert(vq_kick_enable(fx.vq));
	ck_assert_uint_eq(fx_take(), 1);
	ck_assert(!vq_kick_enable(fx.vq));
	fx_make(2);
	ck_assert(ring_kick_wanted(fx.ring, 1, _i));
	ck_assert_uint_eq(ring_used_flags(fx.ring), 0);
	fx_fini();
}
END_TEST

START_TEST(event_idx_leaves_the_flag_alone)
{
	start(8, 0, true);
	vq_kick_suppress(fx.vq);
	ck_assert_uint_eq(ring_used_flags(fx.ring), 0);
	fx_fini();
}
END_TEST

START_TEST(kick_enable_is_false_on_an_empty_ring)
{
	start(8, 9, _i);
	ck_assert(!vq_kick_enable(fx.vq));
	fx_make(0);
	ck_assert(vq_kick_enable(fx.vq));
	fx_fini();
}
END_TEST

/* A busy queue that never enables kicks for more than an index period. */
START_TEST(stale_avail_event_never_asks_for_a_kick)
{
	uint16_t asked;

	start(8, 1000, true);
	ck_assert(!vq_kick_enable(fx.vq));
	asked = 1000;
	for (unsigned int i = 0; i < 70000; i++) {
		uint16_t old = fx.ring->avail_idx;

		fx_make((uint16_t)(i % 8));
		ck_assert_int_eq(ring_kick_wanted(fx.ring, old, true), i == 0);
		vq_push(fx.vq, fx_take(), 0);
		(void)vq_publish(fx.vq);
		ck_assert_uint_le((uint16_t)(vq_last_avail_idx(fx.vq) - ring_avail_event(fx.ring)),
				  32768);
	}
	ck_assert_uint_ne(ring_avail_event(fx.ring), asked);
	fx_fini();
}
END_TEST

void fx_suite_notify(Suite *s)
{
	TCase *tc = tcase_create("notify");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, first_publish_interrupts_whatever_was_asked, 0, 2);
	tcase_add_test(tc, no_interrupt_flag_is_obeyed);
	tcase_add_test(tc, flag_means_nothing_with_event_idx);
	tcase_add_loop_test(tc, used_event_is_looked_for_in_the_whole_batch, 0,
			    ARRAY_SIZE(event_cases));
	tcase_add_loop_test(tc, starts_with_kicks_wanted, 0, 2);
	tcase_add_loop_test(tc, suppressed_kicks_are_not_wanted, 0, 2);
	tcase_add_test(tc, event_idx_leaves_the_flag_alone);
	tcase_add_loop_test(tc, kick_enable_is_false_on_an_empty_ring, 0, 2);
	tcase_add_test(tc, stale_avail_event_never_asks_for_a_kick);
}
