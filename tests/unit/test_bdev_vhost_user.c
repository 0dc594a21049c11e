/* SPDX-License-Identifier: MIT */
/* The backend that is another server, against one that dies, lies and is slow. */
#include "run_suite.h"
#include "vblk/bdev/bdev.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "test_bdev_fixture.h"
#include "test_vhu_bdev_fixture.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vblk/vhu/vhu_wire.h"

#define QUEUES	    FX_QUEUES
#define DEPTH	    16u
#define DATA_BYTES  (256u * 1024u)
#define PATIENCE_MS 10000
#define BIT64(n)    (1ull << (n))

struct test_io {
	struct bdev_io io;
	struct iovec iov[64];
	int done_cnt;
	int result;
};

/*
 * @data: how this process sees the driver's memory; @forbidden: what the backend is given as
 * its address, where nothing can be read or written.
 */
static struct {
	struct loop loops[QUEUES];
	struct bdev_queue *bqs[QUEUES];
	struct test_io ios[QUEUES][DEPTH];
	uint8_t *data, *forbidden;
	int data_fd;
	struct memmap *map;
} rig;

static void make_map(void)
{
	struct memmap_region region = { .iova = 0x10000, .len_bytes = DATA_BYTES };

	rig.data_fd = memfd_create("test", MFD_CLOEXEC);
	ck_assert_int_ge(rig.data_fd, 0);
	ck_assert_int_eq(ftruncate(rig.data_fd, DATA_BYTES + 4096), 0);
	rig.data = mmap(NULL, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, rig.data_fd, 4096);
	rig.forbidden = mmap(NULL, DATA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(rig.data != MAP_FAILED && rig.forbidden != MAP_FAILED);
	region.va = rig.forbidden;
	region.perm = MEMMAP_READ | MEMMAP_WRITE;
	region.fd = rig.data_fd;
	region.fd_offset_bytes = 4096;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &rig.map), 0);
}

static void setup(void)
{
	fx_setup();
	memset(&rig, 0, sizeof(rig));
	make_map();
}

static void start(void)
{
	int r;

	start_server();
	r = bdev_open(&fx.params, &fx.bdev, fx.why);
	ck_assert_msg(r == 0, "%s", fx.why);
	for (unsigned int i = 0; i < QUEUES; i++) {
		ck_assert_int_eq(loop_init(&rig.loops[i], 32), 0);
		ck_assert_int_eq(bdev_queue_new(fx.bdev, &rig.loops[i], DEPTH, &rig.bqs[i]), 0);
		bdev_map_changed(rig.bqs[i], rig.map);
	}
}

static void teardown(void)
{
	for (unsigned int i = 0; i < QUEUES; i++) {
		if (!rig.bqs[i])
			continue;
		bdev_map_changed(rig.bqs[i], NULL);
		bdev_queue_free(rig.bqs[i]);
		loop_fini(&rig.loops[i]);
	}
	fx_teardown();
	memmap_unref(rig.map);
	munmap(rig.data, DATA_BYTES);
	munmap(rig.forbidden, DATA_BYTES);
	close(rig.data_fd);
}

static void io_done(struct bdev_io *io, int result)
{
	struct test_io *tio = container_of(io, struct test_io, io);

	tio->done_cnt++;
	tio->result = result;
}

/* @at: in the driver's memory. Not committed. */
static struct test_io *begin(unsigned int queue, unsigned int slot, enum bdev_op op,
			     uint64_t offset_bytes, uint64_t len_bytes, uint32_t at)
{
	struct test_io *tio = &rig.ios[queue][slot];

	*tio = (struct test_io){
		.io = { .op = op,
			.slot_idx = slot,
			.offset_bytes = offset_bytes,
			.len_bytes = len_bytes,
			.iov = tio->iov,
			.iov_cnt = op == BDEV_READ || op == BDEV_WRITE,
			.done = io_done },
		.iov = { { rig.forbidden + at, len_bytes } },
	};
	bdev_submit(rig.bqs[queue], &tio->io);
	return tio;
}

