/* SPDX-License-Identifier: MIT */
/*
 * Messages of a hostile client. Input: operations, a byte each, with what they take
 * behind them; see run_op(). Well-formed ones have short forms, so that the way to
 * running queues is not found by chance only.
 */
#include "fuzz_vhost_user.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vblk/util/compiler.h"
#include "vblk/util/math.h"

#define ARENA_PAGES 16u
#define ARENA_BYTES (ARENA_PAGES * FUZZ_PAGE)
/* Rings of a queue: a page each for the three parts. */
#define RINGS_AT(idx) ((idx)*3 * FUZZ_PAGE)
#define OPS_MAX	      200u

/* A descriptor of some kind; the caller closes it, unless it is the client's. */
static int some_fd(const struct fuzz_client *client, uint8_t kind, bool *ret_close)
{
	*ret_close = false;
	switch (kind % 8) {
	case 0:
		return client->arena_fd;
	case 1:
		return client->conn_fd;
	case 2:
		return client->inflight_fd >= 0 ? client->inflight_fd : client->arena_fd;
	case 3:
		*ret_close = true;
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case 4:
		*ret_close = true;
		return memfd_create("empty", MFD_CLOEXEC);
	case 5:
		*ret_close = true;
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	default:
		return client->eventfds[kind / 8 % FUZZ_EVENTFDS];
	}
}

static void send_with_fds(struct fuzz_client *client, struct vhu_msg *msg, struct fuzz_input *in,
			  unsigned int cnt)
{
	bool must_close[VHU_FDS_MAX];

	for (msg->fd_cnt = 0; msg->fd_cnt < MIN(cnt, VHU_FDS_MAX); msg->fd_cnt++)
		msg->fds[msg->fd_cnt] = some_fd(client, fuzz_take(in), &must_close[msg->fd_cnt]);
	fuzz_send(client, msg);
	for (unsigned int i = 0; i < msg->fd_cnt; i++)
		if (must_close[i])
			(void)close(msg->fds[i]);
}

/* Any header, payload and descriptors. */
static void op_message(struct fuzz_client *client, struct fuzz_input *in)
{
	uint8_t request = fuzz_take(in), shape = fuzz_take(in);
	struct vhu_msg msg;
	const uint8_t *payload;
	size_t bytes;

	vhu_msg_init(&msg, request % 48, shape & 0x10 ? VHU_FLAG_NEED_REPLY : 0, 0);
	if (shape & 0x20)
		msg.hdr.flags = fuzz_take(in);
	payload = fuzz_take_some(in, fuzz_take(in), &bytes);
	memcpy(&msg.payload, payload, bytes);
	msg.hdr.size = (uint32_t)bytes;
	send_with_fds(client, &msg, in, shape & 0xf);
}

static void op_features(struct fuzz_client *client, struct fuzz_input *in)
{
	static const unsigned int bits[] = { VIRTIO_F_RING_PACKED,    VIRTIO_RING_F_INDIRECT_DESC,
					     VIRTIO_RING_F_EVENT_IDX, VIRTIO_BLK_F_FLUSH,
					     VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_MQ,
					     VIRTIO_BLK_F_DISCARD,    VIRTIO_BLK_F_WRITE_ZEROES };
	uint8_t mask = fuzz_take(in);
	uint64_t features = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(bits); i++)
		if (mask & 1u << i)
			features |= 1ull << bits[i];
	(void)fuzz_negotiate(client, features);
}

static struct vhu_region region_of(unsigned int first_page, unsigned int pages)
{
	uint64_t at = (uint64_t)first_page * FUZZ_PAGE;

	return (struct vhu_region){
		.gaddr = FUZZ_GADDR + at,
		.size_bytes = (uint64_t)pages * FUZZ_PAGE,
		.uaddr = FUZZ_UADDR(FUZZ_GADDR + at),
		.mmap_offset_bytes = at,
	};
}

/* The arena, as one region or in halves. */
static void op_mem_table(struct fuzz_client *client, struct fuzz_input *in)
{
	uint8_t how = fuzz_take(in);
	unsigned int cnt = how % 3;
	struct vhu_msg msg;

	vhu_msg_init(&msg, VHU_SET_MEM_TABLE, how & 0x80 ? VHU_FLAG_NEED_REPLY : 0,
		     (uint32_t)(offsetof(struct vhu_mem_table, regions) +
				cnt * sizeof(struct vhu_region)));
	msg.payload.mem_table.region_cnt = cnt;
	for (unsigned int i = 0; i < cnt; i++) {
		msg.payload.mem_table.regions[i] =
			region_of(i * ARENA_PAGES / cnt, ARENA_PAGES / cnt);
		msg.fds[msg.fd_cnt++] = client->arena_fd;
	}
	fuzz_send(client, &msg);
}

static void op_mem_reg(struct fuzz_client *client, struct fuzz_input *in)
{
	uint8_t how = fuzz_take(in), where = fuzz_take(in);
	struct vhu_msg msg;

	vhu_msg_init(&msg, how & 1 ? VHU_ADD_MEM_REG : VHU_REM_MEM_REG, VHU_FLAG_NEED_REPLY,
		     sizeof(msg.payload.mem_reg));
	msg.payload.mem_reg.region = region_of(where & 0xf, where >> 4);
	if (how & 3)
		msg.fds[msg.fd_cnt++] = client->arena_fd;
	fuzz_send(client, &msg);
}

