/* SPDX-License-Identifier: MIT */
/* The worker of a disk that is served on a socket: its client, and what the log tells of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "message_ids.h"
#include "stuck.h"
#include "vblk/util/log.h"
#include "vblk/vhost_user/vhu_dev.h"
#include "worker_internal.h"

static bool is_complaint(enum vhu_dev_event event, int arg)
{
	switch (event) {
	case VHU_DEV_EVENT_DISCONNECTED:
		return arg != 0;
	case VHU_DEV_EVENT_REFUSED:
	case VHU_DEV_EVENT_REQUEST_REFUSED:
	case VHU_DEV_EVENT_ACCEPT:
	case VHU_DEV_EVENT_QUEUE_BROKEN:
	case VHU_DEV_EVENT_QUEUE_UNUSABLE:
	case VHU_DEV_EVENT_QUEUE_MEMORY:
	case VHU_DEV_EVENT_QUEUE_MISSING:
		return true;
	default:
		return false;
	}
}

static void queue_broken(const struct worker *worker, int idx)
{
	struct vdev_queue_info info;

	vdev_queue_info(vhu_dev_vdev(worker->vhu), (unsigned int)idx, &info);
	log_event(
		LOG_LEVEL_ERROR, &(struct log_fields){ MESSAGE_QUEUE_BROKEN, idx },
		"queue %d stopped, the client's driver broke the rules of its ring: %s; a reset brings it back",
		idx, vq_fault_str(info.fault));
}

static void queue_event(const struct worker *worker, enum vhu_dev_event event, int idx)
{
	const struct log_fields broken = { MESSAGE_QUEUE_BROKEN, idx };

	switch (event) {
	case VHU_DEV_EVENT_QUEUE_BROKEN:
		queue_broken(worker, idx);
		return;
	case VHU_DEV_EVENT_QUEUE_UNUSABLE:
		log_event(
			LOG_LEVEL_ERROR, &broken,
			"queue %d is not served: its ring, or the record of its requests in flight, that the client gave is none",
			idx);
		return;
	case VHU_DEV_EVENT_QUEUE_MEMORY:
		log_event(LOG_LEVEL_ERROR, &broken,
			  "queue %d stopped: the client took the memory of its ring away", idx);
		return;
	case VHU_DEV_EVENT_QUEUE_MISSING:
		log_event(
			LOG_LEVEL_WARNING, &broken,
			"queue %d had requests in flight, which come before all others, and the client does not start it",
			idx);
		return;
	case VHU_DEV_EVENT_QUEUE_STUCK:
		worker_log_stuck(worker, (unsigned int)idx);
		return;
	case VHU_DEV_EVENT_QUEUE_UNSTUCK:
		worker_log_unstuck((unsigned int)idx);
		return;
	default:
		return;
	}
}

static void client_came(const struct worker *worker)
{
	struct vhu_dev_info info;

	vhu_dev_info(worker->vhu, &info);
	log_info("client connected (pid %d, user %u)", (int)info.client_pid,
		 (unsigned int)info.client_uid);
}

static void client_went(const struct worker *worker, int error)
{
	const char *why = vhu_dev_why(worker->vhu);

	if (error)
		log_error("closed the connection of the client, which broke the protocol: %s",
			  why[0] ? why : strerror(-error));
	else
		log_info("client disconnected");
}

/* It may have gone by a size of before: it was not there when that changed, or a worker died. */
static void tell_size(const struct worker *worker)
{
	const struct worker_params *params = worker->params;

	if (params->size_number || worker->was_resized)
		vhu_dev_set_capacity(worker->vhu, bdev_limits_capacity(&params->blk->limits));
}

static void on_event(void *ctx, enum vhu_dev_event event, int arg)
{
	struct worker *worker = ctx;

	if (is_complaint(event, arg) && !worker_may_complain(worker))
		return;
	switch (event) {
	case VHU_DEV_EVENT_CONNECTED:
		client_came(worker);
		return;
	case VHU_DEV_EVENT_RUNNING:
		log_debug("the client's driver is at work");
		worker->wants_size = true;
		return;
	case VHU_DEV_EVENT_RESET:
		log_debug("reset by the client");
		return;
	case VHU_DEV_EVENT_DISCONNECTED:
		client_went(worker, arg);
		return;
	case VHU_DEV_EVENT_FREE:
		log_debug("free for the next client");
		return;
	case VHU_DEV_EVENT_REFUSED:
		log_warning("refused a second client: one is served at a time");
		return;
	case VHU_DEV_EVENT_REQUEST_REFUSED:
		log_warning("refused a request of the client: %s", vhu_dev_why(worker->vhu));
		return;
	case VHU_DEV_EVENT_ACCEPT:
		log_errno(arg, "cannot accept connections; trying again");
		return;
	default:
		queue_event(worker, event, arg);
	}
}

/* Who asked for a detach hears of it when nothing is in flight any more. */
static void exit_if_retired(struct worker *worker)
{
	if (!vhu_dev_is_retired(worker->vhu))
		return;
	worker_control_detach_done(worker, 0, "");
	worker_exit_if_retired(worker);
}

