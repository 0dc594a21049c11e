/* SPDX-License-Identifier: MIT */
/* Taking the device off the bus: when it may be begun, refusals, and the end. */
#include "keeper_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "vblk/util/clock.h"
#include "vblk/util/log.h"

#define FINISH_TIMEOUT_US (10 * USEC_PER_SEC)
#define DETACH_RETRY_US	  (1 * USEC_PER_SEC)
/* How long the oldest request may stand still before a detach is refused. */
#define STUCK_MS       10000u
#define DETACH_WAIT_US (10 * USEC_PER_MSEC)

void keeper_answer_detach(struct keeper *keeper, int error, const char *text)
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
bool keeper_has_stuck_request(const struct keeper *keeper)
{
	uint64_t oldest[VDEV_QUEUES_MAX];

	if (!keeper->door->host_disk)
		return false;
	inflight_file_oldest(&keeper->inflight, &keeper->blk, oldest);
	for (unsigned int i = 0; i < keeper->blk.queue_cnt; i++)
		if (oldest[i] && oldest[i] == keeper->oldest_before[i])
			return true;
	return false;
}

void keeper_note_oldest(struct keeper *keeper)
{
	if (keeper->door->host_disk)
		inflight_file_oldest(&keeper->inflight, &keeper->blk, keeper->oldest_before);
}

static int on_detach_wait(sd_event_source *source, uint64_t usec, void *userdata);

static void try_detach(struct keeper *keeper)
{
	uint64_t limit_ms = keeper->detach_timeout_ms ? keeper->detach_timeout_ms : STUCK_MS;
	uint64_t waited_ms = (clock_now_ns() - keeper->detach_since_ns) / NSEC_PER_MSEC;
	char why[LINK_TEXT_MAX];

	if (!keeper_has_stuck_request(keeper) && !keeper_direct_is_servers(keeper)) {
		keeper->detach_since_ns = 0;
		keeper_start_helper(keeper, keeper->given_up ? HELPER_DETACH : HELPER_FLUSH,
				    keeper->detach_force);
		return;
	}
	if (waited_ms < limit_ms) {
		(void)keeper_arm_timer(keeper, &keeper->retry_source, DETACH_WAIT_US,
				       on_detach_wait);
		return;
	}
	keeper->detach_since_ns = 0;
	if (keeper_direct_is_servers(keeper)) {
		keeper_direct_refused(keeper, (unsigned int)(waited_ms / MSEC_PER_SEC));
		return;
	}
	snprintf(
		why, sizeof(why),
		"a request has not ended for %u s: the backend does not answer, and the kernel would wait for it",
		(unsigned int)(waited_ms / MSEC_PER_SEC));
	keeper_detach_refused(keeper, -ETIMEDOUT, why);
}

static int on_detach_wait(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			  void *userdata)
{
	try_detach(userdata);
	return 0;
}

void keeper_begin_bus_detach(struct keeper *keeper, bool force, uint32_t timeout_ms)
{
	keeper->detach_force = force;
	keeper->detach_timeout_ms = timeout_ms;
	keeper->detach_since_ns = clock_now_ns();
	keeper_note_oldest(keeper);
	keeper_direct_want(keeper, false);
	try_detach(keeper);
}

void keeper_begin_detach(struct keeper *keeper, bool force, uint32_t timeout_ms)
{
	keeper->door->begin_detach(keeper, force, timeout_ms);
}

bool keeper_can_detach(const struct keeper *keeper)
{
	return keeper->state == KEEPER_READY && !keeper->helper_pid && !keeper->detach_since_ns &&
	       keeper->upgrade == UPGRADE_NONE;
}

static int on_retry_detach(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			   void *userdata)
{
	struct keeper *keeper = userdata;

	if (keeper_can_detach(keeper))
		keeper_begin_detach(keeper, false, 0);
	else if (keeper->state == KEEPER_READY)
		keeper_retry_detach(keeper);
	return 0;
}

void keeper_retry_detach(struct keeper *keeper)
{
	(void)keeper_arm_timer(keeper, &keeper->retry_source, DETACH_RETRY_US, on_retry_detach);
}

void keeper_detach_refused(struct keeper *keeper, int error, const char *why)
{
	keeper->state = KEEPER_READY;
	keeper_publish_state(keeper);
	keeper_direct_want(keeper, true);
	keeper_answer_detach(keeper, error, why);
	if (!keeper->stop_pending)
		return;
	/* Taking the disk from under its users would lose what they have not written. */
	if (strcmp(keeper->told_refused, why) != 0)
		log_warning("cannot stop yet: %s; stopping as soon as it is free", why);
	snprintf(keeper->told_refused, sizeof(keeper->told_refused), "%s", why);
	keeper_retry_detach(keeper);
}

void keeper_flush_done(struct keeper *keeper, const struct helper_result *res)
{
	if (res->error < 0 && res->error != -ECHILD)
		log_warning("%s", res->text);
	keeper_start_helper(keeper, HELPER_DETACH, keeper->detach_force);
}

void keeper_detach_done(struct keeper *keeper, const struct helper_result *res)
{
	if (res->error == -ECHILD) {
		/* It may have done its work: the next try finds out. */
		keeper_start_helper(keeper, HELPER_DETACH, false);
		return;
	}
	if (res->on_bus)
		keeper_detach_refused(keeper, res->error, res->text);
	else
		keeper_finish(keeper, keeper->exit_code);
}

static const char *why_not_now(const struct keeper *keeper)
{
	if (keeper->state == KEEPER_ATTACHING)
		return "it is being attached; try again";
	if (keeper->upgrade != UPGRADE_NONE)
		return "it is being upgraded; try again";
	if (keeper->state == KEEPER_READY)
		return "its backend has not answered an earlier detach yet";
	return "it is being detached already";
}

void keeper_on_detach_asked(struct keeper *keeper, bool force, uint32_t timeout_ms)
{
	keeper->detach_asked = true;
	if (keeper_can_detach(keeper))
		keeper_begin_detach(keeper, force, timeout_ms);
	else
		keeper_answer_detach(keeper, -EAGAIN, why_not_now(keeper));
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

void keeper_finish(struct keeper *keeper, int exit_code)
{
	const struct link_msg msg = { .type = LINK_DETACHED };

	keeper->state = KEEPER_FINISHING;
	keeper->on_bus = false;
	keeper->exit_code = exit_code;
	keeper_disarm_timer(&keeper->retry_source);
	if (!keeper->worker_pid) {
		(void)sd_event_exit(keeper->event, exit_code);
		return;
	}
	keeper_publish_state(keeper);
	keeper_send(keeper, &msg);
	(void)keeper_arm_timer(keeper, &keeper->retry_source, FINISH_TIMEOUT_US, on_finish_timeout);
}
