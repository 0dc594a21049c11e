/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fake_bdev.h"
#include "ring_builder.h"
#include "run_suite.h"
#include "vblk/blk/blk_queue.h"

#define OK	  VIRTIO_BLK_S_OK
#define IOERR	  VIRTIO_BLK_S_IOERR
#define UNSUPP	  VIRTIO_BLK_S_UNSUPP
#define RING_SIZE 128
#define IOVA_BASE 0x10000
#define MEM_BYTES (4u << 20)

/* A driver, a queue without a loop, and a backend in the test's hand. */
static struct ring *ring;
static struct memmap *map;
static struct fake_bdev *fake;
static struct blk_params params;
static struct blk_queue *q;

static void start_ring(struct vq_inflight *inflight, bool recover)
{
	struct vq_config cfg = {
		.size = ring->size,
		.desc = ring->desc,
		.avail = ring->avail,
		.used = ring->used,
		.indirect = true,
		.inflight = inflight,
		.recover = recover,
	};

	ck_assert_int_eq(vq_start(blk_queue_vq(q), &cfg), 0);
	blk_queue_set_map(q, map);
}

static void new_ring(uint16_t size)
{
	struct memmap_region region = { .len_bytes = MEM_BYTES, .fd = -1, .iova = IOVA_BASE };

	ring = ring_new(size, MEM_BYTES, IOVA_BASE);
	region.len_bytes = ring->mem_bytes;
	region.va = ring->mem;
	region.perm = MEMMAP_READ | MEMMAP_WRITE;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
}

static void free_ring(void)
{
	memmap_unref(map);
	ring_free(ring);
}

static void setup(void)
{
	fake = fake_bdev_new(NULL);
	blk_params_init(&params, &fake_bdev_get(fake)->limits, 1, RING_SIZE, "SERIAL");
	new_ring(RING_SIZE);
	ck_assert_int_eq(blk_queue_new(&params, fake_bdev_get(fake), NULL, &q), 0);
	start_ring(NULL, false);
}

static void stop(void)
{
	ck_assert_uint_eq(blk_queue_inflight_cnt(q), 0);
	vq_stop(blk_queue_vq(q));
	blk_queue_set_map(q, NULL);
}

static void teardown(void)
{
	stop();
	blk_queue_free(q);
	fake_bdev_free(fake);
	free_ring();
}

static struct ring_blk_req submit(uint32_t type, uint64_t sector, uint32_t data_bytes)
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
	return req;
}

/* A DISCARD of @cnt ranges of one sector each: 0, 100, 200, ... */
static struct ring_blk_req submit_discard(unsigned int cnt)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_DISCARD,
		.from_driver = true,
		.seg_cnt = 1,
		.seg_bytes = { cnt * (uint32_t)sizeof(struct virtio_blk_discard_write_zeroes) },
	};
	struct virtio_blk_discard_write_zeroes wire;
	struct ring_blk_req req;

	ring_blk_build(ring, &spec, &req);
	for (unsigned int i = 0; i < cnt; i++) {
		wire.sector = htole64(100 * i);
		wire.num_sectors = htole32(1);
		wire.flags = 0;
		memcpy(req.data[0] + i * sizeof(wire), &wire, sizeof(wire));
	}
	ring_publish(ring, req.head);
	return req;
}

static void check_pending(const struct ring_blk_req *req)
{
	ring_reap(ring);
	ck_assert(!ring_blk_is_done(ring, req));
}

static void check_done(const struct ring_blk_req *req, uint8_t status, uint32_t written_bytes)
{
	ring_reap(ring);
	ck_assert(ring_blk_is_done(ring, req));
	ck_assert_uint_eq(*req->status, status);
	ck_assert_uint_eq(ring_blk_written_bytes(ring, req), written_bytes);
}

static struct stats_queue stats_now(void)
{
	struct stats_queue stats;

	stats_copy(blk_queue_stats(q), &stats);
	return stats;
}

