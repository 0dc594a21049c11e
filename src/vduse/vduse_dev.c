/* SPDX-License-Identifier: MIT */
/*
 * Life of a device. All decisions hang on two facts: what the driver wants
 * (want_running) and whether the queues have let go of the past (vdev STOPPED).
 * Whenever they are STOPPED, vduse_dev_settle() brings the one to the other.
 */
#include "vblk/vduse/vduse_dev.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vduse_priv.h"

/* Between attempts to map what could not be mapped. */
#define RETRY_DELAY_MIN_MS 100u
#define RETRY_DELAY_MAX_MS 5000u
#define INJECT_TRIES	   3

void vduse_dev_inject_irq(void *ctx, unsigned int idx)
{
	struct vduse_dev *dev = ctx;
	uint32_t arg = idx;
	int i;

	/*
	 * EINVAL: the kernel has our answer to DRIVER_OK, but its thread did not
	 * get to note the new status. No request can be there in that moment, so
	 * this is for peace of mind; and after a reset it is right to give up.
	 */
	for (i = 0; i < INJECT_TRIES; i++) {
		if (vduse_ioctl(dev, VDUSE_VQ_INJECT_IRQ, &arg) != -EINVAL)
			return;
		(void)sched_yield();
	}
}

/* Queue thread. */
static int dev_map_get(void *ctx, struct memmap **ret_map)
{
	struct vduse_dev *dev = ctx;

	return vduse_mem_get(&dev->mem, ret_map);
}

static void dev_stopped(void *ctx)
{
	struct vduse_dev *dev = ctx;

	if (vduse_dev_is_stopped(dev))
		vduse_dev_settle(dev);
}

void vduse_dev_stop(struct vduse_dev *dev)
{
	vdev_stop(dev->vdev);
	vduse_direct_stop(dev);
}

bool vduse_dev_is_stopped(const struct vduse_dev *dev)
{
	return vdev_state(dev->vdev) == VDEV_STOPPED && !dev->direct.on;
}

/* After a message timed out every ioctl is refused, for good. */
static void dev_check_broken(struct vduse_dev *dev)
{
	uint64_t features;

	if (dev->broken || vduse_ioctl(dev, VDUSE_DEV_GET_FEATURES, &features) != -EPERM)
		return;
	dev->broken = true;
	dev->event(dev->ctx, VDUSE_EVENT_BROKEN, 0);
}

static void dev_report_memory(struct vduse_dev *dev, int err)
{
	if (dev->memory_reported)
		return;
	dev->memory_reported = true;
	dev->event(dev->ctx, VDUSE_EVENT_MEMORY, err);
}

static void dev_arm_retry(struct vduse_dev *dev)
{
	dev->retry_delay_ms =
		MIN(MAX(dev->retry_delay_ms * 2, RETRY_DELAY_MIN_MS), RETRY_DELAY_MAX_MS);
	dev->retry_ns = clock_now_ns() + dev->retry_delay_ms * NSEC_PER_MSEC;
}

/*
 * The driver believes in a working device and its requests wait in the ring;
 * refusing anything now would not reach it. What can be done is to try again:
 * shortage of memory or descriptors passes, and nothing is lost meanwhile.
 */
static void dev_retry_later(struct vduse_dev *dev, int err)
{
	if (err == -EPERM)
		dev_check_broken(dev);
	if (dev->broken)
		return;
	dev_report_memory(dev, err);
	/* A record that does not fit now will not fit later. */
	if (err == -EUCLEAN)
		return;
	dev_arm_retry(dev);
}

/* A driver can provoke it again and again without a reset; told is it once. */
static void dev_tell_queue(struct vduse_dev *dev, enum vduse_event event, unsigned int idx)
{
	if (dev->queue_told[idx])
		return;
	dev->queue_told[idx] = true;
	dev->event(dev->ctx, event, (int)idx);
}

void vduse_dev_tell_unusable(struct vduse_dev *dev, unsigned int idx)
{
	dev_tell_queue(dev, VDUSE_EVENT_QUEUE_UNUSABLE, idx);
}

