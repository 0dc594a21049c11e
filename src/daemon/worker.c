/* SPDX-License-Identifier: MIT */
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "message_ids.h"
#include "privileges.h"
#include "sandbox.h"
#include "stuck.h"
#include "vblk/mem/memguard.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"
#include "worker_internal.h"

/* A reset is answered at the latest at this share of the kernel's patience. */
#define DRAIN_SHARE_PERCENT  80u
#define DEADLINE_ACCURACY_US 1000u
#define COMPLAINTS_BURST     10u
#define COMPLAINTS_INTERVAL  (60 * NSEC_PER_SEC)
/* What was refused for a request that stands still names those of this age. */
#define REFUSED_STUCK_MS 1000u
/* What waited for a new worker is served by then. */
#define LOCK_DELAY_US 100000u
#define EXIT_NICE     10

static void stuck_log(const struct worker *worker, unsigned int queue_idx)
{
	char text[STUCK_TEXT_MAX];
	struct stuck_list list;

	stuck_find(vduse_dev_vdev(worker->dev), STUCK_LOG_MS, &list);
	/* It may have ended since the queue told of it. */
	if (list.cnt)
		log_event(
			LOG_LEVEL_WARNING,
			&(struct log_fields){ MESSAGE_BACKEND_STUCK, (int)queue_idx },
			"queue %u: the backend does not finish its I/O: %s; 'vblkctl show %s' tells more",
			queue_idx, stuck_text(&list, text), worker->params->config->name);
}

static bool is_complaint(enum vduse_event event)
{
	return event == VDUSE_EVENT_RESET_TIMEOUT || event == VDUSE_EVENT_FEATURES_REFUSED ||
	       event == VDUSE_EVENT_DRIVER_FAILED || event == VDUSE_EVENT_QUEUE_BROKEN ||
	       event == VDUSE_EVENT_MEMORY;
}

/*
 * What a driver does wrong it can do again at once, for ever. Who asked for debug messages
 * looks for a driver's mistake and wants to see each.
 */
static bool may_complain(struct worker *worker)
{
	struct ratelimit *limit = &worker->complaints;

	if (log_level_is_on(LOG_LEVEL_DEBUG))
		return true;
	if (!ratelimit_allows(limit, clock_now_ns()))
		return false;
	if (limit->suppressed)
		log_warning("%" PRIu64 " more messages about the driver were left out",
			    limit->suppressed);
	limit->suppressed = 0;
	return true;
}

static void on_event(void *ctx, enum vduse_event event, int arg)
{
	struct worker *worker = ctx;

	if (is_complaint(event) && !may_complain(worker))
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

		vdev_queue_info(vduse_dev_vdev(worker->dev), (unsigned int)arg, &info);
		log_event(
			LOG_LEVEL_ERROR, &(struct log_fields){ MESSAGE_QUEUE_BROKEN, arg },
			"queue %d stopped, the driver broke the rules of its ring: %s; a reset brings it back",
			arg, vq_fault_str(info.fault));
		return;
	}
	case VDUSE_EVENT_QUEUE_STUCK:
		stuck_log(worker, (unsigned int)arg);
		return;
	case VDUSE_EVENT_QUEUE_UNSTUCK:
		log_event(LOG_LEVEL_NOTICE, &(struct log_fields){ MESSAGE_BACKEND_BACK, arg },
			  "queue %d: the backend has finished what it had for so long", arg);
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

