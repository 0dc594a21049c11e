/* SPDX-License-Identifier: MIT */
/* What a right client does, and gets. */
#include "run_suite.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_vhost_user_fixture.h"
#include "vblk/vhu_client/vhu_client.h"

#define WCE_AT offsetof(struct virtio_blk_config, wce)

static uint64_t capacity_told(void)
{
	struct vhu_config config = fx_get_config(0, sizeof(struct virtio_blk_config));
	uint64_t sectors;

	memcpy(&sectors, config.data, sizeof(sectors));
	return le64toh(sectors) * 512;
}

static void set_capacity(uint64_t bytes)
{
	pthread_mutex_lock(&fx.lock);
	vhu_dev_set_capacity(fx.dev, bytes);
	pthread_mutex_unlock(&fx.lock);
}

START_TEST(client_of_this_repository_gets_in_and_works)
{
	struct vhu_client_params params = {
		.path = fx.path, .features = UINT64_MAX, .timeout_ms = PATIENCE_MS, .stop_fd = -1
	};
	struct vhu_client_region regions[QUEUES];
	struct virtio_blk_config config;
	struct vhu_client *client;
	struct vhu_dev_info info;
	uint16_t base;

	params.features &= ~(BIT64(VIRTIO_F_RING_PACKED) | BIT64(VIRTIO_RING_F_EVENT_IDX));
	ck_assert_int_eq(vhu_client_open(&params, &client), 0);
	ck_assert_uint_eq(vhu_client_facts(client)->queue_cnt, QUEUES);
	ck_assert_int_eq(vhu_client_get_config(client, &config, sizeof(config)), 0);
	ck_assert_uint_eq(le64toh(config.capacity), (1 << 20) / 512);
	for (unsigned int i = 0; i < QUEUES; i++)
		regions[i] = (struct vhu_client_region){
			.addr = fx.rings[i]->iova,
			.len_bytes = fx.rings[i]->mem_bytes,
			.fd = fx.rings[i]->fd,
		};
	ck_assert_int_eq(vhu_client_set_memory(client, regions, QUEUES), 0);
	for (unsigned int i = 0; i < QUEUES; i++) {
		struct vhu_client_ring ring = {
			.idx = i,
			.size = RING_SIZE,
			.desc_addr = ring_desc_iova(fx.rings[i]),
			.avail_addr = ring_avail_iova(fx.rings[i]),
			.used_addr = ring_used_iova(fx.rings[i]),
			.kick_fd = fx.kick_fd[i],
			.call_fd = fx.call_fd[i],
		};

		ck_assert_int_eq(vhu_client_ring_start(client, &ring), 0);
		fx_check_works(i);
	}
	info = fx_info();
	ck_assert(info.connected);
	ck_assert_uint_eq(info.running_cnt, QUEUES);
	ck_assert_uint_eq(info.region_cnt, QUEUES);
	ck_assert_uint_eq(info.memory_bytes, QUEUES * ARENA_BYTES);
	ck_assert_int_eq(info.client_pid, getpid());
	set_capacity(2 << 20);
	while (vhu_client_handle_backend(client) == 0)
		;
	ck_assert_int_eq(vhu_client_get_config(client, &config, sizeof(config)), 0);
	ck_assert_uint_eq(le64toh(config.capacity), (2 << 20) / 512);
	ck_assert_int_eq(vhu_client_ring_stop(client, 1, &base), 0);
	ck_assert_uint_eq(base, 1);
	vhu_client_close(client);
	fx_wait_event(VHU_DEV_EVENT_FREE, 1);
	ck_assert_int_eq(fx.event_arg[VHU_DEV_EVENT_DISCONNECTED], 0);
	ck_assert(!fx_info().connected);
}
END_TEST