START_TEST(read_brings_the_content)
{
	struct ring_blk_req req = submit(VIRTIO_BLK_T_IN, 3, 1024);

	memset(fake_bdev_content(fake) + 3 * 512, 0x5a, 1024);
	ck_assert_int_eq(blk_queue_take(q), 1);
	ck_assert_uint_eq(blk_queue_inflight_cnt(q), 1);
	ck_assert(!blk_queue_publish(q));
	check_pending(&req);

	fake_bdev_complete(fake, 0, 0);
	check_pending(&req); /* not before it is published */
	ck_assert(blk_queue_publish(q));
	check_done(&req, OK, 1025);
	for (unsigned int i = 0; i < 1024; i++)
		ck_assert_uint_eq(req.data[0][i], 0x5a);
}
END_TEST

START_TEST(write_reaches_the_backend)
{
	struct ring_blk_spec spec = { .type = VIRTIO_BLK_T_OUT,
				      .sector = 8,
				      .from_driver = true,
				      .seg_cnt = 2,
				      .seg_bytes = { 512, 1024 } };
	struct ring_blk_req req;

	ring_blk_build(ring, &spec, &req);
	memset(req.data[0], 1, 512);
	memset(req.data[1], 2, 1024);
	ring_publish(ring, req.head);
	ck_assert_int_eq(blk_queue_take(q), 1);
	ck_assert_int_eq(fake_bdev_record(fake, 0).op, BDEV_WRITE);
	ck_assert_uint_eq(fake_bdev_record(fake, 0).offset_bytes, 4096);
	ck_assert_uint_eq(fake_bdev_record(fake, 0).len_bytes, 1536);
	fake_bdev_complete(fake, 0, 0);
	blk_queue_publish(q);
	check_done(&req, OK, 1);
	ck_assert_uint_eq(fake_bdev_content(fake)[4096 + 511], 1);
	ck_assert_uint_eq(fake_bdev_content(fake)[4096 + 512], 2);
	ck_assert_uint_eq(fake_bdev_content(fake)[4096 + 1535], 2);
	ck_assert_uint_eq(fake_bdev_content(fake)[4096 + 1536], 0);
}
END_TEST

START_TEST(longest_indirect_request_passes)
{
	struct ring_blk_spec spec = { .type = VIRTIO_BLK_T_IN, .indirect = true };
	struct ring_blk_req req;

	spec.seg_cnt = params.seg_max;
	for (unsigned int i = 0; i < spec.seg_cnt; i++)
		spec.seg_bytes[i] = 512;
	ring_blk_submit(ring, &spec, &req);
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	ck_assert_int_eq(blk_queue_take(q), 1);
	ck_assert_uint_eq(fake_bdev_record(fake, 0).iov_cnt, params.seg_max);
	blk_queue_publish(q);
	check_done(&req, OK, params.seg_max * 512 + 1);
}
END_TEST

START_TEST(completions_out_of_order_go_to_their_requests)
{
	static const unsigned int order[] = { 2, 0, 3, 1 };
	struct ring_blk_req reqs[4];

	for (unsigned int i = 0; i < 4; i++) {
		fake_bdev_content(fake)[i * 512] = (uint8_t)(i + 1);
		reqs[i] = submit(VIRTIO_BLK_T_IN, i, 512);
	}
	ck_assert_int_eq(blk_queue_take(q), 4);
	for (unsigned int i = 0; i < 4; i++) {
		fake_bdev_complete(fake, order[i], 0);
		ck_assert(blk_queue_publish(q));
		check_done(&reqs[order[i]], OK, 513);
		ck_assert_uint_eq(reqs[order[i]].data[0][0], order[i] + 1);
		ck_assert_uint_eq(blk_queue_inflight_cnt(q), 3 - i);
	}
}
END_TEST

/* Expected status and written bytes of a READ of 512. */
static const struct {
	int result;
	uint8_t status;
	uint32_t written_bytes;
	unsigned int error_cnt;
} result_cases[] = {
	{ 0, OK, 513, 0 },
	{ -EIO, IOERR, 1, 1 },
	{ -ENOSPC, IOERR, 1, 1 },
	{ -EOPNOTSUPP, UNSUPP, 1, 0 },
};

