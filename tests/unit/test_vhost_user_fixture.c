/* SPDX-License-Identifier: MIT */
#include "test_vhost_user_fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"

/* What fx_check_works() finds in the block of a queue. Nobody writes there. */
#define CHECKED_AT(idx) ((idx)*512 + 7)
#define CHECKED(idx)	((uint8_t)(0x40 + (idx)))

struct vhu_fixture fx;

/* --- the server --- */

static void on_event(void *ctx VBLK_UNUSED, enum vhu_dev_event event, int arg)
{
	/* From vhu_dev_new() on; fx.dev is set later. */
	fx.event_cnt[event]++;
	fx.event_arg[event] = arg;
	if (fx.dev)
		snprintf(fx.why, sizeof(fx.why), "%s", vhu_dev_why(fx.dev));
	pthread_cond_broadcast(&fx.heard);
}

static int timeout_ms(void)
{
	uint64_t at_ns, now_ns = clock_now_ns();

	pthread_mutex_lock(&fx.lock);
	at_ns = vhu_dev_deadline_ns(fx.dev);
	pthread_mutex_unlock(&fx.lock);
	if (!at_ns)
		return -1;
	return at_ns <= now_ns ? 0 : (int)((at_ns - now_ns) / NSEC_PER_MSEC + 1);
}

static void *serve(void *arg VBLK_UNUSED)
{
	struct pollfd fds[2] = {
		{ .fd = vhu_dev_fd(fx.dev), .events = POLLIN },
		{ .fd = fx.stop_fd, .events = POLLIN },
	};

	while (!fds[1].revents) {
		(void)poll(fds, 2, timeout_ms());
		pthread_mutex_lock(&fx.lock);
		vhu_dev_handle(fx.dev);
		vhu_dev_handle_deadline(fx.dev);
		pthread_mutex_unlock(&fx.lock);
	}
	return NULL;
}

void fx_server_start(void)
{
	struct vhu_dev_params params = {
		.listen_fd = fx.listen_fd,
		.blk = &fx.blk,
		.bdev = fake_bdev_get(fx.fake),
		.fence_fd = -1,
		.event = on_event,
	};
	struct vhu_dev *dev;

	memset(fx.event_cnt, 0, sizeof(fx.event_cnt));
	fx.stop_fd = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_eq(vhu_dev_new(&params, &dev), 0);
	fx.dev = dev;
	ck_assert_int_eq(pthread_create(&fx.thread, NULL, serve, NULL), 0);
}

void fx_server_stop(void)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(fx.stop_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(fx.thread, NULL);
	(void)fake_bdev_complete_all(fx.fake, 0);
	vhu_dev_free(fx.dev);
	fx.dev = NULL;
	close(fx.stop_fd);
}

static void listen_at_path(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(fx.dir, "/tmp/vblk-vhus-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fx.dir));
	snprintf(fx.path, sizeof(fx.path), "%s/sock", fx.dir);
	memcpy(addr.sun_path, fx.path, sizeof(fx.path));
	fx.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(fx.listen_fd, 0);
	ck_assert_int_eq(bind(fx.listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fx.listen_fd, 8), 0);
}

void fx_setup(void)
{
	struct bdev_limits limits = fake_bdev_default_limits();

	memset(&fx, 0, sizeof(fx));
	memguard_install();
	pthread_mutex_init(&fx.lock, NULL);
	pthread_cond_init(&fx.heard, NULL);
	fx.conn_fd = -1;
	listen_at_path();
	fx.fake = fake_bdev_new(&limits);
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	for (unsigned int i = 0; i < QUEUES; i++)
		fake_bdev_content(fx.fake)[CHECKED_AT(i)] = CHECKED(i);
	blk_params_init(&fx.blk, &limits, QUEUES, RING_SIZE, "serial");
	for (unsigned int i = 0; i < QUEUES; i++) {
		fx.rings[i] = ring_new(RING_SIZE, ARENA_BYTES, (uint64_t)(i + 1) << 32);
		fx.kick_fd[i] = eventfd(0, EFD_CLOEXEC);
		fx.call_fd[i] = eventfd(0, EFD_CLOEXEC);
		fx.err_fd[i] = eventfd(0, EFD_CLOEXEC);
	}
	fx_server_start();
}

void fx_teardown(void)
{
	fx_disconnect();
	if (fx.dev)
		fx_server_stop();
	for (unsigned int i = 0; i < QUEUES; i++) {
		ring_free(fx.rings[i]);
		close(fx.kick_fd[i]);
		close(fx.call_fd[i]);
		close(fx.err_fd[i]);
	}
	fake_bdev_free(fx.fake);
	close(fx.listen_fd);
	unlink(fx.path);
	rmdir(fx.dir);
}

void fx_wait_event(enum vhu_dev_event event, unsigned int cnt)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_MS / 1000;
	pthread_mutex_lock(&fx.lock);
	while (fx.event_cnt[event] < cnt && r == 0)
		r = pthread_cond_timedwait(&fx.heard, &fx.lock, &until);
	pthread_mutex_unlock(&fx.lock);
	ck_assert_msg(r == 0, "event %d did not come", (int)event);
}

