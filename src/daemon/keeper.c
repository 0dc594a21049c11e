/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "keeper_internal.h"
#include "privileges.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"
#include "vblk/util/math.h"

#define USEC_PER_SEC	  1000000ull
#define USEC_PER_MSEC	  1000ull
#define FINISH_TIMEOUT_US (10 * USEC_PER_SEC)
#define DETACH_RETRY_US	  (1 * USEC_PER_SEC)
/* How long the oldest request may stand still before a detach is refused. */
#define STUCK_MS	     10000u
#define DETACH_WAIT_US	     (10 * USEC_PER_MSEC)
#define BUSY_RETRY_US	     (2 * USEC_PER_MSEC)
#define BUSY_TELL_NS	     (5 * NSEC_PER_SEC)
#define RESTART_DELAY_MAX_MS 1000u
/* 0 would mean a quarter of a second, which applications would notice at a restart. */
#define TIMER_ACCURACY_US 1u

static void start_helper(struct keeper *keeper, enum helper_op op, bool force);

static void finish(struct keeper *keeper, int exit_code);

static void begin_detach(struct keeper *keeper, bool force, uint32_t timeout_ms);

/* The start failed for good: whoever waits for READY=1 need not wait longer. */
static void report_failure(struct keeper *keeper)
{
	keeper->exit_code = EXIT_FAILURE;
	(void)sd_notify(0, "X_VBLKD_FAILED=1\nSTATUS=failed");
}

/* ---- timers ---- */

static int arm_timer(struct keeper *keeper, sd_event_source **source, uint64_t delay_us,
		     sd_event_time_handler_t handler)
{
	*source = sd_event_source_disable_unref(*source);
	return sd_event_add_time_relative(keeper->event, source, CLOCK_MONOTONIC, delay_us,
					  TIMER_ACCURACY_US, handler, keeper);
}

static void disarm_timer(sd_event_source **source)
{
	*source = sd_event_source_disable_unref(*source);
}

/* ---- becoming ready ---- */

static void enter_ready(struct keeper *keeper)
{
	unsigned int queues = keeper->blk.queue_cnt;
	char size[FORMAT_SIZE_MAX];

	keeper->state = KEEPER_READY;
	keeper_publish_state(keeper);
	/* Whoever started us detached prints the node and wants no more on the terminal. */
	if (keeper->config->detached)
		log_leave_terminal();
	log_info("/dev/%s serves %s (%s, %u queue%s)", keeper->disk, keeper->config->backend,
		 format_size_bytes(keeper->blk.limits.capacity_bytes, size), queues,
		 queues == 1 ? "" : "s");
	(void)sd_notifyf(0, "READY=1\nSTATUS=serving %s as /dev/%s\nX_VBLKD_NODE=/dev/%s",
			 keeper->config->backend, keeper->disk, keeper->disk);
	if (keeper->stop_pending)
		begin_detach(keeper, false, 0);
}

static void attach_done(struct keeper *keeper, const struct helper_result *res)
{
	keeper->on_bus = res->on_bus || keeper->adopted;
	if (res->error == 0 && !keeper->late) {
		snprintf(keeper->disk, sizeof(keeper->disk), "%s", res->disk);
		enter_ready(keeper);
		return;
	}
	if (res->error)
		log_error("%s", res->text);
	report_failure(keeper);
	/* Nobody waits for it any more: taken away as soon as that can be done. */
	keeper->stop_pending = true;
	if (keeper->on_bus)
		begin_detach(keeper, true, 0);
	else
		finish(keeper, EXIT_FAILURE);
}

/* ---- detaching ---- */

static void answer_detach(struct keeper *keeper, int error, const char *text)
{
	struct link_msg msg = { .type = LINK_DETACH_FAILED, .error = error };

	if (!keeper->detach_asked)
		return;
	keeper->detach_asked = false;
	snprintf(msg.text, sizeof(msg.text), "%s", text);
	keeper_send(keeper, &msg);
}

/*
 * A detach waits in the kernel until all I/O has ended, and holds locks of the
 * whole host meanwhile. So it is not begun while a request is stuck.
 */
