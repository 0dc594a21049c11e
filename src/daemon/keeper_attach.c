/* SPDX-License-Identifier: MIT */
/* What follows from an attach: ready, or the start has failed. */
#include "keeper_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "vblk/util/log.h"

void keeper_report_failure(struct keeper *keeper)
{
	keeper->exit_code = EXIT_FAILURE;
	(void)sd_notify(0, "X_VBLKD_FAILED=1\nSTATUS=failed");
}

static void enter_ready(struct keeper *keeper)
{
	unsigned int queues = keeper->blk.queue_cnt;
	char size[FORMAT_SIZE_MAX];

	keeper->state = KEEPER_READY;
	keeper_publish_state(keeper);
	keeper_direct_want(keeper, true);
	/* Whoever started us detached prints the node and wants no more on the terminal. */
	if (keeper->config->detached)
		log_leave_terminal();
	log_info("/dev/%s serves %s (%s, %u queue%s)", keeper->disk, keeper->config->backend,
		 format_size_bytes(keeper->blk.limits.capacity_bytes, size), queues,
		 queues == 1 ? "" : "s");
	(void)sd_notifyf(0, "READY=1\nSTATUS=serving %s as /dev/%s\nX_VBLKD_NODE=/dev/%s",
			 keeper->config->backend, keeper->disk, keeper->disk);
	if (keeper->stop_pending)
		keeper_begin_detach(keeper, false, 0);
}

void keeper_attach_done(struct keeper *keeper, const struct helper_result *res)
{
	keeper->on_bus = res->on_bus || keeper->adopted;
	if (res->error == 0 && !keeper->late) {
		snprintf(keeper->disk, sizeof(keeper->disk), "%s", res->disk);
		enter_ready(keeper);
		return;
	}
	if (res->error)
		log_error("%s", res->text);
	keeper_report_failure(keeper);
	/* Nobody waits for it any more: taken away as soon as that can be done. */
	keeper->stop_pending = true;
	if (keeper->on_bus)
		/* What was taken over has users, who have not failed. */
		keeper_begin_detach(keeper, !keeper->adopted, 0);
	else
		keeper_finish(keeper, EXIT_FAILURE);
}
