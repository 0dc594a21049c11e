/* SPDX-License-Identifier: MIT */
/*
 * One message of vhost-user over a stream socket, without ever blocking,
 * whatever flags the socket has: they belong to the other side as well.
 */
#ifndef VBLK_VHU_VHU_SOCK_H
#define VBLK_VHU_VHU_SOCK_H

#include <stddef.h>

#include "vblk/util/compiler.h"
#include "vblk/vhu/vhu_wire.h"

/**
 * struct vhu_rx - a message on its way in
 * @got_bytes: of header and payload
 * @msg: owns its descriptors until it is handed out
 */
struct vhu_rx {
	size_t got_bytes;
	struct vhu_msg msg;
};

/* Zeroed is initialised. */
void vhu_rx_init(struct vhu_rx *rx);
/* Closes descriptors of a message that never became whole. */
void vhu_rx_fini(struct vhu_rx *rx);

/**
 * vhu_rx_recv() - go on with a message
 * Reads never more than one message, so descriptors belong to the message they came with.
 *
 * Return: 0: @ret_msg is whole, and the caller owns its descriptors; nothing of it but the header
 *         was checked, and payload behind hdr.size is zero. -EAGAIN there is more to come.
 *         The rest is final: -EPIPE the other side closed between two messages; -ECONNRESET
 *         within one; -EPROTO, -EMSGSIZE as vhu_check_header(); -ETOOMANYREFS more
 *         descriptors than a message can have; other -errno of the socket.
 */
int vhu_rx_recv(struct vhu_rx *rx, int sock_fd, struct vhu_msg *ret_msg) VBLK_MUST_CHECK;

/**
 * vhu_send() - send a message at once or not at all
 * The descriptors stay the caller's.
 * Return: 0; -EAGAIN the other side does not read: nothing was sent; -EPIPE, -ECONNRESET it is
 *         gone, or the message went in part, which ends the connection; other -errno.
 */
int vhu_send(int sock_fd, const struct vhu_msg *msg) VBLK_MUST_CHECK;

/* Closes the descriptors that @msg still has. */
void vhu_msg_close_fds(struct vhu_msg *msg);
/* Takes descriptor @i out of @msg, which has it; the others keep their numbers. */
int vhu_msg_steal_fd(struct vhu_msg *msg, unsigned int i);

#endif
