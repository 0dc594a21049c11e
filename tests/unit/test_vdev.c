/* SPDX-License-Identifier: MIT */
/* Queue threads between a raw ring and the fake backend, with a transport of nothing. */
#include <check.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "run_suite.h"
#include "test_vdev_fixture.h"
#include "vblk/virtqueue/vq_inflight.h"
#include "vdev_poll.h"
START_TEST(started_queue_looks_at_its_ring_without_a_kick)
{
	struct ring_blk_req req = submit(0);

	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	wait_done(0, &req);
}
END_TEST

/* Kicks for nothing: before, between and after requests. */
START_TEST(kicks_without_a_request_are_harmless)
{
	struct vdev_queue_info info;

	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	for (unsigned int i = 0; i < 100; i++) {
		struct ring_blk_req req;

		kick(0);
		kick(1);
		if (i % 10)
			continue;
		req = submit(0);
		kick(0);
		kick(0);
		wait_done(0, &req);
	}
	stop();
	vdev_queue_info(vdev, 0, &info);
	ck_assert_uint_eq(info.stats.requests[BDEV_READ], 10);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 10);
	ck_assert_uint_eq(ring_used_idx(rings[1]), 0);
}
END_TEST

START_TEST(start_is_for_the_stopped_only)
{
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	ck_assert_int_eq(vdev_start(vdev, conf), -EBUSY);
	vdev_stop(vdev);
	ck_assert_int_eq(vdev_state(vdev), VDEV_DRAINING);
	ck_assert_int_eq(vdev_start(vdev, conf), -EBUSY);
	vdev_stop(vdev);
	pump_until(&stopped_cnt, 1);
	vdev_stop(vdev);
	ck_assert_int_eq(vdev_state(vdev), VDEV_STOPPED);
}
END_TEST

START_TEST(stop_is_heard_of_even_without_a_queue_in_use)
{
	conf[0].enabled = false;
	conf[1].enabled = false;
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	stop();
}
END_TEST

START_TEST(draining_queue_takes_nothing_and_publishes_what_ends)
{
	struct ring_blk_req held, later;
	struct vdev_queue_info info;

	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	held = submit(0);
	kick(0);
	ck_assert(fake_bdev_wait_submitted(fake, 1, PATIENCE_MS));
	vdev_stop(vdev);
	/* Before it obeys it may take more, and finishes that as well. */
	do {
		(void)sched_yield();
		vdev_queue_info(vdev, 0, &info);
	} while (!info.draining);
	later = submit(0);
	kick(0);
	fake_bdev_complete(fake, 0, 0);
	pump_until(&stopped_cnt, 1);
	wait_done(0, &held);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 1);
	ck_assert(!ring_blk_is_done(rings[0], &later));
	ck_assert_ptr_null(fake_bdev_last_map(fake));
	vdev_queue_info(vdev, 0, &info);
	ck_assert_uint_eq(info.inflight_cnt, 0);
	ck_assert_uint_eq(info.last_avail_idx, 1);
	ck_assert_int_gt(info.thread_id, 0);
	ck_assert_uint_eq(info.stats.requests[BDEV_READ], 1);
}
END_TEST

START_TEST(requests_come_in_while_others_are_in_flight)
{
	struct ring_blk_req reqs[5];
	unsigned int i;

	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	for (i = 0; i < 5; i++) {
		reqs[i] = submit(0);
		kick(0);
		ck_assert(fake_bdev_wait_submitted(fake, i + 1, PATIENCE_MS));
	}
	for (i = 5; i-- > 0;)
		fake_bdev_complete(fake, i, 0);
	for (i = 0; i < 5; i++)
		wait_done(0, &reqs[i]);
}
END_TEST

START_TEST(kicks_of_a_descriptor_of_the_drivers_are_heard)
{
	unsigned int round, i;

	for (i = 0; i < QUEUES; i++)
		conf[i].kick_fd = eventfd(0, EFD_CLOEXEC);
	for (round = 0; round < 3; round++) {
		ck_assert_int_eq(vdev_start(vdev, conf), 0);
		for (i = 0; i < 50; i++) {
			struct ring_blk_req req = submit(i % QUEUES);

			kick(i % QUEUES);
			wait_done(i % QUEUES, &req);
		}
		stop();
		for (i = 0; i < QUEUES; i++)
			conf[i].vq.recover = false;
	}
	for (i = 0; i < QUEUES; i++)
		close(conf[i].kick_fd);
}
END_TEST

