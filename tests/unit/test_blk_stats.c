/* SPDX-License-Identifier: MIT */
/* What a queue counts, with the clock in the test's hand. */
#include <check.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fake_bdev.h"
#include "ring_builder.h"
#include "run_suite.h"
#include "vblk/blk/blk_queue.h"

#define RING_SIZE 64
#define IOVA_BASE 0x10000
#define MEM_BYTES (1u << 20)

static struct ring *ring;
static struct memmap *map;
static struct fake_bdev *fake;
static struct blk_params params;
static struct blk_queue *q;
/* What clock_gettime() says, and how often it was asked. */
static uint64_t now_ns;
static unsigned int clock_cnt;

int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	clock_cnt++;
	*ts = (struct timespec){ .tv_sec = (time_t)(now_ns / 1000000000),
				 .tv_nsec = (long)(now_ns % 1000000000) };
	return 0;
}

static void setup(void)
{
	struct memmap_region region = { .perm = MEMMAP_READ | MEMMAP_WRITE,
					.fd = -1,
					.iova = IOVA_BASE };
	struct vq_config cfg = { .size = RING_SIZE };

	now_ns = 1000000;
	fake = fake_bdev_new(NULL);
	blk_params_init(&params, &fake_bdev_get(fake)->limits, 1, RING_SIZE, "SERIAL");
	ring = ring_new(RING_SIZE, MEM_BYTES, IOVA_BASE);
	region.len_bytes = ring->mem_bytes;
	region.va = ring->mem;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
	ck_assert_int_eq(blk_queue_new(&params, fake_bdev_get(fake), NULL, &q), 0);
	cfg.desc = ring->desc;
	cfg.avail = ring->avail;
	cfg.used = ring->used;
	ck_assert_int_eq(vq_start(blk_queue_vq(q), &cfg), 0);
	blk_queue_set_map(q, map);
}

static void teardown(void)
{
	ck_assert_uint_eq(blk_queue_inflight_cnt(q), 0);
	vq_stop(blk_queue_vq(q));
	blk_queue_free(q);
	fake_bdev_free(fake);
	memmap_unref(map);
	ring_free(ring);
}

static void submit(uint32_t type, uint64_t sector, uint32_t data_bytes)
{
	struct ring_blk_spec spec = {
		.type = type,
		.sector = sector,
		.from_driver = type != VIRTIO_BLK_T_IN && type != VIRTIO_BLK_T_GET_ID,
		.seg_cnt = data_bytes ? 1 : 0,
		.seg_bytes = { data_bytes },
	};
	struct ring_blk_req req;

	ring_blk_submit(ring, &spec, &req);
}

static const struct stats_queue *stats(void)
{
	return blk_queue_stats(q);
}

START_TEST(latency_is_from_the_turn_that_took_to_the_publication)
{
	submit(VIRTIO_BLK_T_IN, 0, 512);
	submit(VIRTIO_BLK_T_IN, 1, 512);
	submit(VIRTIO_BLK_T_OUT, 8, 4096);
	ck_assert_int_eq(blk_queue_take(q), 3);
	now_ns += 4000;
	submit(VIRTIO_BLK_T_FLUSH, 0, 0);
	ck_assert_int_eq(blk_queue_take(q), 1);
	(void)blk_queue_publish(q);
	ck_assert_uint_eq(stats()->requests[BDEV_READ], 0);
	ck_assert_uint_eq(stats()->batches, 0);

	now_ns += 1000;
	fake_bdev_complete(fake, 1, 0);
	fake_bdev_complete(fake, 3, 0);
	fake_bdev_complete(fake, 0, 0);
	now_ns += 1000;
	(void)blk_queue_publish(q);
	ck_assert_uint_eq(stats()->requests[BDEV_READ], 2);
	ck_assert_uint_eq(stats()->latency[BDEV_READ][stats_bucket(6000)], 2);
	ck_assert_uint_eq(stats()->latency_sum_ns[BDEV_READ], 12000);
	ck_assert_uint_eq(stats()->latency[BDEV_FLUSH][stats_bucket(2000)], 1);
	ck_assert_uint_eq(stats()->requests[BDEV_WRITE], 0);
	ck_assert_uint_eq(stats()->batches, 1);

	now_ns += 100000000000;
	fake_bdev_complete(fake, 2, -EIO);
	(void)blk_queue_publish(q);
	ck_assert_uint_eq(stats()->requests[BDEV_WRITE], 1);
	ck_assert_uint_eq(stats()->errors[BDEV_WRITE], 1);
	ck_assert_uint_eq(stats()->bytes[BDEV_WRITE], 0);
	ck_assert_uint_eq(stats()->bytes[BDEV_READ], 1024);
	ck_assert_uint_eq(stats()->latency[BDEV_WRITE][STATS_BUCKET_CNT - 1], 1);
	ck_assert_uint_eq(stats()->batches, 2);
	ck_assert_uint_eq(stats()->inline_ends, 0);
	ck_assert_uint_eq(stats()->inflight_max, 4);
}
END_TEST

