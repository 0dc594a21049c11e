/* SPDX-License-Identifier: MIT */
/* Kicks and interrupts: who is told, and that nobody sleeps for ever. */
#include "test_virtqueue.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
	fx_turn(0);
	ck_assert(vq_publish(fx.vq));
	ck_assert(!vq_publish(fx.vq)); /* empty batch */
	ring_avail_flags_set(fx.ring, VRING_AVAIL_F_NO_INTERRUPT);
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
	/* Found without a kick. */
	ck_assert(vq_kick_enable(fx.vq));
	ck_assert_uint_eq(fx_take(), 1);
	ck_assert(!vq_kick_enable(fx.vq));
	fx_make(2);
	ck_assert(ring_kick_wanted(fx.ring, 1, _i));
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

#define RACE_ROUNDS 3000u

/* Shared with the driver thread: kicks and interrupts as counting events. */
static struct {
	int kick_fd, irq_fd;
	bool event_idx;
} race;

/* Fails instead of hanging when the other side forgot us. */
static void wait_for(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;

	ck_assert_msg(poll(&p, 1, 20000) == 1, "a notification was lost");
	ck_assert_int_eq(read(fd, &n, sizeof(n)), sizeof(n));
}

static void notify(int fd)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Sleeps until the device has returned something. */
static void driver_wait(struct ring *r)
{
	for (;;) {
		if (race.event_idx)
			ring_used_event_set(r, r->used_idx);
		else
			ring_avail_flags_set(r, 0);
		__sync_synchronize();
		if (ring_used_idx(r) != r->used_idx)
			return;
		wait_for(race.irq_fd);
	}
}

static void *driver_main(void *arg)
{
	struct ring *r = arg;
	unsigned int done_cnt = 0, free_cnt = r->size, made_cnt = 0;

	while (done_cnt < RACE_ROUNDS) {
		while (free_cnt && made_cnt < RACE_ROUNDS) {
			uint16_t old = r->avail_idx;

			ring_publish(r, (uint16_t)(made_cnt % r->size));
			made_cnt++;
			free_cnt--;
			if (ring_kick_wanted(r, old, race.event_idx))
				notify(race.kick_fd);
		}
		if (!race.event_idx)
			ring_avail_flags_set(r, VRING_AVAIL_F_NO_INTERRUPT);
		driver_wait(r);
		for (uint16_t now = ring_used_idx(r); r->used_idx != now; r->used_idx++) {
			done_cnt++;
			free_cnt++;
		}
	}
	return NULL;
}

static void device_round(unsigned int *done_cnt)
{
	vq_kick_suppress(fx.vq);
	do {
		while (fx_pop() == 1) {
			vq_push(fx.vq, fx.chain.head, 0);
			(*done_cnt)++;
		}
		if (vq_publish(fx.vq))
			notify(race.irq_fd);
	} while (vq_kick_enable(fx.vq));
}

/* Two threads, tiny ring, both sides sleep whenever they may. */
START_TEST(no_notification_is_lost)
{
	unsigned int done_cnt = 0;
	pthread_t driver;

	race.event_idx = _i;
	race.kick_fd = eventfd(0, EFD_CLOEXEC);
	race.irq_fd = eventfd(0, EFD_CLOEXEC);
	start(2, 65000, race.event_idx);
	for (unsigned int i = 0; i < 2; i++)
		ring_desc_set(fx.ring, i, .addr = fx_iova(FX_BUF), .len = 1);
	ck_assert_int_eq(pthread_create(&driver, NULL, driver_main, fx.ring), 0);
	for (;;) {
		device_round(&done_cnt);
		ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_NONE);
		if (done_cnt == RACE_ROUNDS)
			break;
		wait_for(race.kick_fd);
	}
	pthread_join(driver, NULL);
	close(race.kick_fd);
	close(race.irq_fd);
	fx_fini();
}
END_TEST

void fx_suite_notify(Suite *s)
{
	TCase *tc = tcase_create("notify");

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 60);
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
	tcase_add_loop_test(tc, no_notification_is_lost, 0, 2);
}
