/* SPDX-License-Identifier: MIT */
/*
 * The kernel's control messages. While it waits for an answer it holds locks
 * of the whole host, so each is answered within this file, except those that
 * must wait for the queues; they have a deadline.
 */
#include "vduse_priv.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>

#include "vblk/util/clock.h"
#include "vblk/vduse/vduse_ctl.h"

#define BIT64(n) (1ull << (n))

static void msg_write(struct vduse_dev *dev, const struct vduse_dev_response *resp)
{
	/*
	 * ENOENT: the kernel waited too long and gave the device up, which
	 * poll tells; or whoever waited was killed. Nobody is left to answer.
	 */
	(void)dev->sys->write(dev->sys->ctx, dev->fd, resp, sizeof(*resp));
}

static void msg_reply(struct vduse_dev *dev, uint32_t request_id, uint32_t result)
{
	struct vduse_dev_response resp = { .request_id = request_id, .result = result };

	msg_write(dev, &resp);
}

void vduse_msg_answer(struct vduse_dev *dev, struct vduse_answer *answer, uint32_t result)
{
	if (!answer->pending)
		return;
	answer->pending = false;
	msg_reply(dev, answer->request_id, result);
}

/* The queues must stop first; the caller then calls answer_settle(). */
static void answer_wait(struct vduse_dev *dev, struct vduse_answer *answer, uint32_t request_id)
{
	/* Whoever sent the older message cannot have waited for this one's: it is gone. */
	vduse_msg_answer(dev, answer, VDUSE_REQ_RESULT_FAILED);
	*answer = (struct vduse_answer){
		.pending = true,
		.request_id = request_id,
		.deadline_ns = clock_now_ns() + dev->drain_deadline_ms * NSEC_PER_MSEC,
	};
	vduse_dev_stop(dev);
	if (vduse_dev_is_stopped(dev))
		vduse_dev_settle(dev);
}

void vduse_msg_expire(struct vduse_dev *dev, uint64_t now_ns)
{
	if (dev->iotlb.pending && now_ns >= dev->iotlb.deadline_ns)
		vduse_msg_answer(dev, &dev->iotlb, VDUSE_REQ_RESULT_FAILED);
	if (dev->reset.pending && now_ns >= dev->reset.deadline_ns) {
		/*
		 * The kernel resets anyhow. Our queues still hold requests of the
		 * old rings: reset_wanted stays, which keeps those rings mapped and
		 * refuses FEATURES_OK until the last request has ended.
		 */
		vduse_msg_answer(dev, &dev->reset, VDUSE_REQ_RESULT_FAILED);
		dev->event(dev->ctx, VDUSE_EVENT_RESET_TIMEOUT, 0);
	}
}

static void msg_reset(struct vduse_dev *dev, uint32_t request_id)
{
	dev->status = 0;
	dev->features = 0;
	dev->want_running = false;
	dev->reset_wanted = true;
	dev->retry_ns = 0;
	vduse_config_forget(dev);
	answer_wait(dev, &dev->reset, request_id);
}

static bool features_are_fine(const struct vduse_dev *dev, uint64_t features)
{
	uint64_t offered = vduse_features(dev->blk);
	uint64_t needed = BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_ACCESS_PLATFORM);

	/* A driver that cannot flush would take writes in a volatile cache for durable. */
	needed |= offered & BIT64(VIRTIO_BLK_F_FLUSH);
	return (features & needed) == needed && !(features & ~offered);
}

static void features_refuse(struct vduse_dev *dev, uint32_t request_id)
{
	msg_reply(dev, request_id, VDUSE_REQ_RESULT_FAILED);
	dev->event(dev->ctx, VDUSE_EVENT_FEATURES_REFUSED, 0);
}

/*
 * The one place where a refusal is safe: the driver's probe fails and says so.
 * A refused DRIVER_OK would be ignored, and its I/O hang for ever.
 */