static void commit(void)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		bdev_commit(rig.bqs[i]);
}

static void nap(void)
{
	const struct timespec ts = { .tv_nsec = 1000000 };

	(void)nanosleep(&ts, NULL);
}

static void run_loops(void)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		ck_assert_int_ge(loop_poll(&rig.loops[i]), 0);
	nap();
}

static int finish(struct test_io *tio)
{
	commit();
	while (!tio->done_cnt)
		run_loops();
	ck_assert_int_eq(tio->done_cnt, 1);
	return tio->result;
}

static int do_io(unsigned int queue, enum bdev_op op, uint64_t offset_bytes, uint64_t len_bytes)
{
	return finish(begin(queue, 0, op, offset_bytes, len_bytes, 0));
}

/* Long enough for something to happen that must not. */
static void run_a_while(void)
{
	for (unsigned int i = 0; i < 60; i++)
		run_loops();
}

static void check_disk(uint32_t offset_bytes, const void *want, size_t len_bytes)
{
	static uint8_t have[DATA_BYTES];

	fake_vhu_peek(fx.srv, offset_bytes, have, len_bytes);
	ck_assert_mem_eq(have, want, len_bytes);
}

static uint8_t disk_byte(uint32_t offset_bytes)
{
	uint8_t byte;

	fake_vhu_peek(fx.srv, offset_bytes, &byte, 1);
	return byte;
}

static void check_write_read(unsigned int queue, unsigned int seed)
{
	uint8_t want[8192];

	fx_pattern(want, sizeof(want), seed);
	memcpy(rig.data, want, sizeof(want));
	ck_assert_int_eq(do_io(queue, BDEV_WRITE, 4096, sizeof(want)), 0);
	check_disk(4096, want, sizeof(want));
	memset(rig.data, 0, sizeof(want));
	ck_assert_int_eq(do_io(queue, BDEV_READ, 4096, sizeof(want)), 0);
	ck_assert_mem_eq(rig.data, want, sizeof(want));
}

/* Return: false: nothing was told. */
static bool was_told(int timeout_ms)
{
	struct pollfd pfd = { .fd = bdev_news_fd(fx.bdev), .events = POLLIN };

	ck_assert_int_ge(pfd.fd, 0);
	return poll(&pfd, 1, timeout_ms) == 1;
}

/* ---- what it is ---- */

START_TEST(limits_are_the_servers)
{
	const struct bdev_limits *limits;

	fx.options.config.blk_size = htole32(4096);
	start();
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
	start();
	ck_assert(fx.bdev->limits.read_only);
	ck_assert_uint_eq(fx.bdev->limits.max_write_zeroes_bytes, 0);
	ck_assert_int_eq(do_io(0, BDEV_WRITE, 0, 512), -EROFS);
	ck_assert_int_eq(do_io(0, BDEV_READ, 0, 512), 0);
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
	start();
	for (unsigned int i = 0; i < 20; i++)
		check_write_read(i % QUEUES, i);
}
END_TEST

START_TEST(many_at_once_on_both_queues)
{
	lack((unsigned int)_i);
	start();
	for (unsigned int round = 0; round < 10; round++) {
		fx_pattern(rig.data, DATA_BYTES, round);
		for (unsigned int i = 0; i < QUEUES * DEPTH; i++)
			begin(i / DEPTH, i % DEPTH, BDEV_WRITE, i * 4096, 4096, i * 4096);
		for (unsigned int i = 0; i < QUEUES * DEPTH; i++)
			ck_assert_int_eq(finish(&rig.ios[i / DEPTH][i % DEPTH]), 0);
		check_disk(0, rig.data, QUEUES * DEPTH * 4096);
	}
}
END_TEST