static void after_events(struct worker *worker)
{
	if (worker->wants_size) {
		worker->wants_size = false;
		tell_size(worker);
	}
	worker_rearm_deadline(worker);
	exit_if_retired(worker);
}

static int on_device(sd_event_source *source VBLK_UNUSED, int fd VBLK_UNUSED,
		     uint32_t revents VBLK_UNUSED, void *userdata)
{
	struct worker *worker = userdata;

	vhu_dev_handle(worker->vhu);
	after_events(worker);
	return 0;
}

static int start(struct worker *worker)
{
	const struct worker_params *params = worker->params;
	const struct vhu_dev_params dev_params = {
		.listen_fd = params->serve_fd,
		.blk = params->blk,
		.bdev = params->bdev,
		.fence_fd = params->door_fd,
		.stuck_ms = STUCK_LOG_MS,
		.sched_batch = true,
		.poll = params->config->poll,
		.stats = params->stats,
		.confine = worker_confine,
		.event = on_event,
		.ctx = worker,
	};
	int r = vhu_dev_new(&dev_params, &worker->vhu);

	return r < 0 ? log_errno(r, "cannot start the queues") : 0;
}

static int watch(struct worker *worker)
{
	return sd_event_add_io(worker->event, NULL, vhu_dev_fd(worker->vhu), EPOLLIN, on_device,
			       worker);
}

/*
 * Memory is not locked: a client's may be larger than the host's, and its swap is not below us.
 */
static void ready(struct worker *worker VBLK_UNUSED)
{
}

static const struct vdev *get_vdev(const struct worker *worker)
{
	return vhu_dev_vdev(worker->vhu);
}

static uint64_t deadline_ns(const struct worker *worker)
{
	return vhu_dev_deadline_ns(worker->vhu);
}

static void handle_deadline(struct worker *worker)
{
	vhu_dev_handle_deadline(worker->vhu);
	after_events(worker);
}

static int set_capacity(struct worker *worker, uint64_t capacity_bytes, uint32_t number VBLK_UNUSED)
{
	worker->was_resized = true;
	vhu_dev_set_capacity(worker->vhu, capacity_bytes);
	return 0;
}

static bool find_users(const struct worker *worker, char ret_text[WORKER_USERS_MAX])
{
	struct vhu_dev_info info;

	vhu_dev_info(worker->vhu, &info);
	snprintf(ret_text, WORKER_USERS_MAX, "pid %d of user %u", (int)info.client_pid,
		 (unsigned int)info.client_uid);
	return info.connected;
}

static void give_up(struct worker *worker)
{
	vhu_dev_give_up(worker->vhu);
}

static void retire(struct worker *worker)
{
	vhu_dev_retire(worker->vhu);
	worker_rearm_deadline(worker);
}

/* In order: what is in flight is finished. */
static void detached(struct worker *worker)
{
	retire(worker);
	exit_if_retired(worker);
}

/*
 * Nobody could start another worker. What the client has in flight is finished, the rest it
 * brings to the daemon that is started next, which finds the socket without a listener.
 */
static void keeper_gone(struct worker *worker)
{
	const struct worker_params *params = worker->params;

	log_error("the keeper process is gone: ending; clients can go on with the next daemon");
	/* Systemd's stays as it is. */
	if (params->config->socket_fd < 0)
		(void)shutdown(params->serve_fd, SHUT_RD);
	retire(worker);
	exit_if_retired(worker);
}

static bool is_retired(const struct worker *worker)
{
	return vhu_dev_is_retired(worker->vhu);
}

static void close_device(struct worker *worker VBLK_UNUSED)
{
}

static void free_device(struct worker *worker)
{
	vhu_dev_free(worker->vhu);
}

static void add_client(json_t *status, const struct vhu_dev_info *info)
{
	json_object_set_new(status, "client_pid", json_integer(info->client_pid));
	json_object_set_new(status, "client_uid", json_integer(info->client_uid));
	json_object_set_new(status, "protocol_features", status_hex(info->protocol_features));
	json_object_set_new(status, "memory_bytes", json_integer((json_int_t)info->memory_bytes));
	json_object_set_new(status, "write_through", json_boolean(info->write_through));
}

static void add_status(const struct worker *worker, json_t *status)
{
	struct vhu_dev_info info;

	vhu_dev_info(worker->vhu, &info);
	json_object_set_new(status, "connected", json_boolean(info.connected));
	if (info.connected)
		add_client(status, &info);
	json_object_set_new(status, "features", status_hex(info.features));
	json_object_set_new(status, "driver_status", json_integer(info.status));
	json_object_set_new(status, "queues_running", json_integer(info.running_cnt));
	json_object_set_new(status, "clients", json_integer((json_int_t)info.client_cnt));
	json_object_set_new(status, "draining", json_boolean(info.draining));
}

const struct worker_door worker_door_serve = {
	.start = start,
	.watch = watch,
	.ready = ready,
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
};
