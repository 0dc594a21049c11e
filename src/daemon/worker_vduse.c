/* SPDX-License-Identifier: MIT */
/* The worker of a VDUSE device: the kernel's messages, and what the log tells of its driver. */
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <stdlib.h>

#include "message_ids.h"
#include "privileges.h"
#include "stuck.h"
#include "vblk/util/log.h"
#include "vblk/vduse/vduse_dev.h"
#include "worker_internal.h"

/* A reset is answered at the latest at this share of the kernel's patience. */
#define DRAIN_SHARE_PERCENT 80u
#define LOCK_ACCURACY_US    1000u
/* What waited for a new worker is served by then. */
#define LOCK_DELAY_US 100000u

static bool is_complaint(enum vduse_event event)
{
	return event == VDUSE_EVENT_RESET_TIMEOUT || event == VDUSE_EVENT_FEATURES_REFUSED ||
	       event == VDUSE_EVENT_DRIVER_FAILED || event == VDUSE_EVENT_QUEUE_BROKEN ||
	       event == VDUSE_EVENT_MEMORY;
}

static void on_event(void *ctx, enum vduse_event event, int arg)
{
	struct worker *worker = ctx;

	if (is_complaint(event) && !worker_may_complain(worker))
		return;
	switch (event) {
	case VDUSE_EVENT_DRIVER_OK:
		log_debug("the driver is ready");
		return;
	case VDUSE_EVENT_RESET:
		log_debug("reset by the driver");
		return;
	case VDUSE_EVENT_RESET_TIMEOUT:
		log_error(
			"the backend did not finish its I/O in time for a reset: refused; the device comes back when the backend does");
		return;
	case VDUSE_EVENT_FEATURES_REFUSED:
		log_error("refused the driver's features (or old backend I/O has not ended yet)");
		return;
	case VDUSE_EVENT_DRIVER_FAILED:
		log_error("the kernel's driver gave the device up: see its messages with dmesg");
		return;
	case VDUSE_EVENT_QUEUE_BROKEN: {
		struct vdev_queue_info info;

		vdev_queue_info(vduse_dev_vdev(worker->vduse), (unsigned int)arg, &info);
		log_event(
			LOG_LEVEL_ERROR, &(struct log_fields){ MESSAGE_QUEUE_BROKEN, arg },
			"queue %d stopped, the driver broke the rules of its ring: %s; a reset brings it back",
			arg, vq_fault_str(info.fault));
		return;
	}
	case VDUSE_EVENT_QUEUE_STUCK:
		worker_log_stuck(worker, (unsigned int)arg);
		return;
	case VDUSE_EVENT_QUEUE_UNSTUCK:
		worker_log_unstuck((unsigned int)arg);
		return;
	case VDUSE_EVENT_QUEUE_UNUSABLE:
		log_event(
			LOG_LEVEL_ERROR, &(struct log_fields){ MESSAGE_QUEUE_BROKEN, arg },
			"queue %d stopped, the driver broke the rules: its ring has a wrong size or address or is not in the driver's memory; a reset brings it back",
			arg);
		return;
	case VDUSE_EVENT_MEMORY:
		if (arg == -ENOTUNIQ)
			log_error(
				"the kernel still has the memory of an earlier driver (vhost_vdpa) mapped, so no I/O is served: detach the device with --force and attach it again");
		else
			log_errno(arg, "cannot map the driver's rings, so no I/O is served");
		return;
	case VDUSE_EVENT_BROKEN:
		log_event(
			LOG_LEVEL_ERROR, &(struct log_fields){ MESSAGE_DEVICE_BROKEN, -1 },
			"the kernel gave the device up because a control message was not answered within %u s; detach it with: vblkctl detach --force %s",
			worker->params->config->msg_timeout_s, worker->params->config->name);
		return;
	}
}