START_TEST(buffers_are_cut_to_what_the_server_takes)
{
	struct test_io *tio;

	fx.options.features |= BIT64(VIRTIO_BLK_F_SIZE_MAX);
	fx.options.config.size_max = htole32(4096);
	start();
	ck_assert_uint_eq(fx.bdev->limits.max_seg_bytes, 4096);
	fx_pattern(rig.data, 32768, 1);
	ck_assert_int_eq(do_io(0, BDEV_WRITE, 0, 32768), 0);
	check_disk(0, rig.data, 32768);
	/* More pieces than it takes. */
	ck_assert_int_eq(do_io(0, BDEV_WRITE, 0, 33 * 4096), -EIO);
	/* Memory that it does not have. */
	tio = &rig.ios[1][0];
	*tio = (struct test_io){
		.io = { .op = BDEV_READ,
			.len_bytes = 512,
			.iov_cnt = 1,
			.iov = tio->iov,
			.done = io_done },
		.iov = { { rig.data, 512 } },
	};
	bdev_submit(rig.bqs[1], &tio->io);
	ck_assert_int_eq(finish(tio), -EIO);
	ck_assert_int_eq(do_io(0, BDEV_READ, 0, 512), 0);
}
END_TEST

START_TEST(ranges_and_flushes)
{
	start();
	check_write_read(0, 3);
	ck_assert_int_eq(do_io(0, BDEV_FLUSH, 0, 0), 0);
	ck_assert_int_eq(do_io(0, BDEV_DISCARD, 4096, 4096), 0);
	ck_assert_uint_eq(disk_byte(4096), 0xdd);
	ck_assert_int_eq(do_io(1, BDEV_WRITE_ZEROES, 4096, 2048), 0);
	ck_assert_uint_eq(disk_byte(4096), 0);
	ck_assert_uint_eq(disk_byte(4096 + 2048), 0xdd);
	ck_assert_int_eq(do_io(1, BDEV_SECURE_ERASE, 4096, 2048), -EOPNOTSUPP);
	ck_assert_int_eq(do_io(1, BDEV_WRITE_ZEROES, 0, 65536), -EINVAL);
}
END_TEST

START_TEST(every_write_is_flushed_where_that_was_asked_for)
{
	struct fake_vhu_req log[FAKE_VHU_LOG_MAX];

	fx.params.writethrough = true;
	start();
	ck_assert(!fx.bdev->limits.volatile_cache);
	ck_assert_int_eq(do_io(0, BDEV_WRITE, 0, 512), 0);
	ck_assert_int_eq(do_io(0, BDEV_READ, 0, 512), 0);
	ck_assert_int_eq(do_io(0, BDEV_DISCARD, 0, 4096), 0);
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
	start();
	check_write_read(0, 1);
	for (unsigned int round = 0; round < 5; round++) {
		unsigned int before = fake_vhu_connections(fx.srv);

		fx_pattern(rig.data, DATA_BYTES, round + 7);
		fake_vhu_inject(fx.srv, ends[(unsigned int)_i % ARRAY_SIZE(ends)]);
		for (unsigned int i = 0; i < QUEUES * DEPTH; i++)
			begin(i / DEPTH, i % DEPTH, BDEV_WRITE, i * 4096, 4096, i * 4096);
		for (unsigned int i = 0; i < QUEUES * DEPTH; i++)
			ck_assert_int_eq(finish(&rig.ios[i / DEPTH][i % DEPTH]), 0);
		check_disk(0, rig.data, QUEUES * DEPTH * 4096);
		while (fake_vhu_connections(fx.srv) == before)
			run_loops();
	}
	check_write_read(1, 2);
}
END_TEST

START_TEST(without_a_server_requests_wait)
{
	uint8_t pattern[DEPTH * 512];

	start();
	check_write_read(0, 1);
	stop_server();
	for (unsigned int i = 0; i < DEPTH; i++)
		begin(0, i, BDEV_READ, i * 512, 512, i * 512);
	begin(1, 0, BDEV_FLUSH, 0, 0, 0);
	commit();
	run_a_while();
	for (unsigned int i = 0; i < DEPTH; i++)
		ck_assert_int_eq(rig.ios[0][i].done_cnt, 0);
	start_server();
	fx_pattern(pattern, sizeof(pattern), 5);
	fake_vhu_poke(fx.srv, 0, pattern, sizeof(pattern));
	for (unsigned int i = 0; i < DEPTH; i++)
		ck_assert_int_eq(finish(&rig.ios[0][i]), 0);
	ck_assert_int_eq(finish(&rig.ios[1][0]), 0);
	check_disk(0, rig.data, DEPTH * 512);
}
END_TEST

