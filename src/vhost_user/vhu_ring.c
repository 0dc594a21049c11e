/* SPDX-License-Identifier: MIT */
/* Queues: what the client says of them, and what runs. */
#include "vhu_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"

#define RING_EVENT_BYTES 2u /* used_event and avail_event follow the rings */

int vhu_rings_init(struct vhu_dev *dev)
{
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++) {
		struct vhu_queue *q = &dev->queues[i];

		q->call_fd = fcntl(dev->sink_fd, F_DUPFD_CLOEXEC, 0);
		q->err_fd = fcntl(dev->sink_fd, F_DUPFD_CLOEXEC, 0);
		if (q->call_fd < 0 || q->err_fd < 0)
			return -errno;
	}
	return 0;
}

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		(void)close(steal_fd(fd));
}

void vhu_rings_fini(struct vhu_dev *dev)
{
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++) {
		close_if_open(&dev->queues[i].kick_fd);
		close_if_open(&dev->queues[i].call_fd);
		close_if_open(&dev->queues[i].err_fd);
	}
}

static void queue_renew(struct vhu_queue *q)
{
	close_if_open(&q->kick_fd);
	q->size = 0;
	q->has_addr = false;
	q->enabled = false;
	q->ran = false;
	q->broken = false;
	q->base = 0;
	q->told = 0;
}

void vhu_rings_renew(struct vhu_dev *dev)
{
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++) {
		vhu_inflight_clear(dev, i);
		queue_renew(&dev->queues[i]);
	}
	vdev_forget_redo(dev->vdev);
}

void vhu_rings_reset(struct vhu_dev *dev)
{
	/* The buffer is the client's, who may come again with it. */
	vhu_inflight_drop(dev);
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++) {
		vhu_inflight_clear(dev, i);
		queue_renew(&dev->queues[i]);
		vhu_ring_set_call(dev, i, -1);
		vhu_ring_set_err(dev, i, -1);
	}
	vdev_forget_redo(dev->vdev);
}

/* The old file may be in use by the queue thread: then it is closed when that returns. */
static void exchange_fd(struct vhu_dev *dev, int at_fd, int fd)
{
	(void)dup3(fd >= 0 ? fd : dev->sink_fd, at_fd, O_CLOEXEC);
	if (fd >= 0)
		(void)close(fd);
}

void vhu_ring_set_kick(struct vhu_dev *dev, unsigned int idx, int fd)
{
	close_if_open(&dev->queues[idx].kick_fd);
	dev->queues[idx].kick_fd = fd;
}

void vhu_ring_set_call(struct vhu_dev *dev, unsigned int idx, int fd)
{
	struct vhu_queue *q = &dev->queues[idx];

	__atomic_store_n(&q->has_call, fd >= 0, __ATOMIC_RELAXED);
	exchange_fd(dev, q->call_fd, fd);
	/* The thread may have told the old one of news that the client has not seen there. */
	if (fd >= 0 && !vdev_queue_is_idle(dev->vdev, idx))
		vdev_queue_remind(dev->vdev, idx);
}

void vhu_ring_set_err(struct vhu_dev *dev, unsigned int idx, int fd)
{
	struct vhu_queue *q = &dev->queues[idx];

	__atomic_store_n(&q->has_err, fd >= 0, __ATOMIC_RELAXED);
	exchange_fd(dev, q->err_fd, fd);
}

/*
 * Waits only if the client has filled the counter on purpose: it takes 2^64 interrupts.
 * vhu_dev_handle_deadline() gets the thread out of there when its queue is to stop. Not to be
 * avoided by O_NONBLOCK, which the client can take away again.
 */
static void signal_client(struct vhu_queue *q, int fd)
{
	uint64_t one = 1;
	ssize_t n;

	__atomic_store_n(&q->in_call, true, __ATOMIC_RELAXED);
	n = write(fd, &one, sizeof(one));
	(void)n;
	__atomic_store_n(&q->in_call, false, __ATOMIC_RELAXED);
}

void vhu_ring_call(struct vhu_dev *dev, unsigned int idx)
{
	struct vhu_queue *q = &dev->queues[idx];

	if (__atomic_load_n(&q->has_call, __ATOMIC_RELAXED))
		signal_client(q, q->call_fd);
}