START_TEST(refused_ring_is_told_and_the_other_queue_works)
{
	struct ring_blk_req req;

	conf[0].vq.size = 3;
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	pump_until(&failed_cnt, 1);
	ck_assert_int_eq(last_err, -EUCLEAN);
	req = submit(1);
	kick(1);
	wait_done(1, &req);
	stop();
	conf[0].vq.size = RING_SIZE;
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	req = submit(0);
	kick(0);
	wait_done(0, &req);
}
END_TEST

START_TEST(missing_memory_is_told_once_until_restarted)
{
	struct ring_blk_req req;

	__atomic_store_n(&map_err, -ENOMEM, __ATOMIC_RELAXED);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	req = submit(0);
	kick(0);
	pump_until(&failed_cnt, 1);
	ck_assert_int_eq(last_err, -ENOMEM);
	kick(0);
	stop();
	ck_assert_uint_eq(__atomic_load_n(&map_get_cnt, __ATOMIC_RELAXED), 1);
	ck_assert_uint_eq(failed_cnt, 1);
	__atomic_store_n(&map_err, 0, __ATOMIC_RELAXED);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	wait_done(0, &req);
}
END_TEST

START_TEST(broken_ring_is_told_once)
{
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	ring_publish(rings[0], RING_SIZE);
	kick(0);
	pump_until(&broken_cnt, 1);
	kick(0);
	kick(0);
	stop();
	ck_assert_uint_eq(broken_cnt, 1);
}
END_TEST

START_TEST(backend_that_makes_no_queue_fails_the_device)
{
	vdev_free(vdev);
	vdev = NULL;
	fake_bdev_fail_queue_new(fake, -EMFILE);
	ck_assert_int_eq(make(false), -EMFILE);
	ck_assert_ptr_null(vdev);
	fake_bdev_fail_queue_new(fake, 0);
	blk.queue_cnt = 0;
	ck_assert_int_eq(make(false), -EINVAL);
	blk.queue_cnt = QUEUES;
	ck_assert_int_eq(make(false), 0);
}
END_TEST

static int policy_for_batches(void)
{
	bool spins = poll_mode == VDEV_POLL_ON && vdev_can_poll();

	return spins ? SCHED_OTHER : SCHED_BATCH;
}

START_TEST(queue_threads_batch_when_asked)
{
	struct vdev_queue_info info;

	vdev_queue_info(vdev, 1, &info);
	ck_assert_int_eq(sched_getscheduler(info.thread_id), policy_for_batches());
	vdev_free(vdev);
	ck_assert_int_eq(make(false), 0);
	vdev_queue_info(vdev, 1, &info);
	ck_assert_int_eq(sched_getscheduler(info.thread_id), SCHED_OTHER);
}
END_TEST

static int policy_of_queue(void)
{
	struct vdev_queue_info info;

	vdev_queue_info(vdev, 0, &info);
	return sched_getscheduler(info.thread_id);
}

/* More than it takes a queue thread to find another policy better. */
static void run_single_requests(void)
{
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	for (unsigned int i = 0; i < 200; i++) {
		struct ring_blk_req req = submit(0);

		kick(0);
		wait_done(0, &req);
	}
}

#define CHAIN_LEN  3u
#define CHAINS_MAX 10000u
static pthread_mutex_t chain_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ring_blk_req chain_req;
static unsigned int chain_cnt;

/* The device may have done it before the driver has noted what it was. */
static void begin_chain(unsigned int idx)
{
	pthread_mutex_lock(&chain_lock);
	chain_req = submit(idx);
	chain_cnt = 1;
	pthread_mutex_unlock(&chain_lock);
	kick(idx);
}

static bool next_of_chain(unsigned int idx)
{
	bool goes_on;

	pthread_mutex_lock(&chain_lock);
	ring_reap(rings[idx]);
	ck_assert(ring_blk_is_done(rings[idx], &chain_req));
	goes_on = chain_cnt++ < CHAIN_LEN;
	if (goes_on) {
		ring_blk_put(rings[idx], &chain_req);
		ring_alloc_reset(rings[idx]);
		chain_req = submit(idx);
	}
	pthread_mutex_unlock(&chain_lock);
	return goes_on;
}