/* What the old server may have done comes first, in its order, and ends before anything new. */
START_TEST(old_requests_end_before_new_ones_begin)
{
	struct fake_vhu_req log[FAKE_VHU_LOG_MAX];
	struct test_io *fresh[2];
	unsigned int cnt;

	start();
	check_write_read(0, 1);
	check_write_read(1, 1);
	fake_vhu_hold(fx.srv, true);
	for (unsigned int i = 0; i < 8; i++)
		begin(0, i, BDEV_WRITE, i * 512, 512, 0);
	commit();
	stop_server();
	fresh[0] = begin(1, 1, BDEV_WRITE, 100 * 512, 512, 0);
	fresh[1] = begin(0, 9, BDEV_WRITE, 101 * 512, 512, 0);
	commit();
	start_server();
	fake_vhu_hold(fx.srv, true);
	run_a_while();
	ck_assert_int_eq(fresh[0]->done_cnt + fresh[1]->done_cnt, 0);
	fake_vhu_hold(fx.srv, false);
	ck_assert_int_eq(finish(fresh[0]), 0);
	ck_assert_int_eq(finish(fresh[1]), 0);
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

	start();
	while (done < 600) {
		for (unsigned int i = 0; i < 6; i++) {
			unsigned int queue = (unsigned int)rand_r(&seed) % QUEUES;
			unsigned int slot = (unsigned int)rand_r(&seed) % DEPTH;

			if (used[queue][slot])
				continue;
			used[queue][slot] = true;
			begin(queue, slot, BDEV_WRITE, (queue * DEPTH + slot) * 512, 512,
			      slot * 512);
		}
		commit();
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
		nap();
	}
	fake_vhu_inject(fx.srv, FAKE_VHU_FINE);
	for (unsigned int q = 0; q < QUEUES; q++)
		for (unsigned int s = 0; s < DEPTH; s++)
			if (used[q][s])
				ck_assert_int_eq(finish(&rig.ios[q][s]), 0);
}
END_TEST

START_TEST(another_disk_in_its_place_is_not_taken)
{
	start();
	check_write_read(0, 1);
	stop_server();
	fx.options.config.blk_size = htole32(4096);
	start_server();
	begin(0, 0, BDEV_READ, 0, 512, 0);
	commit();
	run_a_while();
	ck_assert_int_eq(rig.ios[0][0].done_cnt, 0);
	stop_server();
	fake_vhu_usual(&fx.options);
	start_server();
	ck_assert_int_eq(finish(&rig.ios[0][0]), 0);
}
END_TEST

/* A write-through disk stays one when its server comes back with a cache. */
START_TEST(server_that_gets_a_cache_is_flushed)
{
	struct fake_vhu_req log[FAKE_VHU_LOG_MAX];

	fx.options.no_features = BIT64(VIRTIO_BLK_F_FLUSH);
	start();
	ck_assert(!fx.bdev->limits.volatile_cache);
	check_write_read(0, 1);
	ck_assert_int_eq(do_io(0, BDEV_FLUSH, 0, 0), 0);
	stop_server();
	fx.options.no_features = 0;
	start_server();
	ck_assert_int_eq(do_io(0, BDEV_WRITE, 0, 512), 0);
	ck_assert_uint_eq(fake_vhu_log(fx.srv, log), 2);
	ck_assert_uint_eq(log[1].type, VIRTIO_BLK_T_FLUSH);
}
END_TEST

/* ---- the driver's memory, and sizes ---- */

