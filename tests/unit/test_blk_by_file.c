/* SPDX-License-Identifier: MIT */
/*
 * A queue whose requests are in memory that is not mapped: everything but their data is read and
 * written through its file, and to follow an address ends the test.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_bdev.h"
#include "ring_region.h"
#include "run_suite.h"
#include "vblk/blk/blk_queue.h"
#include "vblk/util/math.h"

#define OK	   VIRTIO_BLK_S_OK
#define IOERR	   VIRTIO_BLK_S_IOERR
#define UNSUPP	   VIRTIO_BLK_S_UNSUPP
#define RING_SIZE  512
#define IOVA_BASE  0x10000
#define MEM_BYTES  (4u << 20)
#define RANGE	   ((uint32_t)sizeof(struct virtio_blk_discard_write_zeroes))
#define DISK_BYTES (1ull << 30) /* so much that the fake leaves data alone */

static struct {
	struct ring *ring;
	void *names;
	struct memmap *map;
	struct fake_bdev *fake;
	struct blk_params params;
	struct vq_inflight *inflight;
	struct blk_queue *q;
} fx;

static void start(int fd, bool recover)
{
	struct memmap_region region = ring_region(fx.ring);
	struct vq_config cfg = ring_vq_config(fx.ring);

	region.va = fx.names;
	region.fd = fd;
	region.by_file = true;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &fx.map), 0);
	cfg.inflight = fx.inflight;
	cfg.recover = recover;
	ck_assert_int_eq(vq_start(blk_queue_vq(fx.q), &cfg), 0);
	blk_queue_set_map(fx.q, fx.map);
}

static void stop(void)
{
	ck_assert_uint_eq(blk_queue_inflight_cnt(fx.q), 0);
	vq_stop(blk_queue_vq(fx.q));
	blk_queue_set_map(fx.q, NULL);
	memmap_unref(fx.map);
}

static void setup(void)
{
	struct bdev_limits limits = fake_bdev_default_limits();

	limits.capacity_bytes = DISK_BYTES;
	fx.fake = fake_bdev_new(&limits);
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	blk_params_init(&fx.params, &limits, 1, RING_SIZE, "SERIAL-0123456789XYZ");
	fx.inflight = calloc(1, vq_inflight_bytes(RING_SIZE));
	ck_assert_ptr_nonnull(fx.inflight);
	fx.ring = ring_new(RING_SIZE, MEM_BYTES, IOVA_BASE);
	fx.names = mmap(NULL, MEM_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(fx.names, MAP_FAILED);
	ck_assert_int_eq(blk_queue_new(&fx.params, fake_bdev_get(fx.fake), NULL, &fx.q), 0);
	start(fx.ring->fd, false);
}

static void teardown(void)
{
	stop();
	blk_queue_free(fx.q);
	fake_bdev_free(fx.fake);
	munmap(fx.names, MEM_BYTES);
	ring_free(fx.ring);
	free(fx.inflight);
}

static void check_done(const struct ring_blk_req *req, uint8_t status, uint32_t written_bytes)
{
	ck_assert_int_eq(blk_queue_take(fx.q), 1);
	(void)blk_queue_publish(fx.q);
	ring_reap(fx.ring);
	ck_assert(ring_blk_is_done(fx.ring, req));
	ck_assert_uint_eq(*req->status, status);
	ck_assert_uint_eq(ring_blk_written_bytes(fx.ring, req), written_bytes);
}

static const struct {
	struct ring_blk_spec spec;
	uint8_t status;
	uint32_t written_bytes;
	uint64_t offset_bytes, len_bytes; /* 0: not the backend's */
} requests[] = {
	{ { .type = VIRTIO_BLK_T_IN, .sector = 8, .seg_cnt = 2, .seg_bytes = { 512, 4096 } },
	  OK,
	  4609,
	  4096,
	  4608 },
	{ { .type = VIRTIO_BLK_T_OUT,
	    .sector = 9,
	    .from_driver = true,
	    .seg_cnt = 2,
	    .seg_bytes = { 512, 4096 } },
	  OK,
	  1,
	  4608,
	  4608 },
	{ { .type = VIRTIO_BLK_T_DISCARD,
	    .from_driver = true,
	    .seg_cnt = 2,
	    .seg_bytes = { RANGE / 2, RANGE / 2 } },
	  OK,
	  1,
	  51200,
	  512 },
	{ { .type = VIRTIO_BLK_T_FLUSH }, OK, 1, 0, 0 },
	{ { .type = VIRTIO_BLK_T_GET_ID, .seg_cnt = 2, .seg_bytes = { 7, 13 } }, OK, 21, 0, 0 },
	{ { .type = 77 }, UNSUPP, 1, 0, 0 },
	{ { .type = VIRTIO_BLK_T_IN,
	    .sector = DISK_BYTES / 512,
	    .seg_cnt = 1,
	    .seg_bytes = { 512 } },
	  IOERR,
	  1,
	  0,
	  0 },
};

START_TEST(requests_are_understood_and_answered)
{
	struct ring_blk_spec spec = requests[_i / 2].spec;
	struct virtio_blk_discard_write_zeroes range = { .sector = htole64(100),
							 .num_sectors = htole32(1) };
	struct fake_bdev_record record;
	struct ring_blk_req req;

	spec.indirect = _i % 2;
	ring_blk_build(fx.ring, &spec, &req);
	if (spec.type == VIRTIO_BLK_T_DISCARD)
		for (unsigned int i = 0; i < 2; i++)
			memcpy(req.data[i], (uint8_t *)&range + i * (RANGE / 2), RANGE / 2);
	ring_publish(fx.ring, req.head);
	check_done(&req, requests[_i / 2].status, requests[_i / 2].written_bytes);
	if (spec.type == VIRTIO_BLK_T_GET_ID) {
		ck_assert_mem_eq(req.data[0], "SERIAL-", 7);
		ck_assert_mem_eq(req.data[1], "0123456789XYZ", 13);
	}
	if (!requests[_i / 2].len_bytes)
		return;
	record = fake_bdev_record(fx.fake, 0);
	ck_assert_uint_eq(record.offset_bytes, requests[_i / 2].offset_bytes);
	ck_assert_uint_eq(record.len_bytes, requests[_i / 2].len_bytes);
}
END_TEST

/* More of it than is copied in one piece. */
START_TEST(longest_indirect_request_passes)
{
	struct ring_blk_spec spec = { .type = VIRTIO_BLK_T_IN,
				      .indirect = true,
				      .seg_cnt = RING_BLK_SEGS_MAX };
	struct ring_blk_req req;

	for (unsigned int i = 0; i < spec.seg_cnt; i++)
		spec.seg_bytes[i] = 512;
	ring_blk_submit(fx.ring, &spec, &req);
	check_done(&req, OK, RING_BLK_SEGS_MAX * 512 + 1);
}
END_TEST

/* The first buffer ends within the header, the last one has data and status. */
START_TEST(buffers_end_anywhere)
{
	struct virtio_blk_outhdr hdr = { .type = htole32(VIRTIO_BLK_T_IN), .sector = htole64(3) };
	uint8_t *a = ring_alloc(fx.ring, 10, 1), *b = ring_alloc(fx.ring, 6, 1);
	uint8_t *c = ring_alloc(fx.ring, 513, 1);

	memcpy(a, &hdr, 10);
	memcpy(b, (uint8_t *)&hdr + 10, 6);
	c[512] = 0xff;
	ring_desc_set(fx.ring, 0, .addr = ring_iova(fx.ring, a), .len = 10,
		      .flags = VRING_DESC_F_NEXT, .next = 1);
	ring_desc_set(fx.ring, 1, .addr = ring_iova(fx.ring, b), .len = 6,
		      .flags = VRING_DESC_F_NEXT, .next = 2);
	ring_desc_set(fx.ring, 2, .addr = ring_iova(fx.ring, c), .len = 513,
		      .flags = VRING_DESC_F_WRITE);
	ring_publish(fx.ring, 0);
	ck_assert_int_eq(blk_queue_take(fx.q), 1);
	(void)blk_queue_publish(fx.q);
	ck_assert_uint_eq(c[512], OK);
	ck_assert_uint_eq(fake_bdev_record(fx.fake, 0).offset_bytes, 3 * 512);
}
END_TEST

START_TEST(one_that_comes_after_the_backend_was_given_up_fails)
{
	struct ring_blk_spec spec = { .type = VIRTIO_BLK_T_IN, .seg_cnt = 1, .seg_bytes = { 512 } };
	struct ring_blk_req req;

	blk_queue_give_up(fx.q);
	ring_blk_submit(fx.ring, &spec, &req);
	check_done(&req, IOERR, 1);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), 0);
}
END_TEST