static bool has_stuck_request(struct keeper *keeper)
{
	uint64_t oldest[VDEV_QUEUES_MAX];

	inflight_file_oldest(&keeper->inflight, &keeper->blk, oldest);
	for (unsigned int i = 0; i < keeper->blk.queue_cnt; i++)
		if (oldest[i] && oldest[i] == keeper->detach_oldest[i])
			return true;
	return false;
}

static void detach_refused(struct keeper *keeper, const struct helper_result *res);

static int on_detach_wait(sd_event_source *source, uint64_t usec, void *userdata);

static void try_detach(struct keeper *keeper)
{
	uint64_t limit_ms = keeper->detach_timeout_ms ? keeper->detach_timeout_ms : STUCK_MS;
	uint64_t waited_ms = (clock_now_ns() - keeper->detach_since_ns) / NSEC_PER_MSEC;
	struct helper_result stuck = { .error = -ETIMEDOUT, .on_bus = true };

	if (!has_stuck_request(keeper)) {
		keeper->detach_since_ns = 0;
		start_helper(keeper, HELPER_DETACH, keeper->detach_force);
		return;
	}
	if (waited_ms < limit_ms) {
		(void)arm_timer(keeper, &keeper->retry_source, DETACH_WAIT_US, on_detach_wait);
		return;
	}
	keeper->detach_since_ns = 0;
	snprintf(
		stuck.text, sizeof(stuck.text),
		"a request has not ended for %u s: the backend does not answer, and the kernel would wait for it",
		(unsigned int)(waited_ms / MSEC_PER_SEC));
	detach_refused(keeper, &stuck);
}

static int on_detach_wait(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			  void *userdata)
{
	try_detach(userdata);
	return 0;
}

static void begin_detach(struct keeper *keeper, bool force, uint32_t timeout_ms)
{
	keeper->detach_force = force;
	keeper->detach_timeout_ms = timeout_ms;
	keeper->detach_since_ns = clock_now_ns();
	inflight_file_oldest(&keeper->inflight, &keeper->blk, keeper->detach_oldest);
	try_detach(keeper);
}

static bool can_detach(const struct keeper *keeper)
{
	return keeper->state == KEEPER_READY && !keeper->helper_pid && !keeper->detach_since_ns;
}

static int on_retry_detach(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			   void *userdata)
{
	struct keeper *keeper = userdata;

	if (can_detach(keeper))
		begin_detach(keeper, false, 0);
	return 0;
}

static void detach_refused(struct keeper *keeper, const struct helper_result *res)
{
	keeper->state = KEEPER_READY;
	keeper_publish_state(keeper);
	answer_detach(keeper, res->error, res->text);
	if (!keeper->stop_pending)
		return;
	/* Taking the disk from under its users would lose what they have not written. */
	if (!keeper->told_in_use)
		log_warning("cannot stop yet: %s; stopping as soon as it is free", res->text);
	keeper->told_in_use = true;
	(void)arm_timer(keeper, &keeper->retry_source, DETACH_RETRY_US, on_retry_detach);
}

static void detach_done(struct keeper *keeper, const struct helper_result *res)
{
	if (res->error == -ECHILD) {
		/* It may have done its work: the next try finds out. */
		start_helper(keeper, HELPER_DETACH, false);
		return;
	}
	if (res->on_bus)
		detach_refused(keeper, res);
	else
		finish(keeper, keeper->exit_code);
}

static int on_finish_timeout(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			     void *userdata)
{
	struct keeper *keeper = userdata;

	/* Off the bus, it holds nothing that anybody waits for. */
	if (keeper->worker_pid)
		(void)kill(keeper->worker_pid, SIGKILL);
	return 0;
}

static void finish(struct keeper *keeper, int exit_code)
{
	const struct link_msg msg = { .type = LINK_DETACHED };

	keeper->state = KEEPER_FINISHING;
	keeper->on_bus = false;
	keeper->exit_code = exit_code;
	disarm_timer(&keeper->retry_source);
	if (!keeper->worker_pid) {
		(void)sd_event_exit(keeper->event, exit_code);
		return;
	}
	keeper_publish_state(keeper);
	keeper_send(keeper, &msg);
	(void)arm_timer(keeper, &keeper->retry_source, FINISH_TIMEOUT_US, on_finish_timeout);
}