static int on_device(sd_event_source *source, int fd VBLK_UNUSED, uint32_t revents VBLK_UNUSED,
		     void *userdata)
{
	struct worker *worker = userdata;
	struct vduse_dev_info info;

	vduse_dev_handle(worker->vduse);
	worker_rearm_deadline(worker);
	/* A device that the kernel gave up stays readable for ever. */
	vduse_dev_info(worker->vduse, &info);
	if (info.broken)
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

static int on_queues(sd_event_source *source VBLK_UNUSED, int fd VBLK_UNUSED,
		     uint32_t revents VBLK_UNUSED, void *userdata)
{
	struct worker *worker = userdata;

	vduse_dev_handle_queues(worker->vduse);
	worker_rearm_deadline(worker);
	worker_exit_if_retired(worker);
	return 0;
}

static void look_at_rings(struct worker *worker)
{
	vduse_dev_handle_direct(worker->vduse);
	worker_rearm_deadline(worker);
	worker_exit_if_retired(worker);
}

static int on_direct(sd_event_source *source VBLK_UNUSED, int fd VBLK_UNUSED,
		     uint32_t revents VBLK_UNUSED, void *userdata)
{
	look_at_rings(userdata);
	return 0;
}

static int start(struct worker *worker)
{
	const struct worker_params *params = worker->params;
	struct vduse_dev_params dev_params = {
		.sys = &vduse_sys_kernel,
		.fd = params->door_fd,
		.blk = params->blk,
		.bdev = params->bdev,
		.umem = params->config->umem,
		.bounce_bytes = params->bounce_bytes,
		.umem_fd = params->umem_fd,
		.inflight = params->inflight,
		.size_number = params->size_number,
		.size_told = params->size_told,
		.direct = params->direct,
		.direct_buf_fd = params->direct_fd,
		.stats = params->stats,
		.drain_deadline_ms = params->config->msg_timeout_s * 10 * DRAIN_SHARE_PERCENT,
		.stuck_ms = STUCK_LOG_MS,
		.sched_batch = true,
		.poll = params->config->poll,
		.keep_real_time = params->is_swap,
		.confine = worker_confine,
		.event = on_event,
		.ctx = worker,
	};
	struct vduse_dev_info info;
	int r;

	r = vduse_dev_new(&dev_params, &worker->vduse);
	if (r < 0)
		return log_errno(r, "cannot start the queues");
	vduse_dev_info(worker->vduse, &info);
	if (info.recovered)
		log_notice("took over %u requests in flight", info.recovered);
	return 0;
}

static void lock_memory(const struct worker *worker, int (*lock)(void))
{
	if (lock() < 0)
		log_warning("cannot lock the data path in memory: I/O may wait for paging");
	/* Inherited, where it takes over from a worker that died. */
	if (!worker->params->is_swap)
		privileges_end_real_time();
}

static int on_lock(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED, void *userdata)
{
	lock_memory(userdata, privileges_lock_memory);
	return 0;
}

/*
 * Takes as long as all else that a worker does before it serves, and shuts the
 * queues' mmap() out meanwhile. Where a driver is at work already, its requests
 * have waited since the predecessor went: they come first. Where these are what
 * has to get memory free (swap), all of ours cannot be had before a queue has its
 * ring, nor that ring be mapped meanwhile: then it is locked as it is touched.
 */
static void lock_memory_when_idle(struct worker *worker)
{
	struct vduse_dev_info info;

	vduse_dev_info(worker->vduse, &info);
	if (worker->params->is_swap)
		lock_memory(worker, privileges_lock_touched_memory);
	else if (!(info.status & VIRTIO_CONFIG_S_DRIVER_OK) ||
		 sd_event_add_time_relative(worker->event, &worker->lock_source, CLOCK_MONOTONIC,
					    LOCK_DELAY_US, LOCK_ACCURACY_US, on_lock, worker) < 0)
		lock_memory(worker, privileges_lock_memory);
}

static int watch(struct worker *worker)
{
	sd_event_source *source;
	int r;

	r = sd_event_add_io(worker->event, &source, vduse_dev_fd(worker->vduse), EPOLLIN, on_device,
			    worker);
	if (r >= 0)
		/* The kernel's messages come first: it holds locks of the whole host. */
		r = sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_add_io(worker->event, NULL, vduse_dev_queue_fd(worker->vduse), EPOLLIN,
				    on_queues, worker);
	if (r >= 0 && worker->params->direct)
		r = sd_event_add_io(worker->event, NULL, vduse_dev_direct_fd(worker->vduse),
				    EPOLLIN, on_direct, worker);
	/* Rings that were taken over may have set one already. */
	worker_rearm_deadline(worker);
	return r;
}

static const struct vdev *get_vdev(const struct worker *worker)
{
	return vduse_dev_vdev(worker->vduse);
}

static uint64_t deadline_ns(const struct worker *worker)
{
	return vduse_dev_deadline_ns(worker->vduse);
}

static void handle_deadline(struct worker *worker)
{
	vduse_dev_handle_deadline(worker->vduse);
}

static int set_capacity(struct worker *worker, uint64_t capacity_bytes, uint32_t number)
{
	return vduse_dev_set_capacity(worker->vduse, capacity_bytes, number);
}

static void give_up(struct worker *worker)
{
	vduse_dev_give_up(worker->vduse);
}

static void detached(struct worker *worker)
{
	worker_control_detach_done(worker, 0, "");
	(void)sd_event_exit(worker->event, EXIT_SUCCESS);
}

/* Requests are in flight: go on without a keeper rather than hang them. */
static void keeper_gone(struct worker *worker VBLK_UNUSED)
{
	log_error(
		"the keeper process is gone; serving on. 'vblkctl attach' with the same name and backend brings it back");
}

static void retire(struct worker *worker)
{
	/* It would keep us from seeing that the queues have stopped. */
	worker->lock_source = sd_event_source_disable_unref(worker->lock_source);
	vduse_dev_retire(worker->vduse);
}

static bool is_retired(const struct worker *worker)
{
	return vduse_dev_is_retired(worker->vduse);
}

static void close_device(struct worker *worker)
{
	vduse_dev_close(worker->vduse);
}

static void free_device(struct worker *worker)
{
	vduse_dev_free(worker->vduse);
}

/* The keeper asks the kernel. */
static bool find_users(const struct worker *worker VBLK_UNUSED,
		       char ret_text[WORKER_USERS_MAX] VBLK_UNUSED)
{
	return false;
}

static void add_status(const struct worker *worker, json_t *status)
{
	struct vduse_dev_info info;

	vduse_dev_info(worker->vduse, &info);
	json_object_set_new(status, "features", status_hex(info.features));
	json_object_set_new(status, "driver_status", json_integer(info.status));
	json_object_set_new(status, "umem", json_boolean(info.umem));
	if (worker->params->blk->limits.remote)
		json_object_set_new(status, "data_mapped", json_boolean(info.data_mapped));
	if (worker->params->direct)
		json_object_set_new(status, "rings",
				    json_string(info.direct ? "server" : "daemon"));
	json_object_set_new(status, "broken", json_boolean(info.broken));
	json_object_set_new(status, "draining", json_boolean(info.draining));
}

const struct worker_door worker_door_vduse = {
	.start = start,
	.watch = watch,
	.ready = lock_memory_when_idle,
	.vdev = get_vdev,
	.deadline_ns = deadline_ns,
	.handle_deadline = handle_deadline,
	.set_capacity = set_capacity,
	.find_users = find_users,
	.give_up = give_up,
	.detached = detached,
	.keeper_gone = keeper_gone,
	.retire = retire,
	.is_retired = is_retired,
	.close = close_device,
	.free = free_device,
	.add_status = add_status,
	.look_at_rings = look_at_rings,
};
