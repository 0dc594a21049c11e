/* SPDX-License-Identifier: MIT */
/*
 * The buffer that a client keeps for a server that dies. The death is played: what
 * the client's memory and the buffer held in the middle of the work is put back
 * after the end of it, as if that had never come.
 */
#include "run_suite.h"
#include "test_vhost_user_fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "packed_ring.h"
#include "vblk/util/compiler.h"
#include "vblk/virtqueue/vq_inflight.h"

/* The client's buffer. */
static struct {
	struct vhu_inflight info;
	int fd;
	uint8_t *map;
} buf;

/* The client's memory and its buffer at a moment. */
static struct {
	uint8_t *mem[QUEUES];
	uint8_t *buf;
} saved;

static void inflight_setup(void)
{
	fx_setup();
	memset(&buf, 0, sizeof(buf));
	memset(&saved, 0, sizeof(saved));
	buf.fd = -1;
}

static void drop_buffer(void)
{
	if (buf.map)
		munmap(buf.map, buf.info.mmap_size_bytes);
	if (buf.fd >= 0)
		close(buf.fd);
	buf.map = NULL;
	buf.fd = -1;
}

static void inflight_teardown(void)
{
	drop_buffer();
	for (unsigned int i = 0; i < QUEUES; i++)
		free(saved.mem[i]);
	free(saved.buf);
	fx_teardown();
}

static void map_buffer(void)
{
	buf.map = mmap(NULL, buf.info.mmap_size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, buf.fd,
		       (off_t)buf.info.mmap_offset_bytes);
	ck_assert_ptr_ne(buf.map, MAP_FAILED);
}

static void get_buffer(uint16_t queue_cnt)
{
	struct vhu_msg msg, reply;

	vhu_msg_init(&msg, VHU_GET_INFLIGHT_FD, 0, sizeof(msg.payload.inflight));
	msg.payload.inflight.queue_cnt = queue_cnt;
	msg.payload.inflight.queue_size = RING_SIZE;
	fx_send(&msg);
	reply = fx_recv();
	ck_assert_int_eq(vhu_check_reply(&reply, VHU_GET_INFLIGHT_FD), 0);
	buf.info = reply.payload.inflight;
	buf.fd = vhu_msg_steal_fd(&reply, 0);
	ck_assert_uint_eq(buf.info.queue_cnt, queue_cnt);
	ck_assert_uint_eq(buf.info.queue_size, RING_SIZE);
	map_buffer();
}

static uint64_t set_buffer(void)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, VHU_SET_INFLIGHT_FD, 0, sizeof(msg.payload.inflight));
	msg.payload.inflight = buf.info;
	msg.fds[msg.fd_cnt++] = buf.fd;
	return fx_tell(&msg);
}

static void save(void)
{
	for (unsigned int i = 0; i < QUEUES; i++) {
		saved.mem[i] = malloc(ARENA_BYTES);
		memcpy(saved.mem[i], fx.rings[i]->mem, ARENA_BYTES);
	}
	saved.buf = malloc(buf.info.mmap_size_bytes);
	memcpy(saved.buf, buf.map, buf.info.mmap_size_bytes);
}

static void put_back(void)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		memcpy(fx.rings[i]->mem, saved.mem[i], ARENA_BYTES);
	memcpy(buf.map, saved.buf, buf.info.mmap_size_bytes);
}

static void begin(uint64_t features)
{
	fx_connect();
	fx_negotiate(features, PROTOCOL_USUAL);
	if (buf.fd < 0)
		get_buffer(QUEUES);
	ck_assert_uint_eq(set_buffer(), 0);
	ck_assert_uint_eq(fx_set_memory(), 0);
}

/* The client goes, its requests end, and then all that is taken for never been. */
static void die(void)
{
	unsigned int free_cnt = fx_event_cnt(VHU_DEV_EVENT_FREE);

	save();
	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_DISCONNECTED, free_cnt + 1);
	(void)fake_bdev_complete_all(fx.fake, 0);
	fx_wait_event(VHU_DEV_EVENT_FREE, free_cnt + 1);
	put_back();
}

static struct ring_blk_req submit_held(unsigned int idx, uint64_t sector)
{
	unsigned int cnt = fake_bdev_submitted_cnt(fx.fake);
	struct ring_blk_req req = fx_submit(idx, VIRTIO_BLK_T_OUT, sector);

