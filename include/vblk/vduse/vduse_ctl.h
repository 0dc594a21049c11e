/* SPDX-License-Identifier: MIT */
/*
 * /dev/vduse/control and the parts of a device that need no message loop:
 * create, sysfs knobs, open, queue set-up, destroy.
 * Context: any thread; short system calls only.
 * Source: linux/vduse.h; drivers/vdpa/vdpa_user/vduse_dev.c.
 */
#ifndef VBLK_VDUSE_VDUSE_CTL_H
#define VBLK_VDUSE_VDUSE_CTL_H

#include <stdint.h>

#include "vblk/blk/blk_config.h"
#include "vblk/util/compiler.h"
#include "vblk/vduse/vduse_sys.h"

#define VDUSE_QUEUE_SIZE_MIN 16u
#define VDUSE_QUEUE_SIZE_MAX 1024u
/* vendor_id of our devices, so that they can be told from others': "vblk" */
#define VDUSE_VENDOR_ID 0x6b6c6276u

/**
 * vduse_ctl_open() - open the control node and ask for API version 0
 *
 * Version 0 is set, never queried: on 7.x kernels the query itself switches to 1.
 *
 * Return: 0 and an owned descriptor; -ENOENT the vduse module is not loaded;
 *         -EACCES; other -errno.
 */
int vduse_ctl_open(const struct vduse_sys *sys, int *ret_fd) VBLK_MUST_CHECK;

/**
 * vduse_ctl_create() - VDUSE_CREATE_DEV with the features and configuration of @blk
 * Return: 0; -EEXIST a device of this name exists; -EINVAL; -ENOMEM.
 */
int vduse_ctl_create(const struct vduse_sys *sys, int ctl_fd, const char *name,
		     const struct blk_params *blk) VBLK_MUST_CHECK;

/* VDUSE_DESTROY_DEV. Return: 0; -EBUSY attached or open; -EINVAL unknown name. */
int vduse_ctl_destroy(const struct vduse_sys *sys, int ctl_fd, const char *name) VBLK_MUST_CHECK;

/* Feature bits offered for @blk over VDUSE. */
uint64_t vduse_features(const struct blk_params *blk);

/**
 * vduse_ctl_set_attr() - write /sys/class/vduse/NAME/ATTR, before the attach
 * @attr: "msg_timeout" (seconds) or "bounce_size" (bytes)
 * Return: 0; -ENOENT this kernel has no such knob; -EPERM too late; other -errno.
 */
int vduse_ctl_set_attr(const char *name, const char *attr, uint64_t value) VBLK_MUST_CHECK;
int vduse_ctl_get_attr(const char *name, const char *attr, uint64_t *ret_value) VBLK_MUST_CHECK;

/**
 * vduse_ctl_open_dev() - open /dev/vduse/NAME
 * Return: 0 and an owned descriptor (close-on-exec, non-blocking); -EBUSY it is open
 *         elsewhere, or I/O of a dead predecessor has not ended: retry; -ENOENT.
 */
int vduse_ctl_open_dev(const struct vduse_sys *sys, const char *name, int *ret_fd) VBLK_MUST_CHECK;

/* VDUSE_VQ_SETUP for all queues; must precede the attach, once per device. */
/* Makes /dev/vduse/NAME somebody's, who alone can open it then. Return: 0 or -errno. */
int vduse_ctl_give_dev(const char *name, uid_t uid, gid_t gid) VBLK_MUST_CHECK;
int vduse_ctl_setup_queues(const struct vduse_sys *sys, int dev_fd,
			   const struct blk_params *blk) VBLK_MUST_CHECK;

#endif
