/* SPDX-License-Identifier: MIT */
/*
 * Rings as a hostile client writes them, in memory that comes, goes and is cut while a
 * server works on them. Input: a byte of features, the number of bytes with operations,
 * these, then what is in the arena from its second page on: a page with the parts of each
 * queue's ring, then buffers. Whatever is in there, the arena's first page and its last, which are
 * in no region, stay as they are.
 */
#include "fuzz_vhost_user.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#include "vblk/util/math.h"

#define ARENA_PAGES 7u
#define ARENA_BYTES (ARENA_PAGES * FUZZ_PAGE)
#define RING_BYTES  512u /* of a part of a ring */
#define LAST_PAGE   5u	 /* of those in a region */
#define OPS_MAX	    64u

static struct vhu_region region_of(unsigned int page, unsigned int page_cnt)
{
	return (struct vhu_region){
		.gaddr = FUZZ_GADDR + page * FUZZ_PAGE,
		.size_bytes = page_cnt * FUZZ_PAGE,
		.uaddr = FUZZ_UADDR(FUZZ_GADDR) + page * FUZZ_PAGE,
		.mmap_offset_bytes = page * FUZZ_PAGE,
	};
}

/* The rings' pages, two pages of buffers, and one that only @with_last has. */
static bool tell_memory(struct fuzz_client *client, bool with_last)
{
	struct vhu_msg msg;
	unsigned int cnt = with_last ? 3 : 2;

	vhu_msg_init(&msg, VHU_SET_MEM_TABLE, 0,
		     (uint32_t)(offsetof(struct vhu_mem_table, regions) +
				cnt * sizeof(struct vhu_region)));
	msg.payload.mem_table.region_cnt = cnt;
	msg.payload.mem_table.regions[0] = region_of(1, 2);
	msg.payload.mem_table.regions[1] = region_of(3, 2);
	msg.payload.mem_table.regions[2] = region_of(LAST_PAGE, 1);
	while (msg.fd_cnt < cnt)
		msg.fds[msg.fd_cnt++] = client->arena_fd;
	return fuzz_tell(client, &msg);
}

static void tell_last(struct fuzz_client *client, bool add)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, add ? VHU_ADD_MEM_REG : VHU_REM_MEM_REG, 0, sizeof(msg.payload.mem_reg));
	msg.payload.mem_reg.region = region_of(LAST_PAGE, 1);
	if (add)
		msg.fds[msg.fd_cnt++] = client->arena_fd;
	(void)fuzz_tell(client, &msg);
}

static void start_ring(struct fuzz_client *client, unsigned int idx, bool packed)
{
	uint64_t at = FUZZ_UADDR(FUZZ_GADDR) + (1 + idx) * FUZZ_PAGE;
	struct vhu_msg msg;

	fuzz_msg_state(&msg, VHU_SET_VRING_NUM, idx, FUZZ_RING_SIZE);
	fuzz_send(client, &msg);
	fuzz_msg_state(&msg, VHU_SET_VRING_BASE, idx, packed ? 0x80008000 : 0);
	fuzz_send(client, &msg);
	vhu_msg_init(&msg, VHU_SET_VRING_ADDR, 0, sizeof(msg.payload.addr));
	msg.payload.addr = (struct vhu_vring_addr){
		.idx = idx,
		.desc_uaddr = at,
		.avail_uaddr = at + RING_BYTES,
		.used_uaddr = at + 2 * RING_BYTES,
	};
	fuzz_send(client, &msg);
	fuzz_msg_eventfd(client, &msg, VHU_SET_VRING_CALL, idx);
	fuzz_send(client, &msg);
	fuzz_msg_eventfd(client, &msg, VHU_SET_VRING_ERR, idx);
	fuzz_send(client, &msg);
	fuzz_msg_eventfd(client, &msg, VHU_SET_VRING_KICK, idx);
	fuzz_send(client, &msg);
	fuzz_msg_state(&msg, VHU_SET_VRING_ENABLE, idx, 1);
	(void)fuzz_tell(client, &msg);
}

