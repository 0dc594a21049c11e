/* SPDX-License-Identifier: MIT */
/* What this kernel's VDUSE can do, asked and not concluded from a version. */
#ifndef VBLK_VDUSE_VDUSE_PROBE_H
#define VBLK_VDUSE_VDUSE_PROBE_H

#include <stdbool.h>

#include "vblk/util/compiler.h"
#include "vblk/vduse/vduse_sys.h"

/**
 * struct vduse_probe
 * @api_max: highest version of the interface that can be set; vblkd uses 0
 * @umem: VDUSE_IOTLB_REG_UMEM is known
 */
struct vduse_probe {
	unsigned int api_max;
	bool umem;
};

/**
 * vduse_probe() - make a device that is never attached, try, remove it
 * @name: of that device, which must not exist
 *
 * Nothing but its node comes and goes: no driver sees it, no netlink call is made.
 *
 * Return: 0; -ENOENT no VDUSE; -EACCES; -EEXIST; other -errno of open(2) and ioctl(2).
 */
int vduse_probe(const struct vduse_sys *sys, const char *name,
		struct vduse_probe *ret_probe) VBLK_MUST_CHECK;

#endif