START_TEST(results_reach_status_and_counters)
{
	struct ring_blk_req req = submit(VIRTIO_BLK_T_IN, 0, 512);
	struct stats_queue stats;

	ck_assert_int_eq(blk_queue_take(q), 1);
	fake_bdev_complete(fake, 0, result_cases[_i].result);
	blk_queue_publish(q);
	check_done(&req, result_cases[_i].status, result_cases[_i].written_bytes);
	stats = stats_now();
	ck_assert_uint_eq(stats.requests[BDEV_READ], 1);
	ck_assert_uint_eq(stats.errors[BDEV_READ], result_cases[_i].error_cnt);
	ck_assert_uint_eq(stats.bytes[BDEV_READ], result_cases[_i].result ? 0 : 512);
}
END_TEST

START_TEST(ranges_run_one_after_the_other)
{
	struct ring_blk_req req = submit_discard(3);

	ck_assert_int_eq(blk_queue_take(q), 1);
	for (unsigned int i = 0; i < 3; i++) {
		ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), i + 1);
		ck_assert_int_eq(fake_bdev_record(fake, i).op, BDEV_DISCARD);
		ck_assert_uint_eq(fake_bdev_record(fake, i).offset_bytes, 51200 * i);
		ck_assert_uint_eq(fake_bdev_record(fake, i).iov_cnt, 0);
		ck_assert_uint_eq(fake_bdev_commit_cnt(fake), i + 1);
		check_pending(&req);
		fake_bdev_complete(fake, i, 0);
		/* Also hands on the range that was submitted by the completion. */
		ck_assert(blk_queue_publish(q) == (i == 2));
	}
	check_done(&req, OK, 1);
	ck_assert_uint_eq(stats_now().requests[BDEV_DISCARD], 1);
	ck_assert_uint_eq(stats_now().bytes[BDEV_DISCARD], 3 * 512);
}
END_TEST

START_TEST(error_in_a_middle_range_ends_the_request)
{
	struct ring_blk_req req = submit_discard(3);

	ck_assert_int_eq(blk_queue_take(q), 1);
	fake_bdev_complete(fake, 0, 0);
	fake_bdev_complete(fake, 1, -EIO);
	blk_queue_publish(q);
	check_done(&req, IOERR, 1);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 2);
	ck_assert_uint_eq(stats_now().errors[BDEV_DISCARD], 1);
	ck_assert_uint_eq(stats_now().bytes[BDEV_DISCARD], 0);
}
END_TEST

START_TEST(most_ranges_with_a_backend_that_completes_at_once)
{
	struct ring_blk_req req = submit_discard(BLK_RANGES_MAX);

	fake_bdev_set_mode(fake, _i ? FAKE_BDEV_ON_COMMIT : FAKE_BDEV_SYNC);
	ck_assert_int_eq(blk_queue_take(q), 1);
	blk_queue_publish(q);
	check_done(&req, OK, 1);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), BLK_RANGES_MAX);
	for (unsigned int i = 0; i < BLK_RANGES_MAX; i++)
		ck_assert_uint_eq(fake_bdev_content(fake)[51200 * i], 0xdd);
}
END_TEST

START_TEST(write_through_flushes_before_it_completes)
{
	struct ring_blk_req req;

	blk_queue_set_write_through(q, true);
	req = submit(VIRTIO_BLK_T_OUT, 8, 512);
	ck_assert_int_eq(blk_queue_take(q), 1);
	fake_bdev_complete(fake, 0, 0);
	(void)blk_queue_publish(q);
	check_pending(&req);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 2);
	ck_assert_int_eq(fake_bdev_record(fake, 1).op, BDEV_FLUSH);
	fake_bdev_complete(fake, 1, 0);
	(void)blk_queue_publish(q);
	check_done(&req, OK, 1);
	ck_assert_uint_eq(stats_now().requests[BDEV_WRITE], 1);
	ck_assert_uint_eq(stats_now().requests[BDEV_FLUSH], 0);
}
END_TEST