START_TEST(offers_are_these)
{
	uint64_t features;

	fx_connect();
	features = fx_ask_u64(VHU_GET_FEATURES);
	ck_assert_uint_eq(features, fx.blk.features | BIT64(VHU_F_PROTOCOL_FEATURES) |
					    BIT64(VIRTIO_F_RING_PACKED) |
					    BIT64(VIRTIO_BLK_F_CONFIG_WCE));
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_PROTOCOL_FEATURES), PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_QUEUE_NUM), QUEUES);
	ck_assert_uint_ge(fx_ask_u64(VHU_GET_MAX_MEM_SLOTS), 32);
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_STATUS), 0);
}
END_TEST

START_TEST(queues_stop_and_start_alone)
{
	struct ring_blk_req req;

	fx_run();
	fx_wait_event(VHU_DEV_EVENT_RUNNING, 1);
	fx_check_works(0);
	fx_check_works(1);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 0), 0);
	req = fx_submit(0, VIRTIO_BLK_T_IN, 3);
	fx_kick(0);
	fx_check_works(1);
	ring_reap(fx.rings[0]);
	ck_assert(!ring_blk_is_done(fx.rings[0], &req));
	ck_assert_uint_eq(fx_info().running_cnt, 1);
	/* It waits in the ring, also without another kick. */
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 1), 0);
	fx_wait_done(0, &req);
	ck_assert_uint_eq(fx_get_base(0), 2);
	ck_assert_uint_eq(fx_info().running_cnt, 1);
	fx_ring_start(0);
	fx_check_works(0);
	/* Once for a client, however often its queues stop. */
	ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_RUNNING), 1);
}
END_TEST

START_TEST(base_is_told_when_nothing_is_in_flight)
{
	struct pollfd pfd;
	struct ring_blk_req req;
	struct vhu_msg msg;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	fx_run();
	req = fx_submit(0, VIRTIO_BLK_T_IN, 3);
	fx_kick(0);
	ck_assert(fake_bdev_wait_submitted(fx.fake, 1, PATIENCE_MS));
	vhu_msg_init(&msg, VHU_GET_VRING_BASE, 0, sizeof(msg.payload.state));
	fx_send(&msg);
	pfd = (struct pollfd){ .fd = fx.conn_fd, .events = POLLIN };
	ck_assert_int_eq(poll(&pfd, 1, 50), 0);
	ring_reap(fx.rings[0]);
	ck_assert(!ring_blk_is_done(fx.rings[0], &req));
	fake_bdev_complete(fx.fake, 0, 0);
	msg = fx_recv();
	ck_assert_uint_eq(msg.payload.state.num, 1);
	ring_reap(fx.rings[0]);
	ck_assert(ring_blk_is_done(fx.rings[0], &req));
}
END_TEST

START_TEST(without_protocol_features_queues_are_enabled)
{
	fx_connect();
	ck_assert_uint_eq(
		fx_tell_u64(VHU_SET_FEATURES, FEATURES_USUAL & ~BIT64(VHU_F_PROTOCOL_FEATURES)), 0);
	fx_set_memory();
	fx_tell_state(VHU_SET_VRING_NUM, 0, RING_SIZE);
	fx_set_addr(0);
	fx_tell_fd(VHU_SET_VRING_CALL, 0, fx.call_fd[0]);
	fx_tell_fd(VHU_SET_VRING_KICK, 0, fx.kick_fd[0]);
	fx_check_works(0);
}
END_TEST

START_TEST(interrupts_go_where_the_client_says)
{
	int other = eventfd(0, EFD_CLOEXEC);
	struct pollfd pfd = { .fd = other, .events = POLLIN };
	struct ring_blk_req req;

	fx_run();
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_CALL, 0, other), 0);
	/* What was told to the one before may not have been heard. */
	ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_CALL, 0, fx.call_fd[0]), 0);
	fx_check_works(0);
	/* And to nobody. */
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_CALL, 0, -1), 0);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_ERR, 0, -1), 0);
	req = fx_submit(0, VIRTIO_BLK_T_IN, 3);
	fx_kick(0);
	while (!ring_reap(fx.rings[0]))
		usleep(1000);
	ck_assert(ring_blk_is_done(fx.rings[0], &req));
	close(other);
}
END_TEST

