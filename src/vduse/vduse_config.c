/* SPDX-License-Identifier: MIT */
/* The configuration space after the device was made: only the capacity ever changes. */
#include "vduse_priv.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <stddef.h>
#include <string.h>

#include "vblk/util/clock.h"
#include "vblk/util/math.h"

#define TELL_DELAY_MIN_MS 10u
#define TELL_DELAY_MAX_MS 2000u

int vduse_config_write(struct vduse_dev *dev, uint64_t capacity_bytes)
{
	uint64_t wire = htole64(capacity_bytes >> SECTOR_SHIFT);
	union {
		struct vduse_config_data data;
		uint8_t bytes[sizeof(struct vduse_config_data) + sizeof(wire)];
	} u = { 0 };

	/* One aligned field a call: the kernel copies without a lock or a generation. */
	u.data.offset = offsetof(struct virtio_blk_config, capacity);
	u.data.length = sizeof(wire);
	memcpy(u.bytes + sizeof(u.data), &wire, sizeof(wire));
	return vduse_ioctl(dev, VDUSE_DEV_SET_CONFIG, &u);
}

bool vduse_config_is_owed(const struct vduse_dev *dev)
{
	return dev->size_told &&
	       __atomic_load_n(dev->size_told, __ATOMIC_RELAXED) != dev->size_number;
}

/* Only behind the interrupt: killed in between, our successor interrupts once more. */
static void note_told(struct vduse_dev *dev)
{
	if (dev->size_told)
		__atomic_store_n(dev->size_told, dev->size_number, __ATOMIC_RELEASE);
}

/*
 * EINVAL: the driver has not said DRIVER_OK, or the kernel has not noted it
 * yet. It may have read the old capacity all the same, so it is told later.
 */
void vduse_config_tell(struct vduse_dev *dev)
{
	int r = vduse_ioctl(dev, VDUSE_DEV_INJECT_CONFIG_IRQ, NULL);

	dev->config_retry_ns = 0;
	dev->config_untold = r == -EINVAL;
	if (r >= 0)
		note_told(dev);
	if (!dev->config_untold) {
		dev->config_delay_ms = 0;
		return;
	}
	if (!(dev->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	dev->config_delay_ms =
		MIN(MAX(dev->config_delay_ms * 2, TELL_DELAY_MIN_MS), TELL_DELAY_MAX_MS);
	dev->config_retry_ns = clock_now_ns() + dev->config_delay_ms * NSEC_PER_MSEC;
}

void vduse_config_forget(struct vduse_dev *dev)
{
	note_told(dev);
	dev->config_untold = false;
	dev->config_retry_ns = 0;
	dev->config_delay_ms = 0;
}

void vduse_config_retry(struct vduse_dev *dev, uint64_t now_ns)
{
	if (dev->config_retry_ns && now_ns >= dev->config_retry_ns)
		vduse_config_tell(dev);
}

static void set_limits(struct vduse_dev *dev, uint64_t capacity_bytes)
{
	/* The outer check last when it widens; the inner one refuses what is in between. */
	bdev_limits_set_capacity(&dev->bdev->limits, capacity_bytes);
	bdev_limits_set_capacity(&dev->blk->limits, capacity_bytes);
}

int vduse_dev_set_capacity(struct vduse_dev *dev, uint64_t capacity_bytes, uint32_t size_number)
{
	bool shrinks = capacity_bytes < bdev_limits_capacity(&dev->blk->limits);
	int r;

	if (!shrinks)
		set_limits(dev, capacity_bytes);
	r = vduse_config_write(dev, capacity_bytes);
	if (r >= 0) {
		dev->size_number = size_number;
		vduse_config_tell(dev);
	}
	if (shrinks)
		set_limits(dev, capacity_bytes);
	return r < 0 ? r : 0;
}