void worker_rearm_deadline(struct worker *worker)
{
	uint64_t when_ns = vduse_dev_deadline_ns(worker->dev);

	if (!when_ns) {
		(void)sd_event_source_set_enabled(worker->deadline_source, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(worker->deadline_source, when_ns / 1000);
	(void)sd_event_source_set_enabled(worker->deadline_source, SD_EVENT_ONESHOT);
}

/* Whatever handled an event: it may have been the last that a retiring worker waits for. */
static void exit_if_retired(struct worker *worker)
{
	if (vduse_dev_is_retired(worker->dev))
		(void)sd_event_exit(worker->event, EXIT_SUCCESS);
}

static int on_deadline(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
		       void *userdata)
{
	struct worker *worker = userdata;

	vduse_dev_handle_deadline(worker->dev);
	worker_rearm_deadline(worker);
	return 0;
}

static int on_device(sd_event_source *source, int fd VBLK_UNUSED, uint32_t revents VBLK_UNUSED,
		     void *userdata)
{
	struct worker *worker = userdata;
	struct vduse_dev_info info;

	vduse_dev_handle(worker->dev);
	worker_rearm_deadline(worker);
	/* A device that the kernel gave up stays readable for ever. */
	vduse_dev_info(worker->dev, &info);
	if (info.broken)
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

static int on_queues(sd_event_source *source VBLK_UNUSED, int fd VBLK_UNUSED,
		     uint32_t revents VBLK_UNUSED, void *userdata)
{
	struct worker *worker = userdata;

	vduse_dev_handle_queues(worker->dev);
	worker_rearm_deadline(worker);
	exit_if_retired(worker);
	return 0;
}

/* The keeper knows that a request stands still, we know which. */
static void refused(struct worker *worker, const struct link_msg *msg,
		    void (*done)(struct worker *worker, int error, const char *text))
{
	char text[LINK_TEXT_MAX + STUCK_TEXT_MAX + 4], stuck[STUCK_TEXT_MAX];
	struct stuck_list list = { .cnt = 0 };

	if (msg->error == -ETIMEDOUT)
		stuck_find(vduse_dev_vdev(worker->dev), REFUSED_STUCK_MS, &list);
	if (list.cnt)
		(void)snprintf(text, sizeof(text), "%s (%s)", msg->text, stuck_text(&list, stuck));
	else
		(void)snprintf(text, sizeof(text), "%s", msg->text);
	done(worker, msg->error, text);
}

static void handle_link(struct worker *worker, const struct link_msg *msg)
{
	switch (msg->type) {
	case LINK_STATE:
		snprintf(worker->state, sizeof(worker->state), "%s", msg->text);
		snprintf(worker->disk, sizeof(worker->disk), "%s", msg->node);
		worker->restarts = msg->number;
		if (worker->params->config->detached && !strcmp(msg->text, "ready"))
			log_leave_terminal();
		return;
	case LINK_GIVE_UP:
		log_error(
			"the backend does not answer while the kernel waits for it: all its requests fail from now on");
		worker->given_up = true;
		vduse_dev_give_up(worker->dev);
		return;
	case LINK_DETACH_FAILED:
		refused(worker, msg, worker_control_detach_done);
		return;
	case LINK_RESIZED:
		worker_resized(worker, msg);
		return;
	case LINK_DETACHED:
		worker_control_detach_done(worker, 0, "");
		(void)sd_event_exit(worker->event, EXIT_SUCCESS);
		return;
	case LINK_UPGRADE_FAILED:
		refused(worker, msg, worker_control_upgrade_done);
		return;
	case LINK_RETIRE:
		worker_control_upgrade_done(worker, 0, "");
		/* It would keep us from seeing that the queues have stopped. */
		worker->lock_source = sd_event_source_disable_unref(worker->lock_source);
		vduse_dev_retire(worker->dev);
		exit_if_retired(worker);
		return;
	}
}

static int on_link(sd_event_source *source, int fd, uint32_t revents VBLK_UNUSED, void *userdata)
{
	struct link_msg gone = { .type = LINK_RESIZED, .error = -EPIPE, .text = KEEPER_GONE };
	struct worker *worker = userdata;
	struct link_msg msg;
	int r;

	while ((r = link_recv(fd, &msg)) > 0)
		handle_link(worker, &msg);
	if (r < 0) {
		/* Requests are in flight: go on without a keeper rather than hang them. */
		log_error(
			"the keeper process is gone; serving on. 'vblkctl attach' with the same name and backend brings it back");
		worker_control_detach_done(worker, -EPIPE, KEEPER_GONE);
		worker_resized(worker, &gone);
		worker_control_upgrade_done(worker, -EPIPE, KEEPER_GONE);
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	}
	return 0;
}

static int add_sources(struct worker *worker)
{
	int r;

	r = sd_event_new(&worker->event);
	if (r >= 0)
		r = sd_event_add_io(worker->event, &worker->dev_source, vduse_dev_fd(worker->dev),
				    EPOLLIN, on_device, worker);
	if (r >= 0)
		r = sd_event_add_io(worker->event, NULL, vduse_dev_queue_fd(worker->dev), EPOLLIN,
				    on_queues, worker);
	if (r >= 0)
		r = sd_event_add_io(worker->event, NULL, worker->params->link_fd, EPOLLIN, on_link,
				    worker);
	if (r >= 0)
		r = sd_event_add_time(worker->event, &worker->deadline_source, CLOCK_MONOTONIC, 0,
				      DEADLINE_ACCURACY_US, on_deadline, worker);
	if (r < 0)
		return r;
	(void)sd_event_source_set_enabled(worker->deadline_source, SD_EVENT_OFF);
	/* The kernel's messages come first: it holds locks of the whole host. */
	(void)sd_event_source_set_priority(worker->dev_source, SD_EVENT_PRIORITY_IMPORTANT);
	return worker_control_start(worker);
}

/*
 * Threads and rings are there, and nothing of the driver's, nor of a client's, was looked at.
 * Libraries get what they would open a file for later.
 */
static int confine(void *ctx)
{
	const struct worker *worker = ctx;

	if (!worker->params->config->seccomp || !sandbox_is_built())
		return 0;
	json_object_seed(0);
	tzset();
	return sandbox_enter_worker();
}

static int start_device(struct worker *worker)
{
	const struct worker_params *params = worker->params;
	struct vduse_dev_params dev_params = {
		.sys = &vduse_sys_kernel,
		.fd = params->dev_fd,
		.blk = params->blk,
		.bdev = params->bdev,
		.umem = params->config->umem,
		.bounce_bytes = params->bounce_bytes,
		.umem_fd = params->umem_fd,
		.inflight = params->inflight,
		.size_number = params->size_number,
		.size_told = params->size_told,
		.stats = params->stats,
		.drain_deadline_ms = params->config->msg_timeout_s * 10 * DRAIN_SHARE_PERCENT,
		.stuck_ms = STUCK_LOG_MS,
		.sched_batch = true,
		.confine = confine,
		.event = on_event,
		.ctx = worker,
	};
	struct vduse_dev_info info;
	int r;

	r = vduse_dev_new(&dev_params, &worker->dev);
	if (r < 0)
		return log_errno(r, "cannot start the queues");
	vduse_dev_info(worker->dev, &info);
	if (info.recovered)
		log_notice("took over %u requests in flight", info.recovered);
	return 0;
}

static void lock_memory(void)
{
	if (privileges_lock_memory() < 0)
		log_warning("cannot lock the data path in memory: I/O may wait for paging");
	/* Inherited, where it takes over from a worker that died. */
	privileges_end_real_time();
}

static int on_lock(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
		   void *userdata VBLK_UNUSED)
{
	lock_memory();
	return 0;
}

/*
 * Takes as long as all else that a worker does before it serves, and shuts the
 * queues' mmap() out meanwhile. Where a driver is at work already, its requests
 * have waited since the predecessor went: they come first.
 */
static void lock_memory_when_idle(struct worker *worker)
{
	struct vduse_dev_info info;

	vduse_dev_info(worker->dev, &info);
	if (!(info.status & VIRTIO_CONFIG_S_DRIVER_OK) ||
	    sd_event_add_time_relative(worker->event, &worker->lock_source, CLOCK_MONOTONIC,
				       LOCK_DELAY_US, DEADLINE_ACCURACY_US, on_lock, worker) < 0)
		lock_memory();
}

/* The keeper starts a successor as soon as it can, not when all of our memory is freed. */
static void release(struct worker *worker)
{
	const struct link_msg released = { .type = LINK_RELEASED };
	bool retired = vduse_dev_is_retired(worker->dev);

	vduse_dev_close(worker->dev);
	if (retired)
		(void)link_send(worker->params->link_fd, &released);
	/* The successor may have only this CPU. */
	if (retired)
		(void)setpriority(PRIO_PROCESS, 0, EXIT_NICE);
	vduse_dev_free(worker->dev);
}

int worker_main(const struct worker_params *params)
{
	struct worker worker = {
		.params = params,
		.state = "starting",
		.stats_since_ns = params->stats ? params->stats_since_ns : clock_now_ns(),
		.complaints = { .interval_ns = COMPLAINTS_INTERVAL, .burst = COMPLAINTS_BURST },
	};
	struct link_msg serving = { .type = LINK_SERVING };
	int r;

	/* A terminal's ^C reaches the whole group; the keeper decides what follows. */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);

	r = privileges_drop_worker();
	if (r < 0) {
		log_errno(r, "cannot give up privileges");
		return EXIT_FAILURE;
	}
	/* A driver that takes its memory away ends its queue, not the worker. */
	memguard_install();
	if (start_device(&worker) < 0)
		return EXIT_FAILURE;
	r = add_sources(&worker);
	if (r < 0) {
		log_errno(r, "cannot set up the event loop");
		return EXIT_FAILURE;
	}
	lock_memory_when_idle(&worker);
	(void)link_send(params->link_fd, &serving);
	r = sd_event_loop(worker.event);
	worker_control_stop(&worker);
	/* The backend may still write to our memory: it must not become anything else. */
	if (worker.given_up)
		_exit(r < 0 ? EXIT_FAILURE : r);
	release(&worker);
	return r < 0 ? EXIT_FAILURE : r;
}