	fx_kick(idx);
	ck_assert(fake_bdev_wait_submitted(fx.fake, cnt + 1, PATIENCE_MS));
	return req;
}

START_TEST(requests_of_a_dead_server_are_done_again)
{
	struct ring_blk_req done, req[3];
	unsigned int cnt;

	begin(FEATURES_USUAL);
	for (unsigned int i = 0; i < QUEUES; i++)
		fx_ring_start(i);
	done = fx_submit(0, VIRTIO_BLK_T_IN, 1);
	fx_kick(0);
	fx_wait_done(0, &done);
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	req[0] = submit_held(0, 8);
	req[1] = submit_held(0, 16);
	req[2] = submit_held(1, 24);
	/* One ended before the other: indexes alone would not tell. */
	fake_bdev_complete(fx.fake, 2, 0);
	fx_wait_done(0, &req[1]);
	die();

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	cnt = fake_bdev_submitted_cnt(fx.fake);
	begin(FEATURES_USUAL);
	fx_ring_start(0);
	fx_ring_start(1);
	fx_wait_done(0, &req[0]);
	fx_wait_done(1, &req[2]);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), cnt + 2);
	ck_assert_uint_eq(fx_info().recovered, 2);
	fx_check_works(0);
	fx_check_works(1);
}
END_TEST

START_TEST(nothing_new_begins_before_all_old_has_ended)
{
	struct ring_blk_req old, fresh;
	unsigned int cnt;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	begin(FEATURES_USUAL);
	fx_ring_start(0);
	fx_ring_start(1);
	old = submit_held(1, 8);
	die();

	cnt = fake_bdev_submitted_cnt(fx.fake);
	begin(FEATURES_USUAL);
	fx_ring_start(0);
	fresh = fx_submit(0, VIRTIO_BLK_T_OUT, 8);
	fx_kick(0);
	ck_assert(!fake_bdev_wait_submitted(fx.fake, cnt + 1, 100));
	fx_ring_start(1);
	ck_assert(fake_bdev_wait_submitted(fx.fake, cnt + 1, PATIENCE_MS));
	ck_assert(!fake_bdev_wait_submitted(fx.fake, cnt + 2, 50));
	fake_bdev_complete(fx.fake, cnt, 0);
	fx_wait_done(1, &old);
	ck_assert(fake_bdev_wait_submitted(fx.fake, cnt + 2, PATIENCE_MS));
	fake_bdev_complete(fx.fake, cnt + 1, 0);
	fx_wait_done(0, &fresh);
}
END_TEST

/* Stopped before it has looked at what it is to do again: it does, before it says where it is. */
START_TEST(base_counts_what_was_done_again)
{
	struct ring_blk_req old;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	begin(FEATURES_USUAL);
	fx_ring_start(0);
	old = submit_held(0, 8);
	die();

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	begin(FEATURES_USUAL);
	/* Not started: it stays in flight. */
	(void)fx_get_base(0);
	fx_ring_start(0);
	ck_assert_uint_eq(fx_get_base(0), 1);
	ring_reap(fx.rings[0]);
	ck_assert(ring_blk_is_done(fx.rings[0], &old));
	ck_assert_uint_eq(*old.status, VIRTIO_BLK_S_OK);
}
END_TEST

/* In one piece, so that mostly the queue hears of the second before it has begun. */
static void send_enable_and(const struct vhu_msg *then)
{
	struct vhu_msg enable;
	struct iovec iov[] = {
		{ &enable.hdr, sizeof(enable.hdr) },
		{ &enable.payload, sizeof(enable.payload.state) },
		{ (void *)&then->hdr, sizeof(then->hdr) },
		{ (void *)&then->payload, then->hdr.size },
	};
	ssize_t bytes = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(iov); i++)
		bytes += (ssize_t)iov[i].iov_len;
	vhu_msg_init(&enable, VHU_SET_VRING_ENABLE, 0, sizeof(enable.payload.state));
	enable.payload.state.num = 1;
	ck_assert_int_eq(writev(fx.conn_fd, iov, ARRAY_SIZE(iov)), bytes);
}

