/* SPDX-License-Identifier: MIT */
/* The buffer in which a server notes what it has in flight, kept here for its successor. */
#include "vhu_client_priv.h"

#include <errno.h>

bool vhu_client_has_inflight(const struct vhu_client *client)
{
	return vhu_client_has(client, VHU_PROTOCOL_F_INFLIGHT_SHMFD);
}

int vhu_client_inflight_new(struct vhu_client *client, uint16_t queue_cnt, uint16_t queue_size,
			    struct vhu_client_inflight *ret_inflight, int *ret_fd)
{
	const struct vhu_inflight *made;
	struct vhu_msg msg, reply;
	int r;

	if (!vhu_client_has_inflight(client))
		return -EOPNOTSUPP;
	vhu_msg_init(&msg, VHU_GET_INFLIGHT_FD, 0, sizeof(msg.payload.inflight));
	msg.payload.inflight.queue_cnt = queue_cnt;
	msg.payload.inflight.queue_size = queue_size;
	r = vhu_client_call_fds(client, &msg, &reply);
	if (r < 0)
		return r;
	made = &reply.payload.inflight;
	if (!made->mmap_size_bytes || made->mmap_size_bytes > INT64_MAX ||
	    made->mmap_offset_bytes > INT64_MAX - made->mmap_size_bytes)
		r = -EPROTO;
	if (r == 0) {
		*ret_inflight = (struct vhu_client_inflight){
			.len_bytes = made->mmap_size_bytes,
			.fd_offset_bytes = made->mmap_offset_bytes,
			.queue_cnt = queue_cnt,
			.queue_size = queue_size,
		};
		*ret_fd = vhu_msg_steal_fd(&reply, 0);
	}
	vhu_msg_close_fds(&reply);
	return r;
}

int vhu_client_inflight_use(struct vhu_client *client, const struct vhu_client_inflight *inflight,
			    int fd)
{
	struct vhu_msg msg;

	if (!vhu_client_has_inflight(client))
		return -EOPNOTSUPP;
	vhu_msg_init(&msg, VHU_SET_INFLIGHT_FD, 0, sizeof(msg.payload.inflight));
	msg.payload.inflight = (struct vhu_inflight){
		.mmap_size_bytes = inflight->len_bytes,
		.mmap_offset_bytes = inflight->fd_offset_bytes,
		.queue_cnt = inflight->queue_cnt,
		.queue_size = inflight->queue_size,
	};
	msg.fds[msg.fd_cnt++] = fd;
	return vhu_client_call(client, &msg, NULL);
}
