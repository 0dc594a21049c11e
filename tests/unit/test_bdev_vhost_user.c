/* SPDX-License-Identifier: MIT */
/* The backend that is another server, against one that dies, lies and is slow. */
#include "run_suite.h"
#include "vblk/bdev/bdev.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_vhu_bdev_rig.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vblk/vhu/vhu_wire.h"

#define BIT64(n) (1ull << (n))

/* ---- what it is ---- */

START_TEST(limits_are_the_servers)
{
	const struct bdev_limits *limits;

	fx.options.config.blk_size = htole32(4096);
	rig_start();
	limits = &fx.bdev->limits;
	ck_assert_uint_eq(limits->capacity_bytes, 1u << 20);
	ck_assert_uint_eq(limits->logical_block_bytes, 4096);
	ck_assert_uint_eq(limits->max_segs, 32);
	ck_assert_uint_eq(limits->max_discard_bytes, 65536);
	ck_assert_uint_eq(limits->discard_align_bytes, 4096);
	ck_assert_uint_eq(limits->max_write_zeroes_bytes, 32768);
	ck_assert_uint_eq(limits->max_secure_erase_bytes, 0);
	ck_assert(limits->write_zeroes_may_unmap && limits->volatile_cache && limits->remote);
	ck_assert(!limits->read_only);
}
END_TEST

START_TEST(read_only_server_is_a_read_only_disk)
{
	fx.options.features |= BIT64(VIRTIO_BLK_F_RO);
	rig_start();
	ck_assert(fx.bdev->limits.read_only);
	ck_assert_uint_eq(fx.bdev->limits.max_write_zeroes_bytes, 0);
	ck_assert_int_eq(rig_io(0, BDEV_WRITE, 0, 512), -EROFS);
	ck_assert_int_eq(rig_io(0, BDEV_READ, 0, 512), 0);
}
END_TEST

/* ---- requests ---- */

/* with and without: indirect descriptors, event index, acknowledgements, several queues */
static void lack(unsigned int i)
{
	if (i & 1)
		fx.options.no_features |= BIT64(VIRTIO_RING_F_INDIRECT_DESC);
	if (i & 2)
		fx.options.no_features |= BIT64(VIRTIO_RING_F_EVENT_IDX);
	if (i & 4)
		fx.options.no_protocol |=
			BIT64(VHU_PROTOCOL_F_REPLY_ACK) | BIT64(VHU_PROTOCOL_F_BACKEND_REQ);
}

/* The data is where the backend can neither read nor write. */
START_TEST(data_goes_past_this_process)
{
	lack((unsigned int)_i);
	rig_start();
	for (unsigned int i = 0; i < 20; i++)
		rig_check_write_read(i % QUEUES, i);
}
END_TEST

START_TEST(many_at_once_on_both_queues)
{
	lack((unsigned int)_i);
	rig_start();
	for (unsigned int round = 0; round < 10; round++) {
		fx_pattern(rig.data, DATA_BYTES, round);
		for (unsigned int i = 0; i < QUEUES * DEPTH; i++)
			rig_begin(i / DEPTH, i % DEPTH, BDEV_WRITE, i * 4096, 4096, i * 4096);
		for (unsigned int i = 0; i < QUEUES * DEPTH; i++)
			ck_assert_int_eq(rig_finish(&rig.ios[i / DEPTH][i % DEPTH]), 0);
		rig_check_disk(0, rig.data, QUEUES * DEPTH * 4096);
	}
}
END_TEST

START_TEST(buffers_are_cut_to_what_the_server_takes)
{
	struct test_io *tio;

	fx.options.features |= BIT64(VIRTIO_BLK_F_SIZE_MAX);
	fx.options.config.size_max = htole32(4096);
	rig_start();
	ck_assert_uint_eq(fx.bdev->limits.max_seg_bytes, 4096);
	fx_pattern(rig.data, 32768, 1);
	ck_assert_int_eq(rig_io(0, BDEV_WRITE, 0, 32768), 0);
	rig_check_disk(0, rig.data, 32768);
	/* More pieces than it takes. */
	ck_assert_int_eq(rig_io(0, BDEV_WRITE, 0, 33 * 4096), -EIO);
	/* Memory that it does not have. */
	tio = &rig.ios[1][0];
	*tio = (struct test_io){
		.io = { .op = BDEV_READ,
			.len_bytes = 512,
			.iov_cnt = 1,
			.iov = tio->iov,
			.done = rig_io_done },
		.iov = { { rig.data, 512 } },
	};
	bdev_submit(rig.bqs[1], &tio->io);
	ck_assert_int_eq(rig_finish(tio), -EIO);
	ck_assert_int_eq(rig_io(0, BDEV_READ, 0, 512), 0);
}
END_TEST

