/* SPDX-License-Identifier: MIT */
/* One question and its answer, with a deadline. */
#include "vhu_client_priv.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "vblk/util/clock.h"

int vhu_client_wait(int fd, short events, int stop_fd, uint64_t end_ns)
{
	struct pollfd fds[2] = {
		{ .fd = fd, .events = events },
		{ .fd = stop_fd, .events = POLLIN },
	};

	for (;;) {
		uint64_t now_ns = clock_now_ns();
		struct timespec left;
		int r;

		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		left.tv_sec = (time_t)((end_ns - now_ns) / NSEC_PER_SEC);
		left.tv_nsec = (long)((end_ns - now_ns) % NSEC_PER_SEC);
		r = ppoll(fds, 2, &left, NULL);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r <= 0)
			continue;
		if (fds[1].revents)
			return -ECANCELED;
		/* A hang-up as well: the call that follows tells what it is. */
		if (fds[0].revents)
			return 0;
	}
}

static int send_msg(struct vhu_client *client, const struct vhu_msg *msg, uint64_t end_ns)
{
	int r;

	while ((r = vhu_send(client->sock_fd, msg)) == -EAGAIN) {
		r = vhu_client_wait(client->sock_fd, POLLOUT, client->stop_fd, end_ns);
		if (r < 0)
			return r;
	}
	return r;
}

static int recv_msg(struct vhu_client *client, struct vhu_msg *ret_msg, uint64_t end_ns)
{
	int r;

	while ((r = vhu_rx_recv(&client->rx, client->sock_fd, ret_msg)) == -EAGAIN) {
		r = vhu_client_wait(client->sock_fd, POLLIN, client->stop_fd, end_ns);
		if (r < 0)
			return r;
	}
	return r == -EMSGSIZE || r == -ETOOMANYREFS ? -EPROTO : r;
}

int vhu_client_call_fds(struct vhu_client *client, struct vhu_msg *msg, struct vhu_msg *ret_reply)
{
	uint64_t end_ns = clock_now_ns() + client->timeout_ms * NSEC_PER_MSEC;
	bool has_reply = vhu_has_reply(msg->hdr.request);
	struct vhu_msg reply;
	int r;

	if (!has_reply && vhu_client_has(client, VHU_PROTOCOL_F_REPLY_ACK))
		msg->hdr.flags |= VHU_FLAG_NEED_REPLY;
	r = send_msg(client, msg, end_ns);
	if (r < 0 || (!has_reply && !(msg->hdr.flags & VHU_FLAG_NEED_REPLY)))
		return r;
	r = recv_msg(client, &reply, end_ns);
	if (r < 0)
		return r;
	r = vhu_check_reply(&reply, msg->hdr.request);
	if (r == 0 && has_reply) {
		*ret_reply = reply;
		return 0;
	}
	vhu_msg_close_fds(&reply);
	if (r < 0)
		return r;
	return reply.payload.u64 ? -EREMOTEIO : 0;
}

int vhu_client_call(struct vhu_client *client, struct vhu_msg *msg, struct vhu_msg *ret_reply)
{
	struct vhu_msg reply = { .fd_cnt = 0 };
	int r = vhu_client_call_fds(client, msg, &reply);

	vhu_msg_close_fds(&reply);
	if (r == 0 && vhu_has_reply(msg->hdr.request))
		*ret_reply = reply;
	return r;
}