START_TEST(kick_can_be_exchanged)
{
	int other = eventfd(0, EFD_CLOEXEC);

	fx_run();
	fx_check_works(0);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, 0, other), 0);
	close(fx.kick_fd[0]);
	fx.kick_fd[0] = other;
	fx_check_works(0);
}
END_TEST

START_TEST(memory_comes_and_goes_in_slots)
{
	struct vhu_msg msg;

	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	for (unsigned int i = 0; i < QUEUES; i++) {
		fx_msg_mem_reg(&msg, VHU_ADD_MEM_REG, i);
		ck_assert_uint_eq(fx_tell(&msg), 0);
		fx_ring_start(i);
		fx_check_works(0);
	}
	fx_check_works(1);
	/* Its ring is in it: it pauses until the region is back. */
	fx_msg_mem_reg(&msg, VHU_REM_MEM_REG, 1);
	ck_assert_uint_eq(fx_tell(&msg), 0);
	ck_assert_uint_eq(fx_info().region_cnt, 1);
	fx_check_works(0);
	ck_assert_uint_eq(fx_info().running_cnt, 1);
	fx_msg_mem_reg(&msg, VHU_REM_MEM_REG, 1);
	ck_assert_uint_eq(fx_tell(&msg), ENOENT);
	fx_msg_mem_reg(&msg, VHU_ADD_MEM_REG, 1);
	ck_assert_uint_eq(fx_tell(&msg), 0);
	fx_check_works(0);
	fx_check_works(1);
	/* Again what is there. */
	fx_msg_mem_reg(&msg, VHU_ADD_MEM_REG, 1);
	ck_assert_uint_eq(fx_tell(&msg), EINVAL);
	fx_check_works(1);
}
END_TEST

START_TEST(memory_is_exchanged_with_requests_in_flight)
{
	struct ring_blk_req req;
	struct vhu_msg msg;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	fx_run();
	req = fx_submit(0, VIRTIO_BLK_T_IN, 3);
	fx_kick(0);
	ck_assert(fake_bdev_wait_submitted(fx.fake, 1, PATIENCE_MS));
	fx_msg_mem_table(&msg);
	msg.hdr.flags |= VHU_FLAG_NEED_REPLY;
	fx_send(&msg);
	usleep(20000);
	fake_bdev_complete(fx.fake, 0, 0);
	ck_assert_uint_eq(fx_recv().payload.u64, 0);
	fx_wait_done(0, &req);
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	fx_check_works(0);
}
END_TEST

START_TEST(reset_forgets_the_queues)
{
	for (unsigned int round = 0; round < 2; round++) {
		if (!round)
			fx_run();
		else
			for (unsigned int i = 0; i < QUEUES; i++)
				fx_ring_start(i);
		fx_check_works(0);
		if (!round)
			ck_assert_uint_eq(fx_tell_none(VHU_RESET_DEVICE), 0);
		else
			ck_assert_uint_eq(fx_tell_u64(VHU_SET_STATUS, 0), 0);
		ck_assert_uint_eq(fx_info().running_cnt, 0);
		ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_RESET), round + 1);
		/* Nothing of it is left that would run by itself. */
		ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 1), 0);
		ck_assert_uint_eq(fx_info().running_cnt, 0);
	}
}
END_TEST

START_TEST(status_is_kept)
{
	fx_run();
	ck_assert_uint_eq(fx_tell_u64(VHU_SET_STATUS, 0xf), 0);
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_STATUS), 0xf);
	ck_assert_uint_eq(fx_info().status, 0xf);
	ck_assert_uint_eq(fx_tell_u64(VHU_SET_STATUS, 0x100), EINVAL);
	ck_assert_uint_eq(fx_tell_none(VHU_RESET_DEVICE), 0);
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_STATUS), 0);
}
END_TEST