static void dev_queue_broken(void *ctx, unsigned int idx, enum vq_fault fault)
{
	struct vduse_dev *dev = ctx;

	dev_tell_queue(dev, VDUSE_EVENT_QUEUE_BROKEN, idx);
	/* Memory that is gone may come back; what the driver wrote will not change. */
	if (fault != VQ_FAULT_MEMORY)
		dev->queue_stopped[idx] = true;
	else if (dev->want_running)
		dev_arm_retry(dev);
}

static void dev_queue_failed(void *ctx, unsigned int idx, int err)
{
	struct vduse_dev *dev = ctx;

	if (!dev->want_running)
		return;
	if (err != -EFAULT) {
		dev_retry_later(dev, err);
		return;
	}
	vduse_dev_tell_unusable(dev, idx);
	dev_arm_retry(dev);
}

static void dev_queue_stuck(void *ctx, unsigned int idx, bool is_stuck)
{
	struct vduse_dev *dev = ctx;

	dev->event(dev->ctx, is_stuck ? VDUSE_EVENT_QUEUE_STUCK : VDUSE_EVENT_QUEUE_UNSTUCK,
		   (int)idx);
}

static const struct vdev_transport_ops dev_ops = {
	.inject_irq = vduse_dev_inject_irq,
	.map_get = dev_map_get,
	.stopped = dev_stopped,
	.queue_broken = dev_queue_broken,
	.queue_failed = dev_queue_failed,
	.queue_stuck = dev_queue_stuck,
};

void vduse_dev_start(struct vduse_dev *dev)
{
	int r;

	if (!dev->want_running || dev->given_up || dev->retiring || !vduse_dev_is_stopped(dev))
		return;
	dev->retry_ns = 0;
	r = vduse_rings_map(dev);
	if (r >= 0)
		r = vduse_direct_is_due(dev) ? vduse_direct_start(dev)
					     : vdev_start(dev->vdev, dev->vdev_rings);
	if (r < 0) {
		dev_retry_later(dev, r);
		return;
	}
	/* From here on the rings have a history: another start goes on with it. */
	dev->rings_in_use = true;
	vduse_direct_look_later(dev);
	dev->event(dev->ctx, VDUSE_EVENT_DRIVER_OK, 0);
}

void vduse_dev_settle(struct vduse_dev *dev)
{
	bool was_reset = dev->reset_wanted;
	bool was_in_use = dev->rings_in_use;

	/*
	 * At every stop, because a driver that comes back gets other pages at the
	 * same addresses, and the old mapping would go on showing the old ones.
	 */
	vduse_mem_drop(&dev->mem);
	vduse_rings_unmap(dev);
	if (was_reset) {
		dev->reset_wanted = false;
		dev->rings_in_use = false;
		dev->direct.switching = false;
		memset(dev->queue_told, 0, sizeof(dev->queue_told));
		memset(dev->queue_stopped, 0, sizeof(dev->queue_stopped));
		vduse_rings_clear_records(dev);
		vduse_msg_answer(dev, &dev->reset, VDUSE_REQ_RESULT_OK);
		if (was_in_use)
			dev->event(dev->ctx, VDUSE_EVENT_RESET, 0);
	}
	vduse_dev_start(dev);
	vduse_msg_answer(dev, &dev->iotlb, VDUSE_REQ_RESULT_OK);
}

/* Requests of the predecessor may have been answered without an interrupt: one for all. */
static void dev_inject_all(struct vduse_dev *dev)
{
	unsigned int i;

	for (i = 0; i < dev->blk->queue_cnt; i++) {
		uint32_t arg = i;

		if (dev->vdev_rings[i].enabled)
			(void)vduse_ioctl(dev, VDUSE_VQ_INJECT_IRQ, &arg);
	}
}

/*
 * Where the driver has negotiated already, we succeed a process that died. No
 * call tells the status; queues that are ready are served. Messages that the
 * predecessor left unanswered come again.
 */