START_TEST(ranges_and_flushes)
{
	rig_start();
	rig_check_write_read(0, 3);
	ck_assert_int_eq(rig_io(0, BDEV_FLUSH, 0, 0), 0);
	ck_assert_int_eq(rig_io(0, BDEV_DISCARD, 4096, 4096), 0);
	ck_assert_uint_eq(rig_disk_byte(4096), 0xdd);
	ck_assert_int_eq(rig_io(1, BDEV_WRITE_ZEROES, 4096, 2048), 0);
	ck_assert_uint_eq(rig_disk_byte(4096), 0);
	ck_assert_uint_eq(rig_disk_byte(4096 + 2048), 0xdd);
	ck_assert_int_eq(rig_io(1, BDEV_SECURE_ERASE, 4096, 2048), -EOPNOTSUPP);
	ck_assert_int_eq(rig_io(1, BDEV_WRITE_ZEROES, 0, 65536), -EINVAL);
}
END_TEST

START_TEST(every_write_is_flushed_where_that_was_asked_for)
{
	struct fake_vhu_req log[FAKE_VHU_LOG_MAX];

	fx.params.writethrough = true;
	rig_start();
	ck_assert(!fx.bdev->limits.volatile_cache);
	ck_assert_int_eq(rig_io(0, BDEV_WRITE, 0, 512), 0);
	ck_assert_int_eq(rig_io(0, BDEV_READ, 0, 512), 0);
	ck_assert_int_eq(rig_io(0, BDEV_DISCARD, 0, 4096), 0);
	ck_assert_uint_eq(fake_vhu_log(fx.srv, log), 5);
	ck_assert_uint_eq(log[0].type, VIRTIO_BLK_T_OUT);
	ck_assert_uint_eq(log[1].type, VIRTIO_BLK_T_FLUSH);
	ck_assert_uint_eq(log[2].type, VIRTIO_BLK_T_IN);
	ck_assert_uint_eq(log[3].type, VIRTIO_BLK_T_DISCARD);
	ck_assert_uint_eq(log[4].type, VIRTIO_BLK_T_FLUSH);
}
END_TEST

/* ---- servers that go ---- */

static const enum fake_vhu_fault ends[] = {
	FAKE_VHU_DIE_BEFORE,   FAKE_VHU_DIE_AFTER, FAKE_VHU_BAD_USED_ID,
	FAKE_VHU_BAD_USED_IDX, FAKE_VHU_UNASKED,
};

START_TEST(a_lost_connection_loses_no_request)
{
	lack((unsigned int)_i / ARRAY_SIZE(ends));
	rig_start();
	rig_check_write_read(0, 1);
	for (unsigned int round = 0; round < 5; round++) {
		unsigned int before = fake_vhu_connections(fx.srv);

		fx_pattern(rig.data, DATA_BYTES, round + 7);
		fake_vhu_inject(fx.srv, ends[(unsigned int)_i % ARRAY_SIZE(ends)]);
		for (unsigned int i = 0; i < QUEUES * DEPTH; i++)
			rig_begin(i / DEPTH, i % DEPTH, BDEV_WRITE, i * 4096, 4096, i * 4096);
		for (unsigned int i = 0; i < QUEUES * DEPTH; i++)
			ck_assert_int_eq(rig_finish(&rig.ios[i / DEPTH][i % DEPTH]), 0);
		rig_check_disk(0, rig.data, QUEUES * DEPTH * 4096);
		while (fake_vhu_connections(fx.srv) == before)
			rig_run();
	}
	rig_check_write_read(1, 2);
}
END_TEST