unsigned int fx_event_cnt(enum vhu_dev_event event)
{
	unsigned int cnt;

	pthread_mutex_lock(&fx.lock);
	cnt = fx.event_cnt[event];
	pthread_mutex_unlock(&fx.lock);
	return cnt;
}

struct vhu_dev_info fx_info(void)
{
	struct vhu_dev_info info;

	pthread_mutex_lock(&fx.lock);
	vhu_dev_info(fx.dev, &info);
	pthread_mutex_unlock(&fx.lock);
	return info;
}

/* --- single messages --- */

void fx_connect(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	memcpy(addr.sun_path, fx.path, sizeof(fx.path));
	fx.conn_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fx.conn_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	fx.reply_ack = false;
}

void fx_disconnect(void)
{
	if (fx.conn_fd >= 0)
		close(fx.conn_fd);
	fx.conn_fd = -1;
}

void fx_send(const struct vhu_msg *msg)
{
	ck_assert_int_eq(vhu_send(fx.conn_fd, msg), 0);
}

static int recv_or_end(struct vhu_msg *ret_msg)
{
	struct pollfd pfd = { .fd = fx.conn_fd, .events = POLLIN };
	struct vhu_rx rx;
	int r;

	vhu_rx_init(&rx);
	while ((r = vhu_rx_recv(&rx, fx.conn_fd, ret_msg)) == -EAGAIN)
		ck_assert_msg(poll(&pfd, 1, PATIENCE_MS) == 1, "the server says nothing");
	vhu_rx_fini(&rx);
	return r;
}

struct vhu_msg fx_recv(void)
{
	struct vhu_msg msg;

	ck_assert_int_eq(recv_or_end(&msg), 0);
	return msg;
}

void fx_expect_closed(void)
{
	struct vhu_msg msg;
	int r = recv_or_end(&msg);

	ck_assert_msg(r == -EPIPE || r == -ECONNRESET, "%d instead of the end", r);
	fx_disconnect();
}

uint64_t fx_tell(struct vhu_msg *msg)
{
	struct vhu_msg reply;

	if (fx.reply_ack)
		msg->hdr.flags |= VHU_FLAG_NEED_REPLY;
	fx_send(msg);
	if (!fx.reply_ack)
		return 0;
	reply = fx_recv();
	ck_assert_uint_eq(reply.hdr.request, msg->hdr.request);
	ck_assert_uint_eq(reply.hdr.flags, VHU_VERSION | VHU_FLAG_REPLY);
	ck_assert_uint_eq(reply.hdr.size, sizeof(reply.payload.u64));
	ck_assert_uint_eq(reply.fd_cnt, 0);
	return reply.payload.u64;
}

