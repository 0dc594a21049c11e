/* SPDX-License-Identifier: MIT */
/* Driver and device in two threads that sleep whenever they may. */
#include "test_virtqueue.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vblk/util/compiler.h"

#define RACE_ROUNDS 3000u

/* Shared with the driver thread: kicks and interrupts as counting events. */
static struct {
	int kick_fd, irq_fd;
	bool event_idx;
} race;

static const struct {
	bool packed, event_idx;
} race_cases[] = { { false, false }, { false, true }, { true, false }, { true, true } };

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

static void *split_driver_main(void *arg)
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

/* The same on a packed ring; ids are used once only. */
static void packed_driver_wait(struct packed_ring *r)
{
	for (;;) {
		if (race.event_idx)
			packed_driver_event_set(r, packed_pos_word(r->used),
						VRING_PACKED_EVENT_FLAG_DESC);
		else
			packed_driver_event_set(r, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
		__sync_synchronize();
		if (packed_ring_reap(r))
			return;
		wait_for(race.irq_fd);
	}
}

static void *packed_driver_main(void *arg)
{
	const struct packed_buf buf = { .addr = fx_iova(FX_BUF), .len = 1 };
	unsigned int done_cnt = 0, made_cnt = 0;
	struct packed_ring *r = arg;

	while (done_cnt < RACE_ROUNDS) {
		while (r->free_cnt && made_cnt < RACE_ROUNDS) {
			struct packed_pos old = r->avail;

			packed_ring_add(r, (uint16_t)made_cnt++, &buf, 1);
			if (packed_kick_wanted(r, old))
				notify(race.kick_fd);
		}
		if (!race.event_idx)
			packed_driver_event_set(r, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
		packed_driver_wait(r);
		done_cnt += r->order_cnt;
	}
	return NULL;
}

static void start_driver(bool packed, pthread_t *ret_driver)
{
	if (packed) {
		fx_init_packed(2, 0, true);
	} else {
		fx_init(2, 65000);
		for (unsigned int i = 0; i < 2; i++)
			ring_desc_set(fx.ring, i, .addr = fx_iova(FX_BUF), .len = 1);
	}
	fx.cfg.event_idx = race.event_idx;
	fx_start();
	if (packed)
		ck_assert_int_eq(pthread_create(ret_driver, NULL, packed_driver_main, fx.packed),
				 0);
	else
		ck_assert_int_eq(pthread_create(ret_driver, NULL, split_driver_main, fx.ring), 0);
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

	race.event_idx = race_cases[_i].event_idx;
	race.kick_fd = eventfd(0, EFD_CLOEXEC);
	race.irq_fd = eventfd(0, EFD_CLOEXEC);
	start_driver(race_cases[_i].packed, &driver);
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

void fx_suite_race(Suite *s)
{
	TCase *tc = tcase_create("race");

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, no_notification_is_lost, 0, ARRAY_SIZE(race_cases));
}
