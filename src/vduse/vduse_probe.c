/* SPDX-License-Identifier: MIT */
#include "vblk/vduse/vduse_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include <linux/vduse.h>

#include "vblk/blk/blk_config.h"
#include "vblk/vduse/vduse_ctl.h"

#define API_TRIED_MAX 16u

static int find_api_max(const struct vduse_sys *sys, int ctl_fd, unsigned int *ret_max)
{
	/* Set, not asked for: the question itself changes the version (see vduse_ctl_open()). */
	for (uint64_t version = 0; version < API_TRIED_MAX; version++) {
		uint64_t arg = version;
		int r = sys->ioctl(sys->ctx, ctl_fd, VDUSE_SET_API_VERSION, &arg);

		if (r < 0 && version == 0)
			return r;
		if (r < 0)
			break;
		*ret_max = (unsigned int)version;
	}
	return 0;
}

/*
 * A registration that no kernel accepts: those that know it refuse the reserved
 * field before they look at anything else (vduse_dev_ioctl(): -EINVAL).
 */
static bool knows_umem(const struct vduse_sys *sys, int dev_fd)
{
	struct vduse_iova_umem umem = { .size = 4096, .reserved = { ~0ull, ~0ull, ~0ull } };

	return sys->ioctl(sys->ctx, dev_fd, VDUSE_IOTLB_REG_UMEM, &umem) == -EINVAL;
}

static int probe_device(const struct vduse_sys *sys, int ctl_fd, const char *name,
			struct vduse_probe *probe)
{
	const struct bdev_limits limits = {
		.capacity_bytes = 4096,
		.logical_block_bytes = 512,
		.physical_block_bytes = 4096,
	};
	struct blk_params blk;
	int destroyed, fd, r;

	blk_params_init(&blk, &limits, 1, VDUSE_QUEUE_SIZE_MIN, "");
	r = vduse_ctl_create(sys, ctl_fd, name, &blk);
	if (r < 0)
		return r;
	r = vduse_ctl_open_dev(sys, name, &fd);
	if (r == 0) {
		probe->umem = knows_umem(sys, fd);
		sys->close(sys->ctx, fd);
	}
	destroyed = vduse_ctl_destroy(sys, ctl_fd, name);
	return r < 0 ? r : destroyed;
}

int vduse_probe(const struct vduse_sys *sys, const char *name, struct vduse_probe *ret_probe)
{
	struct vduse_probe probe = { .api_max = 0 };
	int fd, r;

	fd = sys->open(sys->ctx, "/dev/vduse/control", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fd;
	r = find_api_max(sys, fd, &probe.api_max);
	sys->close(sys->ctx, fd);
	if (r == 0)
		r = vduse_ctl_open(sys, &fd);
	if (r < 0)
		return r;
	r = probe_device(sys, fd, name, &probe);
	sys->close(sys->ctx, fd);
	if (r == 0)
		*ret_probe = probe;
	return r;
}
