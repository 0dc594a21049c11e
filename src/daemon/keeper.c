/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "keeper_internal.h"
#include "privileges.h"
#include "vblk/util/log.h"

/* 0 would mean a quarter of a second, which applications would notice at a restart. */
#define TIMER_ACCURACY_US 1u

int keeper_arm_timer(struct keeper *keeper, sd_event_source **source, uint64_t delay_us,
		     sd_event_time_handler_t handler)
{
	*source = sd_event_source_disable_unref(*source);
	return sd_event_add_time_relative(keeper->event, source, CLOCK_MONOTONIC, delay_us,
					  TIMER_ACCURACY_US, handler, keeper);
}

void keeper_disarm_timer(sd_event_source **source)
{
	*source = sd_event_source_disable_unref(*source);
}

static int on_signal(sd_event_source *source VBLK_UNUSED,
		     const struct signalfd_siginfo *si VBLK_UNUSED, void *userdata)
{
	struct keeper *keeper = userdata;

	keeper->stop_pending = true;
	/* Whoever asks once more wants to hear once more why it is still there. */
	keeper->told_refused[0] = '\0';
	(void)sd_notify(0, "STOPPING=1");
	if (keeper_can_detach(keeper))
		keeper_begin_detach(keeper, false, 0);
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
	r = keeper_start_worker(keeper);
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
		.umem_fd = -1,
		.link_fd = -1,
		.helper_fd = -1,
		.resize = { .fd = -1 },
		.started_at = time(NULL),
	};
	int r;

	r = keeper_setup(&keeper);
	if (r == 0)
		r = run(&keeper);
	keeper_remove(&keeper);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