/* The first of two, so that indexes alone would not tell. */
static void leave_one_in_flight(struct ring_blk_req *ret_req)
{
	struct ring_blk_req other;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	begin(FEATURES_USUAL);
	fx_ring_start(0);
	*ret_req = submit_held(0, 8);
	other = submit_held(0, 16);
	fake_bdev_complete(fx.fake, 1, 0);
	fx_wait_done(0, &other);
	die();
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	begin(FEATURES_USUAL);
	fx_ring_start_but_enable(0);
}

/* What clients do that stop for good: QEMU before it migrates, for example. */
START_TEST(queue_is_disabled_when_what_was_in_flight_is_done)
{
	struct ring_blk_req old;
	struct vhu_msg msg;

	leave_one_in_flight(&old);
	vhu_msg_init(&msg, VHU_SET_VRING_ENABLE, 0, sizeof(msg.payload.state));
	send_enable_and(&msg);
	ck_assert_uint_eq(fx_get_base(0), 2);
	ring_reap(fx.rings[0]);
	ck_assert(ring_blk_is_done(fx.rings[0], &old));
}
END_TEST

START_TEST(what_could_not_be_done_again_stays_in_the_buffer)
{
	struct ring_blk_req old;
	struct vhu_msg msg;
	unsigned int cnt;

	leave_one_in_flight(&old);
	cnt = fake_bdev_submitted_cnt(fx.fake);
	/* No memory at all. */
	vhu_msg_init(&msg, VHU_SET_MEM_TABLE, 0, offsetof(struct vhu_mem_table, regions));
	send_enable_and(&msg);
	(void)fx_get_base(0);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(0);
	fx_wait_done(0, &old);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), cnt + 1);
}
END_TEST

START_TEST(buffer_may_be_for_some_of_the_queues)
{
	struct ring_blk_req old;

	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	get_buffer(1);
	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_FREE, 1);

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	begin(FEATURES_USUAL);
	fx_ring_start(0);
	fx_ring_start(1);
	old = submit_held(0, 8);
	die();
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	begin(FEATURES_USUAL);
	fx_ring_start(1);
	fx_ring_start(0);
	fx_wait_done(0, &old);
	fx_check_works(0);
	fx_check_works(1);
}
END_TEST

START_TEST(client_goes_on_where_it_was)
{
	/* Nothing in flight, nothing to do again, and no request twice. */
	for (unsigned int round = 0; round < 3; round++) {
		begin(FEATURES_USUAL);
		fx_ring_start(0);
		fx_check_works(0);
		ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), round + 1);
		fx_disconnect();
		fx_wait_event(VHU_DEV_EVENT_FREE, round + 1);
		ck_assert_uint_eq(fx_info().recovered, 0);
	}
}
END_TEST

START_TEST(cache_mode_is_in_the_buffer)
{
	uint8_t off = 0, on = 1;

	for (unsigned int round = 0; round < 2; round++) {
		begin(FEATURES_USUAL | BIT64(VIRTIO_BLK_F_CONFIG_WCE));
		if (!round)
			(void)fx_get_config(0, 60);
		ck_assert(!fx_info().write_through);
		ck_assert_uint_eq(fx_set_config(32, 0, &off, 1), 0);
		fx_disconnect();
		fx_wait_event(VHU_DEV_EVENT_FREE, 2 * round + 1);

		begin(FEATURES_USUAL | BIT64(VIRTIO_BLK_F_CONFIG_WCE));
		ck_assert(fx_info().write_through);
		ck_assert_uint_eq(fx_set_config(32, 0, &on, 1), 0);
		fx_disconnect();
		fx_wait_event(VHU_DEV_EVENT_FREE, 2 * round + 2);
	}
}
END_TEST

START_TEST(cache_mode_that_the_client_says_is_newer_than_the_buffer)
{
	uint8_t off = 0;

	begin(FEATURES_USUAL | BIT64(VIRTIO_BLK_F_CONFIG_WCE));
	(void)fx_get_config(0, 60);
	ck_assert(!fx_info().write_through);
	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_FREE, 1);

	fx_connect();
	fx_negotiate(FEATURES_USUAL | BIT64(VIRTIO_BLK_F_CONFIG_WCE), PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_set_config(32, 0, &off, 1), 0);
	ck_assert_uint_eq(set_buffer(), 0);
	ck_assert(fx_info().write_through);
	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_FREE, 2);

	begin(FEATURES_USUAL | BIT64(VIRTIO_BLK_F_CONFIG_WCE));
	(void)fx_get_config(0, 60);
	ck_assert(fx_info().write_through);
}
END_TEST