START_TEST(write_through_flushes_once_after_all_ranges)
{
	struct ring_blk_req req;

	blk_queue_set_write_through(q, true);
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	req = submit_discard(3);
	ck_assert_int_eq(blk_queue_take(q), 1);
	(void)blk_queue_publish(q);
	check_done(&req, OK, 1);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 4);
	ck_assert_int_eq(fake_bdev_record(fake, 3).op, BDEV_FLUSH);
}
END_TEST

START_TEST(write_through_tells_errors_of_write_and_flush)
{
	struct ring_blk_req req;

	blk_queue_set_write_through(q, true);
	req = submit(VIRTIO_BLK_T_OUT, 8, 512);
	ck_assert_int_eq(blk_queue_take(q), 1);
	fake_bdev_complete(fake, 0, -EIO);
	(void)blk_queue_publish(q);
	check_done(&req, IOERR, 1);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 1);

	req = submit(VIRTIO_BLK_T_OUT, 8, 512);
	ck_assert_int_eq(blk_queue_take(q), 1);
	fake_bdev_complete(fake, 1, 0);
	(void)blk_queue_publish(q);
	fake_bdev_complete(fake, 2, -EIO);
	(void)blk_queue_publish(q);
	check_done(&req, IOERR, 1);
}
END_TEST

START_TEST(write_through_leaves_reads_and_durable_backends_alone)
{
	struct ring_blk_req req;

	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	blk_queue_set_write_through(q, true);
	req = submit(VIRTIO_BLK_T_IN, 8, 512);
	ck_assert_int_eq(blk_queue_take(q), 1);
	(void)blk_queue_publish(q);
	check_done(&req, OK, 513);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 1);

	params.limits.volatile_cache = false;
	blk_queue_set_write_through(q, true);
	(void)submit(VIRTIO_BLK_T_OUT, 8, 512);
	ck_assert_int_eq(blk_queue_take(q), 1);
	(void)blk_queue_publish(q);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 2);
}
END_TEST

START_TEST(write_through_meets_what_is_in_flight)
{
	struct ring_blk_req reqs[2];

	reqs[0] = submit(VIRTIO_BLK_T_OUT, 8, 512);
	reqs[1] = submit(VIRTIO_BLK_T_OUT, 16, 512);
	ck_assert_int_eq(blk_queue_take(q), 2);
	blk_queue_set_write_through(q, true);
	fake_bdev_complete(fake, 0, 0);
	blk_queue_set_write_through(q, false);
	fake_bdev_complete(fake, 1, 0);
	(void)blk_queue_publish(q);
	check_pending(&reqs[0]);
	check_done(&reqs[1], OK, 1);
	fake_bdev_complete(fake, 2, 0);
	(void)blk_queue_publish(q);
	check_done(&reqs[0], OK, 1);
}
END_TEST

START_TEST(slot_is_clean_after_a_request_of_many_ranges)
{
	struct ring_blk_req req = submit_discard(4), next;

	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	fake_bdev_fail_at(fake, 2, -EIO);
	ck_assert_int_eq(blk_queue_take(q), 1);
	blk_queue_publish(q);
	check_done(&req, IOERR, 1);
	ring_blk_put(ring, &req);

	next = submit_discard(2);
	ck_assert_uint_eq(next.head, req.head);
	ck_assert_int_eq(blk_queue_take(q), 1);
	blk_queue_publish(q);
	check_done(&next, OK, 1);
	ck_assert_uint_eq(fake_bdev_record(fake, 3).offset_bytes, 0);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 5);
}
END_TEST

/* What the core answers itself never reaches the backend. */
static const struct {
	uint32_t type;
	uint64_t sector;
	uint32_t data_bytes;
	uint8_t status;
	uint32_t written_bytes;
} reply_cases[] = {
	{ VIRTIO_BLK_T_GET_ID, 0, 20, OK, 21 },
	{ VIRTIO_BLK_T_IN, 1u << 20, 512, IOERR, 1 },
	{ VIRTIO_BLK_T_IN, 0, 100, IOERR, 1 },
	{ VIRTIO_BLK_T_OUT, 0, 0, IOERR, 1 },
	{ 99, 0, 512, UNSUPP, 1 },
};