uint64_t fx_tell_u64(uint32_t request, uint64_t u64)
{
	struct vhu_msg msg;

	vhu_msg_init_u64(&msg, request, 0, u64);
	return fx_tell(&msg);
}

uint64_t fx_tell_none(uint32_t request)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, request, 0, 0);
	return fx_tell(&msg);
}

uint64_t fx_tell_state(uint32_t request, uint32_t idx, uint32_t num)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, request, 0, sizeof(msg.payload.state));
	msg.payload.state = (struct vhu_vring_state){ idx, num };
	return fx_tell(&msg);
}

uint64_t fx_tell_fd(uint32_t request, unsigned int idx, int fd)
{
	struct vhu_msg msg;

	vhu_msg_init_u64(&msg, request, 0, fd < 0 ? idx | VHU_VRING_NOFD : idx);
	if (fd >= 0)
		msg.fds[msg.fd_cnt++] = fd;
	return fx_tell(&msg);
}

/* A request with a reply of its own. */
static struct vhu_msg ask(struct vhu_msg *msg)
{
	struct vhu_msg reply;

	fx_send(msg);
	reply = fx_recv();
	ck_assert_int_eq(vhu_check_reply(&reply, msg->hdr.request), 0);
	return reply;
}

uint64_t fx_ask_u64(uint32_t request)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, request, 0, 0);
	return ask(&msg).payload.u64;
}

struct vhu_config fx_get_config(uint32_t offset, uint32_t size)
{
	struct vhu_msg msg, reply;

	vhu_msg_init(&msg, VHU_GET_CONFIG, 0, VHU_CONFIG_HDR + size);
	msg.payload.config.offset = offset;
	msg.payload.config.size = size;
	reply = ask(&msg);
	ck_assert_uint_eq(reply.hdr.size, VHU_CONFIG_HDR + size);
	ck_assert_uint_eq(reply.payload.config.offset, offset);
	ck_assert_uint_eq(reply.payload.config.size, size);
	return reply.payload.config;
}

uint64_t fx_set_config(uint32_t offset, uint32_t flags, const void *data, uint32_t size)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, VHU_SET_CONFIG, 0, VHU_CONFIG_HDR + size);
	msg.payload.config.offset = offset;
	msg.payload.config.size = size;
	msg.payload.config.flags = flags;
	memcpy(msg.payload.config.data, data, size);
	return fx_tell(&msg);
}

uint32_t fx_get_base(unsigned int idx)
{
	struct vhu_msg msg, reply;

	vhu_msg_init(&msg, VHU_GET_VRING_BASE, 0, sizeof(msg.payload.state));
	msg.payload.state.idx = idx;
	reply = ask(&msg);
	ck_assert_uint_eq(reply.payload.state.idx, idx);
	return reply.payload.state.num;
}

/* --- what clients do --- */

void fx_negotiate(uint64_t features, uint64_t protocol)
{
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_FEATURES) & features, features);
	ck_assert_uint_eq(fx_tell_none(VHU_SET_OWNER), 0);
	ck_assert_uint_eq(fx_ask_u64(VHU_GET_PROTOCOL_FEATURES) & protocol, protocol);
	ck_assert_uint_eq(fx_tell_u64(VHU_SET_PROTOCOL_FEATURES, protocol), 0);
	fx.reply_ack = protocol & BIT64(VHU_PROTOCOL_F_REPLY_ACK);
	ck_assert_uint_eq(fx_tell_u64(VHU_SET_FEATURES, features), 0);
}

static struct vhu_region region_of(unsigned int idx)
{
	return (struct vhu_region){
		.gaddr = fx.rings[idx]->iova,
		.size_bytes = fx.rings[idx]->mem_bytes,
		.uaddr = UADDR(fx.rings[idx]->iova),
	};
}