/* ---- helpers ---- */

static int on_helper_late(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			  void *userdata)
{
	struct keeper *keeper = userdata;
	const char *what = keeper->helper_op == HELPER_ATTACH ? "attached" : "detached";

	keeper->late = true;
	log_error(
		"the kernel has not %s the device in time; going on serving it until the kernel comes back",
		what);
	if (keeper->helper_op == HELPER_ATTACH)
		report_failure(keeper);
	else
		answer_detach(
			keeper, -ETIMEDOUT,
			"the kernel has not come back in time (I/O that does not end?); it goes on trying");
	return 0;
}

static int on_helper(sd_event_source *source VBLK_UNUSED, int fd, uint32_t revents VBLK_UNUSED,
		     void *userdata)
{
	struct keeper *keeper = userdata;
	struct helper_result res;

	helper_result_read(fd, &res);
	keeper->helper_source = sd_event_source_disable_unref(keeper->helper_source);
	disarm_timer(&keeper->helper_deadline);
	close(keeper->helper_fd);
	keeper->helper_fd = -1;
	(void)waitpid(keeper->helper_pid, NULL, 0);
	keeper->helper_pid = 0;
	if (keeper->helper_op == HELPER_ATTACH)
		attach_done(keeper, &res);
	else
		detach_done(keeper, &res);
	keeper->late = false;
	return 0;
}

static uint64_t helper_limit_us(const struct keeper *keeper)
{
	if (keeper->helper_op == HELPER_DETACH && keeper->detach_timeout_ms)
		return keeper->detach_timeout_ms * USEC_PER_MSEC;
	return keeper->config->attach_timeout_s * USEC_PER_SEC;
}

static void helper_not_started(struct keeper *keeper, int error)
{
	log_errno(error, "cannot start a helper process");
	if (keeper->helper_op == HELPER_ATTACH && !keeper->on_bus) {
		report_failure(keeper);
		finish(keeper, EXIT_FAILURE);
		return;
	}
	keeper->state = KEEPER_READY;
	keeper_publish_state(keeper);
	answer_detach(keeper, error, "cannot start a helper process");
	if (keeper->stop_pending)
		(void)arm_timer(keeper, &keeper->retry_source, DETACH_RETRY_US, on_retry_detach);
}

static void start_helper(struct keeper *keeper, enum helper_op op, bool force)
{
	const struct helper_request req = {
		.op = op,
		.name = keeper->config->name,
		.adopt = keeper->adopted,
		.force = force,
		.rotational = keeper->blk.limits.rotational,
	};
	int r;

	keeper->state = op == HELPER_ATTACH ? KEEPER_ATTACHING : KEEPER_DETACHING;
	keeper->helper_op = op;
	keeper_publish_state(keeper);
	r = helper_start(&req, &keeper->helper_pid, &keeper->helper_fd);
	if (r >= 0)
		r = sd_event_add_io(keeper->event, &keeper->helper_source, keeper->helper_fd,
				    EPOLLIN, on_helper, keeper);
	if (r >= 0)
		r = arm_timer(keeper, &keeper->helper_deadline, helper_limit_us(keeper),
			      on_helper_late);
	if (r < 0)
		helper_not_started(keeper, r);
}

/* ---- what the worker says ---- */

void keeper_on_serving(struct keeper *keeper)
{
	keeper->worker_failures = 0;
	if (keeper->state == KEEPER_STARTING) {
		if (keeper->stop_pending && !keeper->adopted)
			finish(keeper, EXIT_SUCCESS);
		else
			start_helper(keeper, HELPER_ATTACH, false);
		return;
	}
	keeper_publish_state(keeper);
}

void keeper_on_detach_asked(struct keeper *keeper, bool force, uint32_t timeout_ms)
{
	keeper->detach_asked = true;
	if (can_detach(keeper))
		begin_detach(keeper, force, timeout_ms);
	else
		answer_detach(keeper, -EAGAIN,
			      keeper->state == KEEPER_ATTACHING ? "it is being attached; try again"
								: "it is being detached already");
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata);

/*
 * The device cannot be opened before the last I/O of the dead worker has
 * ended, which keeps old writes from coming after new ones. It takes as long
 * as the backend takes.
 */