/* As on one CPU with the driver: the next request comes with the interrupt of the last one. */
START_TEST(one_request_after_the_other_is_no_batch)
{
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	driver_goes_on = next_of_chain;
	for (unsigned int i = 0; i < CHAINS_MAX && policy_of_queue() != SCHED_OTHER; i++) {
		begin_chain(0);
		wait_interrupt(0);
		wait_done(0, &chain_req);
	}
	ck_assert_int_eq(policy_of_queue(), SCHED_OTHER);

	driver_goes_on = NULL;
	/* It may see them one by one at times, and chooses behind the interrupt. */
	for (unsigned int i = 0; i < CHAINS_MAX && policy_of_queue() != policy_for_batches(); i++) {
		struct ring_blk_req first = submit(0), second = submit(0);

		kick(0);
		wait_done(0, &second);
		ring_blk_put(rings[0], &first);
	}
	ck_assert_int_eq(policy_of_queue(), policy_for_batches());
}
END_TEST

/* False where we have no right to. */
static bool become(int policy)
{
	struct sched_param param = { .sched_priority = policy == SCHED_RR };

	return sched_setscheduler(0, policy, &param) == 0;
}

START_TEST(inherited_real_time_is_kept_only_when_asked)
{
	vdev_free(vdev);
	vdev = NULL;
	keep_real_time = _i;
	if (!become(SCHED_RR))
		return;
	ck_assert_int_eq(make(true), 0);
	ck_assert(become(SCHED_OTHER));
	ck_assert_int_eq(policy_of_queue(), SCHED_RR);
	run_single_requests();
	if (_i)
		ck_assert_int_eq(policy_of_queue(), SCHED_RR);
	else
		ck_assert_int_ne(policy_of_queue(), SCHED_RR);
}
END_TEST

START_TEST(real_time_that_somebody_gives_is_left_alone)
{
	struct sched_param param = { .sched_priority = 1 };
	struct vdev_queue_info info;

	vdev_queue_info(vdev, 0, &info);
	if (sched_setscheduler(info.thread_id, SCHED_RR, &param) < 0)
		return;
	run_single_requests();
	ck_assert_int_eq(policy_of_queue(), SCHED_RR);
}
END_TEST

START_TEST(stuck_request_is_told_once_and_named_and_so_is_its_end)
{
	struct ring_blk_req req;
	struct blk_held held;
	unsigned int total;

	vdev_free(vdev);
	stuck_ms = 10;
	ck_assert_int_eq(make(false), 0);
	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	for (unsigned int round = 0; round < 3; round++) {
		req = submit(1);
		kick(1);
		pump_until(&stuck_cnt, round + 1);
		ck_assert_uint_eq(vdev_queue_oldest(vdev, 1, UINT64_MAX, &held, 1, &total), 1);
		ck_assert_uint_eq(total, 1);
		ck_assert_int_eq(held.op, BDEV_READ);
		ck_assert_uint_eq(held.len_bytes, 512);
		ck_assert_uint_eq(vdev_queue_oldest(vdev, 0, UINT64_MAX, &held, 1, &total), 0);
		fake_bdev_complete(fake, round, 0);
		wait_done(1, &req);
		pump_until(&unstuck_cnt, round + 1);
		ck_assert_uint_eq(stuck_cnt, round + 1);
		ck_assert_uint_eq(vdev_queue_oldest(vdev, 1, UINT64_MAX, &held, 1, &total), 0);
	}
	/* A request is just behind it, so the alarm is armed when the threads end. */
}
END_TEST

START_TEST(queue_that_drains_tells_what_it_waits_for)
{
	struct ring_blk_req req;

	vdev_free(vdev);
	stuck_ms = 10;
	ck_assert_int_eq(make(false), 0);
	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	req = submit(1);
	kick(1);
	ck_assert(fake_bdev_wait_submitted(fake, 1, PATIENCE_MS));
	vdev_stop(vdev);
	pump_until(&stuck_cnt, 1);
	ck_assert_int_eq(vdev_state(vdev), VDEV_DRAINING);
	fake_bdev_complete(fake, 0, 0);
	pump_until(&stopped_cnt, 1);
	wait_done(1, &req);
	pump_until(&unstuck_cnt, 1);
}
END_TEST

static void *watch(void *arg)
{
	bool *end = arg;
	struct vdev_queue_info info;
	struct blk_held held[2];
	unsigned int total;
	uint64_t seen = 0;

	while (!__atomic_load_n(end, __ATOMIC_RELAXED)) {
		vdev_queue_info(vdev, 0, &info);
		ck_assert_uint_ge(info.stats.requests[BDEV_READ], seen);
		seen = info.stats.requests[BDEV_READ];
		for (unsigned int i = vdev_queue_oldest(vdev, 0, UINT64_MAX, held, 2, &total);
		     i-- > 0;)
			ck_assert_uint_eq(held[i].len_bytes, 512);
		sched_yield();
	}
	return NULL;
}