START_TEST(replies_are_pushed_at_once)
{
	struct ring_blk_req req =
		submit(reply_cases[_i].type, reply_cases[_i].sector, reply_cases[_i].data_bytes);

	ck_assert_int_eq(blk_queue_take(q), 1);
	ck_assert_uint_eq(blk_queue_inflight_cnt(q), 0);
	ck_assert(blk_queue_publish(q));
	check_done(&req, reply_cases[_i].status, reply_cases[_i].written_bytes);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 0);
	ck_assert_uint_eq(fake_bdev_commit_cnt(fake), 0);
	ck_assert_uint_eq(stats_now().get_ids + stats_now().other_requests, 1);
}
END_TEST

START_TEST(chain_without_status_comes_back_with_nothing_written)
{
	void *hdr = ring_alloc(ring, 16, 16);
	uint16_t head = ring_desc_alloc(ring);

	ring_desc_set(ring, head, .addr = ring_iova(ring, hdr), .len = 16);
	ring_publish(ring, head);
	ck_assert_int_eq(blk_queue_take(q), 1);
	ck_assert(blk_queue_publish(q));
	ck_assert_uint_eq(ring_reap(ring), 1);
	ck_assert_uint_eq(ring->done_cnt[head], 1);
	ck_assert_uint_eq(ring->done_bytes[head], 0);
	ck_assert_uint_eq(stats_now().other_requests, 1);
}
END_TEST

START_TEST(batch_is_committed_once)
{
	for (unsigned int i = 0; i < 10; i++)
		(void)submit(VIRTIO_BLK_T_FLUSH, 0, 0);
	ck_assert_int_eq(blk_queue_take(q), 10);
	ck_assert_uint_eq(fake_bdev_commit_cnt(fake), 1);
	ck_assert_int_eq(blk_queue_take(q), 0);
	ck_assert_uint_eq(fake_bdev_commit_cnt(fake), 1);
	ck_assert_uint_eq(fake_bdev_complete_all(fake, 0), 10);
	ck_assert(blk_queue_publish(q));
	ck_assert(!blk_queue_publish(q));
	ck_assert_uint_eq(ring_reap(ring), 10);
	ck_assert_uint_eq(stats_now().batches, 1);
	ck_assert_uint_eq(stats_now().interrupts, 1);
	ck_assert_uint_eq(stats_now().requests[BDEV_FLUSH], 10);
}
END_TEST

START_TEST(unwanted_interrupts_are_not_counted)
{
	ring_avail_flags_set(ring, VRING_AVAIL_F_NO_INTERRUPT);
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	/* The first of a run always asks for one. */
	for (unsigned int i = 0; i < 2; i++) {
		(void)submit(VIRTIO_BLK_T_FLUSH, 0, 0);
		ck_assert_int_eq(blk_queue_take(q), 1);
		ck_assert(blk_queue_publish(q) == (i == 0));
		ck_assert_uint_eq(ring_reap(ring), 1);
	}
	ck_assert_uint_eq(stats_now().batches, 2);
	ck_assert_uint_eq(stats_now().interrupts, 1);
}
END_TEST