START_TEST(memory_goes_when_the_driver_takes_it)
{
	start();
	for (unsigned int round = 0; round < 5; round++) {
		check_write_read(0, round);
		check_write_read(1, round);
		ck_assert_uint_eq(fake_vhu_running(fx.srv), 2);
		ck_assert_uint_gt(fake_vhu_mapped_bytes(fx.srv), DATA_BYTES);
		for (unsigned int i = 0; i < QUEUES; i++)
			bdev_map_changed(rig.bqs[i], NULL);
		/* What remains is smaller than the driver's memory. */
		while (fake_vhu_running(fx.srv) || fake_vhu_mapped_bytes(fx.srv) >= DATA_BYTES)
			nap();
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
	start();
	check_write_read(0, 1);
	fake_vhu_inject(fx.srv, FAKE_VHU_REFUSE_MEMORY);
	for (unsigned int i = 0; i < QUEUES; i++)
		bdev_map_changed(rig.bqs[i], NULL);
	for (unsigned int i = 0; i < QUEUES; i++)
		bdev_map_changed(rig.bqs[i], rig.map);
	check_write_read(1, 2);
}
END_TEST

/* Connected to again and again, less and less often. */
START_TEST(server_that_is_of_no_use_is_left_in_peace)
{
	uint64_t begun_ns;

	fx.options.no_memory = true;
	start();
	begin(0, 0, BDEV_WRITE, 0, 512, 0);
	commit();
	/* One to learn what it is. */
	while (fake_vhu_connections(fx.srv) < 2)
		run_loops();
	begun_ns = clock_now_ns();
	while (fake_vhu_connections(fx.srv) < 7)
		run_loops();
	/* Not so from the first on, which may have been some time ago. */
	ck_assert_uint_ge(clock_now_ns() - begun_ns, (20 + 40 + 80 + 160) * NSEC_PER_MSEC);
	ck_assert_int_eq(rig.ios[0][0].done_cnt, 0);
	stop_server();
	fx.options.no_memory = false;
	start_server();
	ck_assert_int_eq(finish(&rig.ios[0][0]), 0);
}
END_TEST

START_TEST(silent_server_does_not_hold_up_the_end)
{
	uint64_t begun_ns = clock_now_ns();

	start();
	check_write_read(0, 1);
	fake_vhu_inject(fx.srv, FAKE_VHU_SILENT);
	for (unsigned int i = 0; i < QUEUES; i++) {
		/* Its thread waits for an answer from now on. */
		bdev_map_changed(rig.bqs[i], NULL);
		nap();
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

	start();
	check_write_read(0, 1);
	before = fake_vhu_connections(fx.srv);
	if (_i)
		fake_vhu_inject(fx.srv, FAKE_VHU_BAD_NEWS);
	else
		fake_vhu_resize(fx.srv, 0);
	while (fake_vhu_connections(fx.srv) == before)
		nap();
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 1u << 20);
	if (!_i)
		fake_vhu_resize(fx.srv, 2048);
	check_write_read(1, 2);
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 1u << 20);
}
END_TEST

START_TEST(size_is_the_servers_when_somebody_asks)
{
	uint64_t bytes = 0;

	start();
	check_write_read(0, 1);
	ck_assert_int_eq(bdev_resize(fx.bdev, fx.spec, 0, &bytes, fx.why), 0);
	ck_assert_uint_eq(bytes, 1u << 20);
	fake_vhu_resize(fx.srv, 4096);
	ck_assert_int_eq(bdev_resize(fx.bdev, fx.spec, 0, &bytes, fx.why), 0);
	ck_assert_uint_eq(bytes, 2u << 20);
	ck_assert_int_eq(bdev_resize(fx.bdev, fx.spec, 4u << 20, &bytes, fx.why), -ENOSPC);
	ck_assert_uint_eq(fx.bdev->limits.capacity_bytes, 1u << 20);
}
END_TEST