START_TEST(configuration_is_read_in_parts)
{
	struct vhu_config config;
	struct vhu_msg msg;

	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	ck_assert_uint_eq(capacity_told(), 1 << 20);
	config = fx_get_config(WCE_AT, 1);
	ck_assert_uint_eq(config.data[0], 1);
	/* Behind what there is are zeroes. */
	config = fx_get_config(VHU_CONFIG_MAX - 4, 4);
	ck_assert_uint_eq(config.data[0] | config.data[3], 0);
	config = fx_get_config(0, 0);
	ck_assert_uint_eq(config.size, 0);
	vhu_msg_init(&msg, VHU_GET_CONFIG, 0, VHU_CONFIG_HDR + 4);
	msg.payload.config.offset = VHU_CONFIG_MAX - 3;
	msg.payload.config.size = 4;
	fx_send(&msg);
	msg = fx_recv();
	ck_assert_int_eq(vhu_check_reply(&msg, VHU_GET_CONFIG), 0);
	ck_assert_uint_eq(msg.hdr.size, 0);
	ck_assert_uint_eq(fx_set_config(UINT32_MAX, VHU_CONFIG_MIGRATED, "", 1), EINVAL);
}
END_TEST

/* Whether a write was followed by a flush. */
static bool write_is_flushed(void)
{
	unsigned int cnt = fake_bdev_submitted_cnt(fx.fake);
	struct ring_blk_req req = fx_submit(0, VIRTIO_BLK_T_OUT, 5);

	fx_kick(0);
	fx_wait_done(0, &req);
	ring_blk_put(fx.rings[0], &req);
	if (fake_bdev_submitted_cnt(fx.fake) == cnt + 1)
		return false;
	ck_assert_int_eq(fake_bdev_record(fx.fake, cnt + 1).op, BDEV_FLUSH);
	return true;
}

START_TEST(cache_is_switched_while_it_works)
{
	uint8_t off = 0, on = 1, bad = 2;

	fx_connect();
	fx_negotiate(FEATURES_USUAL | BIT64(VIRTIO_BLK_F_CONFIG_WCE), PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(0);
	/* It does not know yet that there is a cache. */
	ck_assert(write_is_flushed());
	(void)fx_get_config(WCE_AT, 1);
	ck_assert(!write_is_flushed());
	ck_assert_uint_eq(fx_set_config(WCE_AT, 0, &off, 1), 0);
	ck_assert(write_is_flushed());
	ck_assert_uint_eq(fx_get_config(WCE_AT, 1).data[0], 0);
	ck_assert(fx_info().write_through);
	ck_assert_uint_eq(fx_set_config(WCE_AT, 0, &on, 1), 0);
	ck_assert(!write_is_flushed());
	ck_assert_uint_eq(fx_set_config(WCE_AT, 0, &bad, 1), EINVAL);
	ck_assert_uint_eq(fx_set_config(0, 0, &on, 1), EPERM);
	ck_assert(!write_is_flushed());
}
END_TEST

START_TEST(driver_without_flush_gets_durable_writes)
{
	fx_connect();
	fx_negotiate(FEATURES_USUAL & ~BIT64(VIRTIO_BLK_F_FLUSH), PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(0);
	ck_assert(write_is_flushed());
}
END_TEST

/* ---- secure erase ---- */

#define ERASE_AT  offsetof(struct virtio_blk_config, max_secure_erase_sectors)
#define ERASE_MAX 64u

/* A disk of 4k blocks, of which so many sectors can be erased at once. */
static void start_erasable(uint64_t max_sectors)
{
	struct bdev_limits limits = fake_bdev_default_limits();

	fx_server_stop();
	limits.logical_block_bytes = 4096;
	limits.discard_align_bytes = 8192;
	limits.max_secure_erase_bytes = max_sectors * 512;
	blk_params_init(&fx.blk, &limits, QUEUES, RING_SIZE, "serial");
	fx_server_start();
	fx_connect();
}

START_TEST(erase_is_offered_where_the_disk_can)
{
	const uint32_t told[2][3] = { { 0 }, { ERASE_MAX, BLK_RANGES_MAX, 16 } };
	uint64_t bit = BIT64(VIRTIO_BLK_F_SECURE_ERASE);
	struct vhu_config config;
	uint32_t fields[3];

	start_erasable(_i * ERASE_MAX);
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_FEATURES) & bit, _i ? bit : 0);
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_tell_u64(VHU_SET_FEATURES, FEATURES_USUAL | bit), _i ? 0 : EINVAL);
	config = fx_get_config(ERASE_AT, sizeof(fields));
	memcpy(fields, config.data, sizeof(fields));
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(le32toh(fields[i]), told[_i][i]);
}
END_TEST