START_TEST(reset_forgets_what_is_in_flight)
{
	unsigned int cnt;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	begin(FEATURES_USUAL);
	fx_ring_start(0);
	(void)submit_held(0, 8);
	die();

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	cnt = fake_bdev_submitted_cnt(fx.fake);
	begin(FEATURES_USUAL);
	ck_assert_uint_eq(fx_tell_none(VHU_RESET_DEVICE), 0);
	ring_free(fx.rings[0]);
	fx.rings[0] = ring_new(RING_SIZE, ARENA_BYTES, 1ull << 32);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(0);
	fx_check_works(0);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), cnt + 1);
}
END_TEST

START_TEST(queue_with_requests_that_is_not_started_is_told_of)
{
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	begin(FEATURES_USUAL);
	fx_ring_start(1);
	(void)submit_held(1, 8);
	die();

	begin(FEATURES_USUAL);
	fx_ring_start(0);
	fx_wait_event(VHU_DEV_EVENT_QUEUE_MISSING, 1);
	ck_assert_int_eq(fx.event_arg[VHU_DEV_EVENT_QUEUE_MISSING], 1);
}
END_TEST

/* --- packed rings --- */

static struct packed_ring *packed;

static void packed_ring_tell(uint32_t base)
{
	struct vhu_msg msg;

	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, 0, RING_SIZE), 0);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_BASE, 0, base), 0);
	vhu_msg_init(&msg, VHU_SET_VRING_ADDR, 0, sizeof(msg.payload.addr));
	msg.payload.addr = (struct vhu_vring_addr){
		.desc_uaddr = UADDR(ring_iova(packed->arena, packed->desc)),
		.avail_uaddr = UADDR(ring_iova(packed->arena, packed->driver)),
		.used_uaddr = UADDR(ring_iova(packed->arena, packed->device)),
	};
	ck_assert_uint_eq(fx_tell(&msg), 0);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_CALL, 0, fx.call_fd[0]), 0);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, 0, fx.kick_fd[0]), 0);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 1), 0);
}

/* A read of one block, as buffer @id. */
static uint8_t *packed_submit(uint16_t id, uint64_t sector)
{
	struct ring *arena = packed->arena;
	struct virtio_blk_outhdr *hdr = ring_alloc(arena, sizeof(*hdr), 8);
	uint8_t *data = ring_alloc(arena, 512, 8), *status = ring_alloc(arena, 1, 1);
	struct packed_buf bufs[] = {
		{ ring_iova(arena, hdr), sizeof(*hdr), 0 },
		{ ring_iova(arena, data), 512, VRING_DESC_F_WRITE },
		{ ring_iova(arena, status), 1, VRING_DESC_F_WRITE },
	};

	*status = 0xff;
	*hdr = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN, .sector = sector };
	packed_ring_add(packed, id, bufs, ARRAY_SIZE(bufs));
	fx_kick(0);
	return status;
}

static void packed_wait(uint16_t id)
{
	struct pollfd pfd = { .fd = fx.call_fd[0], .events = POLLIN };
	uint64_t cnt;

	for (;;) {
		(void)packed_ring_reap(packed);
		if (packed->done_cnt[id])
			break;
		ck_assert_msg(poll(&pfd, 1, PATIENCE_MS) == 1, "no interrupt");
		ck_assert_int_eq(read(fx.call_fd[0], &cnt, sizeof(cnt)), sizeof(cnt));
	}
}

/* In place of the ring of queue 0. */
static void packed_setup(void)
{
	inflight_setup();
	ring_free(fx.rings[0]);
	packed = packed_ring_new(RING_SIZE, ARENA_BYTES, 1ull << 32);
	fx.rings[0] = packed->arena;
}

static void packed_teardown(void)
{
	fx.rings[0] = ring_new(RING_SIZE, ARENA_BYTES, 1ull << 32);
	inflight_teardown();
	packed_ring_free(packed);
}

