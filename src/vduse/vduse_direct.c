/* SPDX-License-Identifier: MIT */
/*
 * The driver's rings change hands: from our queues to the server behind the backend and back, see
 * bdev_direct.h. It is always the queues that begin, and the rings go over only
 *
 *   when the owner wants it, who takes them back before the kernel waits for requests under locks
 *   of the host (attach, detach): queues can fail requests that a server does not answer;
 *   when the driver is in this kernel, whose memory is one file that the server can have;
 *   when nothing is in flight: the record of that changes hands as well.
 */
#include "vduse_priv.h"

#include <errno.h>
#include <linux/virtio_ring.h>

#include "vblk/util/clock.h"
#include "vblk/util/le.h"
#include "vblk/util/math.h"

/* Between looks whether the driver has made use of its memory yet. */
#define LOOK_DELAY_MIN_MS 20u
#define LOOK_DELAY_MAX_MS 1000u

static bool is_wanted(const struct vduse_dev *dev)
{
	return dev->direct.record && __atomic_load_n(&dev->direct.record->wanted, __ATOMIC_ACQUIRE);
}

static bool is_servers(const struct vduse_dev *dev)
{
	return dev->direct.record &&
	       __atomic_load_n(&dev->direct.record->is_servers, __ATOMIC_ACQUIRE);
}

/* A queue that met a fault keeps what it had. */
static bool all_are_well(const struct vduse_dev *dev)
{
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++)
		if (dev->queue_told[i] || dev->queue_stopped[i])
			return false;
	return !dev->memory_reported && !dev->broken;
}

/* All that the queues took has ended, and the driver can see it. */
static bool nothing_is_taken(const struct vduse_dev *dev)
{
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++) {
		const struct vdev_ring *ring = &dev->vdev_rings[i];
		struct vdev_queue_info info;

		if (!ring->enabled)
			continue;
		vdev_queue_info(dev->vdev, i, &info);
		if (info.inflight_cnt || info.fault != VQ_FAULT_NONE ||
		    load_acquire_le16(&ring->vq.used->idx) != info.last_avail_idx)
			return false;
	}
	return true;
}

static bool memory_is_the_kernels(const struct vduse_dev *dev)
{
	uint64_t bytes;

	return vduse_bounce_is_in_use(dev->sys, dev->fd, &bytes) > 0 &&
	       !__atomic_load_n(&dev->mem.umem_registered, __ATOMIC_RELAXED);
}

bool vduse_direct_is_due(struct vduse_dev *dev)
{
	bool switching = dev->direct.switching;

	dev->direct.switching = false;
	/* What is in flight stands in the server's buffer: nobody else can go on. */
	if (is_servers(dev))
		return true;
	return switching && is_wanted(dev) && all_are_well(dev) && memory_is_the_kernels(dev) &&
	       nothing_is_taken(dev);
}

/* ---- handing over ---- */

static int kick_give(struct vduse_dev *dev, unsigned int idx)
{
	struct vduse_vq_eventfd kick = { .index = idx, .fd = bdev_direct_kick_fd(dev->bdev, idx) };

	return vduse_ioctl(dev, VDUSE_VQ_SETUP_KICKFD, &kick);
}

/* Raises *@bytes to the end of the entry that has @iova. */
static int reach(const struct vduse_dev *dev, uint64_t iova, uint64_t *bytes)
{
	struct vduse_iotlb_entry entry;
	int fd = vduse_iotlb_get_fd(dev->sys, dev->fd, iova, iova, &entry);

	if (fd < 0)
		return fd;
	dev->sys->close(dev->sys->ctx, fd);
	/* All of it is one file, in which an address is where it says. */
	if (entry.offset != entry.start || entry.last >= INT64_MAX)
		return -ENOTUNIQ;
	*bytes = MAX(*bytes, entry.last + 1);
	return 0;
}

/* A ring of the driver's, as the server is told of it. */
static int ring_describe(struct vduse_dev *dev, unsigned int idx, struct bdev_direct_ring *ret_ring,
			 uint64_t *bytes)
{
	const struct vdev_ring *ring = &dev->vdev_rings[idx];
	struct vduse_vq_info info;
	int r;

	*ret_ring = (struct bdev_direct_ring){ .size = 0 };
	if (!ring->enabled)
		return 0;
	r = vduse_ring_query(dev, idx, &info);
	if (r == 0)
		r = reach(dev, info.desc_addr, bytes);
	if (r == 0)
		r = reach(dev, info.driver_addr, bytes);
	if (r == 0)
		r = reach(dev, info.device_addr, bytes);
	if (r == 0)
		r = kick_give(dev, idx);
	if (r < 0)
		return r;
	*ret_ring = (struct bdev_direct_ring){
		.size = ring->vq.size,
		.desc_addr = info.desc_addr,
		.avail_addr = info.driver_addr,
		.used_addr = info.device_addr,
		.avail_idx = &ring->vq.avail->idx,
		.used_idx = &ring->vq.used->idx,
	};
	return 0;
}