START_TEST(a_batch_costs_two_readings_of_the_clock)
{
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	for (unsigned int i = 0; i < 4; i++)
		submit(i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, i, 512);
	clock_cnt = 0;
	ck_assert_int_eq(blk_queue_take(q), 4);
	(void)blk_queue_publish(q);
	ck_assert_uint_eq(clock_cnt, 2);
	ck_assert_uint_eq(stats()->requests[BDEV_READ], 2);
	ck_assert_uint_eq(stats()->requests[BDEV_WRITE], 2);
	ck_assert_uint_eq(stats()->inline_ends, 4);
	ck_assert_uint_eq(stats()->inflight_max, 4);
	ck_assert_uint_eq(stats()->batches, 1);
	/* A turn without anything does not look at it. */
	ck_assert_int_eq(blk_queue_take(q), 0);
	(void)blk_queue_publish(q);
	ck_assert_uint_eq(clock_cnt, 2);
}
END_TEST

START_TEST(what_needs_no_backend_is_counted_apart)
{
	submit(VIRTIO_BLK_T_GET_ID, 0, 20);
	submit(VIRTIO_BLK_T_GET_ID, 0, 20);
	submit(0x77, 0, 0);
	ck_assert_int_eq(blk_queue_take(q), 3);
	(void)blk_queue_publish(q);
	ck_assert_uint_eq(stats()->get_ids, 2);
	ck_assert_uint_eq(stats()->other_requests, 1);
	ck_assert_uint_eq(stats()->batches, 1);
	for (unsigned int op = 0; op < STATS_OP_CNT; op++)
		ck_assert_uint_eq(stats()->requests[op], 0);
}
END_TEST

START_TEST(counting_goes_on_in_memory_of_a_predecessor)
{
	static struct stats_queue mine;

	mine.requests[BDEV_READ] = 41;
	mine.inflight_max = 3;
	blk_queue_use_stats(q, &mine);
	submit(VIRTIO_BLK_T_IN, 0, 512);
	ck_assert_int_eq(blk_queue_take(q), 1);
	fake_bdev_complete(fake, 0, 0);
	(void)blk_queue_publish(q);
	ck_assert_uint_eq(mine.requests[BDEV_READ], 42);
	ck_assert_uint_eq(mine.bytes[BDEV_READ], 512);
	ck_assert_uint_eq(mine.inflight_max, 3);
}
END_TEST

static void submit_reads(unsigned int cnt, uint32_t data_bytes)
{
	ring_alloc_reset(ring);
	memset(ring->desc_busy, 0, RING_SIZE * sizeof(ring->desc_busy[0]));
	for (unsigned int i = 0; i < cnt; i++)
		submit(VIRTIO_BLK_T_IN, 0, data_bytes);
}

/* Batches that it takes to get @cnt requests of @data_bytes through. */
static uint64_t batches_of(unsigned int cnt, uint32_t data_bytes)
{
	uint64_t before = stats()->batches;

	submit_reads(cnt, data_bytes);
	while (blk_queue_take(q) > 0)
		(void)blk_queue_publish(q);
	ck_assert_uint_eq(ring_reap(ring), cnt);
	return stats()->batches - before;
}

START_TEST(eager_queue_shows_parts_of_what_has_completed_inside)
{
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	ck_assert_uint_eq(batches_of(BLK_QUEUE_EAGER_MAX + 1, 512), 1);
	blk_queue_set_eager(q, true);
	ck_assert_uint_eq(batches_of(BLK_QUEUE_EAGER_MAX, 512), 1);
	ck_assert_uint_eq(batches_of(BLK_QUEUE_EAGER_MAX + 1, 512), 2);
	ck_assert_uint_eq(batches_of(2, BLK_QUEUE_EAGER_BYTES / 2), 1);
	ck_assert_uint_eq(batches_of(3, BLK_QUEUE_EAGER_BYTES / 2), 2);

	/* What is under way is nothing to show. */
	fake_bdev_set_mode(fake, FAKE_BDEV_HELD);
	submit_reads(BLK_QUEUE_EAGER_MAX + 1, 512);
	ck_assert_int_eq(blk_queue_take(q), BLK_QUEUE_EAGER_MAX + 1);
	fake_bdev_complete_all(fake, 0);
}
END_TEST

int main(void)
{
	TCase *tc = tcase_create("stats");
	Suite *suite = suite_create("blk_stats");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, latency_is_from_the_turn_that_took_to_the_publication);
	tcase_add_test(tc, a_batch_costs_two_readings_of_the_clock);
	tcase_add_test(tc, what_needs_no_backend_is_counted_apart);
	tcase_add_test(tc, eager_queue_shows_parts_of_what_has_completed_inside);
	tcase_add_test(tc, counting_goes_on_in_memory_of_a_predecessor);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