START_TEST(starts_and_stops_under_load_with_a_watcher)
{
	bool end = false;
	pthread_t watcher;
	unsigned int round, i;

	ck_assert_int_eq(pthread_create(&watcher, NULL, watch, &end), 0);
	for (round = 0; round < 150; round++) {
		fake_bdev_set_mode(fake, round % 2 ? FAKE_BDEV_SYNC : FAKE_BDEV_ON_COMMIT);
		new_rings();
		ck_assert_int_eq(vdev_start(vdev, conf), 0);
		for (i = 0; i < 4; i++) {
			(void)submit(i % QUEUES);
			kick(i % QUEUES);
		}
		if (round % 3 == 0) {
			struct ring_blk_req req = submit(0);

			kick(0);
			wait_done(0, &req);
		}
		stop();
	}
	__atomic_store_n(&end, true, __ATOMIC_RELAXED);
	pthread_join(watcher, NULL);
}
END_TEST

/* As a predecessor leaves it that has taken @head and nothing else. */
static struct vq_inflight *record_with(uint16_t head)
{
	struct vq_inflight *rec;

	rec = aligned_alloc(64, (vq_inflight_bytes(RING_SIZE) + 63) / 64 * 64);
	ck_assert_ptr_nonnull(rec);
	memset(rec, 0, vq_inflight_bytes(RING_SIZE));
	rec->size = RING_SIZE;
	rec->seq[head] = 1;
	return rec;
}

/* Number of the I/O that was submitted for @sector. */
static unsigned int io_of_sector(unsigned int sector, unsigned int cnt)
{
	unsigned int nr;

	for (nr = 0; nr < cnt; nr++)
		if (fake_bdev_record(fake, nr).offset_bytes == sector * 512ull)
			return nr;
	ck_abort_msg("no I/O for sector %u", sector);
}

START_TEST(nothing_new_begins_before_what_a_predecessor_left_has_ended)
{
	struct ring_blk_req old[QUEUES], fresh[QUEUES];
	struct vq_inflight *rec[QUEUES];
	unsigned int i;

	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	for (i = 0; i < QUEUES; i++) {
		old[i] = submit_at(i, 8 + i);
		fresh[i] = submit_at(i, 16 + i);
		rec[i] = record_with(old[i].head);
		conf[i].vq.inflight = rec[i];
		conf[i].vq.recover = true;
	}
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	ck_assert(fake_bdev_wait_submitted(fake, QUEUES, PATIENCE_MS));
	fake_bdev_complete(fake, io_of_sector(9, QUEUES), 0);
	/* Queue 1 has ended its part and waits for queue 0, also when kicked. */
	wait_done(1, &old[1]);
	kick(1);
	kick(0);
	ck_assert(!fake_bdev_wait_submitted(fake, QUEUES + 1, 100));

	fake_bdev_complete(fake, io_of_sector(8, QUEUES), 0);
	wait_done(0, &old[0]);
	ck_assert(fake_bdev_wait_submitted(fake, 2 * QUEUES, PATIENCE_MS));
	for (i = 0; i < QUEUES; i++)
		fake_bdev_complete(fake, io_of_sector(16 + i, 2 * QUEUES), 0);
	for (i = 0; i < QUEUES; i++)
		wait_done(i, &fresh[i]);
	stop();
	for (i = 0; i < QUEUES; i++)
		free(rec[i]);
}
END_TEST

START_TEST(queue_that_cannot_recover_holds_up_no_other)
{
	struct ring_blk_req req = submit(1);
	struct vq_inflight *rec[QUEUES];
	unsigned int i;

	for (i = 0; i < QUEUES; i++) {
		rec[i] = record_with(0);
		rec[i]->seq[0] = 0;
		conf[i].vq.inflight = rec[i];
		conf[i].vq.recover = true;
	}
	rec[0]->size = RING_SIZE / 2;
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	wait_done(1, &req);
	pump_until(&failed_cnt, 1);
	stop();
	for (i = 0; i < QUEUES; i++)
		free(rec[i]);
}
END_TEST