static int start_with(struct vduse_dev *dev, int mem_fd)
{
	struct bdev_direct_ring rings[VDEV_QUEUES_MAX];
	struct bdev_direct_params params = {
		.features = dev->features,
		.mem_fd = mem_fd,
		.queue_cnt = dev->blk->queue_cnt,
		.queue_size = dev->blk->queue_size,
		.rings = rings,
		.record = dev->direct.record,
		.buf_fd = dev->direct.buf_fd,
		.inject = vduse_dev_inject_irq,
		.ctx = dev,
	};
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < dev->blk->queue_cnt; i++)
		r = ring_describe(dev, i, &rings[i], &params.mem_bytes);
	return r < 0 ? r : bdev_direct_start(dev->bdev, &params);
}

int vduse_direct_start(struct vduse_dev *dev)
{
	struct vduse_iotlb_entry entry;
	int fd, r;

	fd = vduse_iotlb_get_fd(dev->sys, dev->fd, 0, 0, &entry);
	if (fd < 0)
		return fd;
	/* Ours say nothing of what a server does from now on. */
	vduse_rings_clear_records(dev);
	r = entry.offset || entry.start ? -ENOTUNIQ : start_with(dev, fd);
	dev->sys->close(dev->sys->ctx, fd);
	if (r < 0)
		return r;
	dev->direct.on = true;
	dev->direct.look_ns = 0;
	if (!is_wanted(dev))
		vduse_dev_stop(dev);
	return 0;
}

/* ---- and back ---- */

/* Nothing is in flight: our records, which are clean, count again. */
static void come_back(struct vduse_dev *dev)
{
	dev->direct.on = false;
	__atomic_store_n(&dev->direct.record->is_servers, 0, __ATOMIC_RELEASE);
}

void vduse_direct_stop(struct vduse_dev *dev)
{
	if (!dev->direct.on)
		return;
	/* Also where it is over at once an event tells. */
	bdev_direct_stop(dev->bdev, dev->reset_wanted ? BDEV_DIRECT_FORGET : BDEV_DIRECT_DRAIN);
}

int vduse_dev_direct_fd(const struct vduse_dev *dev)
{
	return dev->direct.record ? bdev_direct_event_fd(dev->bdev) : -1;
}

void vduse_dev_handle_direct(struct vduse_dev *dev)
{
	if (!dev->direct.record)
		return;
	bdev_direct_handle(dev->bdev);
	if (dev->direct.on && bdev_direct_is_over(dev->bdev)) {
		come_back(dev);
		if (vduse_dev_is_stopped(dev))
			vduse_dev_settle(dev);
	}
	vduse_direct_look(dev, UINT64_MAX);
}

/* ---- when ---- */

void vduse_direct_look_later(struct vduse_dev *dev)
{
	if (!is_wanted(dev) || dev->direct.on)
		return;
	dev->direct.look_delay_ms = LOOK_DELAY_MIN_MS;
	dev->direct.look_ns = clock_now_ns() + dev->direct.look_delay_ms * NSEC_PER_MSEC;
}

static void look_again(struct vduse_dev *dev)
{
	dev->direct.look_delay_ms =
		MIN(MAX(dev->direct.look_delay_ms, LOOK_DELAY_MIN_MS) * 2, LOOK_DELAY_MAX_MS);
	dev->direct.look_ns = clock_now_ns() + dev->direct.look_delay_ms * NSEC_PER_MSEC;
}

void vduse_direct_look(struct vduse_dev *dev, uint64_t now_ns)
{
	if (now_ns != UINT64_MAX && (!dev->direct.look_ns || now_ns < dev->direct.look_ns))
		return;
	dev->direct.look_ns = 0;
	if (!dev->want_running || dev->retiring || dev->given_up)
		return;
	if (dev->direct.on && !is_wanted(dev))
		vduse_dev_stop(dev);
	if (dev->direct.on || !is_wanted(dev) || vdev_state(dev->vdev) != VDEV_RUNNING)
		return;
	if (!all_are_well(dev) || !memory_is_the_kernels(dev)) {
		look_again(dev);
		return;
	}
	dev->direct.switching = true;
	vdev_stop(dev->vdev);
	/* Where that did not come about, there is nothing to be lost by another try. */
	look_again(dev);
}
