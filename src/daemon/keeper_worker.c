/* SPDX-License-Identifier: MIT */
/* When a worker is started, and started again. */
#include "keeper_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "message_ids.h"
#include "privileges.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"
#include "vblk/util/math.h"

#define BUSY_RETRY_MIN_US (2 * USEC_PER_MSEC)
#define BUSY_RETRY_MAX_US (250 * USEC_PER_MSEC)
/* Of the time waited so far: what the wait may become longer than it had to be. */
#define BUSY_RETRY_SHARE     8u
#define BUSY_TELL_NS	     (5 * NSEC_PER_SEC)
#define RESTART_DELAY_MAX_MS 1000u

void keeper_on_serving(struct keeper *keeper)
{
	if (!keeper->is_swap)
		privileges_end_real_time();
	/* Said before it was told to end. */
	if (keeper->upgrade == UPGRADE_RETIRE)
		return;
	keeper->serving = true;
	keeper->worker_failures = 0;
	keeper_swap_follow(keeper);
	if (keeper->given_up)
		keeper_send_give_up(keeper);
	if (keeper->state == KEEPER_STARTING) {
		if (keeper->stop_pending && !keeper->adopted)
			keeper_finish(keeper, EXIT_SUCCESS);
		else
			keeper->door->first_served(keeper);
		return;
	}
	keeper_publish_state(keeper);
	if (keeper->upgrade == UPGRADE_START)
		keeper_upgrade_done(keeper, true);
}

static int on_restart(sd_event_source *source, uint64_t usec, void *userdata);

/*
 * There is no file for another worker before the last I/O of the dead one has
 * ended, which keeps old writes from coming after new ones. It takes as long
 * as the backend takes.
 */
static void wait_for_old_io(struct keeper *keeper)
{
	uint64_t now_ns = clock_now_ns(), waited_ns, retry_us;

	if (!keeper->busy_since_ns)
		keeper->busy_since_ns = now_ns;
	waited_ns = now_ns - keeper->busy_since_ns;
	if (!keeper->told_busy && waited_ns > BUSY_TELL_NS) {
		log_warning("waiting for the backend to finish I/O of the worker that died");
		keeper->told_busy = true;
	}
	retry_us = waited_ns / (NSEC_PER_MSEC / USEC_PER_MSEC) / BUSY_RETRY_SHARE;
	retry_us = MIN(MAX(retry_us, (uint64_t)BUSY_RETRY_MIN_US), (uint64_t)BUSY_RETRY_MAX_US);
	(void)keeper_arm_timer(keeper, &keeper->restart_source, retry_us, on_restart);
}

int keeper_start_worker(struct keeper *keeper)
{
	int r;

	/* A disk that is in use: until it is served. Inherited by the worker. */
	if (keeper->on_bus)
		privileges_begin_real_time();
	r = keeper_fork_worker(keeper);
	/*
	 * What ends the old worker is not real-time and needs the CPU: on a slow
	 * one our looking again and again would take all of it.
	 */
	if (r < 0)
		privileges_end_real_time();
	if (r == -EBUSY) {
		wait_for_old_io(keeper);
		return 0;
	}
	keeper->busy_since_ns = 0;
	keeper->told_busy = false;
	/* At once: whoever takes over from us must know this worker. */
	if (r == 0)
		keeper_publish_state(keeper);
	return r;
}

static int on_restart(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
		      void *userdata)
{
	struct keeper *keeper = userdata;

	if (keeper_start_worker(keeper) < 0 && !keeper->worker_pid)
		keeper_on_worker_exit(keeper, EXIT_FAILURE, false);
	return 0;
}

/*
 * At once the first time, then ever slower: the cause may last. SIGKILL comes
 * from outside and says nothing about the next worker, while I/O waits.
 */
static void schedule_restart(struct keeper *keeper, bool from_outside)
{
	unsigned int doublings = from_outside ? 0 : MIN(keeper->worker_failures, 10u);
	unsigned int delay_ms = doublings ? MIN(1u << doublings, RESTART_DELAY_MAX_MS) : 0;

	if (!from_outside)
		keeper->worker_failures++;
	keeper->restarts++;
	(void)keeper_arm_timer(keeper, &keeper->restart_source, delay_ms * USEC_PER_MSEC,
			       on_restart);
}

void keeper_on_worker_exit(struct keeper *keeper, int code, bool killed)
{
	keeper_swap_follow(keeper);
	if (keeper->state == KEEPER_FINISHING) {
		(void)sd_event_exit(keeper->event, keeper->exit_code);
		return;
	}
	if (keeper->state == KEEPER_STARTING && !keeper->on_bus) {
		if (killed)
			log_error("the worker process died of signal %d", code);
		keeper_report_failure(keeper);
		(void)sd_event_exit(keeper->event, EXIT_FAILURE);
		return;
	}
	if (keeper_retired(keeper))
		return;
	if (keeper->upgrade == UPGRADE_START)
		keeper_upgrade_done(keeper, false);
	log_event(LOG_LEVEL_WARNING, &(struct log_fields){ MESSAGE_WORKER_DIED, -1 },
		  "the worker process %s %d; starting it again",
		  killed ? "died of signal" : "ended with code", code);
	schedule_restart(keeper, killed && code == SIGKILL);
}
