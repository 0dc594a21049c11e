/* SPDX-License-Identifier: MIT */
/* Kicks and interrupts of packed rings: who is told when. */
#include "test_virtqueue.h"

#include "vblk/util/compiler.h"

#define RING_SIZE 7u

#define ENABLE	VRING_PACKED_EVENT_FLAG_ENABLE
#define DISABLE VRING_PACKED_EVENT_FLAG_DISABLE
#define DESC	VRING_PACKED_EVENT_FLAG_DESC

static void start(uint16_t off, bool event_idx)
{
	fx_init_packed(RING_SIZE, off, true);
	fx.cfg.event_idx = event_idx;
	fx_start();
}

/* Past the first publish, which always interrupts. */
static void settle_irq(void)
{
	fx_packed_turn(0);
	ck_assert(vq_publish(fx.vq));
	ck_assert_uint_eq(packed_ring_reap(fx.packed), 1);
}

START_TEST(first_packed_publish_interrupts_whatever_was_asked)
{
	start(3, _i);
	packed_driver_event_set(fx.packed, 0, DISABLE);
	ck_assert(!vq_publish(fx.vq)); /* nothing to tell */
	fx_packed_turn(1);
	ck_assert(vq_publish(fx.vq));
	fx_packed_turn(2);
	ck_assert(!vq_publish(fx.vq));
	fx_fini();
}
END_TEST

/* 3 is reserved, and DESC means nothing without the feature: rather one too many. */
static const struct {
	uint16_t flags;
	bool event_idx, wanted;
} flag_cases[] = {
	{ ENABLE, false, true }, { DISABLE, false, false }, { 3, false, true },
	{ DESC, false, true },	 { ENABLE, true, true },    { DISABLE, true, false },
	{ 3, true, true },	 { 0xfffd, true, false }, /* other bits are reserved */
};

START_TEST(driver_event_flags_are_obeyed)
{
	start(0, flag_cases[_i].event_idx);
	settle_irq();
	packed_driver_event_set(fx.packed, 5, flag_cases[_i].flags);
	fx_packed_turn(1);
	ck_assert_int_eq(vq_publish(fx.vq), flag_cases[_i].wanted);
	ck_assert(!vq_publish(fx.vq)); /* empty batch */
	fx_fini();
}
END_TEST

/* Used descriptors go from @start + 1 on over @len of them; is @off in a lap of @wrap there? */
static const struct {
	uint16_t start;
	unsigned int len;
	uint16_t off;
	bool wrap, wanted;
} event_cases[] = {
	{ 0, 1, 1, true, true },
	{ 0, 1, 0, true, false },
	{ 0, 1, 2, true, false },
	{ 0, 1, 1, false, false },
	{ 0, 3, 3, true, true },
	{ 0, 3, 4, true, false },
	{ 0, 6, 6, true, true },
	{ 0, 6, 0, false, false },
	{ 0, 6, 0, true, false },
	{ 0, 7, 0, false, true },
	{ 0, 7, 1, false, false },
	{ 0, 7, 1, true, true },
	{ 5, 1, 6, true, true },
	{ 5, 1, 0, false, false },
	{ 5, 2, 0, false, true },
	{ 5, 2, 0, true, false },
	{ 5, 3, 1, false, true },
	{ 5, 3, 6, false, false },
	{ 6, 1, 0, false, true },
	{ 6, 1, 0, true, false },
	{ 6, 7, 6, false, true },
	{ 6, 7, 6, true, false },
	{ 6, 7, 0, true, false },
	/* A place that is none. */
	{ 0, 1, 7, true, true },
	{ 0, 1, 0x7fff, false, true },
};