void vhu_ring_error(struct vhu_dev *dev, unsigned int idx)
{
	struct vhu_queue *q = &dev->queues[idx];

	if (__atomic_load_n(&q->has_err, __ATOMIC_RELAXED))
		signal_client(q, q->err_fd);
}

void vhu_ring_tell(struct vhu_dev *dev, unsigned int idx, enum vhu_dev_event event)
{
	if (dev->queues[idx].told & (1u << event))
		return;
	dev->queues[idx].told |= 1u << event;
	dev->event(dev->ctx, event, (int)idx);
}

static bool ring_is_wanted(const struct vhu_dev *dev, unsigned int idx)
{
	const struct vhu_queue *q = &dev->queues[idx];

	/* Who does not know SET_VRING_ENABLE has them enabled. */
	return q->kick_fd >= 0 && !q->broken &&
	       (q->enabled || !vhu_has_feature(dev, VHU_F_PROTOCOL_FEATURES)) &&
	       vhu_has_feature(dev, VIRTIO_F_VERSION_1);
}

/* NULL: not there, or not aligned. */
static void *part_at(const struct vhu_dev *dev, uint64_t uaddr, uint64_t bytes, uint64_t align)
{
	void *at = vhu_mem_at(&dev->mem, uaddr, bytes);

	return at && is_aligned((uintptr_t)at, align) ? at : NULL;
}

/* virtio 1.2 s2.7 */
static bool find_split(const struct vhu_dev *dev, const struct vhu_queue *q, struct vq_config *vq)
{
	uint64_t num = q->size, event_bytes = vq->event_idx ? RING_EVENT_BYTES : 0;

	vq->desc = part_at(dev, q->addr.desc_uaddr, num * sizeof(struct vring_desc), 16);
	vq->avail = part_at(dev, q->addr.avail_uaddr,
			    sizeof(struct vring_avail) + num * sizeof(uint16_t) + event_bytes, 2);
	vq->used = part_at(
		dev, q->addr.used_uaddr,
		sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) + event_bytes, 4);
	return vq->desc && vq->avail && vq->used;
}

/* virtio 1.2 s2.8 */
static bool find_packed(const struct vhu_dev *dev, const struct vhu_queue *q, struct vq_config *vq)
{
	vq->packed_desc =
		part_at(dev, q->addr.desc_uaddr, q->size * sizeof(struct vring_packed_desc), 16);
	vq->driver_event =
		part_at(dev, q->addr.avail_uaddr, sizeof(struct vring_packed_desc_event), 4);
	vq->device_event =
		part_at(dev, q->addr.used_uaddr, sizeof(struct vring_packed_desc_event), 4);
	return vq->packed_desc && vq->driver_event && vq->device_event;
}

static int ring_find(struct vhu_dev *dev, unsigned int idx, struct vdev_ring *ret_ring)
{
	const struct vhu_queue *q = &dev->queues[idx];
	struct vdev_ring ring = {
		.enabled = true,
		.kick_fd = q->kick_fd,
		.vq = {
			.size = q->size,
			.packed = vhu_has_feature(dev, VIRTIO_F_RING_PACKED),
			.base = q->base,
			.event_idx = vhu_has_feature(dev, VIRTIO_RING_F_EVENT_IDX),
			.indirect = vhu_has_feature(dev, VIRTIO_RING_F_INDIRECT_DESC),
			.inflight = vhu_inflight_record(dev, idx),
			/* A record that is clean, as before the first start, makes it a fresh one. */
			.recover = true,
		},
	};

	if (!q->size || !q->has_addr)
		return vhu_refuse(dev, -EINVAL, "queue %u has no size or no addresses", idx);
	if (!ring.vq.packed && !is_power_of_two(q->size))
		return vhu_refuse(dev, -EINVAL, "queue %u: the size is no power of two", idx);
	if (!ring.vq.inflight)
		return vhu_refuse(dev, -EINVAL,
				  "queue %u is larger than the in-flight buffer has room for", idx);
	if (!(ring.vq.packed ? find_packed(dev, q, &ring.vq) : find_split(dev, q, &ring.vq)))
		return vhu_refuse(dev, -EFAULT,
				  "the ring of queue %u is not in the memory table, or not aligned",
				  idx);
	*ret_ring = ring;
	return 0;
}