#define FEATURES_PACKED (FEATURES_USUAL | BIT64(VIRTIO_F_RING_PACKED))

START_TEST(packed_ring_works_and_goes_on)
{
	uint32_t base = 0x80008000;

	begin(FEATURES_PACKED);
	for (unsigned int i = 0; i < 20; i++) {
		uint8_t *status;

		packed_ring_tell(base);
		status = packed_submit(3, i);
		packed_wait(3);
		ck_assert_uint_eq(*status, VIRTIO_BLK_S_OK);
		/* A pause of the client's, and one without a word about where it stands. */
		ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 0), 0);
		ck_assert_uint_eq(fx_set_memory(), 0);
		ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 1), 0);
		status = packed_submit(5, i);
		packed_wait(5);
		ck_assert_uint_eq(*status, VIRTIO_BLK_S_OK);
		base = fx_get_base(0);
		ck_assert_uint_eq(base & 0xffff, packed_pos_word(packed->used));
		ck_assert_uint_eq(base >> 16, packed_pos_word(packed->used));
	}
}
END_TEST

START_TEST(packed_requests_of_a_dead_server_are_done_again)
{
	uint8_t *status[3];
	unsigned int cnt;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	begin(FEATURES_PACKED);
	packed_ring_tell(0x80008000);
	for (uint16_t i = 0; i < 3; i++) {
		status[i] = packed_submit(i, i);
		ck_assert(fake_bdev_wait_submitted(fx.fake, i + 1u, PATIENCE_MS));
	}
	/* Its used descriptor lies where the first one's available ones were. */
	fake_bdev_complete(fx.fake, 2, 0);
	packed_wait(2);
	die();

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	cnt = fake_bdev_submitted_cnt(fx.fake);
	begin(FEATURES_PACKED);
	/* What the client believes is not so; the record counts. */
	packed_ring_tell(0x80008000);
	packed_wait(0);
	packed_wait(1);
	ck_assert_uint_eq(*status[0] | *status[1], VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), cnt + 2);
	status[0] = packed_submit(7, 7);
	packed_wait(7);
	ck_assert_uint_eq(*status[0], VIRTIO_BLK_S_OK);
}
END_TEST

/* --- buffers that are none --- */

START_TEST(wrong_buffers_are_refused)
{
	struct vhu_inflight right;
	uint8_t *copy;

	begin(FEATURES_USUAL);
	right = buf.info;
	copy = malloc(right.mmap_size_bytes);
	memcpy(copy, buf.map, right.mmap_size_bytes);

	buf.info.queue_cnt = QUEUES + 1;
	ck_assert_uint_eq(set_buffer(), EINVAL);
	buf.info.queue_cnt = 0;
	ck_assert_uint_eq(set_buffer(), EINVAL);
	buf.info = right;
	buf.info.queue_size = RING_SIZE * 2;
	ck_assert_uint_eq(set_buffer(), EINVAL);
	/* Not the one that it was made for. */
	buf.info.queue_size = RING_SIZE / 2;
	ck_assert_uint_eq(set_buffer(), EUCLEAN);
	buf.info = right;
	buf.info.mmap_size_bytes = 64;
	ck_assert_uint_eq(set_buffer(), EINVAL);
	buf.info = right;
	buf.info.mmap_offset_bytes = 4096;
	ck_assert_uint_eq(set_buffer(), EINVAL);
	buf.info = right;
	buf.info.mmap_size_bytes = UINT64_MAX;
	ck_assert_uint_eq(set_buffer(), EINVAL);
	buf.info = right;
	/* Of another program, and of another version. */
	for (unsigned int at = 0; at < 24; at += 8) {
		buf.map[at] ^= 0x55;
		ck_assert_uint_eq(set_buffer(), EUCLEAN);
		memcpy(buf.map, copy, right.mmap_size_bytes);
	}
	ck_assert_uint_eq(set_buffer(), 0);
	fx_ring_start(0);
	/* Not under a queue that writes to it. */
	ck_assert_uint_eq(set_buffer(), EBUSY);
	fx_check_works(0);
	free(copy);
}
END_TEST