static void msg_features_ok(struct vduse_dev *dev, uint32_t request_id, uint8_t status)
{
	uint64_t features = 0;
	int r;

	r = vduse_ioctl(dev, VDUSE_DEV_GET_FEATURES, &features);
	if (r < 0 || dev->reset_wanted || dev->given_up || !features_are_fine(dev, features)) {
		features_refuse(dev, request_id);
		return;
	}
	dev->status = status;
	dev->features = features;
	msg_reply(dev, request_id, VDUSE_REQ_RESULT_OK);
}

static void msg_driver_ok(struct vduse_dev *dev, uint32_t request_id, uint8_t status)
{
	uint64_t features = dev->features;

	(void)vduse_ioctl(dev, VDUSE_DEV_GET_FEATURES, &features);
	/* Only one that left FEATURES_OK out comes here with them: none that ignores an answer. */
	if (!dev->want_running && !features_are_fine(dev, features)) {
		features_refuse(dev, request_id);
		return;
	}
	dev->status = status;
	dev->features = features;
	/* First: interrupts are refused until the kernel has the answer. */
	msg_reply(dev, request_id, VDUSE_REQ_RESULT_OK);
	if (dev->config_untold)
		vduse_config_tell(dev);
	if (!dev->want_running) {
		dev->want_running = true;
		dev->memory_reported = false;
		dev->retry_delay_ms = 0;
		vduse_dev_start(dev);
		return;
	}
	/*
	 * Sent to a dead predecessor, sent again to us, who took its rings over
	 * already. It may have died while the driver was still setting queues up.
	 */
	if (vduse_rings_have_more(dev))
		vduse_dev_stop(dev);
}

static void msg_status(struct vduse_dev *dev, uint32_t request_id, uint8_t status)
{
	if (!status) {
		msg_reset(dev, request_id);
	} else if (status & VIRTIO_CONFIG_S_FAILED) {
		dev->status = status;
		msg_reply(dev, request_id, VDUSE_REQ_RESULT_OK);
		dev->event(dev->ctx, VDUSE_EVENT_DRIVER_FAILED, 0);
	} else if (status & VIRTIO_CONFIG_S_DRIVER_OK) {
		msg_driver_ok(dev, request_id, status);
	} else if (status & VIRTIO_CONFIG_S_FEATURES_OK) {
		msg_features_ok(dev, request_id, status);
	} else {
		dev->status = status;
		msg_reply(dev, request_id, VDUSE_REQ_RESULT_OK);
	}
}

static void msg_vq_state(struct vduse_dev *dev, const struct vduse_dev_request *req)
{
	struct vduse_dev_response resp = { .request_id = req->request_id };
	struct vdev_queue_info info;
	uint32_t idx = req->vq_state.index;

	if (idx >= dev->blk->queue_cnt) {
		msg_reply(dev, req->request_id, VDUSE_REQ_RESULT_FAILED);
		return;
	}
	vdev_queue_info(dev->vdev, idx, &info);
	resp.result = VDUSE_REQ_RESULT_OK;
	resp.vq_state.index = idx;
	resp.vq_state.split.avail_index = info.last_avail_idx;
	msg_write(dev, &resp);
}

int vduse_msg_handle(struct vduse_dev *dev)
{
	struct vduse_dev_request req;
	ssize_t n;

	n = dev->sys->read(dev->sys->ctx, dev->fd, &req, sizeof(req));
	if (n < 0)
		return (int)n;
	if (n != (ssize_t)sizeof(req))
		return -EIO;
	switch (req.type) {
	case VDUSE_GET_VQ_STATE:
		msg_vq_state(dev, &req);
		break;
	case VDUSE_SET_STATUS:
		msg_status(dev, req.request_id, req.s.status);
		break;
	case VDUSE_UPDATE_IOTLB:
		/* Only a memory change of a VM sends it: stop, map anew, go on. */
		answer_wait(dev, &dev->iotlb, req.request_id);
		break;
	default:
		msg_reply(dev, req.request_id, VDUSE_REQ_RESULT_FAILED);
		break;
	}
	return 0;
}
