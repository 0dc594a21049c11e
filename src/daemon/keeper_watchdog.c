/* SPDX-License-Identifier: MIT */
/*
 * Signs of life for systemd (WatchdogSec=): that the keeper runs its loop, and that the control
 * thread of a worker that serves answers. A backend that does not answer is no reason to give
 * none: a restart could only wait for it as well. A worker that starts, or waits for the last
 * I/O of the one before, is not asked.
 */
#include "keeper_internal.h"

#include <errno.h>
#include <systemd/sd-daemon.h>

#include "vblk/util/log.h"

/* Of the time that systemd waits: two answers may be late before it is over. */
#define PING_SHARE 4u

/* Return: false when it does not read what it is sent. */
static bool ping(struct keeper *keeper)
{
	const struct link_msg msg = { .type = LINK_PING };
	int r;

	if (!keeper->serving || keeper->link_fd < 0 || keeper->upgrade == UPGRADE_RETIRE)
		return true;
	r = link_send(keeper->link_fd, &msg);
	keeper->watchdog_pinged = r == 0;
	return r != -EAGAIN;
}

static int on_tick(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED, void *userdata)
{
	struct keeper *keeper = userdata;

	if (keeper->watchdog_pinged && !keeper->watchdog_told)
		log_warning(
			"the control thread of the worker does not answer; if it goes on systemd restarts the service");
	keeper->watchdog_told = keeper->watchdog_pinged;
	if (!keeper->watchdog_pinged && ping(keeper))
		(void)sd_notify(0, "WATCHDOG=1");
	return keeper_arm_timer(keeper, &keeper->watchdog_source, keeper->watchdog_us / PING_SHARE,
				on_tick);
}

void keeper_on_pong(struct keeper *keeper)
{
	keeper->watchdog_pinged = false;
}

int keeper_start_watchdog(struct keeper *keeper)
{
	int r = sd_watchdog_enabled(0, &keeper->watchdog_us);

	if (r <= 0)
		return r;
	return keeper_arm_timer(keeper, &keeper->watchdog_source, keeper->watchdog_us / PING_SHARE,
				on_tick);
}