static const struct {
	const char *what;
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} ranges[2];
	unsigned int range_cnt, odd_bytes;
	uint8_t status;
} erase_cases[] = {
	{ "one block", { { 8, 8, 0 } }, 1, 0, VIRTIO_BLK_S_OK },
	{ "the longest", { { 8, ERASE_MAX, 0 } }, 1, 0, VIRTIO_BLK_S_OK },
	{ "the last", { { 2040, 8, 0 } }, 1, 0, VIRTIO_BLK_S_OK },
	{ "two", { { 8, 8, 0 }, { 1024, 16, 0 } }, 2, 0, VIRTIO_BLK_S_OK },
	{ "longer than it can be", { { 8, ERASE_MAX + 8, 0 } }, 1, 0, VIRTIO_BLK_S_IOERR },
	{ "beyond the end", { { 2040, 16, 0 } }, 1, 0, VIRTIO_BLK_S_IOERR },
	{ "beside a block", { { 4, 8, 0 } }, 1, 0, VIRTIO_BLK_S_IOERR },
	{ "part of a block", { { 8, 4, 0 } }, 1, 0, VIRTIO_BLK_S_IOERR },
	{ "unmap", { { 8, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP } }, 1, 0, VIRTIO_BLK_S_UNSUPP },
	{ "flag that is none", { { 8, 8, 2 } }, 1, 0, VIRTIO_BLK_S_UNSUPP },
	{ "wrong behind right", { { 8, 8, 0 }, { 4, 8, 0 } }, 2, 0, VIRTIO_BLK_S_IOERR },
	{ "half a range", { { 8, 8, 0 } }, 1, 8, VIRTIO_BLK_S_IOERR },
};

static uint8_t erase(unsigned int n)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_SECURE_ERASE,
		.from_driver = true,
		.seg_cnt = 1,
		.seg_bytes = { erase_cases[n].range_cnt * 16 + erase_cases[n].odd_bytes },
	};
	struct ring_blk_req req;
	uint8_t status;

	ring_blk_build(fx.rings[0], &spec, &req);
	for (unsigned int i = 0; i < erase_cases[n].range_cnt; i++) {
		struct virtio_blk_discard_write_zeroes range = {
			.sector = htole64(erase_cases[n].ranges[i].sector),
			.num_sectors = htole32(erase_cases[n].ranges[i].sectors),
			.flags = htole32(erase_cases[n].ranges[i].flags),
		};

		memcpy(req.data[0] + i * sizeof(range), &range, sizeof(range));
	}
	ring_publish(fx.rings[0], req.head);
	fx_kick(0);
	status = fx_wait_status(0, &req);
	ring_blk_put(fx.rings[0], &req);
	return status;
}

static bool is_to_be_erased(unsigned int n, uint64_t sector)
{
	for (unsigned int i = 0; i < erase_cases[n].range_cnt; i++)
		if (sector - erase_cases[n].ranges[i].sector < erase_cases[n].ranges[i].sectors)
			return erase_cases[n].status == VIRTIO_BLK_S_OK;
	return false;
}

