/* SPDX-License-Identifier: MIT */
/* Making, ending and asking a device; what its queues say. */
#include "vblk/vhost_user/vhu_dev.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vhu_priv.h"

int vhu_complain(struct vhu_dev *dev, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(dev->why, sizeof(dev->why), fmt, ap);
	va_end(ap);
	return err;
}

int vhu_refuse(struct vhu_dev *dev, int err, const char *fmt, ...)
{
	char what[VHU_WHY_MAX / 2];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return vhu_complain(dev, err, "%s: %s", vhu_request_str(dev->msg.hdr.request), what);
}

/* --- what the vdev wants --- */

/* Queue thread. */
static void dev_inject_irq(void *ctx, unsigned int idx)
{
	vhu_ring_call(ctx, idx);
}

/* Queue thread; the table changes only while all queues are idle. */
static int dev_map_get(void *ctx, struct memmap **ret_map)
{
	struct vhu_dev *dev = ctx;

	*ret_map = memmap_ref(dev->mem.map);
	return 0;
}

/* Queue thread. */
static void dev_queue_error(void *ctx, unsigned int idx)
{
	vhu_ring_error(ctx, idx);
}

static void dev_queue_stopped(void *ctx, unsigned int idx)
{
	struct vhu_dev *dev = ctx;

	vhu_ring_stopped(dev, idx);
	vhu_msg_go_on(dev);
	vhu_conn_settle(dev);
}

/* It has taken away what it had lent us. Requests that it keeps a buffer for are not lost. */
static void dev_memory_is_gone(struct vhu_dev *dev, unsigned int idx)
{
	vhu_ring_tell(dev, idx, VHU_DEV_EVENT_QUEUE_MEMORY);
	vhu_conn_close(dev, vhu_complain(dev, -EFAULT, "memory of queue %u is gone", idx));
}

static void dev_queue_broken(void *ctx, unsigned int idx, enum vq_fault fault)
{
	struct vhu_dev *dev = ctx;

	dev->queues[idx].broken = true;
	if (fault == VQ_FAULT_MEMORY)
		dev_memory_is_gone(dev, idx);
	else
		vhu_ring_tell(dev, idx, VHU_DEV_EVENT_QUEUE_BROKEN);
}

static void dev_queue_failed(void *ctx, unsigned int idx, int err)
{
	struct vhu_dev *dev = ctx;

	dev->queues[idx].broken = true;
	if (err == -EFAULT)
		dev_memory_is_gone(dev, idx);
	else
		vhu_ring_tell(dev, idx, VHU_DEV_EVENT_QUEUE_UNUSABLE);
}

static void dev_queue_stuck(void *ctx, unsigned int idx, bool is_stuck)
{
	struct vhu_dev *dev = ctx;

	dev->event(dev->ctx, is_stuck ? VHU_DEV_EVENT_QUEUE_STUCK : VHU_DEV_EVENT_QUEUE_UNSTUCK,
		   (int)idx);
}

static const struct vdev_transport_ops dev_ops = {
	.inject_irq = dev_inject_irq,
	.map_get = dev_map_get,
	.queue_stopped = dev_queue_stopped,
	.queue_error = dev_queue_error,
	.queue_broken = dev_queue_broken,
	.queue_failed = dev_queue_failed,
	.queue_stuck = dev_queue_stuck,
};

/* --- beginning and end --- */

static int dev_init(struct vhu_dev *dev, const struct vhu_dev_params *params)
{
	struct vdev_params vdev_params = {
		.bdev = params->bdev,
		.blk = params->blk,
		.ops = &dev_ops,
		.ctx = dev,
		.sched_batch = params->sched_batch,
		/* One write to an eventfd. */
		.eager = true,
		.poll = params->poll,
		.fence_fd = params->fence_fd,
		.stuck_ms = params->stuck_ms,
		.stats = params->stats,
	};
	int r;

	dev->sink_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->sink_fd < 0)
		return -errno;
	dev->proc_fd = vhu_fd_open_proc();
	if (dev->proc_fd < 0)
		return dev->proc_fd;
	r = vhu_inflight_init(dev);
	if (r == 0)
		r = vhu_rings_init(dev);
	if (r == 0)
		r = vdev_new(&vdev_params, &dev->vdev);
	if (r == 0)
		r = vhu_conn_init(dev);
	if (r == 0 && params->confine)
		r = params->confine(params->ctx);
	if (r == 0)
		vhu_conn_watch(dev);
	return r;
}