START_TEST(stop_ends_the_wait_for_what_a_predecessor_left)
{
	struct ring_blk_req old = submit(0);
	struct vq_inflight *rec = record_with(old.head);

	conf[0].vq.inflight = rec;
	conf[0].vq.recover = true;
	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	ck_assert(fake_bdev_wait_submitted(fake, 1, PATIENCE_MS));
	vdev_stop(vdev);
	fake_bdev_complete(fake, 0, 0);
	pump_until(&stopped_cnt, 1);
	wait_done(0, &old);
	free(rec);
}
END_TEST

START_TEST(given_up_requests_fail_and_so_do_later_ones)
{
	struct ring_blk_req held[3], later;
	struct vdev_queue_info info;
	unsigned int i;

	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	for (i = 0; i < 3; i++)
		held[i] = submit_at(0, 8 * i);
	kick(0);
	ck_assert(fake_bdev_wait_submitted(fake, 3, PATIENCE_MS));
	gave_up = true;
	vdev_give_up(vdev);
	for (i = 0; i < 3; i++)
		wait_status(0, &held[i], VIRTIO_BLK_S_IOERR);
	for (i = 0; i < 2 * QUEUES; i++) {
		later = submit(i % QUEUES);
		kick(i % QUEUES);
		wait_status(i % QUEUES, &later, VIRTIO_BLK_S_IOERR);
	}
	/* The backend comes back, too late for anybody to hear of it. */
	fake_bdev_complete_all(fake, 0);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 3);
	stop();
	vdev_queue_info(vdev, 0, &info);
	ck_assert_uint_eq(info.inflight_cnt, 0);
	ck_assert_uint_eq(info.stats.errors[BDEV_READ], 3);
	/* The memory stays mapped. */
	ck_assert_ptr_eq(fake_bdev_last_map(fake), map);
	ck_assert_int_eq(vdev_start(vdev, conf), -ESHUTDOWN);
}
END_TEST

START_TEST(draining_ends_when_requests_are_given_up)
{
	struct ring_blk_req held = submit(0);

	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(vdev_start(vdev, conf), 0);
	ck_assert(fake_bdev_wait_submitted(fake, 1, PATIENCE_MS));
	vdev_stop(vdev);
	gave_up = true;
	vdev_give_up(vdev);
	pump_until(&stopped_cnt, 1);
	wait_status(0, &held, VIRTIO_BLK_S_IOERR);
}
END_TEST

static TCase *new_case(const char *name, void (*set_up)(void))
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, set_up, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, started_queue_looks_at_its_ring_without_a_kick);
	tcase_add_test(tc, kicks_without_a_request_are_harmless);
	tcase_add_test(tc, start_is_for_the_stopped_only);
	tcase_add_test(tc, stop_is_heard_of_even_without_a_queue_in_use);
	tcase_add_test(tc, draining_queue_takes_nothing_and_publishes_what_ends);
	tcase_add_test(tc, requests_come_in_while_others_are_in_flight);
	tcase_add_test(tc, kicks_of_a_descriptor_of_the_drivers_are_heard);
	tcase_add_test(tc, refused_ring_is_told_and_the_other_queue_works);
	tcase_add_test(tc, missing_memory_is_told_once_until_restarted);
	tcase_add_test(tc, broken_ring_is_told_once);
	tcase_add_test(tc, backend_that_makes_no_queue_fails_the_device);
	tcase_add_test(tc, queue_threads_batch_when_asked);
	tcase_add_loop_test(tc, inherited_real_time_is_kept_only_when_asked, 0, 2);
	tcase_add_test(tc, real_time_that_somebody_gives_is_left_alone);
	tcase_add_test(tc, one_request_after_the_other_is_no_batch);
	tcase_add_test(tc, nothing_new_begins_before_what_a_predecessor_left_has_ended);
	tcase_add_test(tc, queue_that_cannot_recover_holds_up_no_other);
	tcase_add_test(tc, stop_ends_the_wait_for_what_a_predecessor_left);
	tcase_add_test(tc, given_up_requests_fail_and_so_do_later_ones);
	tcase_add_test(tc, draining_ends_when_requests_are_given_up);
	tcase_add_test(tc, stuck_request_is_told_once_and_named_and_so_is_its_end);
	tcase_add_test(tc, queue_that_drains_tells_what_it_waits_for);
	tcase_add_test(tc, starts_and_stops_under_load_with_a_watcher);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("vdev");

	suite_add_tcase(s, new_case("sleeping", setup));
	suite_add_tcase(s, new_case("adaptive", setup_adaptive));
	suite_add_tcase(s, new_case("polling", setup_polling));
	return run_suite(s);
}