START_TEST(erase_meets_its_sectors_alone)
{
	bool is_ok = erase_cases[_i].status == VIRTIO_BLK_S_OK;
	const uint8_t *content = fake_bdev_content(fx.fake);

	start_erasable(ERASE_MAX);
	memset(fake_bdev_content(fx.fake), 0x11, 1 << 20);
	fx_negotiate(FEATURES_USUAL | BIT64(VIRTIO_BLK_F_SECURE_ERASE), PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(0);
	ck_assert_msg(erase(_i) == erase_cases[_i].status, "%s", erase_cases[_i].what);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), is_ok ? erase_cases[_i].range_cnt : 0);
	for (unsigned int i = 0; i < fake_bdev_submitted_cnt(fx.fake); i++)
		ck_assert_int_eq(fake_bdev_record(fx.fake, i).op, BDEV_SECURE_ERASE);
	for (uint64_t s = 0; s < (1 << 20) / 512; s++)
		ck_assert_uint_eq(content[s * 512], is_to_be_erased(_i, s) ? 0xdd : 0x11);
}
END_TEST

START_TEST(erase_of_a_disk_that_cannot_is_refused)
{
	start_erasable(0);
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(0);
	ck_assert_uint_eq(erase(0), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(fake_bdev_submitted_cnt(fx.fake), 0);
}
END_TEST

static int give_backend_socket(void)
{
	struct vhu_msg msg;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	vhu_msg_init(&msg, VHU_SET_BACKEND_REQ_FD, 0, 0);
	msg.fds[msg.fd_cnt++] = fds[1];
	ck_assert_uint_eq(fx_tell(&msg), 0);
	close(fds[1]);
	return fds[0];
}

static bool is_told(int fd, int wait_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct vhu_msg msg;
	struct vhu_rx rx;

	if (poll(&pfd, 1, wait_ms) != 1)
		return false;
	vhu_rx_init(&rx);
	ck_assert_int_eq(vhu_rx_recv(&rx, fd, &msg), 0);
	ck_assert_int_eq(vhu_check_backend_request(&msg), 0);
	return true;
}

START_TEST(size_is_told_when_queues_run)
{
	int fd;

	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	fd = give_backend_socket();
	ck_assert_uint_eq(capacity_told(), 1 << 20);
	ck_assert_uint_eq(fx_set_memory(), 0);
	/* Nothing is said while none runs; it reads it before, or is told then. */
	set_capacity(2 << 20);
	ck_assert(!is_told(fd, 20));
	fx_ring_start(0);
	ck_assert(is_told(fd, PATIENCE_MS));
	ck_assert(!is_told(fd, 20));
	ck_assert_uint_eq(capacity_told(), 2 << 20);
	set_capacity(1 << 20);
	ck_assert(is_told(fd, PATIENCE_MS));
	ck_assert_uint_eq(capacity_told(), 1 << 20);
	close(fd);
	/* Nobody listens: that is no trouble. */
	set_capacity(2 << 20);
	fx_check_works(0);
}
END_TEST

/* A client that goes while its requests are in flight; the next one waits for that. */
START_TEST(size_is_told_again_when_the_client_has_room_for_it)
{
	int fd;

	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	fd = give_backend_socket();
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(0);
	/* More than any socket holds. */
	for (unsigned int i = 0; i < 20000; i++)
		set_capacity((1 + i % 2) << 20);
	/* Its thread hears of that, which it would not need to if it had been the one. */
	(void)fx_ask_u64(VHU_GET_STATUS);
	while (is_told(fd, 0))
		;
	ck_assert(is_told(fd, PATIENCE_MS));
	ck_assert(!is_told(fd, 20));
	fx_check_works(0);
	close(fd);
}
END_TEST

START_TEST(next_client_is_served_when_the_last_ones_requests_have_ended)
{
	struct ring_blk_req req;
	struct pollfd pfd;
	struct vhu_msg msg;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	fx_run();
	req = fx_submit(0, VIRTIO_BLK_T_IN, 3);
	fx_kick(0);
	ck_assert(fake_bdev_wait_submitted(fx.fake, 1, PATIENCE_MS));
	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_DISCONNECTED, 1);
	ck_assert(fx_info().draining);
	fx_connect();
	vhu_msg_init(&msg, VHU_GET_FEATURES, 0, 0);
	fx_send(&msg);
	pfd = (struct pollfd){ .fd = fx.conn_fd, .events = POLLIN };
	ck_assert_int_eq(poll(&pfd, 1, 50), 0);
	ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_FREE), 0);
	fake_bdev_complete(fx.fake, 0, 0);
	(void)fx_recv();
	ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_FREE), 1);
	ck_assert_uint_eq(fx_info().client_cnt, 2);
	ring_reap(fx.rings[0]);
	ck_assert(ring_blk_is_done(fx.rings[0], &req));
}
END_TEST

