/* SPDX-License-Identifier: MIT */
/* What other threads see of the requests that a queue holds. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fake_bdev.h"
#include "ring_builder.h"
#include "run_suite.h"
#include "vblk/blk/blk_queue.h"
#include "vblk/util/clock.h"

#define RING_SIZE 64
#define IOVA_BASE 0x10000
#define MEM_BYTES (1u << 20)

/* A driver, a queue without a loop, and a backend in the test's hand. */
static struct ring *ring;
static struct memmap *map;
static struct fake_bdev *fake;
static struct blk_params params;
static struct blk_queue *q;

static void setup_ring(uint16_t size)
{
	struct memmap_region region = { .perm = MEMMAP_READ | MEMMAP_WRITE,
					.fd = -1,
					.iova = IOVA_BASE };
	struct vq_config cfg = { .size = size };

	fake = fake_bdev_new(NULL);
	blk_params_init(&params, &fake_bdev_get(fake)->limits, 1, size, "");
	ring = ring_new(size, MEM_BYTES, IOVA_BASE);
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

static void setup(void)
{
	setup_ring(RING_SIZE);
}

/* One request at a time, always in the same few slots. */
static void setup_small(void)
{
	setup_ring(4);
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

/* @cnt ranges: range i begins at sector 100 i and has i + 1 sectors. */
static void submit_discard(unsigned int cnt)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_DISCARD,
		.from_driver = true,
		.seg_cnt = 1,
		.seg_bytes = { cnt * (uint32_t)sizeof(struct virtio_blk_discard_write_zeroes) },
	};
	struct virtio_blk_discard_write_zeroes wire = { .flags = 0 };
	struct ring_blk_req req;

	ring_blk_build(ring, &spec, &req);
	for (unsigned int i = 0; i < cnt; i++) {
		wire.sector = htole64(100 * i);
		wire.num_sectors = htole32(i + 1);
		memcpy(req.data[0] + i * sizeof(wire), &wire, sizeof(wire));
	}
	ring_publish(ring, req.head);
}

START_TEST(oldest_requests_come_first_and_all_are_counted)
{
	uint64_t began_ns = clock_now_ns(), middle_ns;
	struct blk_held held[3];
	unsigned int total;

	ck_assert_uint_eq(blk_queue_oldest(q, UINT64_MAX, held, 3, &total), 0);
	ck_assert_uint_eq(total, 0);
	(void)submit(VIRTIO_BLK_T_OUT, 16, 1024);
	ck_assert_int_eq(blk_queue_take(q), 1);
	middle_ns = clock_now_ns();
	for (unsigned int i = 0; i < 4; i++) {
		(void)submit(i == 2 ? VIRTIO_BLK_T_FLUSH : VIRTIO_BLK_T_IN, i, i == 2 ? 0 : 512);
		ck_assert_int_eq(blk_queue_take(q), 1);
	}
	/* One that is answered at once is nobody's to wait for. */
	(void)submit(VIRTIO_BLK_T_GET_ID, 0, 20);
	ck_assert_int_eq(blk_queue_take(q), 1);

	ck_assert_uint_eq(blk_queue_oldest(q, UINT64_MAX, held, 3, &total), 3);
	ck_assert_uint_eq(total, 5);
	ck_assert_int_eq(held[0].op, BDEV_WRITE);
	ck_assert_uint_eq(held[0].offset_bytes, 16 * 512);
	ck_assert_uint_eq(held[0].len_bytes, 1024);
	ck_assert(held[0].taken_ns >= began_ns && held[0].taken_ns <= middle_ns);
	for (unsigned int i = 1; i < 3; i++) {
		ck_assert_uint_eq(held[i].offset_bytes, (i - 1) * 512);
		ck_assert_uint_ge(held[i].taken_ns, held[i - 1].taken_ns);
	}
	ck_assert_uint_eq(blk_queue_oldest(q, middle_ns, held, 3, &total), 1);
	ck_assert_uint_eq(total, 1);

	fake_bdev_complete(fake, 0, 0);
	ck_assert_uint_eq(blk_queue_oldest(q, middle_ns, NULL, 0, &total), 0);
	ck_assert_uint_eq(total, 0);
	ck_assert_uint_eq(blk_queue_oldest(q, UINT64_MAX, NULL, 0, &total), 0);
	ck_assert_uint_eq(total, 4);
	(void)fake_bdev_complete_all(fake, 0);
	blk_queue_publish(q);
}
END_TEST

START_TEST(request_of_many_ranges_keeps_its_age)
{
	struct blk_held first, later;
	unsigned int total;

	(void)submit_discard(3);
	ck_assert_int_eq(blk_queue_take(q), 1);
	ck_assert_uint_eq(blk_queue_oldest(q, UINT64_MAX, &first, 1, &total), 1);
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_uint_eq(blk_queue_oldest(q, UINT64_MAX, &later, 1, &total), 1);
		ck_assert_uint_eq(later.offset_bytes, 51200 * i);
		ck_assert_uint_eq(later.taken_ns, first.taken_ns);
		fake_bdev_complete(fake, i, 0);
		blk_queue_publish(q);
	}
	ck_assert_uint_eq(blk_queue_oldest(q, UINT64_MAX, &later, 1, &total), 0);
}
END_TEST

static unsigned int seen_cnt, mixed_cnt;

/* Counts: an assertion writes to a file each time, which leaves no time to look. */
static void *watch_slots(void *arg)
{
	bool *end = arg;
	struct blk_held held[4];

	while (!__atomic_load_n(end, __ATOMIC_RELAXED)) {
		unsigned int total, cnt = blk_queue_oldest(q, UINT64_MAX, held, 4, &total);

		for (unsigned int i = 0; i < cnt; i++) {
			seen_cnt++;
			if (held[i].len_bytes != 512 * (held[i].offset_bytes / 51200 + 1))
				mixed_cnt++;
		}
	}
	return NULL;
}

/* One range follows the other in the same slot without a pause: the best chance to see both. */
START_TEST(other_threads_never_see_a_mixture_of_two_ranges)
{
	bool end = false;
	pthread_t watcher;

	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	ck_assert_int_eq(pthread_create(&watcher, NULL, watch_slots, &end), 0);
	for (unsigned int round = 0; round < 10000; round++) {
		submit_discard(BLK_RANGES_MAX);
		(void)!blk_queue_take(q);
		(void)blk_queue_publish(q);
		(void)ring_reap(ring);
		ring_alloc_reset(ring);
		memset(ring->desc_busy, 0, ring->size * sizeof(*ring->desc_busy));
	}
	__atomic_store_n(&end, true, __ATOMIC_RELAXED);
	pthread_join(watcher, NULL);
	ck_assert_uint_gt(seen_cnt, 0);
	ck_assert_uint_eq(mixed_cnt, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blk_held");
	TCase *held = tcase_create("held"), *race = tcase_create("race");

	tcase_add_checked_fixture(held, setup, teardown);
	tcase_add_test(held, oldest_requests_come_first_and_all_are_counted);
	tcase_add_test(held, request_of_many_ranges_keeps_its_age);
	suite_add_tcase(suite, held);

	tcase_add_checked_fixture(race, setup_small, teardown);
	tcase_add_test(race, other_threads_never_see_a_mixture_of_two_ranges);
	suite_add_tcase(suite, race);

	return run_suite(suite);
}
