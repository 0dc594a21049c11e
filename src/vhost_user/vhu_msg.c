/* SPDX-License-Identifier: MIT */
/*
 * The requests of a client, by their number: what each needs to be stopped, and
 * what it does then. A request that must wait for queues is kept, and nothing
 * behind it is read meanwhile.
 */
#include "vhu_priv.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/math.h"

#define BIT64(n) (1ull << (n))

static const uint64_t protocol_offered =
	BIT64(VHU_PROTOCOL_F_MQ) | BIT64(VHU_PROTOCOL_F_REPLY_ACK) |
	BIT64(VHU_PROTOCOL_F_BACKEND_REQ) | BIT64(VHU_PROTOCOL_F_CONFIG) |
	BIT64(VHU_PROTOCOL_F_INFLIGHT_SHMFD) | BIT64(VHU_PROTOCOL_F_RESET_DEVICE) |
	BIT64(VHU_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | BIT64(VHU_PROTOCOL_F_STATUS);

enum wait {
	WAIT_NOT,
	WAIT_ONE, /* for the queue that the request names */
	WAIT_ALL,
};

/**
 * struct handler - what to do at a request
 * @queue_of: the queue that it names, which is checked before anything else; NULL: none
 * @prepare: before queues are stopped; 0 or -errno: it is refused. NULL: nothing
 * @run: after that; fills the payload of @reply where there is one. 0 or -errno
 */
struct handler {
	uint64_t (*queue_of)(const union vhu_payload *payload);
	int (*prepare)(struct vhu_dev *dev);
	enum wait wait;
	enum vdev_stop how;
	int (*run)(struct vhu_dev *dev, struct vhu_msg *reply);
};

static uint64_t idx_of_state(const union vhu_payload *payload)
{
	return payload->state.idx;
}

static uint64_t idx_of_addr(const union vhu_payload *payload)
{
	return payload->addr.idx;
}

static uint64_t idx_of_fd(const union vhu_payload *payload)
{
	return vhu_vring_idx_of(payload->u64);
}

static int reply_u64(struct vhu_msg *reply, uint64_t u64)
{
	reply->hdr.size = sizeof(u64);
	reply->payload.u64 = u64;
	return 0;
}

/* The descriptor that came along, or -1. Owned. */
static int take_fd(struct vhu_dev *dev)
{
	return dev->msg.fd_cnt ? vhu_msg_steal_fd(&dev->msg, 0) : -1;
}

/* --- features and status --- */

static int get_features(struct vhu_dev *dev, struct vhu_msg *reply)
{
	return reply_u64(reply, dev->features_offered);
}

static int check_features(struct vhu_dev *dev)
{
	uint64_t features = dev->msg.payload.u64;

	if (features & ~dev->features_offered)
		return vhu_refuse(dev, -EINVAL, "features that are not on offer");
	if (!(features & BIT64(VIRTIO_F_VERSION_1)))
		return vhu_refuse(dev, -EINVAL, "not VIRTIO_F_VERSION_1");
	if (features != dev->features && !vhu_rings_are_idle(dev))
		return vhu_refuse(dev, -EBUSY, "queues are at work");
	return 0;
}

static int set_features(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	dev->features = dev->msg.payload.u64;
	vhu_cache_apply(dev);
	return 0;
}

static int get_protocol_features(struct vhu_dev *dev VBLK_UNUSED, struct vhu_msg *reply)
{
	return reply_u64(reply, protocol_offered);
}

static int set_protocol_features(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	if (dev->msg.payload.u64 & ~protocol_offered)
		return vhu_refuse(dev, -EINVAL, "features that are not on offer");
	dev->protocol_features = dev->msg.payload.u64;
	return 0;
}

static int get_queue_num(struct vhu_dev *dev, struct vhu_msg *reply)
{
	return reply_u64(reply, dev->blk->queue_cnt);
}

/* Who is connected owns it; giving that up is a wish to close the connection. */
static int do_nothing(struct vhu_dev *dev VBLK_UNUSED, struct vhu_msg *reply VBLK_UNUSED)
{
	return 0;
}

static int reset_device(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	bool ran = dev->ran;

	vhu_rings_renew(dev);
	dev->status = 0;
	dev->ran = false;
	dev->missing_ns = 0;
	if (ran)
		dev->event(dev->ctx, VHU_DEV_EVENT_RESET, 0);
	return 0;
}

static int get_status(struct vhu_dev *dev, struct vhu_msg *reply)
{
	return reply_u64(reply, dev->status);
}

static int check_status(struct vhu_dev *dev)
{
	if (dev->msg.payload.u64 > UINT8_MAX)
		return vhu_refuse(dev, -EINVAL, "more than a byte");
	return 0;
}

static int set_status(struct vhu_dev *dev, struct vhu_msg *reply)
{
	if (!dev->msg.payload.u64)
		return reset_device(dev, reply);
	dev->status = (uint8_t)dev->msg.payload.u64;
	return 0;
}

/* --- memory --- */

static int mem_result(struct vhu_dev *dev, int r, const char *why)
{
	return r < 0 ? vhu_refuse(dev, r, "%s", why) : 0;
}

static int set_mem_table(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	const char *why = "";
	int r = vhu_mem_set(&dev->mem, dev->proc_fd, &dev->msg, &why);

	return mem_result(dev, r, why);
}

static int add_mem_reg(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	const char *why = "";
	int r = vhu_mem_add(&dev->mem, dev->proc_fd, &dev->msg, &why);

	return mem_result(dev, r, why);
}

static int rem_mem_reg(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	const char *why = "";
	int r = vhu_mem_remove(&dev->mem, &dev->msg.payload.mem_reg.region, &why);

	return mem_result(dev, r, why);
}

static int get_max_mem_slots(struct vhu_dev *dev VBLK_UNUSED, struct vhu_msg *reply)
{
	return reply_u64(reply, VHU_SLOTS_MAX);
}

/* --- requests in flight --- */

static int check_idle(struct vhu_dev *dev)
{
	if (!vhu_rings_are_idle(dev))
		return vhu_refuse(dev, -EBUSY, "queues are at work");
	return 0;
}

static int get_inflight_fd(struct vhu_dev *dev, struct vhu_msg *reply)
{
	int fd = -1;
	int r = vhu_inflight_new(dev, &dev->msg.payload.inflight, &reply->payload.inflight, &fd);

	if (r < 0)
		return r;
	reply->hdr.size = sizeof(reply->payload.inflight);
	reply->fds[reply->fd_cnt++] = fd;
	return 0;
}

static int set_inflight_fd(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	int r = vhu_inflight_use(dev, &dev->msg.payload.inflight, take_fd(dev));

	if (r == 0)
		vhu_cache_apply(dev);
	return r;
}

/* --- configuration --- */

static int get_config(struct vhu_dev *dev, struct vhu_msg *reply)
{
	const struct vhu_config *want = &dev->msg.payload.config;

	/* No payload says that there is no such thing. */
	if (!range_fits(want->offset, want->size, VHU_CONFIG_MAX))
		return 0;
	reply->hdr.size = VHU_CONFIG_HDR + want->size;
	return vhu_config_get(dev, want, &reply->payload.config);
}

static int set_config(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	return vhu_config_set(dev, &dev->msg.payload.config);
}

static int set_backend_req_fd(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	_cleanup_close_ int fd = take_fd(dev);

	if (!vhu_fd_is_stream(fd))
		return vhu_refuse(dev, -EBADF, "not a stream socket");
	/* The other end of the connection would stay open when the client has gone. */
	if (vhu_fd_leads_to(fd, &dev->listen_name, dev->listen_name_bytes))
		return vhu_refuse(dev, -ELOOP, "a connection to this very device");
	vhu_backend_fd_set(dev, steal_fd(&fd));
	return 0;
}

/* --- queues --- */

static struct vhu_queue *queue_named(struct vhu_dev *dev)
{
	return &dev->queues[dev->named];
}

static int check_queue_idle(struct vhu_dev *dev)
{
	if (!vdev_queue_is_idle(dev->vdev, dev->named))
		return vhu_refuse(dev, -EBUSY, "queue %u is at work", dev->named);
	return 0;
}

static int set_vring_num(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	uint32_t num = dev->msg.payload.state.num;

	if (!num || num > dev->blk->queue_size)
		return vhu_refuse(dev, -EINVAL, "%u entries instead of at most %u", num,
				  dev->blk->queue_size);
	queue_named(dev)->size = (uint16_t)num;
	return 0;
}

static bool is_same_addr(const struct vhu_vring_addr *a, const struct vhu_vring_addr *b)
{
	return a->desc_uaddr == b->desc_uaddr && a->avail_uaddr == b->avail_uaddr &&
	       a->used_uaddr == b->used_uaddr;
}

static int check_addr(struct vhu_dev *dev)
{
	const struct vhu_queue *q = queue_named(dev);

	/* Some say it again, to change flags that we do not offer. */
	if (q->has_addr && is_same_addr(&q->addr, &dev->msg.payload.addr))
		return 0;
	return check_queue_idle(dev);
}

static int set_vring_addr(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	queue_named(dev)->addr = dev->msg.payload.addr;
	queue_named(dev)->has_addr = true;
	return 0;
}

static int set_vring_base(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	queue_named(dev)->base = dev->msg.payload.state.num;
	return 0;
}

static int get_vring_base(struct vhu_dev *dev, struct vhu_msg *reply)
{
	reply->hdr.size = sizeof(reply->payload.state);
	reply->payload.state = (struct vhu_vring_state){ dev->named, queue_named(dev)->base };
	vhu_ring_end(dev, dev->named);
	return 0;
}

static int check_kick(struct vhu_dev *dev)
{
	if (dev->msg.payload.u64 & VHU_VRING_NOFD)
		return vhu_refuse(dev, -EOPNOTSUPP, "without a descriptor");
	if (!vhu_fd_is_eventfd(dev->proc_fd, dev->msg.fds[0]))
		return vhu_refuse(dev, -EBADF, "not an eventfd");
	return 0;
}

static int set_vring_kick(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	int r;

	vhu_ring_set_kick(dev, dev->named, take_fd(dev));
	r = vhu_ring_check(dev, dev->named);
	if (r < 0)
		vhu_ring_set_kick(dev, dev->named, -1);
	return r;
}

static int check_eventfd(struct vhu_dev *dev)
{
	if (dev->msg.fd_cnt && !vhu_fd_is_eventfd(dev->proc_fd, dev->msg.fds[0]))
		return vhu_refuse(dev, -EBADF, "not an eventfd");
	return 0;
}

static int set_vring_call(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	vhu_ring_set_call(dev, dev->named, take_fd(dev));
	return 0;
}

static int set_vring_err(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	vhu_ring_set_err(dev, dev->named, take_fd(dev));
	return 0;
}

static int check_enable(struct vhu_dev *dev)
{
	if (dev->msg.payload.state.num > 1)
		return vhu_refuse(dev, -EINVAL, "neither 0 nor 1");
	return 0;
}

static int set_vring_enable(struct vhu_dev *dev, struct vhu_msg *reply VBLK_UNUSED)
{
	int r;

	queue_named(dev)->enabled = dev->msg.payload.state.num;
	r = vhu_ring_check(dev, dev->named);
	if (r < 0)
		queue_named(dev)->enabled = false;
	return r;
}

static const struct handler handlers[] = {
	[VHU_GET_FEATURES] = { .run = get_features },
	[VHU_SET_FEATURES] = { .prepare = check_features, .run = set_features },
	[VHU_SET_OWNER] = { .run = do_nothing },
	[VHU_RESET_OWNER] = { .run = do_nothing },
	[VHU_SET_MEM_TABLE] = { .wait = WAIT_ALL, .run = set_mem_table },
	[VHU_SET_VRING_NUM] = { idx_of_state, check_queue_idle, .run = set_vring_num },
	[VHU_SET_VRING_ADDR] = { idx_of_addr, check_addr, .run = set_vring_addr },
	[VHU_SET_VRING_BASE] = { idx_of_state, check_queue_idle, .run = set_vring_base },
	[VHU_GET_VRING_BASE] = { idx_of_state, NULL, WAIT_ONE, VDEV_STOP_REDONE, get_vring_base },
	[VHU_SET_VRING_KICK] = { idx_of_fd, check_kick, WAIT_ONE, VDEV_STOP_NOW, set_vring_kick },
	[VHU_SET_VRING_CALL] = { idx_of_fd, check_eventfd, .run = set_vring_call },
	[VHU_SET_VRING_ERR] = { idx_of_fd, check_eventfd, .run = set_vring_err },
	[VHU_GET_PROTOCOL_FEATURES] = { .run = get_protocol_features },
	[VHU_SET_PROTOCOL_FEATURES] = { .run = set_protocol_features },
	[VHU_GET_QUEUE_NUM] = { .run = get_queue_num },
	/* As GET_VRING_BASE, which may follow: it starts no queue that is idle. */
	[VHU_SET_VRING_ENABLE] = { idx_of_state, check_enable, WAIT_ONE, VDEV_STOP_REDONE,
				   set_vring_enable },
	[VHU_SET_BACKEND_REQ_FD] = { .run = set_backend_req_fd },
	[VHU_GET_CONFIG] = { .run = get_config },
	[VHU_SET_CONFIG] = { .run = set_config },
	[VHU_GET_INFLIGHT_FD] = { .prepare = check_idle, .run = get_inflight_fd },
	[VHU_SET_INFLIGHT_FD] = { .prepare = check_idle, .run = set_inflight_fd },
	[VHU_RESET_DEVICE] = { .wait = WAIT_ALL, .run = reset_device },
	[VHU_GET_MAX_MEM_SLOTS] = { .run = get_max_mem_slots },
	[VHU_ADD_MEM_REG] = { .wait = WAIT_ALL, .run = add_mem_reg },
	[VHU_REM_MEM_REG] = { .wait = WAIT_ALL, .run = rem_mem_reg },
	[VHU_SET_STATUS] = { .prepare = check_status, .run = set_status },
	[VHU_GET_STATUS] = { .run = get_status },
};

static const struct handler *handler_of(const struct vhu_msg *msg)
{
	return &handlers[msg->hdr.request];
}

/* Does what it asks need queues to stop, and which? */
static enum wait wait_of(const struct vhu_dev *dev)
{
	const struct vhu_msg *msg = &dev->msg;

	if (msg->hdr.request == VHU_SET_STATUS && !msg->payload.u64)
		return WAIT_ALL;
	/* What runs goes on running. */
	if (msg->hdr.request == VHU_SET_VRING_ENABLE && msg->payload.state.num)
		return WAIT_NOT;
	return handler_of(msg)->wait;
}

static bool wants_ack(const struct vhu_dev *dev)
{
	return dev->acks && dev->msg.hdr.flags & VHU_FLAG_NEED_REPLY &&
	       !vhu_has_reply(dev->msg.hdr.request);
}

static void send_reply(struct vhu_dev *dev, const struct vhu_msg *reply)
{
	int r = vhu_send(dev->conn_fd, reply);

	if (r == -EAGAIN)
		r = vhu_refuse(dev, -EPIPE, "the client does not read its replies");
	if (r < 0)
		vhu_conn_close(dev, r);
}

static void refuse(struct vhu_dev *dev, int err)
{
	struct vhu_msg reply;

	if (!wants_ack(dev)) {
		/* It would go on as if it had been done. */
		vhu_conn_close(dev, err);
		return;
	}
	dev->event(dev->ctx, VHU_DEV_EVENT_REQUEST_REFUSED, 0);
	vhu_msg_init_u64(&reply, dev->msg.hdr.request, VHU_FLAG_REPLY, (uint64_t)-err);
	send_reply(dev, &reply);
}

static void msg_run(struct vhu_dev *dev)
{
	struct vhu_msg reply;
	int r;

	vhu_msg_init(&reply, dev->msg.hdr.request, VHU_FLAG_REPLY, 0);
	r = handler_of(&dev->msg)->run(dev, &reply);
	if (r < 0)
		refuse(dev, r);
	else if (vhu_has_reply(dev->msg.hdr.request) || (wants_ack(dev) && !reply_u64(&reply, 0)))
		send_reply(dev, &reply);
	vhu_msg_close_fds(&reply);
	vhu_msg_close_fds(&dev->msg);
	if (dev->phase == VHU_PHASE_SERVING && !dev->retiring)
		vhu_rings_start(dev);
}

static bool must_wait(const struct vhu_dev *dev)
{
	switch (wait_of(dev)) {
	case WAIT_NOT:
		return false;
	case WAIT_ONE:
		return !vdev_queue_is_idle(dev->vdev, dev->named);
	case WAIT_ALL:
		return !vhu_rings_are_idle(dev);
	}
	return false;
}

static void stop_queues(struct vhu_dev *dev)
{
	enum vdev_stop how = handler_of(&dev->msg)->how;

	if (wait_of(dev) == WAIT_ONE)
		vhu_ring_stop(dev, dev->named, how);
	else
		vhu_rings_stop(dev, how);
}

static int msg_prepare(struct vhu_dev *dev)
{
	const struct handler *handler = handler_of(&dev->msg);

	if (handler->queue_of) {
		dev->named = (unsigned int)MIN(handler->queue_of(&dev->msg.payload),
					       (uint64_t)UINT32_MAX);
		if (dev->named >= dev->blk->queue_cnt)
			return vhu_refuse(dev, -EINVAL, "there is no queue %u", dev->named);
	}
	return handler->prepare ? handler->prepare(dev) : 0;
}

void vhu_msg_handle(struct vhu_dev *dev)
{
	int r = vhu_check_request(&dev->msg);

	/* What a message changes counts from the next one on. */
	dev->acks = vhu_has_protocol(dev, VHU_PROTOCOL_F_REPLY_ACK);
	if (r == -EPROTO) {
		vhu_conn_close(dev, vhu_refuse(dev, r, "malformed"));
		return;
	}
	if (r == -EOPNOTSUPP)
		r = vhu_refuse(dev, r, "request %u is not supported", dev->msg.hdr.request);
	else
		r = msg_prepare(dev);
	if (r < 0) {
		refuse(dev, r);
		vhu_msg_close_fds(&dev->msg);
		return;
	}
	if (!must_wait(dev)) {
		msg_run(dev);
		return;
	}
	dev->waiting = true;
	stop_queues(dev);
}

void vhu_msg_go_on(struct vhu_dev *dev)
{
	if (!dev->waiting || must_wait(dev))
		return;
	dev->waiting = false;
	msg_run(dev);
}