START_TEST(without_a_server_requests_wait)
{
	uint8_t pattern[DEPTH * 512];

	rig_start();
	rig_check_write_read(0, 1);
	stop_server();
	for (unsigned int i = 0; i < DEPTH; i++)
		rig_begin(0, i, BDEV_READ, i * 512, 512, i * 512);
	rig_begin(1, 0, BDEV_FLUSH, 0, 0, 0);
	rig_commit();
	rig_run_a_while();
	for (unsigned int i = 0; i < DEPTH; i++)
		ck_assert_int_eq(rig.ios[0][i].done_cnt, 0);
	start_server();
	fx_pattern(pattern, sizeof(pattern), 5);
	fake_vhu_poke(fx.srv, 0, pattern, sizeof(pattern));
	for (unsigned int i = 0; i < DEPTH; i++)
		ck_assert_int_eq(rig_finish(&rig.ios[0][i]), 0);
	ck_assert_int_eq(rig_finish(&rig.ios[1][0]), 0);
	rig_check_disk(0, rig.data, DEPTH * 512);
}
END_TEST

/* What the old server may have done comes first, in its order, and ends before anything new. */
START_TEST(old_requests_end_before_new_ones_begin)
{
	struct fake_vhu_req log[FAKE_VHU_LOG_MAX];
	struct test_io *fresh[2];
	unsigned int cnt;

	rig_start();
	rig_check_write_read(0, 1);
	rig_check_write_read(1, 1);
	fake_vhu_hold(fx.srv, true);
	for (unsigned int i = 0; i < 8; i++)
		rig_begin(0, i, BDEV_WRITE, i * 512, 512, 0);
	rig_commit();
	stop_server();
	fresh[0] = rig_begin(1, 1, BDEV_WRITE, 100 * 512, 512, 0);
	fresh[1] = rig_begin(0, 9, BDEV_WRITE, 101 * 512, 512, 0);
	rig_commit();
	start_server();
	fake_vhu_hold(fx.srv, true);
	rig_run_a_while();
	ck_assert_int_eq(fresh[0]->done_cnt + fresh[1]->done_cnt, 0);
	fake_vhu_hold(fx.srv, false);
	ck_assert_int_eq(rig_finish(fresh[0]), 0);
	ck_assert_int_eq(rig_finish(fresh[1]), 0);
	cnt = fake_vhu_log(fx.srv, log);
	ck_assert_uint_eq(cnt, 10);
	for (unsigned int i = 0; i < 8; i++)
		ck_assert_uint_eq(log[i].sector, i);
	ck_assert_uint_ge(log[8].sector, 100);
	ck_assert_uint_ge(log[9].sector, 100);
}
END_TEST

/* An idle queue does not hold up the others, nor is it held up. */
START_TEST(lost_again_and_again_under_load)
{
	unsigned int done = 0, fault_at = 0, restart_at = 50;
	bool used[QUEUES][DEPTH] = { { false } };
	unsigned int seed = 1;

	rig_start();
	while (done < 600) {
		for (unsigned int i = 0; i < 6; i++) {
			unsigned int queue = (unsigned int)rand_r(&seed) % QUEUES;
			unsigned int slot = (unsigned int)rand_r(&seed) % DEPTH;

			if (used[queue][slot])
				continue;
			used[queue][slot] = true;
			rig_begin(queue, slot, BDEV_WRITE, (queue * DEPTH + slot) * 512, 512,
				  slot * 512);
		}
		rig_commit();
		for (unsigned int i = 0; i < QUEUES; i++)
			ck_assert_int_ge(loop_poll(&rig.loops[i]), 0);
		for (unsigned int q = 0; q < QUEUES; q++)
			for (unsigned int s = 0; s < DEPTH; s++)
				if (used[q][s] && rig.ios[q][s].done_cnt) {
					ck_assert_int_eq(rig.ios[q][s].done_cnt, 1);
					ck_assert_int_eq(rig.ios[q][s].result, 0);
					used[q][s] = false;
					done++;
				}
		/* Counted in requests: on a slow machine there is no time to come back from one. */
		if (done >= fault_at) {
			fake_vhu_inject(fx.srv,
					ends[(unsigned int)rand_r(&seed) % ARRAY_SIZE(ends)]);
			fault_at = done + (unsigned int)rand_r(&seed) % 20;
		}
		if (done >= restart_at) {
			stop_server();
			start_server();
			restart_at = done + 50;
		}
		rig_nap();
	}
	fake_vhu_inject(fx.srv, FAKE_VHU_FINE);
	for (unsigned int q = 0; q < QUEUES; q++)
		for (unsigned int s = 0; s < DEPTH; s++)
			if (used[q][s])
				ck_assert_int_eq(rig_finish(&rig.ios[q][s]), 0);
}
END_TEST