START_TEST(second_client_is_refused_while_one_is_served)
{
	int first;

	fx_run();
	first = fx.conn_fd;
	fx_connect();
	fx_expect_closed();
	fx_wait_event(VHU_DEV_EVENT_REFUSED, 1);
	fx.conn_fd = first;
	fx.reply_ack = true;
	fx_check_works(1);
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_QUEUE_NUM), QUEUES);
}
END_TEST

START_TEST(retirement_answers_what_is_in_flight)
{
	struct ring_blk_req req;
	bool is_retired;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	fx_run();
	req = fx_submit(0, VIRTIO_BLK_T_IN, 3);
	fx_kick(0);
	ck_assert(fake_bdev_wait_submitted(fx.fake, 1, PATIENCE_MS));
	pthread_mutex_lock(&fx.lock);
	vhu_dev_retire(fx.dev);
	is_retired = vhu_dev_is_retired(fx.dev);
	pthread_mutex_unlock(&fx.lock);
	ck_assert(!is_retired);
	fake_bdev_complete(fx.fake, 0, 0);
	fx_wait_done(0, &req);
	fx_expect_closed();
	fx_wait_event(VHU_DEV_EVENT_FREE, 1);
	ck_assert(vhu_dev_is_retired(fx.dev));
	/* Those who come now wait for a successor. */
	fx_connect();
	fx_server_stop();
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	fx_server_start();
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_QUEUE_NUM), QUEUES);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_user");
	TCase *tc = tcase_create("right clients");

	tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, client_of_this_repository_gets_in_and_works);
	tcase_add_test(tc, offers_are_these);
	tcase_add_test(tc, queues_stop_and_start_alone);
	tcase_add_test(tc, base_is_told_when_nothing_is_in_flight);
	tcase_add_test(tc, without_protocol_features_queues_are_enabled);
	tcase_add_test(tc, interrupts_go_where_the_client_says);
	tcase_add_test(tc, kick_can_be_exchanged);
	tcase_add_test(tc, memory_comes_and_goes_in_slots);
	tcase_add_test(tc, memory_is_exchanged_with_requests_in_flight);
	tcase_add_test(tc, reset_forgets_the_queues);
	tcase_add_test(tc, status_is_kept);
	tcase_add_test(tc, configuration_is_read_in_parts);
	tcase_add_test(tc, cache_is_switched_while_it_works);
	tcase_add_test(tc, driver_without_flush_gets_durable_writes);
	tcase_add_loop_test(tc, erase_is_offered_where_the_disk_can, 0, 2);
	tcase_add_loop_test(tc, erase_meets_its_sectors_alone, 0, ARRAY_SIZE(erase_cases));
	tcase_add_test(tc, erase_of_a_disk_that_cannot_is_refused);
	tcase_add_test(tc, size_is_told_when_queues_run);
	tcase_add_test(tc, size_is_told_again_when_the_client_has_room_for_it);
	tcase_add_test(tc, next_client_is_served_when_the_last_ones_requests_have_ended);
	tcase_add_test(tc, second_client_is_refused_while_one_is_served);
	tcase_add_test(tc, retirement_answers_what_is_in_flight);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
