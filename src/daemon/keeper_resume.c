/* SPDX-License-Identifier: MIT */
/*
 * An upgrade as the new program sees it: it finds itself in the keeper's
 * process, with the keeper's open files and a record that says what they are.
 * The worker of the old program still serves; it is told to end, and its
 * successor starts as after a crash.
 */
#include "keeper_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "message_ids.h"
#include "vblk/util/log.h"

/* A worker that has not ended by then is killed: its successor finishes what it held. */
#define RETIRE_LIMIT_US (2 * USEC_PER_SEC)

static int fail(int error, char why[BDEV_WHY_MAX], const char *what)
{
	if (!why[0])
		snprintf(why, BDEV_WHY_MAX, "%s: %s", what, strerror(-error));
	return error;
}

/* Clients come back with the features that they have. */
static int restore_served(struct keeper *keeper, const struct handover_serve *serve,
			  uint64_t *ret_capacity_bytes, char why[BDEV_WHY_MAX])
{
	int r;

	if (serve->features & ~keeper->blk.features) {
		snprintf(why, BDEV_WHY_MAX, "it does not offer all that clients were offered");
		return -ESTALE;
	}
	r = inflight_file_without_records(&keeper->inflight);
	if (r < 0)
		return r;
	inflight_file_news(&keeper->inflight)->decided = serve->size_number;
	*ret_capacity_bytes = serve->capacity_bytes;
	return 0;
}

/* On failure the descriptors are still those of the record, and nothing was changed. */
static int restore(struct keeper *keeper, const struct handover *h, char why[BDEV_WHY_MAX])
{
	const struct vblkd_config *config = keeper->config;
	uint64_t capacity_bytes;
	int r;

	r = bdev_take_over(&config->bdev, &h->bdev, &keeper->bdev);
	if (r < 0)
		return fail(r, why, "cannot go on with the open backend");
	blk_params_init(&keeper->blk, &keeper->bdev->limits, config->queues, config->queue_size,
			config->serial);
	if (!config->indirect)
		blk_params_without_indirect(&keeper->blk);
	if (config->socket[0])
		r = restore_served(keeper, &h->serve, &capacity_bytes, why);
	else
		r = inflight_file_adopt(h->run_dir_fd, config, &keeper->blk, 0, &keeper->inflight,
					&capacity_bytes, why);
	if (r < 0)
		return fail(r, why, "cannot read the record of requests in flight");
	keeper_use_capacity(keeper, capacity_bytes);
	return 0;
}

int keeper_resume(struct keeper *keeper, const struct handover *handover)
{
	const struct handover *h = handover;
	char why[BDEV_WHY_MAX] = "";
	char *path = strdup(h->run_dir);
	int r;

	r = path ? restore(keeper, h, why) : -ENOMEM;
	if (r < 0) {
		free(path);
		log_error("cannot take over: %s", why[0] ? why : strerror(-r));
		return r;
	}
	keeper->dir = (struct run_dir){ .fd = h->run_dir_fd, .lock_fd = h->lock_fd, .path = path };
	keeper->user = (struct privileges_user){ getuid(), getgid() };
	keeper->ctl_fd = h->ctl_fd;
	keeper->listen_fd = h->listen_fd;
	keeper->umem_fd = h->umem_fd;
	keeper->bus_fd = h->bus_fd;
	keeper->link_fd = h->link_fd;
	keeper->bounce_bytes = h->bounce_bytes;
	keeper->created = h->created;
	keeper->adopted = h->adopted;
	keeper->state = KEEPER_READY;
	keeper->on_bus = keeper->door->host_disk;
	keeper->serve = h->serve.socket;
	keeper->fence_fd = h->serve.fence_fd;
	keeper->worker_pid = h->worker_pid;
	keeper->restarts = h->restarts;
	keeper->upgrades = h->upgrades + 1;
	keeper->started_at = h->started_at;
	snprintf(keeper->disk, sizeof(keeper->disk), "%s", h->disk);
	snprintf(keeper->program, sizeof(keeper->program), "%s", h->program);
	keeper->upgrade = UPGRADE_RETIRE;
	r = keeper_direct_open(keeper);
	if (r < 0)
		return r;
	/* Where the layout has changed, what the retiring worker still counts is left behind. */
	if (stats_file_adopt(keeper->dir.fd, keeper->blk.queue_cnt, &keeper->stats) < 0)
		log_warning("cannot keep statistics over restarts");
	log_notice("vblkd %s goes on where vblkd %s stopped", VBLK_VERSION, h->version);
	if (h->link_version != LINK_VERSION)
		keeper_drop_link(keeper);
	return 0;
}

int keeper_check_handover(int fd)
{
	char why[BDEV_WHY_MAX] = "";
	struct handover handover;
	struct keeper keeper = { .config = &handover.config };
	int r;

	r = handover_read(fd, &handover, why);
	if (r == 0) {
		r = restore(&keeper, &handover, why);
		inflight_file_close(&keeper.inflight);
		bdev_close(keeper.bdev);
		handover_fini(&handover);
	}
	if (r < 0) {
		log_error("%s", why[0] ? why : strerror(-r));
		return EXIT_FAILURE;
	}
	return puts(HANDOVER_YES) < 0 || fflush(stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int on_retire_late(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			  void *userdata)
{
	struct keeper *keeper = userdata;

	log_warning("the worker of the replaced program did not end in time; killing it");
	(void)kill(keeper->retired_pid ? keeper->retired_pid : keeper->worker_pid, SIGKILL);
	return 0;
}

void keeper_retire_worker(struct keeper *keeper)
{
	const struct link_msg msg = { .type = LINK_RETIRE };

	keeper_publish_state(keeper);
	/* One that does not understand us is killed at once, which only takes longer. */
	if (keeper->link_fd < 0 || link_send(keeper->link_fd, &msg) < 0 ||
	    keeper_arm_timer(keeper, &keeper->upgrade_timer, RETIRE_LIMIT_US, on_retire_late) < 0)
		(void)kill(keeper->worker_pid, SIGKILL);
}

static bool start_successor(struct keeper *keeper)
{
	keeper->upgrade = UPGRADE_START;
	if (keeper_start_worker(keeper) == 0)
		return true;
	keeper_upgrade_done(keeper, false);
	return false;
}

bool keeper_retired(struct keeper *keeper)
{
	if (keeper->upgrade != UPGRADE_RETIRE)
		return false;
	keeper_disarm_timer(&keeper->upgrade_timer);
	return start_successor(keeper);
}

/* That it has is not believed: the kernel lets nobody else open the device before. */
void keeper_on_released(struct keeper *keeper)
{
	if (keeper->upgrade != UPGRADE_RETIRE)
		return;
	keeper->retired_pid = keeper->worker_pid;
	keeper->retired_source = keeper->worker_source;
	keeper->worker_source = NULL;
	keeper->worker_pid = 0;
	keeper_drop_link(keeper);
	if (!start_successor(keeper) && !keeper->worker_pid)
		keeper_on_worker_exit(keeper, EXIT_FAILURE, false);
}

void keeper_upgrade_done(struct keeper *keeper, bool serving)
{
	keeper->upgrade = UPGRADE_NONE;
	if (serving)
		log_event(LOG_LEVEL_NOTICE, &(struct log_fields){ MESSAGE_UPGRADED, -1 },
			  "upgraded to vblkd %s", VBLK_VERSION);
	if (keeper->stop_pending && keeper_can_detach(keeper))
		keeper_begin_detach(keeper, false, 0);
}