int vhu_dev_new(const struct vhu_dev_params *params, struct vhu_dev **ret_dev)
{
	struct vhu_dev *dev;
	int r;

	if (!params->blk->queue_cnt || params->blk->queue_cnt > VDEV_QUEUES_MAX)
		return -EINVAL;
	dev = aligned_alloc(_Alignof(struct vhu_dev), sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	memset(dev, 0, sizeof(*dev));
	dev->blk = params->blk;
	dev->bdev = params->bdev;
	dev->event = params->event;
	dev->ctx = params->ctx;
	dev->features_offered = vhu_features_offered(params->blk);
	dev->listen_fd = params->listen_fd;
	dev->epoll_fd = dev->proc_fd = dev->sink_fd = dev->conn_fd = dev->backend_fd = -1;
	for (unsigned int i = 0; i < VDEV_QUEUES_MAX; i++)
		dev->queues[i].kick_fd = dev->queues[i].call_fd = dev->queues[i].err_fd = -1;
	for (unsigned int i = 0; params->stats && i < params->blk->queue_cnt; i++)
		dev->recovered_before += params->stats[i].recovered;
	r = dev_init(dev, params);
	if (r < 0) {
		vhu_dev_free(dev);
		return r;
	}
	*ret_dev = dev;
	return 0;
}

/* Waits for the backend. */
static void dev_drain(struct vhu_dev *dev)
{
	struct pollfd pfd = { .fd = vdev_event_fd(dev->vdev), .events = POLLIN };

	vhu_dev_retire(dev);
	while (!vhu_dev_is_retired(dev)) {
		(void)poll(&pfd, 1, (int)VHU_NUDGE_MS);
		vdev_handle_events(dev->vdev);
		(void)vhu_rings_nudge(dev);
	}
}

void vhu_dev_free(struct vhu_dev *dev)
{
	if (!dev)
		return;
	if (dev->vdev)
		dev_drain(dev);
	vdev_free(dev->vdev);
	vhu_rings_fini(dev);
	vhu_inflight_fini(dev);
	for (unsigned int i = 0; i < 3; i++) {
		int *fds[] = { &dev->epoll_fd, &dev->proc_fd, &dev->sink_fd };

		if (*fds[i] >= 0)
			(void)close(steal_fd(fds[i]));
	}
	free(dev);
}

void vhu_dev_retire(struct vhu_dev *dev)
{
	dev->retiring = true;
	if (dev->phase == VHU_PHASE_FREE)
		dev->phase = VHU_PHASE_CLOSED;
	vhu_rings_stop(dev, VDEV_STOP_NOW);
	vhu_conn_settle(dev);
	if (dev->epoll_fd >= 0)
		vhu_conn_watch(dev);
}

bool vhu_dev_is_retired(const struct vhu_dev *dev)
{
	return dev->retiring && dev->phase == VHU_PHASE_CLOSED;
}

void vhu_dev_give_up(struct vhu_dev *dev)
{
	dev->given_up = true;
	if (dev->phase == VHU_PHASE_FREE)
		dev->phase = VHU_PHASE_CLOSED;
	vdev_give_up(dev->vdev);
	vhu_conn_watch(dev);
}

/* --- at work --- */

int vhu_dev_fd(const struct vhu_dev *dev)
{
	return dev->epoll_fd;
}

void vhu_dev_handle(struct vhu_dev *dev)
{
	vhu_conn_handle(dev);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	if (!a_ns || !b_ns)
		return a_ns | b_ns;
	return MIN(a_ns, b_ns);
}

uint64_t vhu_dev_deadline_ns(const struct vhu_dev *dev)
{
	return earlier(dev->message_ns, earlier(earlier(dev->listen_ns, dev->nudge_ns),
						earlier(dev->missing_ns, dev->owed_ns)));
}

static bool is_due(uint64_t *at_ns, uint64_t now_ns)
{
	if (!*at_ns || now_ns < *at_ns)
		return false;
	*at_ns = 0;
	return true;
}

void vhu_dev_handle_deadline(struct vhu_dev *dev)
{
	uint64_t now_ns = clock_now_ns();

	if (is_due(&dev->listen_ns, now_ns))
		vhu_conn_watch(dev);
	if (is_due(&dev->message_ns, now_ns))
		vhu_conn_is_late(dev);
	if (is_due(&dev->owed_ns, now_ns))
		vhu_config_tell(dev);
	if (is_due(&dev->missing_ns, now_ns))
		vhu_rings_tell_missing(dev);
	if (is_due(&dev->nudge_ns, now_ns) && vhu_rings_nudge(dev))
		dev->nudge_ns = now_ns + VHU_NUDGE_MS * NSEC_PER_MSEC;
}

static void set_limits(struct vhu_dev *dev, uint64_t capacity_bytes)
{
	/* The outer check last when it widens; the inner one refuses what is in between. */
	bdev_limits_set_capacity(&dev->bdev->limits, capacity_bytes);
	bdev_limits_set_capacity(&dev->blk->limits, capacity_bytes);
}

void vhu_dev_set_capacity(struct vhu_dev *dev, uint64_t capacity_bytes)
{
	bool shrinks = capacity_bytes < bdev_limits_capacity(&dev->blk->limits);

	if (!shrinks)
		set_limits(dev, capacity_bytes);
	dev->config_known = false;
	vhu_config_tell(dev);
	/* What it asks from now on is answered behind this. */
	if (shrinks)
		set_limits(dev, capacity_bytes);
}

const char *vhu_dev_why(const struct vhu_dev *dev)
{
	return dev->why;
}

static unsigned int recovered_cnt(const struct vhu_dev *dev)
{
	struct vdev_queue_info queue;
	uint64_t cnt = 0;

	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++) {
		vdev_queue_info(dev->vdev, i, &queue);
		cnt += queue.stats.recovered;
	}
	return (unsigned int)(cnt - dev->recovered_before);
}

void vhu_dev_info(const struct vhu_dev *dev, struct vhu_dev_info *ret_info)
{
	bool connected = dev->phase == VHU_PHASE_SERVING;

	*ret_info = (struct vhu_dev_info){
		.connected = connected,
		.draining = dev->phase == VHU_PHASE_CLOSING,
		.client_cnt = dev->client_cnt,
		.recovered = recovered_cnt(dev),
	};
	if (!connected)
		return;
	ret_info->client_pid = dev->client_pid;
	ret_info->client_uid = dev->client_uid;
	ret_info->features = dev->features;
	ret_info->protocol_features = dev->protocol_features;
	ret_info->status = dev->status;
	ret_info->write_through = vhu_cache_is_write_through(dev);
	ret_info->running_cnt = vhu_rings_running_cnt(dev);
	ret_info->region_cnt = dev->mem.cnt;
	ret_info->memory_bytes = vhu_mem_bytes(&dev->mem);
}

const struct vdev *vhu_dev_vdev(const struct vhu_dev *dev)
{
	return dev->vdev;
}