START_TEST(take_stops_after_its_budget)
{
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	for (unsigned int i = 0; i < 40; i++)
		(void)submit(VIRTIO_BLK_T_FLUSH, 0, 0);
	ck_assert_int_eq(blk_queue_take(q), 40);
	blk_queue_publish(q);
	ck_assert_uint_eq(ring_reap(ring), 40);
	ring_alloc_reset(ring);

	for (unsigned int i = 0; i < ring->size; i++)
		ring->desc_busy[i] = false;
	for (unsigned int i = 0; i < 60; i++)
		(void)submit(VIRTIO_BLK_T_FLUSH, 0, 0);
	for (unsigned int i = 0; i < ring->size; i++)
		ring->desc_busy[i] = false;
	/* Heads 0, 2, .. 118 are taken by the driver: the rest uses the odd ones. */
	for (unsigned int i = 0; i < 40; i++) {
		uint16_t head = (uint16_t)(2 * i + 1);

		ring_desc_set(ring, head, .addr = IOVA_BASE, .len = 1, .flags = VRING_DESC_F_WRITE);
		ring_publish(ring, head);
	}
	ck_assert_int_eq(blk_queue_take(q), BLK_QUEUE_TAKE_MAX);
	blk_queue_publish(q);
	ck_assert_uint_eq(ring_reap(ring), BLK_QUEUE_TAKE_MAX);
	ck_assert_int_eq(blk_queue_take(q), 100 - BLK_QUEUE_TAKE_MAX);
	blk_queue_publish(q);
	ck_assert_int_eq(blk_queue_take(q), 0);
}
END_TEST

START_TEST(broken_ring_lets_requests_in_flight_finish)
{
	struct ring_blk_req a = submit(VIRTIO_BLK_T_IN, 0, 512), b;

	ck_assert_int_eq(blk_queue_take(q), 1);
	b = submit(VIRTIO_BLK_T_IN, 1, 512);
	ring_publish(ring, RING_SIZE + 5); /* no such head */
	(void)submit(VIRTIO_BLK_T_IN, 2, 512);

	/* b was taken and committed before the fault was met. */
	ck_assert_int_eq(blk_queue_take(q), -EBADMSG);
	ck_assert_int_eq(blk_queue_take(q), -EBADMSG);
	ck_assert_int_eq(vq_fault(blk_queue_vq(q)), VQ_FAULT_HEAD_RANGE);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 2);
	ck_assert_uint_eq(fake_bdev_commit_cnt(fake), 2);
	ck_assert_uint_eq(blk_queue_inflight_cnt(q), 2);

	fake_bdev_complete(fake, 1, 0);
	ck_assert(blk_queue_publish(q));
	check_done(&b, OK, 513);
	check_pending(&a);
	fake_bdev_complete(fake, 0, -EIO);
	ck_assert(blk_queue_publish(q));
	check_done(&a, IOERR, 1);
	ck_assert_int_eq(blk_queue_take(q), -EBADMSG);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fake), 2);
}
END_TEST

START_TEST(busy_head_breaks_the_queue_and_harms_no_request)
{
	struct ring_blk_req a = submit(VIRTIO_BLK_T_IN, 0, 512);

	ck_assert_int_eq(blk_queue_take(q), 1);
	ring_publish(ring, a.head);
	ck_assert_int_eq(blk_queue_take(q), -EBADMSG);
	ck_assert_int_eq(vq_fault(blk_queue_vq(q)), VQ_FAULT_HEAD_BUSY);
	fake_bdev_complete(fake, 0, 0);
	ck_assert(blk_queue_publish(q));
	ck_assert_uint_eq(ring_reap(ring), 1);
	ck_assert_uint_eq(*a.status, OK);
}
END_TEST

static unsigned int next_random(unsigned int *state)
{
	*state = *state * 1103515245u + 12345u;
	return *state >> 16;
}

