/* SPDX-License-Identifier: MIT */
/* Memory and rings. */
#include "vhu_client_priv.h"

#include <errno.h>
#include <stddef.h>

int vhu_client_set_memory(struct vhu_client *client, const struct vhu_client_region *regions,
			  unsigned int cnt)
{
	struct vhu_mem_table *table;
	struct vhu_msg msg;

	if (!cnt || cnt > VHU_REGIONS_MAX)
		return -EINVAL;
	vhu_msg_init(&msg, VHU_SET_MEM_TABLE, 0,
		     (uint32_t)(offsetof(struct vhu_mem_table, regions) +
				cnt * sizeof(struct vhu_region)));
	table = &msg.payload.mem_table;
	table->region_cnt = cnt;
	for (unsigned int i = 0; i < cnt; i++) {
		table->regions[i] = (struct vhu_region){
			.gaddr = regions[i].addr,
			.size_bytes = regions[i].len_bytes,
			.uaddr = regions[i].addr + regions[i].ring_add,
			.mmap_offset_bytes = regions[i].fd_offset_bytes,
		};
		msg.fds[msg.fd_cnt++] = regions[i].fd;
	}
	return vhu_client_call(client, &msg, NULL);
}

static int tell_state(struct vhu_client *client, uint32_t request, unsigned int idx, uint32_t num)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, request, 0, sizeof(msg.payload.state));
	msg.payload.state = (struct vhu_vring_state){ idx, num };
	return vhu_client_call(client, &msg, NULL);
}

static int tell_addr(struct vhu_client *client, const struct vhu_client_ring *ring)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, VHU_SET_VRING_ADDR, 0, sizeof(msg.payload.addr));
	msg.payload.addr = (struct vhu_vring_addr){
		.idx = ring->idx,
		.desc_uaddr = ring->desc_addr,
		.avail_uaddr = ring->avail_addr,
		.used_uaddr = ring->used_addr,
	};
	return vhu_client_call(client, &msg, NULL);
}

static int tell_fd(struct vhu_client *client, uint32_t request, unsigned int idx, int fd)
{
	struct vhu_msg msg;

	vhu_msg_init_u64(&msg, request, 0, idx);
	msg.fds[msg.fd_cnt++] = fd;
	return vhu_client_call(client, &msg, NULL);
}

int vhu_client_ring_try_size(struct vhu_client *client, unsigned int idx, uint16_t size)
{
	if (idx >= client->facts.queue_cnt)
		return -EINVAL;
	return tell_state(client, VHU_SET_VRING_NUM, idx, size);
}

int vhu_client_ring_start(struct vhu_client *client, const struct vhu_client_ring *ring)
{
	unsigned int idx = ring->idx;
	int r;

	if (idx >= client->facts.queue_cnt)
		return -EINVAL;
	r = tell_state(client, VHU_SET_VRING_NUM, idx, ring->size);
	if (r == 0)
		r = tell_state(client, VHU_SET_VRING_BASE, idx, ring->base_idx);
	if (r == 0)
		r = tell_addr(client, ring);
	if (r == 0)
		r = tell_fd(client, VHU_SET_VRING_CALL, idx, ring->call_fd);
	if (r == 0)
		r = tell_fd(client, VHU_SET_VRING_KICK, idx, ring->kick_fd);
	if (r == 0)
		r = tell_state(client, VHU_SET_VRING_ENABLE, idx, 1);
	return r;
}

int vhu_client_ring_stop(struct vhu_client *client, unsigned int idx, uint16_t *ret_base_idx)
{
	struct vhu_msg msg, reply;
	int r;

	vhu_msg_init(&msg, VHU_GET_VRING_BASE, 0, sizeof(msg.payload.state));
	msg.payload.state.idx = idx;
	r = vhu_client_call(client, &msg, &reply);
	if (r < 0)
		return r;
	if (reply.payload.state.idx != idx || reply.payload.state.num > UINT16_MAX)
		return -EPROTO;
	*ret_base_idx = (uint16_t)reply.payload.state.num;
	return 0;
}