/* All of a queue, but what @in leaves out. */
static void op_ring(struct fuzz_client *client, struct fuzz_input *in)
{
	uint8_t how = fuzz_take(in), without = fuzz_take(in);
	unsigned int idx = how % FUZZ_QUEUES;
	uint64_t at = FUZZ_UADDR(FUZZ_GADDR + RINGS_AT(idx));
	struct vhu_msg msgs[7];

	fuzz_msg_state(&msgs[0], VHU_SET_VRING_NUM, idx, how & 2 ? 12 : FUZZ_RING_SIZE);
	fuzz_msg_state(&msgs[1], VHU_SET_VRING_BASE, idx, how & 4 ? 0x80008000 : 0);
	vhu_msg_init(&msgs[2], VHU_SET_VRING_ADDR, 0, sizeof(msgs[2].payload.addr));
	msgs[2].payload.addr = (struct vhu_vring_addr){
		.idx = idx,
		.desc_uaddr = at,
		.avail_uaddr = at + FUZZ_PAGE,
		.used_uaddr = at + 2 * FUZZ_PAGE,
	};
	fuzz_msg_eventfd(client, &msgs[3], VHU_SET_VRING_ERR, idx);
	fuzz_msg_eventfd(client, &msgs[4], VHU_SET_VRING_CALL, idx);
	fuzz_msg_eventfd(client, &msgs[5], VHU_SET_VRING_KICK, idx);
	fuzz_msg_state(&msgs[6], VHU_SET_VRING_ENABLE, idx, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(msgs); i++) {
		if (without & 1u << i)
			continue;
		if (how & 0x80)
			msgs[i].hdr.flags |= VHU_FLAG_NEED_REPLY;
		fuzz_send(client, &msgs[i]);
	}
}

static void op_vring_state(struct fuzz_client *client, struct fuzz_input *in)
{
	static const uint32_t requests[] = { VHU_SET_VRING_NUM, VHU_SET_VRING_BASE,
					     VHU_GET_VRING_BASE, VHU_SET_VRING_ENABLE };
	uint8_t how = fuzz_take(in);
	struct vhu_msg msg;

	fuzz_msg_state(&msg, requests[how % 4], how / 4 % 4, fuzz_take16(in));
	if (how & 0x80)
		msg.hdr.flags |= VHU_FLAG_NEED_REPLY;
	fuzz_send(client, &msg);
}

static void op_inflight(struct fuzz_client *client, struct fuzz_input *in)
{
	uint8_t how = fuzz_take(in);
	struct vhu_msg msg;

	if (how & 1 || client->inflight_fd < 0) {
		vhu_msg_init(&msg, VHU_GET_INFLIGHT_FD, 0, sizeof(msg.payload.inflight));
		msg.payload.inflight.queue_cnt = how / 2 % 4;
		msg.payload.inflight.queue_size = how & 0x80 ? fuzz_take16(in) : FUZZ_RING_SIZE;
		fuzz_send(client, &msg);
		return;
	}
	vhu_msg_init(&msg, VHU_SET_INFLIGHT_FD, VHU_FLAG_NEED_REPLY, sizeof(msg.payload.inflight));
	msg.payload.inflight = client->inflight;
	if (how & 2)
		((uint8_t *)&msg.payload.inflight)[fuzz_take(in) % 24] = fuzz_take(in);
	msg.fds[msg.fd_cnt++] = how & 4 ? client->arena_fd : client->inflight_fd;
	fuzz_send(client, &msg);
}

/* Memory, or the in-flight buffer, while the server uses it. */
static void op_poke(struct fuzz_client *client, struct fuzz_input *in)
{
	uint16_t at = fuzz_take16(in);
	size_t bytes;
	const uint8_t *data = fuzz_take_some(in, fuzz_take(in) % 64, &bytes);
	ssize_t n;

	if (at != UINT16_MAX) {
		fuzz_poke(client, at % ARENA_BYTES, data, bytes);
	} else if (client->inflight_fd >= 0) {
		n = pwrite(client->inflight_fd, data, bytes, fuzz_take16(in) % 4096);
		(void)n;
	}
}

static void op_cut(struct fuzz_client *client, struct fuzz_input *in)
{
	off_t pages = fuzz_take(in) % (ARENA_PAGES + 1);

	must(!ftruncate(client->arena_fd, pages * FUZZ_PAGE), "memory is cut");
}

static void run_op(struct fuzz_client *client, struct fuzz_input *in)
{
	uint8_t op = fuzz_take(in);
	const uint8_t *data;
	size_t bytes;

	switch (op % 16) {
	case 0:
		data = fuzz_take_some(in, fuzz_take(in), &bytes);
		fuzz_send_bytes(client, data, bytes);
		break;
	case 1:
	case 2:
		op_message(client, in);
		break;
	case 3:
		op_features(client, in);
		break;
	case 4:
		op_mem_table(client, in);
		break;
	case 5:
		op_mem_reg(client, in);
		break;
	case 6:
	case 7:
		op_ring(client, in);
		break;
	case 8:
		op_vring_state(client, in);
		break;
	case 9:
		op_inflight(client, in);
		break;
	case 10:
		op_poke(client, in);
		break;
	case 11:
		op_cut(client, in);
		break;
	case 12:
		fuzz_kick(client, op / 16 % FUZZ_QUEUES);
		break;
	case 13:
		fuzz_disconnect(client);
		fuzz_connect(client);
		break;
	case 14:
		fuzz_resize((op / 16 + 1) * 65536u);
		break;
	case 15:
		fuzz_pump(1);
		break;
	}
	/* Some go in one turn. */
	if (!(op & 0x80) || op % 16 == 9)
		fuzz_pump(0);
	(void)fuzz_read_replies(client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len };
	struct fuzz_client client;

	fuzz_client_begin(&client, ARENA_BYTES);
	for (unsigned int i = 0; i < OPS_MAX && in.len; i++)
		run_op(&client, &in);
	fuzz_client_end(&client);
	return 0;
}
