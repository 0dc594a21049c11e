/* SPDX-License-Identifier: MIT */
/* The in-flight record: what a successor takes over, and what it refuses. */
#include "test_virtqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/util/compiler.h"

static void start_recorded(uint16_t idx)
{
	fx_init(8, idx);
	fx.cfg.inflight = fx.rec;
	fx_start();
}

/* Heads 4, 1, 6, 2 taken in this order; 1 returned. */
static void take_four_return_one(void)
{
	static const uint16_t heads[] = { 4, 1, 6, 2 };

	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		fx_make(heads[i]);
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		ck_assert_uint_eq(fx_take(), heads[i]);
	vq_push(fx.vq, 1, 0);
	(void)vq_publish(fx.vq);
}

START_TEST(successor_redoes_what_was_in_flight_oldest_first)
{
	start_recorded(65533);
	take_four_return_one();
	fx_make(1); /* arrived while nobody was there */
	fx_die();
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 3);
	ck_assert_uint_eq(vq_last_avail_idx(fx.vq), (uint16_t)(65533 + 4));
	ck_assert(vq_kick_enable(fx.vq));
	ck_assert_uint_eq(fx_take(), 4);
	ck_assert_uint_eq(fx_take(), 6);
	ck_assert_uint_eq(fx_take(), 2);
	ck_assert_uint_eq(fx_take(), 1);
	ck_assert_int_eq(fx_pop(), 0);
	fx_fini();
}
END_TEST

START_TEST(redo_order_survives_a_second_death)
{
	start_recorded(0);
	take_four_return_one();
	fx_die();
	fx_start();
	ck_assert_uint_eq(fx_take(), 4);
	vq_push(fx.vq, 4, 0);
	(void)vq_publish(fx.vq);
	fx_make(4); /* now the youngest */
	ck_assert_uint_eq(fx_take(), 6);
	ck_assert_uint_eq(fx_take(), 2);
	ck_assert_uint_eq(fx_take(), 4);
	fx_die();
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 3);
	ck_assert_uint_eq(fx_take(), 6);
	ck_assert_uint_eq(fx_take(), 2);
	ck_assert_uint_eq(fx_take(), 4);
	fx_fini();
}
END_TEST

START_TEST(recovered_head_is_busy_before_it_is_popped)
{
	start_recorded(0);
	take_four_return_one();
	fx_die();
	fx_start();
	fx_make(6);
	for (int i = 0; i < 3; i++)
		fx_take();
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_HEAD_BUSY);
	fx_fini();
}
END_TEST

START_TEST(first_publish_after_recovery_interrupts_even_when_empty)
{
	fx_init(8, 0);
	fx.cfg.inflight = fx.rec;
	fx.cfg.event_idx = _i;
	fx_start();
	fx_turn(0);
	(void)vq_publish(fx.vq); /* and dies before the interrupt */
	ring_avail_flags_set(fx.ring, VRING_AVAIL_F_NO_INTERRUPT);
	ring_used_event_set(fx.ring, 5000);
	fx_die();
	fx_start();
	ck_assert(vq_publish(fx.vq));
	ck_assert(!vq_publish(fx.vq));
	fx_turn(0);
	ck_assert(!vq_publish(fx.vq));
	fx_fini();
}
END_TEST

START_TEST(fresh_start_forgets_the_record)
{
	start_recorded(0);
	take_four_return_one();
	fx_die();
	fx.cfg.recover = false;
	ring_set_start_idx(fx.ring, 0);
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 0);
	ck_assert_int_eq(fx_pop(), 0);
	for (int i = 0; i < 8; i++)
		ck_assert_uint_eq(fx.rec->seq[i], 0);
	ck_assert_uint_eq(fx.rec->size, 8);
	fx_fini();
}
END_TEST

START_TEST(clean_stop_fits_any_ring)
{
	start_recorded(0);
	fx_turn(3);
	(void)vq_publish(fx.vq);
	vq_stop(fx.vq);
	ck_assert_uint_eq(fx.rec->size, VQ_INFLIGHT_CLEAN);
	fx.rec->seq[5] = 99; /* means nothing now */
	ring_set_start_idx(fx.ring, 40000);
	fx.cfg.recover = true;
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 0);
	ck_assert_uint_eq(vq_last_avail_idx(fx.vq), 40000);
	ck_assert_uint_eq(fx.rec->seq[5], 0);
	fx_turn(3);
	fx_fini();
}
END_TEST

START_TEST(stop_keeps_what_is_not_finished)
{
	start_recorded(0);
	take_four_return_one();
	fx_die();
	fx_start();
	vq_stop(fx.vq); /* before the redo list was popped */
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 3);
	fx_fini();
}
END_TEST

