/* SPDX-License-Identifier: MIT */
#ifndef VHU_CLIENT_PRIV_H
#define VHU_CLIENT_PRIV_H

#include "vblk/vhu/vhu_sock.h"
#include "vblk/vhu_client/vhu_client.h"

/**
 * struct vhu_client - a connection
 * @rx: of the socket; @backend_rx: of the other one
 * @backend_fd: our end of the socket for what the server says by itself, or -1
 */
struct vhu_client {
	int sock_fd;
	int stop_fd;
	int backend_fd;
	unsigned int timeout_ms;
	bool want_inflight;
	struct vhu_rx rx;
	struct vhu_rx backend_rx;
	struct vhu_client_facts facts;
};

static inline bool vhu_client_has(const struct vhu_client *client, enum vhu_protocol_feature bit)
{
	return client->facts.protocol_features & (1ull << bit);
}

/**
 * vhu_client_call() - send and, where one comes, wait for the answer
 * @msg: descriptors stay the caller's; gets VHU_FLAG_NEED_REPLY where that was negotiated
 * @ret_reply: of a request that has one (vhu_has_reply()); checked; it has no descriptors
 */
int vhu_client_call(struct vhu_client *client, struct vhu_msg *msg,
		    struct vhu_msg *ret_reply) VBLK_MUST_CHECK;

/* Likewise; the descriptors of @ret_reply are the caller's. */
int vhu_client_call_fds(struct vhu_client *client, struct vhu_msg *msg,
			struct vhu_msg *ret_reply) VBLK_MUST_CHECK;

/* Until @fd has @events. Return: 0; -ECANCELED; -ETIMEDOUT at @end_ns; -errno. */
int vhu_client_wait(int fd, short events, int stop_fd, uint64_t end_ns) VBLK_MUST_CHECK;

#endif