static void check_not_done(const struct ring_blk_req *req)
{
	ck_assert_int_eq(blk_queue_take(fx.q), -EBADMSG);
	(void)blk_queue_publish(fx.q);
	ck_assert_int_eq(vq_fault(blk_queue_vq(fx.q)), VQ_FAULT_MEMORY);
	ck_assert_uint_eq(blk_queue_inflight_cnt(fx.q), 0);
	ring_reap(fx.ring);
	ck_assert(!ring_blk_is_done(fx.ring, req));
}

/* With other files in its place: what was not shown to the driver is done again with the right one.
 */
static void check_done_again(const struct ring_blk_req *req)
{
	stop();
	start(fx.ring->fd, true);
	check_done(req, OK, 513);
}

START_TEST(nothing_is_done_for_what_cannot_be_read)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_IN, .seg_cnt = 1, .seg_bytes = { 512 }, .indirect = _i
	};
	struct ring_blk_req req;
	int empty_fd = memfd_create("empty", MFD_CLOEXEC);

	stop();
	start(empty_fd, false);
	ring_blk_submit(fx.ring, &spec, &req);
	check_not_done(&req);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), 0);
	check_done_again(&req);
	close(empty_fd);
}
END_TEST

START_TEST(what_cannot_be_answered_is_done_again)
{
	struct ring_blk_spec spec = { .type = VIRTIO_BLK_T_IN, .seg_cnt = 1, .seg_bytes = { 512 } };
	struct ring_blk_req req;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fx.ring->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	stop();
	start(fd, false);
	ring_blk_submit(fx.ring, &spec, &req);
	check_not_done(&req);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), 1);
	ck_assert_uint_eq(*req.status, 0xff);
	check_done_again(&req);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("blk_by_file");
	TCase *tc = tcase_create("blk_by_file");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, requests_are_understood_and_answered, 0,
			    2 * (int)ARRAY_SIZE(requests));
	tcase_add_test(tc, longest_indirect_request_passes);
	tcase_add_test(tc, buffers_end_anywhere);
	tcase_add_test(tc, one_that_comes_after_the_backend_was_given_up_fails);
	tcase_add_loop_test(tc, nothing_is_done_for_what_cannot_be_read, 0, 2);
	tcase_add_test(tc, what_cannot_be_answered_is_done_again);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