START_TEST(stop_keeps_what_is_not_published)
{
	start_recorded(0);
	fx_turn(3);
	vq_stop(fx.vq);
	fx.cfg.recover = true;
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 1);
	ck_assert_uint_eq(fx_take(), 3);
	fx_fini();
}
END_TEST

/* The process died between steps 2 and 3: the record is as before the publish. */
static void publish_and_die_before_clearing(void)
{
	struct vq_inflight *before = malloc(vq_inflight_bytes(8));

	ck_assert_ptr_nonnull(before);
	memcpy(before, fx.rec, vq_inflight_bytes(8));
	(void)vq_publish(fx.vq);
	memcpy(fx.rec, before, vq_inflight_bytes(8));
	free(before);
	fx_die();
}

START_TEST(unfinished_batch_may_be_the_whole_ring)
{
	start_recorded(65532);
	for (uint16_t head = 0; head < 8; head++)
		fx_turn(head);
	publish_and_die_before_clearing();
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 0);
	ck_assert_int_eq(fx_pop(), 0);
	for (uint16_t head = 0; head < 8; head++)
		fx_turn(head);
	fx_fini();
}
END_TEST

START_TEST(finished_batch_is_not_finished_again)
{
	start_recorded(0);
	fx_turn(3);
	publish_and_die_before_clearing();
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 0);
	/* The driver uses the head again, and we die with it. */
	fx_make(3);
	ck_assert_uint_eq(fx_take(), 3);
	fx_die();
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 1);
	ck_assert_uint_eq(fx_take(), 3);
	fx_fini();
}
END_TEST

static void damage_size(void)
{
	fx.rec->size = 16;
}

static void damage_zeroed(void)
{
	memset(fx.rec, 0, vq_inflight_bytes(8));
}

static void damage_distance(void)
{
	fx.rec->used_idx = (uint16_t)(fx.rec->used_idx - 9);
}

static void damage_ahead(void)
{
	fx.rec->used_idx++;
}

static void damage_used_head(void)
{
	fx.rec->used_idx--;
	fx.ring->used->ring[0].id = 8;
}

static void damage_seq_huge(void)
{
	fx.rec->seq[4] = UINT64_MAX;
}

static void damage_seq_twice(void)
{
	fx.rec->seq[4] = fx.rec->seq[6];
}

static void damage_more_than_available(void)
{
	fx.rec->seq[0] = 100;
}

static void damage_other_ring(void)
{
	ring_set_start_idx(fx.ring, 0);
}

static void damage_no_record(void)
{
	fx.cfg.inflight = NULL;
}

static void damage_unaligned(void)
{
	fx.cfg.inflight = (void *)((char *)fx.rec + 4);
}

static void (*const damages[])(void) = {
	damage_size,	   damage_zeroed,    damage_distance,  damage_ahead,
	damage_used_head,  damage_seq_huge,  damage_seq_twice, damage_more_than_available,
	damage_other_ring, damage_no_record, damage_unaligned,
};

START_TEST(record_that_does_not_fit_is_refused_and_kept)
{
	struct vq_inflight *copy = malloc(vq_inflight_bytes(8));

	ck_assert_ptr_nonnull(copy);
	start_recorded(0);
	take_four_return_one();
	fx_die();
	damages[_i]();
	memcpy(copy, fx.rec, vq_inflight_bytes(8));
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), -EINVAL);
	ck_assert(!vq_is_started(fx.vq));
	ck_assert_mem_eq(copy, fx.rec, vq_inflight_bytes(8));
	free(copy);
	fx_fini();
}
END_TEST

START_TEST(undamaged_record_is_taken)
{
	start_recorded(0);
	take_four_return_one();
	fx_die();
	fx_start();
	fx_fini();
}
END_TEST

void fx_suite_recover(Suite *s)
{
	TCase *tc = tcase_create("recover");

	suite_add_tcase(s, tc);
	tcase_add_test(tc, successor_redoes_what_was_in_flight_oldest_first);
	tcase_add_test(tc, redo_order_survives_a_second_death);
	tcase_add_test(tc, recovered_head_is_busy_before_it_is_popped);
	tcase_add_loop_test(tc, first_publish_after_recovery_interrupts_even_when_empty, 0, 2);
	tcase_add_test(tc, fresh_start_forgets_the_record);
	tcase_add_test(tc, clean_stop_fits_any_ring);
	tcase_add_test(tc, stop_keeps_what_is_not_finished);
	tcase_add_test(tc, stop_keeps_what_is_not_published);
	tcase_add_test(tc, unfinished_batch_may_be_the_whole_ring);
	tcase_add_test(tc, finished_batch_is_not_finished_again);
	tcase_add_loop_test(tc, record_that_does_not_fit_is_refused_and_kept, 0,
			    ARRAY_SIZE(damages));
	tcase_add_test(tc, undamaged_record_is_taken);
}