/* ring_blk_is_done() aborts when a head came back twice; nothing may be lost either. */
START_TEST(random_order_pushes_every_head_exactly_once)
{
	unsigned int state = (unsigned int)_i + 1, held[30], held_cnt = 0, nr = 0;
	struct ring_blk_req reqs[30];

	for (unsigned int round = 0; round < 50; round++) {
		unsigned int cnt = 1 + next_random(&state) % 30;

		for (unsigned int i = 0; i < cnt; i++) {
			reqs[i] = submit(VIRTIO_BLK_T_OUT, next_random(&state) % 2048, 512);
			held[held_cnt++] = nr++;
		}
		ck_assert_int_eq(blk_queue_take(q), (int)cnt);
		while (held_cnt) {
			unsigned int at = next_random(&state) % held_cnt;

			fake_bdev_complete(fake, held[at], next_random(&state) % 4 ? 0 : -EIO);
			held[at] = held[--held_cnt];
			if (next_random(&state) % 3 == 0)
				blk_queue_publish(q);
		}
		blk_queue_publish(q);
		ck_assert_uint_eq(ring_reap(ring) > 0 || cnt == 0, 1);
		for (unsigned int i = 0; i < cnt; i++) {
			ck_assert(ring_blk_is_done(ring, &reqs[i]));
			ck_assert_uint_le(*reqs[i].status, IOERR);
			ring_blk_put(ring, &reqs[i]);
		}
		ring_alloc_reset(ring);
	}
	ck_assert_uint_eq(stats_now().requests[BDEV_WRITE], nr);
}
END_TEST

START_TEST(map_reaches_the_backend)
{
	ck_assert_ptr_eq(fake_bdev_last_map(fake), map);
	ck_assert_uint_eq(fake_bdev_map_changed_cnt(fake), 1);
}
END_TEST

START_TEST(queue_works_on_a_second_smaller_ring)
{
	struct ring_blk_req req;

	(void)submit(VIRTIO_BLK_T_FLUSH, 0, 0);
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	ck_assert_int_eq(blk_queue_take(q), 1);
	/* The driver resets; what was not published is forgotten. */
	stop();
	free_ring();
	new_ring(16);
	start_ring(NULL, false);
	ck_assert(!blk_queue_publish(q));
	req = submit(VIRTIO_BLK_T_IN, 0, 512);
	ck_assert_int_eq(blk_queue_take(q), 1);
	ck_assert(blk_queue_publish(q));
	check_done(&req, OK, 513);
}
END_TEST

START_TEST(requests_of_a_predecessor_are_taken_over)
{
	struct vq_inflight *inflight = calloc(1, vq_inflight_bytes(RING_SIZE));
	struct ring_blk_req a, b;

	ck_assert_ptr_nonnull(inflight);
	stop();
	start_ring(inflight, false);
	a = submit(VIRTIO_BLK_T_IN, 0, 512);
	b = submit(VIRTIO_BLK_T_IN, 1, 512);
	ck_assert_int_eq(blk_queue_take(q), 2);
	/* Dies here: done in the backend, never shown to the driver. */
	fake_bdev_complete_all(fake, 0);
	stop();
	start_ring(inflight, true);
	ck_assert_int_eq(blk_queue_take(q), 2);
	ck_assert_uint_eq(stats_now().recovered, 2);
	fake_bdev_complete_all(fake, 0);
	ck_assert(blk_queue_publish(q));
	check_done(&a, OK, 513);
	check_done(&b, OK, 513);
	ck_assert_int_eq(blk_queue_take(q), 0);
	ck_assert_uint_eq(stats_now().recovered, 2);
	stop();
	free(inflight);
	start_ring(NULL, false);
}
END_TEST

START_TEST(recovered_ring_owes_an_interrupt_without_a_request)
{
	struct vq_inflight *inflight = calloc(1, vq_inflight_bytes(RING_SIZE));

	ck_assert_ptr_nonnull(inflight);
	stop();
	start_ring(inflight, false);
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	(void)submit(VIRTIO_BLK_T_FLUSH, 0, 0);
	ck_assert_int_eq(blk_queue_take(q), 1);
	(void)blk_queue_publish(q); /* dies before it interrupts */
	stop();
	start_ring(inflight, true);
	ck_assert_int_eq(blk_queue_take(q), 0);
	ck_assert(blk_queue_publish(q));
	ck_assert(!blk_queue_publish(q));
	stop();
	free(inflight);
	start_ring(NULL, false);
}
END_TEST

START_TEST(backend_that_gives_no_queue_fails_the_construction)
{
	struct blk_queue *other;

	fake_bdev_fail_queue_new(fake, -ENOMEM);
	ck_assert_int_eq(blk_queue_new(&params, fake_bdev_get(fake), NULL, &other), -ENOMEM);
	ck_assert_uint_eq(fake_bdev_queue_cnt(fake), 1);
	blk_queue_free(NULL);
}
END_TEST

