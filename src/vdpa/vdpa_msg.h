/* SPDX-License-Identifier: MIT */
/*
 * The pure part: netlink messages to plain structs. No socket; every function
 * takes a whole message and trusts none of its lengths.
 */
#ifndef VBLK_SRC_VDPA_MSG_H
#define VBLK_SRC_VDPA_MSG_H

#include <linux/netlink.h>
#include <stddef.h>

#include "vblk/vdpa/vdpa_nl.h"

/**
 * vdpa_msg_error() - what an NLMSG_ERROR message says
 * @nlh: complete message of type NLMSG_ERROR
 * @text: receives the kernel's own words (extended ack), "" when it has none
 *
 * The number is the kernel's errno. libnl's own codes are not used for it, as
 * several errnos share one of them.
 *
 * Return: 0 the request succeeded; -errno of the kernel; -EBADMSG too short.
 */
int vdpa_msg_error(const struct nlmsghdr *nlh, char *text, size_t len);

/* A VDPA_CMD_DEV_* reply. Return: 0; -EBADMSG malformed, or without a name. */
int vdpa_msg_dev(const struct nlmsghdr *nlh, struct vdpa_dev_info *ret_info);

/* A VDPA_CMD_MGMTDEV_* reply. Return: 0; -EBADMSG malformed, or without a name. */
int vdpa_msg_mgmtdev(const struct nlmsghdr *nlh, struct vdpa_mgmtdev_info *ret_info);

/* The errno nearest to libnl's code @nlerr (either sign), for what fails before the kernel
 * answers: 0 for 0, else negative. */
int vdpa_msg_errno_from_nl(int nlerr);

#endif
