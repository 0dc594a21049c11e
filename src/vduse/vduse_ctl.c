/* SPDX-License-Identifier: MIT */
#include "vblk/vduse/vduse_ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vduse.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/parse.h"

#define BIT64(n) (1ull << (n))

/* Linux 6.1 takes any alignment up to a page and breaks with most of them. */
#define VQ_ALIGN_BYTES 4096u

#ifndef VIRTIO_F_NOTIFICATION_DATA
#define VIRTIO_F_NOTIFICATION_DATA 38
#endif
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

/*
 * Never offered, whatever the core can do: CONFIG_WCE is refused by the
 * kernel, packed rings and IN_ORDER cannot be recovered from our record, Linux
 * (virtio_blk.c, virtblk_add_req()) gives the ranges of SECURE_ERASE as memory
 * for us to write to, which has nothing in it here, the others have no meaning or
 * no support over VDUSE.
 */
#define FEATURES_NEVER                                                       \
	(BIT64(VIRTIO_BLK_F_CONFIG_WCE) | BIT64(VIRTIO_BLK_F_SECURE_ERASE) | \
	 BIT64(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT64(VIRTIO_F_RING_PACKED) |     \
	 BIT64(VIRTIO_F_IN_ORDER) | BIT64(VIRTIO_F_ORDER_PLATFORM) |         \
	 BIT64(VIRTIO_F_NOTIFICATION_DATA) | BIT64(VIRTIO_F_RING_RESET))

uint64_t vduse_features(const struct blk_params *blk)
{
	return (blk->features & ~FEATURES_NEVER) | BIT64(VIRTIO_F_VERSION_1) |
	       BIT64(VIRTIO_F_ACCESS_PLATFORM);
}

int vduse_ctl_open(const struct vduse_sys *sys, int *ret_fd)
{
	uint64_t version = 0;
	int fd, r;

	fd = sys->open(sys->ctx, "/dev/vduse/control", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fd;
	r = sys->ioctl(sys->ctx, fd, VDUSE_SET_API_VERSION, &version);
	if (r < 0) {
		sys->close(sys->ctx, fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int vduse_ctl_create(const struct vduse_sys *sys, int ctl_fd, const char *name,
		     const struct blk_params *blk)
{
	union {
		struct vduse_dev_config dev;
		uint8_t bytes[sizeof(struct vduse_dev_config) + sizeof(struct virtio_blk_config)];
	} u = { 0 };
	struct virtio_blk_config config;
	int r;

	r = parse_device_name(name);
	if (r < 0)
		return -EINVAL;
	memset(&config, 0, sizeof(config));
	blk_config_fill(blk, &config);
	memcpy(u.dev.name, name, strlen(name));
	u.dev.vendor_id = VDUSE_VENDOR_ID;
	u.dev.device_id = VIRTIO_ID_BLOCK;
	u.dev.features = vduse_features(blk);
	u.dev.vq_num = blk->queue_cnt;
	u.dev.vq_align = VQ_ALIGN_BYTES;
	u.dev.config_size = sizeof(config);
	memcpy(u.bytes + sizeof(u.dev), &config, sizeof(config));
	r = sys->ioctl(sys->ctx, ctl_fd, VDUSE_CREATE_DEV, &u);
	return r < 0 ? r : 0;
}

int vduse_ctl_destroy(const struct vduse_sys *sys, int ctl_fd, const char *name)
{
	char arg[VDUSE_NAME_MAX] = "";
	int r;

	if (strlen(name) >= sizeof(arg))
		return -EINVAL;
	memcpy(arg, name, strlen(name));
	r = sys->ioctl(sys->ctx, ctl_fd, VDUSE_DESTROY_DEV, arg);
	return r < 0 ? r : 0;
}

/* @path: room for PATH_LEN */
#define PATH_LEN 160
static int attr_path(const char *name, const char *attr, char path[PATH_LEN])
{
	int n;

	if (parse_device_name(name) < 0)
		return -EINVAL;
	n = snprintf(path, PATH_LEN, "/sys/class/vduse/%s/%s", name, attr);
	return n < 0 || n >= PATH_LEN ? -EINVAL : 0;
}

int vduse_ctl_set_attr(const char *name, const char *attr, uint64_t value)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_LEN];
	char text[32];
	int len, r;

	r = attr_path(name, attr, path);
	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = snprintf(text, sizeof(text), "%" PRIu64 "\n", value);
	if (write(fd, text, (size_t)len) < 0)
		return -errno;
	return 0;
}

int vduse_ctl_get_attr(const char *name, const char *attr, uint64_t *ret_value)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_LEN];
	char text[32];
	ssize_t n;
	int r;

	r = attr_path(name, attr, path);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return parse_u64(text, 0, UINT64_MAX, ret_value);
}

int vduse_ctl_open_dev(const struct vduse_sys *sys, const char *name, int *ret_fd)
{
	char path[PATH_LEN];
	int fd, n;

	if (parse_device_name(name) < 0)
		return -EINVAL;
	n = snprintf(path, sizeof(path), "/dev/vduse/%s", name);
	if (n < 0 || n >= PATH_LEN)
		return -EINVAL;
	fd = sys->open(sys->ctx, path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int vduse_ctl_give_dev(const char *name, uid_t uid, gid_t gid)
{
	char path[PATH_LEN];
	int n;

	if (parse_device_name(name) < 0)
		return -EINVAL;
	n = snprintf(path, sizeof(path), "/dev/vduse/%s", name);
	if (n < 0 || n >= PATH_LEN)
		return -EINVAL;
	return lchown(path, uid, gid) < 0 ? -errno : 0;
}

int vduse_ctl_setup_queues(const struct vduse_sys *sys, int dev_fd, const struct blk_params *blk)
{
	uint32_t i;

	for (i = 0; i < blk->queue_cnt; i++) {
		struct vduse_vq_config config = { .index = i, .max_size = blk->queue_size };
		int r = sys->ioctl(sys->ctx, dev_fd, VDUSE_VQ_SETUP, &config);

		if (r < 0)
			return r;
	}
	return 0;
}