START_TEST(another_disk_in_its_place_is_not_taken)
{
	rig_start();
	rig_check_write_read(0, 1);
	stop_server();
	fx.options.config.blk_size = htole32(4096);
	start_server();
	rig_begin(0, 0, BDEV_READ, 0, 512, 0);
	rig_commit();
	rig_run_a_while();
	ck_assert_int_eq(rig.ios[0][0].done_cnt, 0);
	stop_server();
	fake_vhu_usual(&fx.options);
	start_server();
	ck_assert_int_eq(rig_finish(&rig.ios[0][0]), 0);
}
END_TEST

/* A write-through disk stays one when its server comes back with a cache. */
START_TEST(server_that_gets_a_cache_is_flushed)
{
	struct fake_vhu_req log[FAKE_VHU_LOG_MAX];

	fx.options.no_features = BIT64(VIRTIO_BLK_F_FLUSH);
	rig_start();
	ck_assert(!fx.bdev->limits.volatile_cache);
	rig_check_write_read(0, 1);
	ck_assert_int_eq(rig_io(0, BDEV_FLUSH, 0, 0), 0);
	stop_server();
	fx.options.no_features = 0;
	start_server();
	ck_assert_int_eq(rig_io(0, BDEV_WRITE, 0, 512), 0);
	ck_assert_uint_eq(fake_vhu_log(fx.srv, log), 2);
	ck_assert_uint_eq(log[1].type, VIRTIO_BLK_T_FLUSH);
}
END_TEST

/* ---- the driver's memory, and sizes ---- */

START_TEST(memory_goes_when_the_driver_takes_it)
{
	rig_start();
	for (unsigned int round = 0; round < 5; round++) {
		rig_check_write_read(0, round);
		rig_check_write_read(1, round);
		ck_assert_uint_eq(fake_vhu_running(fx.srv), 2);
		ck_assert_uint_gt(fake_vhu_mapped_bytes(fx.srv), DATA_BYTES);
		for (unsigned int i = 0; i < QUEUES; i++)
			bdev_map_changed(rig.bqs[i], NULL);
		/* What remains is smaller than the driver's memory. */
		while (fake_vhu_running(fx.srv) || fake_vhu_mapped_bytes(fx.srv) >= DATA_BYTES)
			rig_nap();
		for (unsigned int i = 0; i < QUEUES; i++)
			bdev_map_changed(rig.bqs[i], rig.map);
	}
	ck_assert_uint_eq(fake_vhu_connections(fx.srv), 2);
}
END_TEST

START_TEST(memory_that_is_refused_is_offered_again)
{
	start_server();
	fake_vhu_inject(fx.srv, FAKE_VHU_REFUSE_MEMORY);
	stop_server();
	rig_start();
	rig_check_write_read(0, 1);
	fake_vhu_inject(fx.srv, FAKE_VHU_REFUSE_MEMORY);
	for (unsigned int i = 0; i < QUEUES; i++)
		bdev_map_changed(rig.bqs[i], NULL);
	for (unsigned int i = 0; i < QUEUES; i++)
		bdev_map_changed(rig.bqs[i], rig.map);
	rig_check_write_read(1, 2);
}
END_TEST

/* Connected to again and again, less and less often. */
START_TEST(server_that_is_of_no_use_is_left_in_peace)
{
	uint64_t begun_ns;

	fx.options.no_memory = true;
	rig_start();
	rig_begin(0, 0, BDEV_WRITE, 0, 512, 0);
	rig_commit();
	/* One to learn what it is. */
	while (fake_vhu_connections(fx.srv) < 2)
		rig_run();
	begun_ns = clock_now_ns();
	while (fake_vhu_connections(fx.srv) < 7)
		rig_run();
	/* Not so from the first on, which may have been some time ago. */
	ck_assert_uint_ge(clock_now_ns() - begun_ns, (20 + 40 + 80 + 160) * NSEC_PER_MSEC);
	ck_assert_int_eq(rig.ios[0][0].done_cnt, 0);
	stop_server();
	fx.options.no_memory = false;
	start_server();
	ck_assert_int_eq(rig_finish(&rig.ios[0][0]), 0);
}
END_TEST

