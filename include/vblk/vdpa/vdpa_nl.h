/* SPDX-License-Identifier: MIT */
/*
 * The vdpa bus over generic netlink.
 *
 * vdpa_nl_dev_add() and vdpa_nl_dev_del() run the kernel's driver probe and
 * remove inside sendmsg(2): they return only after the device has answered
 * control messages and served I/O, and hold the kernel's generic netlink lock
 * meanwhile. Never call them in a thread (or single-threaded process) that
 * serves the device.
 *
 * Source: linux/vdpa.h; drivers/vdpa/vdpa.c.
 */
#ifndef VBLK_VDPA_VDPA_NL_H
#define VBLK_VDPA_VDPA_NL_H

#include <stdint.h>

#include "vblk/util/compiler.h"

#define VDPA_NAME_MAX 256

struct vdpa_nl;

/**
 * vdpa_nl_open() - connect and resolve the "vdpa" family
 * Return: 0; -ENOENT the vdpa module is not loaded, or this is not the initial
 *         network namespace; -ENOMEM; other -errno of the socket.
 */
int vdpa_nl_open(struct vdpa_nl **ret_nl) VBLK_MUST_CHECK;
/*
 * The same on a bound socket of generic netlink (borrowed), from whatever network namespace. It
 * may have been used before, also by a process that did not live to see its answer.
 */
int vdpa_nl_open_on(int fd, struct vdpa_nl **ret_nl) VBLK_MUST_CHECK;
void vdpa_nl_close(struct vdpa_nl *nl);

/**
 * vdpa_nl_dev_add() - VDPA_CMD_DEV_NEW
 * @mgmtdev: name of the management device, "vduse"
 * Return: 0; -EPERM no CAP_NET_ADMIN; -ENODEV no such management device;
 *         -EINVAL no VDUSE device @name or not all its queues are set up;
 *         -EEXIST already attached; -ENOMEM. 0 does not mean that a driver bound.
 */
int vdpa_nl_dev_add(struct vdpa_nl *nl, const char *mgmtdev, const char *name) VBLK_MUST_CHECK;

/* VDPA_CMD_DEV_DEL. Return: 0; -EPERM; -ENODEV not attached. */
int vdpa_nl_dev_del(struct vdpa_nl *nl, const char *name) VBLK_MUST_CHECK;

/* Text of the kernel about the last failed request (extended ack), or "". */
const char *vdpa_nl_last_message(const struct vdpa_nl *nl);

struct vdpa_dev_info {
	char name[VDPA_NAME_MAX];
	char mgmtdev[VDPA_NAME_MAX];
	uint32_t device_id; /* virtio device id; 2 = block */
	uint32_t vendor_id;
	uint32_t max_vqs;
	uint16_t max_vq_size;
};

/* VDPA_CMD_DEV_GET for one device. Return: 0; -ENODEV; other -errno. */
int vdpa_nl_dev_get(struct vdpa_nl *nl, const char *name,
		    struct vdpa_dev_info *ret_info) VBLK_MUST_CHECK;

/* All devices; @fn is called for each. Return: 0 or -errno. */
int vdpa_nl_dev_dump(struct vdpa_nl *nl, void (*fn)(const struct vdpa_dev_info *info, void *ctx),
		     void *ctx) VBLK_MUST_CHECK;

struct vdpa_mgmtdev_info {
	char name[VDPA_NAME_MAX];
	char bus[VDPA_NAME_MAX];
	uint64_t classes; /* bit n: virtio device id n */
	uint64_t features;
	uint32_t max_vqs;
};

int vdpa_nl_mgmtdev_dump(struct vdpa_nl *nl,
			 void (*fn)(const struct vdpa_mgmtdev_info *info, void *ctx),
			 void *ctx) VBLK_MUST_CHECK;

#endif