START_TEST(buffer_for_larger_queues_is_not_made)
{
	struct vhu_msg msg;

	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	vhu_msg_init(&msg, VHU_GET_INFLIGHT_FD, 0, sizeof(msg.payload.inflight));
	msg.payload.inflight.queue_cnt = QUEUES;
	msg.payload.inflight.queue_size = RING_SIZE * 2;
	fx_send(&msg);
	fx_expect_closed();
	fx_wait_event(VHU_DEV_EVENT_DISCONNECTED, 1);
	ck_assert_str_eq(fx.why, "GET_INFLIGHT_FD: queues of 32 entries instead of at most 16");
}
END_TEST

START_TEST(records_that_lie_stop_their_queue)
{
	static const uint16_t sizes[] = { 0, 1, RING_SIZE, UINT16_MAX - 1 };
	unsigned int told_cnt = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct vq_inflight *rec;

		begin(FEATURES_USUAL);
		rec = (struct vq_inflight *)(void *)(buf.map + 64);
		rec->size = sizes[i];
		memset(rec->seq, 0xff, RING_SIZE * sizeof(rec->seq[0]));
		ck_assert_uint_eq(set_buffer(), 0);
		fx_ring_start(0);
		fx_ring_start(1);
		fx_wait_event(VHU_DEV_EVENT_QUEUE_UNUSABLE, ++told_cnt);
		fx_check_works(1);
		/* The client takes it upon itself. */
		(void)fx_get_base(0);
		fx_ring_start(0);
		fx_check_works(0);
		fx_disconnect();
		fx_wait_event(VHU_DEV_EVENT_FREE, i + 1);
	}
}
END_TEST

/* A buffer of the client's own making, which it cuts. */
START_TEST(buffer_that_goes_costs_the_connection)
{
	begin(FEATURES_USUAL);
	munmap(buf.map, buf.info.mmap_size_bytes);
	buf.map = NULL;
	close(buf.fd);
	buf.fd = memfd_create("client", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(buf.fd, (off_t)buf.info.mmap_size_bytes), 0);
	/* New, so all zeroes. */
	ck_assert_uint_eq(set_buffer(), 0);
	fx_ring_start(0);
	fx_check_works(0);
	ck_assert_int_eq(ftruncate(buf.fd, 0), 0);
	(void)fx_submit(0, VIRTIO_BLK_T_IN, 0);
	fx_kick(0);
	fx_expect_closed();
	fx_wait_event(VHU_DEV_EVENT_FREE, 1);
	close(buf.fd);
	buf.fd = memfd_create("client", MFD_CLOEXEC);
	/* And one that is cut already. */
	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	ck_assert_uint_eq(set_buffer(), EINVAL);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(1);
	fx_check_works(1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_user_inflight");
	TCase *tc = tcase_create("split"), *packed_tc = tcase_create("packed");

	tcase_add_checked_fixture(tc, inflight_setup, inflight_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, requests_of_a_dead_server_are_done_again);
	tcase_add_test(tc, nothing_new_begins_before_all_old_has_ended);
	tcase_add_test(tc, base_counts_what_was_done_again);
	tcase_add_test(tc, queue_is_disabled_when_what_was_in_flight_is_done);
	tcase_add_test(tc, what_could_not_be_done_again_stays_in_the_buffer);
	tcase_add_test(tc, buffer_may_be_for_some_of_the_queues);
	tcase_add_test(tc, client_goes_on_where_it_was);
	tcase_add_test(tc, cache_mode_is_in_the_buffer);
	tcase_add_test(tc, cache_mode_that_the_client_says_is_newer_than_the_buffer);
	tcase_add_test(tc, reset_forgets_what_is_in_flight);
	tcase_add_test(tc, queue_with_requests_that_is_not_started_is_told_of);
	tcase_add_test(tc, wrong_buffers_are_refused);
	tcase_add_test(tc, buffer_for_larger_queues_is_not_made);
	tcase_add_test(tc, records_that_lie_stop_their_queue);
	tcase_add_test(tc, buffer_that_goes_costs_the_connection);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(packed_tc, packed_setup, packed_teardown);
	tcase_set_timeout(packed_tc, 60);
	tcase_add_test(packed_tc, packed_ring_works_and_goes_on);
	tcase_add_test(packed_tc, packed_requests_of_a_dead_server_are_done_again);
	suite_add_tcase(s, packed_tc);
	return run_suite(s);
}