START_TEST(server_tells_its_size_by_itself)
{
	uint64_t bytes = 0;

	fx.params.logical_block_bytes = 4096;
	start();
	check_write_read(0, 1);
	ck_assert(!was_told(0));
	fake_vhu_resize(fx.srv, 4097);
	ck_assert(was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 2u << 20);
	ck_assert(!was_told(0));
	/* The same size is no news, nor is one that somebody has asked for. */
	fake_vhu_resize(fx.srv, 4097);
	check_write_read(1, 2);
	ck_assert_int_eq(bdev_resize(fx.bdev, fx.spec, 0, &bytes, fx.why), 0);
	ck_assert(!was_told(0));
	/* Smaller is told as well; what becomes of it is decided elsewhere. */
	fake_vhu_resize(fx.srv, 1024);
	ck_assert(was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 512u << 10);
	ck_assert_uint_eq(fx.bdev->limits.capacity_bytes, 1u << 20);
	/* Of all that nobody has heard of the last one counts. */
	fake_vhu_resize(fx.srv, 3000);
	fake_vhu_resize(fx.srv, 8192);
	while (bdev_size_told(fx.bdev) != 4u << 20)
		ck_assert(was_told(PATIENCE_MS));
}
END_TEST

START_TEST(server_that_comes_back_larger_tells)
{
	start();
	check_write_read(0, 1);
	stop_server();
	fx.options.config.capacity = htole64(4096);
	start_server();
	check_write_read(0, 2);
	ck_assert(was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 2u << 20);
	/* And the next time it has the same. */
	stop_server();
	start_server();
	check_write_read(0, 3);
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 2u << 20);
}
END_TEST

static void wait_for_server_error(int err)
{
	while (bdev_server(fx.bdev, fx.why) != err)
		run_loops();
}

/* Told when it goes and when it comes; in between the reason is that of the last attempt. */
START_TEST(server_that_goes_and_comes_is_news)
{
	start();
	check_write_read(0, 1);
	ck_assert_int_eq(bdev_server(fx.bdev, fx.why), 1);
	ck_assert(!was_told(0));

	stop_server();
	ck_assert(was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 1u << 20);
	wait_for_server_error(-ENOENT);
	ck_assert_msg(strstr(fx.why, fx.spec) && strstr(fx.why, "server"), "%s", fx.why);
	ck_assert(!was_told(0));

	start_server();
	ck_assert(was_told(PATIENCE_MS));
	ck_assert_int_eq(bdev_server(fx.bdev, fx.why), 1);
	check_write_read(0, 2);
	(void)bdev_size_told(fx.bdev);
	ck_assert(!was_told(0));
}
END_TEST

START_TEST(goes_on_in_another_program)
{
	struct bdev_handover handover;
	struct bdev *next;
	int fds[3];

	start();
	check_write_read(0, 1);
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
	check_write_read(1, 2);
	ck_assert(was_told(PATIENCE_MS));
	ck_assert_uint_eq(bdev_size_told(fx.bdev), 2u << 20);
}
END_TEST

START_TEST(server_that_comes_back_with_shorter_rings_is_told_of)
{
	start();
	check_write_read(0, 1);
	stop_server();
	fx.options.ring_max = 2;
	start_server();
	wait_for_server_error(-EREMOTEIO);
	ck_assert_msg(strstr(fx.why, "are its queues as long"), "%s", fx.why);
	stop_server();
	fx.options.ring_max = 0;
	start_server();
	check_write_read(0, 2);
	ck_assert_int_eq(bdev_server(fx.bdev, fx.why), 1);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("bdev_vhost_user");
	TCase *tc = tcase_create("bdev_vhost_user");

	tcase_add_checked_fixture(tc, setup, teardown);
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
	tcase_add_test(tc, size_is_the_servers_when_somebody_asks);
	tcase_add_test(tc, server_that_is_of_no_use_is_left_in_peace);
	tcase_add_test(tc, silent_server_does_not_hold_up_the_end);
	tcase_add_loop_test(tc, bad_news_cost_the_connection, 0, 2);
	tcase_add_test(tc, server_tells_its_size_by_itself);
	tcase_add_test(tc, server_that_comes_back_larger_tells);
	tcase_add_test(tc, server_that_goes_and_comes_is_news);
	tcase_add_test(tc, server_that_comes_back_with_shorter_rings_is_told_of);
	tcase_add_test(tc, goes_on_in_another_program);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	fx_skip_without_uring();
	return run_suite(suite());
}