static void wait_for_old_io(struct keeper *keeper)
{
	uint64_t now_ns = clock_now_ns();

	if (!keeper->busy_since_ns)
		keeper->busy_since_ns = now_ns;
	if (!keeper->told_busy && now_ns - keeper->busy_since_ns > BUSY_TELL_NS) {
		log_warning("waiting for the backend to finish I/O of the worker that died");
		keeper->told_busy = true;
	}
	(void)arm_timer(keeper, &keeper->restart_source, BUSY_RETRY_US, on_restart);
}

/* Return: 0, also when it has to be tried again; -errno. */
static int start_worker(struct keeper *keeper)
{
	int r = keeper_start_worker(keeper);

	if (r == -EBUSY) {
		wait_for_old_io(keeper);
		return 0;
	}
	keeper->busy_since_ns = 0;
	keeper->told_busy = false;
	return r;
}

static int on_restart(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
		      void *userdata)
{
	struct keeper *keeper = userdata;

	if (start_worker(keeper) < 0 && !keeper->worker_pid)
		keeper_on_worker_exit(keeper, EXIT_FAILURE, false);
	return 0;
}

/* At once the first time, then ever slower: the cause may last. */
static void schedule_restart(struct keeper *keeper)
{
	unsigned int doublings = MIN(keeper->worker_failures, 10u);
	unsigned int delay_ms = doublings ? MIN(1u << doublings, RESTART_DELAY_MAX_MS) : 0;

	keeper->worker_failures++;
	keeper->restarts++;
	(void)arm_timer(keeper, &keeper->restart_source, delay_ms * USEC_PER_MSEC, on_restart);
}

void keeper_on_worker_exit(struct keeper *keeper, int code, bool killed)
{
	if (keeper->state == KEEPER_FINISHING) {
		(void)sd_event_exit(keeper->event, keeper->exit_code);
		return;
	}
	if (keeper->state == KEEPER_STARTING && !keeper->on_bus) {
		if (killed)
			log_error("the worker process died of signal %d", code);
		report_failure(keeper);
		(void)sd_event_exit(keeper->event, EXIT_FAILURE);
		return;
	}
	log_warning("the worker process %s %d; starting it again",
		    killed ? "died of signal" : "ended with code", code);
	schedule_restart(keeper);
}

/* ---- the process ---- */

static int on_signal(sd_event_source *source VBLK_UNUSED,
		     const struct signalfd_siginfo *si VBLK_UNUSED, void *userdata)
{
	struct keeper *keeper = userdata;

	keeper->stop_pending = true;
	(void)sd_notify(0, "STOPPING=1");
	if (can_detach(keeper))
		begin_detach(keeper, false, 0);
	return 0;
}

static int add_sources(struct keeper *keeper)
{
	sigset_t signals;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	r = sd_event_new(&keeper->event);
	if (r >= 0)
		r = sd_event_add_signal(keeper->event, NULL, SIGTERM, on_signal, keeper);
	if (r >= 0)
		r = sd_event_add_signal(keeper->event, NULL, SIGINT, on_signal, keeper);
	return r < 0 ? r : 0;
}

static int run(struct keeper *keeper)
{
	int r;

	r = privileges_prepare();
	if (r >= 0)
		r = privileges_drop_keeper();
	if (r < 0)
		return log_errno(r, "cannot give up privileges");
	(void)signal(SIGPIPE, SIG_IGN);
	r = add_sources(keeper);
	if (r < 0)
		return log_errno(r, "cannot set up the event loop");
	r = start_worker(keeper);
	if (r < 0)
		return r;
	keeper_publish_state(keeper);
	return sd_event_loop(keeper->event);
}

int keeper_run(const struct vblkd_config *config)
{
	struct keeper keeper = {
		.config = config,
		.dir = { .fd = -1, .lock_fd = -1 },
		.ctl_fd = -1,
		.listen_fd = -1,
		.link_fd = -1,
		.helper_fd = -1,
		.started_at = time(NULL),
	};
	int r;

	r = keeper_setup(&keeper);
	if (r == 0)
		r = run(&keeper);
	keeper_remove(&keeper);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