static void get_base(struct fuzz_client *client, unsigned int idx)
{
	struct vhu_msg msg;

	fuzz_msg_state(&msg, VHU_GET_VRING_BASE, idx, 0);
	(void)fuzz_tell(client, &msg);
}

static void op_poke(struct fuzz_client *client, struct fuzz_input *in)
{
	uint16_t at = fuzz_take16(in);
	size_t bytes;
	const uint8_t *data = fuzz_take_some(in, 1 + at / 0x2000, &bytes);

	fuzz_poke(client, FUZZ_PAGE + at % (3 * FUZZ_PAGE), data, bytes);
}

/* Data that is gone, or the rings: what comes behind page @pages for a moment. */
static void op_cut(struct fuzz_client *client, uint8_t pages)
{
	must(!ftruncate(client->arena_fd, (off_t)(1 + pages % 5) * FUZZ_PAGE), "memory is cut");
	fuzz_kick(client, 0);
	fuzz_kick(client, 1);
	fuzz_pump(1);
}

static void run_op(struct fuzz_client *client, struct fuzz_input *in, bool packed)
{
	uint8_t op = fuzz_take(in), arg = op / 8;

	switch (op % 8) {
	case 0:
	case 1:
		op_poke(client, in);
		break;
	case 2:
		fuzz_kick(client, arg % FUZZ_QUEUES);
		break;
	case 3:
		fuzz_kick(client, arg % FUZZ_QUEUES);
		fuzz_pump(1);
		break;
	case 4:
		tell_last(client, arg % 2);
		break;
	case 5:
		get_base(client, arg % FUZZ_QUEUES);
		if (arg & 2)
			start_ring(client, arg % FUZZ_QUEUES, packed);
		break;
	case 6:
		(void)tell_memory(client, arg % 2);
		break;
	case 7:
		if (arg & 16)
			op_cut(client, arg);
		else
			fuzz_resize((arg + 1) * 65536u);
		break;
	}
}

static uint64_t features_of(uint8_t mask)
{
	uint64_t features = 1ull << VIRTIO_BLK_F_MQ | 1ull << VIRTIO_BLK_F_DISCARD |
			    1ull << VIRTIO_BLK_F_WRITE_ZEROES;

	features |= mask & 1 ? 1ull << VIRTIO_F_RING_PACKED : 0;
	features |= mask & 2 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0;
	features |= mask & 4 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0;
	/* Without it every write is followed by a flush. */
	features |= mask & 8 ? 1ull << VIRTIO_BLK_F_FLUSH : 0;
	return features;
}

/* Also where the arena was cut: what is not there is not changed. */
static void check_page(const struct fuzz_client *client, unsigned int page)
{
	uint8_t data[FUZZ_PAGE];
	ssize_t n = pread(client->arena_fd, data, sizeof(data), (off_t)page * FUZZ_PAGE);

	for (ssize_t i = 0; i < n; i++)
		must(!data[i], "what is no client memory is left alone");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_input in = { data, len }, ops;
	uint8_t features = fuzz_take(&in);
	struct fuzz_client client;

	ops.data = fuzz_take_some(&in, fuzz_take(&in), &ops.len);
	fuzz_client_begin(&client, ARENA_BYTES);
	fuzz_poke(&client, FUZZ_PAGE, in.data, MIN(in.len, (size_t)LAST_PAGE * FUZZ_PAGE));
	must(fuzz_negotiate(&client, features_of(features)), "features are on offer");
	must(tell_memory(&client, true), "memory is accepted");
	for (unsigned int i = 0; i < FUZZ_QUEUES; i++)
		start_ring(&client, i, features & 1);
	for (unsigned int i = 0; i < OPS_MAX && ops.len; i++)
		run_op(&client, &ops, features & 1);
	fuzz_disconnect(&client);
	check_page(&client, 0);
	check_page(&client, ARENA_PAGES - 1);
	fuzz_client_end(&client);
	return 0;
}
