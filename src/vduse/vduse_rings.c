/* SPDX-License-Identifier: MIT */
/* Where the rings are, and what is known of requests in them. */
#include "vduse_priv.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/le.h"
#include "vblk/util/math.h"

#define RING_EVENT_BYTES 2u /* used_event and avail_event follow the rings */

static bool has_feature(const struct vduse_dev *dev, unsigned int bit)
{
	return dev->features & (1ull << bit);
}

static struct vq_inflight *record_of(const struct vduse_dev *dev, unsigned int idx)
{
	return (struct vq_inflight *)(void *)(dev->inflight +
					      idx * vq_inflight_bytes(dev->blk->queue_size));
}

static void ring_unmap(struct vduse_dev *dev, unsigned int idx)
{
	struct vduse_ring *ring = &dev->rings[idx];

	vduse_mapping_unmap(dev->sys, &ring->desc);
	vduse_mapping_unmap(dev->sys, &ring->avail);
	vduse_mapping_unmap(dev->sys, &ring->used);
	dev->vdev_rings[idx] = (struct vdev_ring){ .kick_fd = -1 };
}

void vduse_rings_unmap(struct vduse_dev *dev)
{
	unsigned int i;

	for (i = 0; i < dev->blk->queue_cnt; i++)
		ring_unmap(dev, i);
}

int vduse_ring_query(struct vduse_dev *dev, unsigned int idx, struct vduse_vq_info *ret_info)
{
	struct vduse_vq_info info = { .index = idx };
	int r;

	r = vduse_ioctl(dev, VDUSE_VQ_GET_INFO, &info);
	if (r < 0)
		return r;
	*ret_info = info;
	return 0;
}

static int ring_map_parts(struct vduse_dev *dev, struct vduse_ring *ring,
			  const struct vduse_vq_info *info)
{
	uint64_t num = info->num;
	int r;

	r = vduse_iotlb_map(dev->sys, dev->fd, info->desc_addr, num * sizeof(struct vring_desc),
			    VDUSE_ACCESS_RO, &ring->desc);
	if (r < 0)
		return r;
	r = vduse_iotlb_map(dev->sys, dev->fd, info->driver_addr,
			    sizeof(struct vring_avail) + num * sizeof(uint16_t) + RING_EVENT_BYTES,
			    VDUSE_ACCESS_RO, &ring->avail);
	if (r < 0)
		return r;
	return vduse_iotlb_map(dev->sys, dev->fd, info->device_addr,
			       sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) +
				       RING_EVENT_BYTES,
			       VDUSE_ACCESS_RW, &ring->used);
}

static int ring_map(struct vduse_dev *dev, struct vduse_ring *ring,
		    const struct vduse_vq_info *info)
{
	int r;

	if (!is_power_of_two(info->num) || info->num > dev->blk->queue_size)
		return -EINVAL;
	r = ring_map_parts(dev, ring, info);
	if (r < 0)
		return r;
	/* virtio 1.2 s2.7 */
	if (!is_aligned((uintptr_t)ring->desc.va, 16) ||
	    !is_aligned((uintptr_t)ring->avail.va, 2) || !is_aligned((uintptr_t)ring->used.va, 4))
		return -EINVAL;
	return 0;
}

/* What no other attempt would change, as long as the driver leaves it so. */
static bool is_fault_of_driver(int err)
{
	return err == -EINVAL || err == -EFAULT || err == -EACCES;
}

/*
 * A zeroed record is new and knows nothing; vq_start() refuses it for a ring in
 * use, since a guess would complete requests twice or never. Where the driver
 * waits for nothing there is nothing to know.
 */
static void record_prepare(struct vq_inflight *rec, const struct vq_config *cfg)
{
	unsigned int hits = memguard_hits();
	uint16_t used_idx = load_acquire_le16(&cfg->used->idx);
	uint16_t avail_idx = load_acquire_le16(&cfg->avail->idx);

	if (!rec->size && avail_idx == used_idx && memguard_hits() == hits)
		__atomic_store_n(&rec->size, VQ_INFLIGHT_CLEAN, __ATOMIC_RELAXED);
}

static int kick_give(struct vduse_dev *dev, unsigned int idx)
{
	struct vduse_vq_eventfd kick = { .index = idx, .fd = vdev_kick_fd(dev->vdev, idx) };

	return vduse_ioctl(dev, VDUSE_VQ_SETUP_KICKFD, &kick);
}

/* Returns 1 when the queue is in use, 0 when the driver left it alone or spoilt it. */
static int ring_prepare(struct vduse_dev *dev, unsigned int idx)
{
	struct vduse_ring *ring = &dev->rings[idx];
	struct vdev_ring *out = &dev->vdev_rings[idx];
	struct vduse_vq_info info;
	int r;

	r = vduse_ring_query(dev, idx, &info);
	if (r < 0)
		return r;
	if (!info.ready || dev->queue_stopped[idx])
		return 0;
	r = ring_map(dev, ring, &info);
	if (is_fault_of_driver(r)) {
		/* The other queues are none the worse for it. */
		ring_unmap(dev, idx);
		vduse_dev_tell_unusable(dev, idx);
		return 0;
	}
	if (r < 0)
		return r;
	*out = (struct vdev_ring){
		.enabled = true,
		.kick_fd = -1,
		.vq = {
			.size = (uint16_t)info.num,
			.desc = ring->desc.va,
			.avail = ring->avail.va,
			.used = ring->used.va,
			.event_idx = has_feature(dev, VIRTIO_RING_F_EVENT_IDX),
			.indirect = has_feature(dev, VIRTIO_RING_F_INDIRECT_DESC),
			.inflight = record_of(dev, idx),
			.recover = dev->rings_in_use,
		},
	};
	if (dev->rings_in_use)
		record_prepare(out->vq.inflight, &out->vq);
	r = kick_give(dev, idx);
	return r < 0 ? r : 1;
}

int vduse_rings_map(struct vduse_dev *dev)
{
	unsigned int i;
	int cnt = 0, r;

	for (i = 0; i < dev->blk->queue_cnt; i++) {
		r = ring_prepare(dev, i);
		if (r < 0) {
			vduse_rings_unmap(dev);
			return r;
		}
		cnt += r;
	}
	return cnt;
}

bool vduse_rings_have_more(struct vduse_dev *dev)
{
	struct vduse_vq_info info;
	unsigned int i;

	for (i = 0; i < dev->blk->queue_cnt; i++)
		if (!dev->vdev_rings[i].enabled && !dev->queue_told[i] &&
		    vduse_ring_query(dev, i, &info) == 0 && info.ready)
			return true;
	return false;
}

void vduse_rings_clear_records(struct vduse_dev *dev)
{
	unsigned int i;

	for (i = 0; i < dev->blk->queue_cnt; i++)
		__atomic_store_n(&record_of(dev, i)->size, VQ_INFLIGHT_CLEAN, __ATOMIC_RELAXED);
}
