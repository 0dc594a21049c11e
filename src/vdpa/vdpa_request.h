/* SPDX-License-Identifier: MIT */
/* One request and its answer; used by vdpa_dev.c and vdpa_mgmt.c. */
#ifndef VBLK_SRC_VDPA_REQUEST_H
#define VBLK_SRC_VDPA_REQUEST_H

#include <netlink/msg.h>
#include <stdint.h>

#include "vblk/vdpa/vdpa_nl.h"

/* As vdpa_nl_open(), for any generic netlink family: tests use one that every kernel has.
 * @fd: as for vdpa_nl_open_on(), -1 = make one. */
int vdpa_nl_open_family(const char *family, int fd, struct vdpa_nl **ret_nl) VBLK_MUST_CHECK;

/* Return: an owned message with its headers; NULL without memory. */
struct nl_msg *vdpa_request_new(const struct vdpa_nl *nl, uint8_t cmd, int flags);

/**
 * vdpa_request_put_name() - append @name with its NUL
 * The kernel compares the attribute with strcmp() and its policy does not ask for the NUL.
 * Return: 0; -EINVAL empty or longer than VDPA_NAME_MAX with its NUL; -ENOMEM.
 */
int vdpa_request_put_name(struct nl_msg *msg, int attr, const char *name) VBLK_MUST_CHECK;

/**
 * vdpa_request_run() - send, and receive until the kernel has answered it all
 * @msg: taken
 * @reply: called for each reply; < 0 becomes the result when nothing else failed. May be NULL.
 * Return: 0 or -errno of the kernel, the socket or @reply.
 */
int vdpa_request_run(struct vdpa_nl *nl, struct nl_msg *msg,
		     int (*reply)(const struct nlmsghdr *nlh, void *ctx),
		     void *ctx) VBLK_MUST_CHECK;

#endif