static int dev_adopt(struct vduse_dev *dev)
{
	int r;

	r = vduse_ioctl(dev, VDUSE_DEV_GET_FEATURES, &dev->features);
	if (r < 0)
		return r;
	/* The predecessor may have died between our owner's decision and the kernel's hearing of
	 * it. */
	r = vduse_config_write(dev, bdev_limits_capacity(&dev->blk->limits));
	if (r < 0)
		return r;
	if (!dev->features || !vduse_rings_have_more(dev)) {
		/* A driver on its way up may have read what was there before. */
		dev->config_untold = vduse_config_is_owed(dev);
		return 0;
	}
	dev->status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		      VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
	dev->want_running = true;
	dev->rings_in_use = true;
	vduse_dev_start(dev);
	dev_inject_all(dev);
	if (vduse_config_is_owed(dev))
		vduse_config_tell(dev);
	return 0;
}

static int dev_init_inflight(struct vduse_dev *dev, void *inflight)
{
	if (!inflight) {
		/* Not for a successor, but a restart of the queues needs one, too. */
		dev->own_inflight =
			calloc(dev->blk->queue_cnt, vq_inflight_bytes(dev->blk->queue_size));
		if (!dev->own_inflight)
			return -ENOMEM;
		inflight = dev->own_inflight;
	}
	dev->inflight = inflight;
	return 0;
}

static int dev_init(struct vduse_dev *dev, const struct vduse_dev_params *params)
{
	struct vdev_params vdev_params = {
		.bdev = params->bdev,
		.blk = params->blk,
		.ops = &dev_ops,
		.ctx = dev,
		.sched_batch = params->sched_batch,
		.poll = params->poll,
		.keep_real_time = params->keep_real_time,
		/* Not free for a successor before the I/O of a killed process has ended. */
		.fence_fd = dev->fd,
		.stuck_ms = params->stuck_ms,
		.stats = params->stats,
	};
	int r;

	r = dev_init_inflight(dev, params->inflight);
	if (r < 0)
		return r;
	for (unsigned int i = 0; params->stats && i < dev->blk->queue_cnt; i++)
		dev->recovered_before += params->stats[i].recovered;
	r = vdev_new(&vdev_params, &dev->vdev);
	if (r == 0 && params->confine)
		r = params->confine(params->ctx);
	return r < 0 ? r : dev_adopt(dev);
}

int vduse_dev_new(const struct vduse_dev_params *params, struct vduse_dev **ret_dev)
{
	struct vduse_dev *dev;
	int r;

	dev = calloc(1, sizeof(*dev));
	if (!dev) {
		params->sys->close(params->sys->ctx, params->fd);
		return -ENOMEM;
	}
	dev->sys = params->sys;
	dev->fd = params->fd;
	dev->blk = params->blk;
	dev->bdev = params->bdev;
	dev->event = params->event;
	dev->ctx = params->ctx;
	dev->drain_deadline_ms = params->drain_deadline_ms;
	dev->size_number = params->size_number;
	dev->size_told = params->size_told;
	dev->direct.record = params->direct;
	dev->direct.buf_fd = params->direct_buf_fd;
	vduse_mem_init(&dev->mem, dev->sys, dev->fd,
		       vduse_umem_bytes(params->umem, params->blk, params->bounce_bytes),
		       params->umem_fd, params->blk->limits.remote);
	r = dev_init(dev, params);
	if (r < 0) {
		vduse_dev_free(dev);
		return r;
	}
	*ret_dev = dev;
	return 0;
}

/* For a driver that went without a reset; waits for the backend. */
static void dev_drain(struct vduse_dev *dev)
{
	struct pollfd fds[2] = {
		{ .fd = vdev_event_fd(dev->vdev), .events = POLLIN },
		{ .fd = vduse_dev_direct_fd(dev), .events = POLLIN },
	};

	dev->want_running = false;
	vduse_dev_stop(dev);
	while (!vduse_dev_is_stopped(dev)) {
		(void)poll(fds, 2, -1);
		vdev_handle_events(dev->vdev);
		vduse_dev_handle_direct(dev);
	}
}