/* The fake's way through a loop, which tests of other modules rely on. */
START_TEST(queue_with_a_loop_is_woken_by_completions)
{
	struct ring_blk_req req;
	struct loop loop;

	memset(&loop, 0, sizeof(loop));
	ck_assert_int_eq(loop_init(&loop, 64), 0);
	stop();
	blk_queue_free(q);
	ck_assert_int_eq(blk_queue_new(&params, fake_bdev_get(fake), &loop, &q), 0);
	start_ring(NULL, false);
	fake_bdev_set_mode(fake, _i ? FAKE_BDEV_ON_COMMIT : FAKE_BDEV_HELD);
	req = submit_discard(2);
	ck_assert_int_eq(blk_queue_take(q), 1);
	for (unsigned int i = 0; i < 2; i++) {
		check_pending(&req);
		if (!_i)
			fake_bdev_complete(fake, i, 0);
		ck_assert_int_ge(loop_wait(&loop), 0);
		blk_queue_publish(q);
	}
	check_done(&req, OK, 1);
	stop();
	blk_queue_free(q);
	loop_fini(&loop);
	ck_assert_int_eq(blk_queue_new(&params, fake_bdev_get(fake), NULL, &q), 0);
	start_ring(NULL, false);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blk_queue");
	TCase *flow = tcase_create("flow"), *life = tcase_create("life");

	tcase_add_checked_fixture(flow, setup, teardown);
	tcase_add_test(flow, read_brings_the_content);
	tcase_add_test(flow, write_reaches_the_backend);
	tcase_add_test(flow, longest_indirect_request_passes);
	tcase_add_test(flow, completions_out_of_order_go_to_their_requests);
	tcase_add_loop_test(flow, results_reach_status_and_counters, 0, ARRAY_SIZE(result_cases));
	tcase_add_test(flow, ranges_run_one_after_the_other);
	tcase_add_test(flow, error_in_a_middle_range_ends_the_request);
	tcase_add_loop_test(flow, most_ranges_with_a_backend_that_completes_at_once, 0, 2);
	tcase_add_test(flow, write_through_flushes_before_it_completes);
	tcase_add_test(flow, write_through_flushes_once_after_all_ranges);
	tcase_add_test(flow, write_through_tells_errors_of_write_and_flush);
	tcase_add_test(flow, write_through_leaves_reads_and_durable_backends_alone);
	tcase_add_test(flow, write_through_meets_what_is_in_flight);
	tcase_add_test(flow, slot_is_clean_after_a_request_of_many_ranges);
	tcase_add_loop_test(flow, replies_are_pushed_at_once, 0, ARRAY_SIZE(reply_cases));
	tcase_add_test(flow, chain_without_status_comes_back_with_nothing_written);
	tcase_add_test(flow, batch_is_committed_once);
	tcase_add_test(flow, unwanted_interrupts_are_not_counted);
	tcase_add_test(flow, take_stops_after_its_budget);
	tcase_add_test(flow, broken_ring_lets_requests_in_flight_finish);
	tcase_add_test(flow, busy_head_breaks_the_queue_and_harms_no_request);
	tcase_add_loop_test(flow, random_order_pushes_every_head_exactly_once, 0, 5);
	suite_add_tcase(suite, flow);

	tcase_add_checked_fixture(life, setup, teardown);
	tcase_add_test(life, map_reaches_the_backend);
	tcase_add_test(life, queue_works_on_a_second_smaller_ring);
	tcase_add_test(life, requests_of_a_predecessor_are_taken_over);
	tcase_add_test(life, recovered_ring_owes_an_interrupt_without_a_request);
	tcase_add_test(life, backend_that_gives_no_queue_fails_the_construction);
	tcase_add_loop_test(life, queue_with_a_loop_is_woken_by_completions, 0, 2);
	suite_add_tcase(suite, life);

	return run_suite(suite);
}
