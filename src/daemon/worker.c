/* SPDX-License-Identifier: MIT */
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
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

#define DEADLINE_ACCURACY_US 1000u
#define COMPLAINTS_BURST     10u
#define COMPLAINTS_INTERVAL  (60 * NSEC_PER_SEC)
/* What was refused for a request that stands still names those of this age. */
#define REFUSED_STUCK_MS 1000u
#define EXIT_NICE	 10

void worker_log_stuck(const struct worker *worker, unsigned int queue_idx)
{
	char text[STUCK_TEXT_MAX];
	struct stuck_list list;

	stuck_find(worker->door->vdev(worker), STUCK_LOG_MS, &list);
	/* It may have ended since the queue told of it. */
	if (list.cnt)
		log_event(
			LOG_LEVEL_WARNING,
			&(struct log_fields){ MESSAGE_BACKEND_STUCK, (int)queue_idx },
			"queue %u: the backend does not finish its I/O: %s; 'vblkctl show %s' tells more",
			queue_idx, stuck_text(&list, worker->params->bdev, text),
			worker->params->config->name);
}

void worker_log_unstuck(unsigned int queue_idx)
{
	log_event(LOG_LEVEL_NOTICE, &(struct log_fields){ MESSAGE_BACKEND_BACK, (int)queue_idx },
		  "queue %u: the backend has finished what it had for so long", queue_idx);
}

/*
 * What a driver does wrong it can do again at once, for ever. Who asked for debug messages
 * looks for a driver's mistake and wants to see each.
 */
bool worker_may_complain(struct worker *worker)
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

void worker_rearm_deadline(struct worker *worker)
{
	uint64_t when_ns = worker->door->deadline_ns(worker);

	if (!when_ns) {
		(void)sd_event_source_set_enabled(worker->deadline_source, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(worker->deadline_source, when_ns / 1000);
	(void)sd_event_source_set_enabled(worker->deadline_source, SD_EVENT_ONESHOT);
}

void worker_exit_if_retired(struct worker *worker)
{
	if (worker->door->is_retired(worker))
		(void)sd_event_exit(worker->event, EXIT_SUCCESS);
}

static int on_deadline(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
		       void *userdata)
{
	struct worker *worker = userdata;

	worker->door->handle_deadline(worker);
	worker_rearm_deadline(worker);
	return 0;
}

/* The keeper knows that a request stands still, we know which. */
static void refused(struct worker *worker, const struct link_msg *msg,
		    void (*done)(struct worker *worker, int error, const char *text))
{
	char text[LINK_TEXT_MAX + STUCK_TEXT_MAX + 4], stuck[STUCK_TEXT_MAX];
	struct stuck_list list = { .cnt = 0 };

	if (msg->error == -ETIMEDOUT)
		stuck_find(worker->door->vdev(worker), REFUSED_STUCK_MS, &list);
	if (list.cnt)
		(void)snprintf(text, sizeof(text), "%s (%s)", msg->text,
			       stuck_text(&list, worker->params->bdev, stuck));
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
		worker->door->give_up(worker);
		return;
	case LINK_DETACH_FAILED:
		refused(worker, msg, worker_control_detach_done);
		return;
	case LINK_RESIZED:
		worker_resized(worker, msg);
		return;
	case LINK_DETACHED:
		worker->door->detached(worker);
		return;
	case LINK_PING:
		(void)link_send(worker->params->link_fd, msg);
		return;
	case LINK_RINGS:
		if (worker->door->look_at_rings)
			worker->door->look_at_rings(worker);
		return;
	case LINK_UPGRADE_FAILED:
		refused(worker, msg, worker_control_upgrade_done);
		return;
	case LINK_RETIRE:
		worker_control_upgrade_done(worker, 0, "");
		worker->door->retire(worker);
		worker_exit_if_retired(worker);
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
		worker->door->keeper_gone(worker);
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
		r = sd_event_add_io(worker->event, NULL, worker->params->link_fd, EPOLLIN, on_link,
				    worker);
	if (r >= 0)
		r = sd_event_add_time(worker->event, &worker->deadline_source, CLOCK_MONOTONIC, 0,
				      DEADLINE_ACCURACY_US, on_deadline, worker);
	if (r < 0)
		return r;
	(void)sd_event_source_set_enabled(worker->deadline_source, SD_EVENT_OFF);
	r = worker->door->watch(worker);
	return r < 0 ? r : worker_control_start(worker);
}

/*
 * Threads and rings are there, and nothing of the driver's, nor of a client's, was looked at.
 * Libraries get what they would open a file for later.
 */
int worker_confine(void *ctx)
{
	const struct worker *worker = ctx;

	if (!worker->params->config->seccomp || !sandbox_is_built())
		return 0;
	json_object_seed(0);
	tzset();
	return sandbox_enter_worker();
}

/* The keeper starts a successor as soon as it can, not when all of our memory is freed. */
static void release(struct worker *worker)
{
	const struct link_msg released = { .type = LINK_RELEASED };
	bool retired = worker->door->is_retired(worker);

	worker->door->close(worker);
	if (retired)
		(void)link_send(worker->params->link_fd, &released);
	/* The successor may have only this CPU. */
	if (retired)
		(void)setpriority(PRIO_PROCESS, 0, EXIT_NICE);
	worker->door->free(worker);
}

int worker_main(const struct worker_params *params)
{
	struct worker worker = {
		.params = params,
		.door = params->serve_fd >= 0 ? &worker_door_serve : &worker_door_vduse,
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
	if (worker.door->start(&worker) < 0)
		return EXIT_FAILURE;
	r = add_sources(&worker);
	if (r < 0) {
		log_errno(r, "cannot set up the event loop");
		return EXIT_FAILURE;
	}
	worker.door->ready(&worker);
	(void)link_send(params->link_fd, &serving);
	r = sd_event_loop(worker.event);
	worker_control_stop(&worker);
	/* The backend may still write to our memory: it must not become anything else. */
	if (worker.given_up)
		_exit(r < 0 ? EXIT_FAILURE : r);
	release(&worker);
	return r < 0 ? EXIT_FAILURE : r;
}