void vduse_dev_give_up(struct vduse_dev *dev)
{
	dev->given_up = true;
	vdev_give_up(dev->vdev);
}

void vduse_dev_close(struct vduse_dev *dev)
{
	if (dev->fd < 0)
		return;
	if (dev->vdev) {
		dev_drain(dev);
		/* With its rings, which have the device open, too. */
		vdev_free(dev->vdev);
		dev->vdev = NULL;
	}
	vduse_rings_unmap(dev);
	dev->sys->close(dev->sys->ctx, dev->fd);
	dev->fd = -1;
}

void vduse_dev_free(struct vduse_dev *dev)
{
	if (!dev)
		return;
	vduse_dev_close(dev);
	vduse_mem_fini(&dev->mem);
	free(dev->own_inflight);
	free(dev);
}

void vduse_dev_retire(struct vduse_dev *dev)
{
	dev->retiring = true;
	vduse_dev_stop(dev);
}

bool vduse_dev_is_retired(const struct vduse_dev *dev)
{
	return dev->retiring && vduse_dev_is_stopped(dev);
}

int vduse_dev_fd(const struct vduse_dev *dev)
{
	return dev->fd;
}

void vduse_dev_handle(struct vduse_dev *dev)
{
	unsigned int cnt = 0;
	int r;

	for (;;) {
		r = vduse_msg_handle(dev);
		if (r == 0)
			cnt++;
		else if (r != -EINTR)
			break;
	}
	/* Signalled without a message. */
	if (!cnt)
		dev_check_broken(dev);
}

int vduse_dev_queue_fd(const struct vduse_dev *dev)
{
	return vdev_event_fd(dev->vdev);
}

void vduse_dev_handle_queues(struct vduse_dev *dev)
{
	vdev_handle_events(dev->vdev);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	if (!a_ns || !b_ns)
		return a_ns | b_ns;
	return MIN(a_ns, b_ns);
}

uint64_t vduse_dev_deadline_ns(const struct vduse_dev *dev)
{
	uint64_t at_ns = earlier(dev->retry_ns, dev->config_retry_ns);

	at_ns = earlier(at_ns, dev->direct.look_ns);
	if (dev->reset.pending)
		at_ns = earlier(at_ns, dev->reset.deadline_ns);
	if (dev->iotlb.pending)
		at_ns = earlier(at_ns, dev->iotlb.deadline_ns);
	return at_ns;
}

void vduse_dev_handle_deadline(struct vduse_dev *dev)
{
	uint64_t now_ns = clock_now_ns();

	vduse_msg_expire(dev, now_ns);
	vduse_config_retry(dev, now_ns);
	vduse_direct_look(dev, now_ns);
	if (!dev->retry_ns || now_ns < dev->retry_ns)
		return;
	dev->retry_ns = 0;
	/* A queue without memory runs and must be stopped first; settle starts it again. */
	if (vduse_dev_is_stopped(dev))
		vduse_dev_start(dev);
	else
		vduse_dev_stop(dev);
}

void vduse_dev_info(const struct vduse_dev *dev, struct vduse_dev_info *ret_info)
{
	struct vdev_queue_info queue;
	uint64_t recovered = 0;
	unsigned int i;

	for (i = 0; i < dev->blk->queue_cnt; i++) {
		vdev_queue_info(dev->vdev, i, &queue);
		recovered += queue.stats.recovered;
	}
	*ret_info = (struct vduse_dev_info){
		.status = dev->status,
		.features = dev->features,
		.umem = __atomic_load_n(&dev->mem.umem_registered, __ATOMIC_RELAXED),
		.data_mapped = vduse_mem_is_mapped(&dev->mem),
		.broken = dev->broken,
		.draining = vdev_state(dev->vdev) == VDEV_DRAINING,
		.direct = dev->direct.on,
		.recovered = (unsigned int)(recovered - dev->recovered_before),
	};
}

const struct vdev *vduse_dev_vdev(const struct vduse_dev *dev)
{
	return dev->vdev;
}