START_TEST(driver_event_is_looked_for_in_the_whole_batch)
{
	start(event_cases[_i].start, true);
	settle_irq();
	packed_driver_event_set(
		fx.packed,
		packed_pos_word((struct packed_pos){ event_cases[_i].off, event_cases[_i].wrap }),
		DESC);
	/* Of a chain all descriptors count, though one is written only. */
	for (unsigned int left = event_cases[_i].len; left;) {
		unsigned int len = left > 4 ? 2 : 1;

		fx_packed_make_chain((uint16_t)left, len);
		vq_push(fx.vq, fx_take(), 0);
		left -= len;
	}
	ck_assert_int_eq(vq_publish(fx.vq), event_cases[_i].wanted);
	fx_fini();
}
END_TEST

START_TEST(packed_queue_starts_with_kicks_wanted)
{
	fx_init_packed(RING_SIZE, 6, false);
	fx.packed->device->flags = DISABLE; /* left by a predecessor */
	fx.cfg.event_idx = _i;
	fx_start();
	fx_packed_make(0);
	ck_assert(packed_kick_wanted(fx.packed, (struct packed_pos){ 6, false }));
	fx_fini();
}
END_TEST

START_TEST(suppressed_packed_kicks_are_not_wanted)
{
	struct packed_pos old;

	start(6, _i);
	fx_packed_make(0);
	(void)fx_take();
	vq_kick_suppress(fx.vq);
	old = fx.packed->avail;
	fx_packed_make(1);
	ck_assert(!packed_kick_wanted(fx.packed, old));
	/* Found without a kick. */
	ck_assert(vq_kick_enable(fx.vq));
	(void)fx_take();
	ck_assert(!vq_kick_enable(fx.vq));
	old = fx.packed->avail;
	fx_packed_make(2);
	ck_assert(packed_kick_wanted(fx.packed, old));
	/* One kick is enough where the driver can be told so. */
	old = fx.packed->avail;
	fx_packed_make(3);
	ck_assert_int_eq(packed_kick_wanted(fx.packed, old), !_i);
	fx_fini();
}
END_TEST

/* For many laps: no place that was asked for once comes round again. */
START_TEST(busy_packed_queue_is_not_kicked)
{
	start(0, true);
	ck_assert(!vq_kick_enable(fx.vq));
	vq_kick_suppress(fx.vq);
	for (unsigned int i = 0; i < 70; i++) {
		struct packed_pos old = fx.packed->avail;

		fx_packed_make_chain((uint16_t)i, 1 + i % 3);
		ck_assert(!packed_kick_wanted(fx.packed, old));
		vq_push(fx.vq, fx_take(), 0);
		(void)vq_publish(fx.vq);
		ck_assert_uint_eq(packed_ring_reap(fx.packed), 1);
	}
	fx_fini();
}
END_TEST

START_TEST(packed_kick_enable_is_false_on_an_empty_ring)
{
	start(6, _i);
	for (unsigned int i = 0; i < 20; i++) {
		ck_assert(!vq_kick_enable(fx.vq));
		fx_packed_make_chain(0, 2);
		ck_assert(vq_kick_enable(fx.vq));
		vq_push(fx.vq, fx_take(), 0);
		(void)vq_publish(fx.vq);
		ck_assert_uint_eq(packed_ring_reap(fx.packed), 1);
	}
	fx_fini();
}
END_TEST

void fx_suite_packed_notify(Suite *s)
{
	TCase *tc = tcase_create("notify");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, first_packed_publish_interrupts_whatever_was_asked, 0, 2);
	tcase_add_loop_test(tc, driver_event_flags_are_obeyed, 0, ARRAY_SIZE(flag_cases));
	tcase_add_loop_test(tc, driver_event_is_looked_for_in_the_whole_batch, 0,
			    ARRAY_SIZE(event_cases));
	tcase_add_loop_test(tc, packed_queue_starts_with_kicks_wanted, 0, 2);
	tcase_add_loop_test(tc, suppressed_packed_kicks_are_not_wanted, 0, 2);
	tcase_add_test(tc, busy_packed_queue_is_not_kicked);
	tcase_add_loop_test(tc, packed_kick_enable_is_false_on_an_empty_ring, 0, 2);
}
