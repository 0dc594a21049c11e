/* SPDX-License-Identifier: MIT */
/*
 * The host's view of a vdpa device, through sysfs: which driver has it, which
 * disk it became, and binding it to virtio_vdpa. Root directory is a parameter
 * so that tests use a recorded tree.
 */
#ifndef VBLK_HOST_HOST_VDPA_H
#define VBLK_HOST_HOST_VDPA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

#define HOST_NODE_MAX 64

/**
 * host_vdpa_driver() - name of the driver that has vdpa device @name
 * Return: 0, "" in @ret_driver when none has; -ENODEV no such vdpa device.
 */
int host_vdpa_driver(const char *root, const char *name,
		     char ret_driver[HOST_NODE_MAX]) VBLK_MUST_CHECK;

/**
 * host_vdpa_bind() - make virtio_vdpa the driver, taking the device from another
 * May block as long as a driver probe: call it where vdpa_nl_dev_add() may be called.
 * Return: 0 bound (also when it was); -ENODEV; -EBUSY; other -errno of sysfs.
 */
int host_vdpa_bind(const char *root, const char *name) VBLK_MUST_CHECK;

/**
 * host_vdpa_disk() - the disk behind vdpa device @name
 * @ret_disk: kernel name, "vda"
 * Return: 0; -ENODEV no such vdpa device; -ENXIO it has no disk (yet).
 */
int host_vdpa_disk(const char *root, const char *name,
		   char ret_disk[HOST_NODE_MAX]) VBLK_MUST_CHECK;

/**
 * host_vduse_id() - a number that no other VDUSE device of this boot has, whatever its name
 * Return: 0; -ENODEV there is none of this name; other -errno.
 */
int host_vduse_id(const char *root, const char *name, uint64_t *ret_id) VBLK_MUST_CHECK;

/* Calls @fn with each name in /sys/class/vduse (all programs' VDUSE devices). */
int host_vduse_each(const char *root, void (*fn)(const char *name, void *ctx), void *ctx);

#endif