int vhu_ring_check(struct vhu_dev *dev, unsigned int idx)
{
	struct vdev_ring ring;

	return ring_is_wanted(dev, idx) ? ring_find(dev, idx, &ring) : 0;
}

static void ring_start(struct vhu_dev *dev, unsigned int idx)
{
	struct vhu_queue *q = &dev->queues[idx];
	struct vdev_ring ring;

	/*
	 * A ring that is in no region is so for a moment, between the messages that remove
	 * a region and that add it with another size.
	 */
	if (!dev->mem.map || ring_find(dev, idx, &ring) < 0)
		return;
	if (vdev_queue_start(dev->vdev, idx, &ring) < 0)
		return;
	q->ran = true;
	if (dev->ran)
		return;
	dev->ran = true;
	dev->missing_ns = clock_now_ns() + VHU_MISSING_MS * NSEC_PER_MSEC;
	dev->event(dev->ctx, VHU_DEV_EVENT_RUNNING, 0);
}

void vhu_rings_start(struct vhu_dev *dev)
{
	char why[VHU_WHY_MAX];

	/* What a start says is for nobody. */
	memcpy(why, dev->why, sizeof(why));
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++)
		if (vdev_queue_is_idle(dev->vdev, i) && ring_is_wanted(dev, i))
			ring_start(dev, i);
	memcpy(dev->why, why, sizeof(why));
	vhu_config_tell(dev);
}

void vhu_ring_stop(struct vhu_dev *dev, unsigned int idx, enum vdev_stop how)
{
	if (vdev_queue_is_idle(dev->vdev, idx) || dev->queues[idx].stopping)
		return;
	dev->queues[idx].stopping = true;
	vdev_queue_stop(dev->vdev, idx, how);
	if (!dev->nudge_ns)
		dev->nudge_ns = clock_now_ns() + VHU_NUDGE_MS * NSEC_PER_MSEC;
}

void vhu_rings_stop(struct vhu_dev *dev, enum vdev_stop how)
{
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++)
		vhu_ring_stop(dev, i, how);
}

bool vhu_rings_nudge(struct vhu_dev *dev)
{
	bool any = false;

	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++) {
		if (!dev->queues[i].stopping)
			continue;
		any = true;
		if (__atomic_load_n(&dev->queues[i].in_call, __ATOMIC_RELAXED))
			vdev_queue_interrupt(dev->vdev, i);
	}
	return any;
}

void vhu_ring_end(struct vhu_dev *dev, unsigned int idx)
{
	struct vhu_queue *q = &dev->queues[idx];

	/* What a predecessor had in flight stays so while it is not known to be done. */
	if (q->ran && !vdev_queue_is_expected(dev->vdev, idx))
		vhu_inflight_clear(dev, idx);
	close_if_open(&q->kick_fd);
	q->ran = false;
	q->broken = false;
	q->told = 0;
}

void vhu_rings_tell_missing(struct vhu_dev *dev)
{
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++)
		if (vdev_queue_is_expected(dev->vdev, i))
			vhu_ring_tell(dev, i, VHU_DEV_EVENT_QUEUE_MISSING);
}

void vhu_ring_stopped(struct vhu_dev *dev, unsigned int idx)
{
	struct vhu_queue *q = &dev->queues[idx];
	struct vdev_queue_info info;

	q->stopping = false;
	/* What could not be started stands where the client said that it does. */
	if (q->told & (1u << VHU_DEV_EVENT_QUEUE_UNUSABLE))
		return;
	vdev_queue_info(dev->vdev, idx, &info);
	q->base = info.base;
}

bool vhu_rings_are_idle(const struct vhu_dev *dev)
{
	return !vhu_rings_running_cnt(dev);
}

unsigned int vhu_rings_running_cnt(const struct vhu_dev *dev)
{
	unsigned int cnt = 0;

	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++)
		cnt += !vdev_queue_is_idle(dev->vdev, i);
	return cnt;
}