START_TEST(silent_server_does_not_hold_up_the_end)
{
	uint64_t begun_ns = clock_now_ns();

	rig_start();
	rig_check_write_read(0, 1);
	fake_vhu_inject(fx.srv, FAKE_VHU_SILENT);
	for (unsigned int i = 0; i < QUEUES; i++) {
		/* Its thread waits for an answer from now on. */
		bdev_map_changed(rig.bqs[i], NULL);
		rig_nap();
	}
	for (unsigned int i = 0; i < QUEUES; i++) {
		bdev_queue_free(rig.bqs[i]);
		loop_fini(&rig.loops[i]);
		rig.bqs[i] = NULL;
	}
	ck_assert_uint_lt(clock_now_ns() - begun_ns, 20 * NSEC_PER_SEC);
}
END_TEST

/* News that cannot be, and what is no message at all. */
START_TEST(bad_news_cost_the_connection)
{
	unsigned int before;

	rig_start();
	rig_check_write_read(0, 1);
	before = fake_vhu_connections(fx.srv);
	if (_i)
		fake_vhu_inject(fx.srv, FAKE_VHU_BAD_NEWS);
	else
		fake_vhu_resize(fx.srv, 0);
	while (fake_vhu_connections(fx.srv) == before)
		rig_nap();
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 1u << 20);
	if (!_i)
		fake_vhu_resize(fx.srv, 2048);
	rig_check_write_read(1, 2);
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 1u << 20);
}
END_TEST

START_TEST(goes_on_in_another_program)
{
	struct bdev_handover handover;
	struct bdev *next;
	int fds[3];

	rig_start();
	rig_check_write_read(0, 1);
	ck_assert_int_eq(bdev_hand_over(fx.bdev, &handover), 0);
	ck_assert_uint_eq(handover.fd_cnt, ARRAY_SIZE(fds));
	for (unsigned int i = 0; i < QUEUES; i++) {
		bdev_map_changed(rig.bqs[i], NULL);
		bdev_queue_free(rig.bqs[i]);
	}
	/* Told while nobody hears. */
	fake_vhu_resize(fx.srv, 4096);
	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = handover.fds[i] = dup(handover.fds[i]);
	ck_assert_int_eq(bdev_take_over(&fx.params, &handover, &next), 0);
	bdev_close(fx.bdev);
	fx.bdev = next;
	ck_assert_int_ge(fds[0], 0);
	for (unsigned int i = 0; i < QUEUES; i++) {
		ck_assert_int_eq(bdev_queue_new(next, &rig.loops[i], DEPTH, &rig.bqs[i]), 0);
		bdev_map_changed(rig.bqs[i], rig.map);
	}
	rig_check_write_read(1, 2);
	ck_assert(rig_was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 2u << 20);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("bdev_vhost_user");
	TCase *tc = tcase_create("bdev_vhost_user");

	tcase_add_checked_fixture(tc, rig_setup, rig_teardown);
	tcase_add_test(tc, limits_are_the_servers);
	tcase_add_test(tc, read_only_server_is_a_read_only_disk);
	tcase_add_loop_test(tc, data_goes_past_this_process, 0, 8);
	tcase_add_loop_test(tc, many_at_once_on_both_queues, 0, 8);
	tcase_add_test(tc, buffers_are_cut_to_what_the_server_takes);
	tcase_add_test(tc, ranges_and_flushes);
	tcase_add_test(tc, every_write_is_flushed_where_that_was_asked_for);
	tcase_add_loop_test(tc, a_lost_connection_loses_no_request, 0, 4 * ARRAY_SIZE(ends));
	tcase_add_test(tc, without_a_server_requests_wait);
	tcase_add_test(tc, old_requests_end_before_new_ones_begin);
	tcase_add_test(tc, lost_again_and_again_under_load);
	tcase_add_test(tc, another_disk_in_its_place_is_not_taken);
	tcase_add_test(tc, server_that_gets_a_cache_is_flushed);
	tcase_add_test(tc, memory_goes_when_the_driver_takes_it);
	tcase_add_test(tc, memory_that_is_refused_is_offered_again);
	tcase_add_test(tc, server_that_is_of_no_use_is_left_in_peace);
	tcase_add_test(tc, silent_server_does_not_hold_up_the_end);
	tcase_add_loop_test(tc, bad_news_cost_the_connection, 0, 2);
	tcase_add_test(tc, goes_on_in_another_program);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	fx_skip_without_uring();
	return run_suite(suite());
}