void fx_msg_mem_table(struct vhu_msg *ret_msg)
{
	vhu_msg_init(ret_msg, VHU_SET_MEM_TABLE, 0,
		     (uint32_t)(offsetof(struct vhu_mem_table, regions) +
				QUEUES * sizeof(struct vhu_region)));
	ret_msg->payload.mem_table.region_cnt = QUEUES;
	for (unsigned int i = 0; i < QUEUES; i++) {
		ret_msg->payload.mem_table.regions[i] = region_of(i);
		ret_msg->fds[ret_msg->fd_cnt++] = fx.rings[i]->fd;
	}
}

void fx_msg_mem_reg(struct vhu_msg *ret_msg, uint32_t request, unsigned int idx)
{
	vhu_msg_init(ret_msg, request, 0, sizeof(ret_msg->payload.mem_reg));
	ret_msg->payload.mem_reg.region = region_of(idx);
	if (request == VHU_ADD_MEM_REG)
		ret_msg->fds[ret_msg->fd_cnt++] = fx.rings[idx]->fd;
}

uint64_t fx_set_memory(void)
{
	struct vhu_msg msg;

	fx_msg_mem_table(&msg);
	return fx_tell(&msg);
}

uint64_t fx_set_addr(unsigned int idx)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, VHU_SET_VRING_ADDR, 0, sizeof(msg.payload.addr));
	msg.payload.addr = (struct vhu_vring_addr){
		.idx = idx,
		.desc_uaddr = UADDR(ring_desc_iova(fx.rings[idx])),
		.avail_uaddr = UADDR(ring_avail_iova(fx.rings[idx])),
		.used_uaddr = UADDR(ring_used_iova(fx.rings[idx])),
	};
	return fx_tell(&msg);
}

void fx_ring_start_but_enable(unsigned int idx)
{
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, idx, RING_SIZE), 0);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_BASE, idx, ring_used_idx(fx.rings[idx])), 0);
	ck_assert_uint_eq(fx_set_addr(idx), 0);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_ERR, idx, fx.err_fd[idx]), 0);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_CALL, idx, fx.call_fd[idx]), 0);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, idx, fx.kick_fd[idx]), 0);
}

void fx_ring_start(unsigned int idx)
{
	fx_ring_start_but_enable(idx);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, idx, 1), 0);
}

void fx_run(void)
{
	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_set_memory(), 0);
	for (unsigned int i = 0; i < QUEUES; i++)
		fx_ring_start(i);
}

struct ring_blk_req fx_submit(unsigned int idx, uint32_t type, uint64_t sector)
{
	struct ring_blk_spec spec = {
		.type = type,
		.sector = sector,
		.from_driver = type == VIRTIO_BLK_T_OUT,
		.seg_cnt = 1,
		.seg_bytes = { 512 },
	};
	struct ring_blk_req req;

	ring_blk_submit(fx.rings[idx], &spec, &req);
	return req;
}

void fx_kick(unsigned int idx)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(fx.kick_fd[idx], &one, sizeof(one)), sizeof(one));
}

uint8_t fx_wait_status(unsigned int idx, const struct ring_blk_req *req)
{
	struct pollfd pfd = { .fd = fx.call_fd[idx], .events = POLLIN };
	uint64_t cnt;

	for (;;) {
		ring_reap(fx.rings[idx]);
		if (ring_blk_is_done(fx.rings[idx], req))
			break;
		ck_assert_msg(poll(&pfd, 1, PATIENCE_MS) == 1, "no interrupt");
		ck_assert_int_eq(read(fx.call_fd[idx], &cnt, sizeof(cnt)), sizeof(cnt));
	}
	return *req->status;
}

void fx_wait_done(unsigned int idx, const struct ring_blk_req *req)
{
	ck_assert_uint_eq(fx_wait_status(idx, req), VIRTIO_BLK_S_OK);
}

void fx_check_works(unsigned int idx)
{
	struct ring_blk_req req;

	req = fx_submit(idx, VIRTIO_BLK_T_IN, idx);
	fx_kick(idx);
	fx_wait_done(idx, &req);
	ck_assert_uint_eq(req.data[0][CHECKED_AT(0)], CHECKED(idx));
	ring_blk_put(fx.rings[idx], &req);
}
