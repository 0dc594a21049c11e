/* SPDX-License-Identifier: MIT */
/* What every device needs, whatever its door, and removing it all. */
#include "keeper_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vblk/control/paths.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"

#define WAIT_STEP_MS 2u

void keeper_short_pause(void)
{
	const struct timespec step = { .tv_nsec = WAIT_STEP_MS * NSEC_PER_MSEC };

	nanosleep(&step, NULL);
}

int keeper_find_user(struct keeper *keeper)
{
	const char *name = keeper->config->user;
	int r;

	r = privileges_find_user(name[0] ? name : PRIVILEGES_USER_DEFAULT, &keeper->user);
	if (r == -ENOENT && !name[0]) {
		keeper->user = (struct privileges_user){ 0, 0 };
		return 0;
	}
	if (!name[0])
		name = PRIVILEGES_USER_DEFAULT;
	if (r == -ENOENT)
		log_error("there is no user '%s' (--user): make it, or leave out --user", name);
	else if (r == -EINVAL)
		log_error("user '%s' (--user) has root's group: give it one of its own", name);
	else if (r < 0)
		log_errno(r, "cannot look up user '%s'", name);
	return r;
}

int keeper_take_run_dir(struct keeper *keeper)
{
	const struct privileges_user *user = &keeper->user;
	int pid = 0, r = 0;

	if (geteuid() == 0)
		r = run_dir_give(keeper->config->name, user->uid, user->gid);
	if (r == 0) {
		privileges_begin_as(user);
		r = run_dir_open(keeper->config->name, &keeper->dir, &pid);
		privileges_end_as(user);
	}
	if (r == -EPERM)
		log_error(
			"the run directory of '%s' belongs to another user: start it with the --user that it had before",
			keeper->config->name);
	else if (r == -EBUSY)
		log_error(
			"a device named '%s' is running already (pid %d): choose another --name, or detach it first",
			keeper->config->name, pid);
	else if (r == -ENOENT && geteuid() != 0)
		log_error(
			"there is no place for a run directory, %s: set XDG_RUNTIME_DIR to a directory of yours",
			vblkd_run_dir());
	else if (r < 0)
		log_errno(r, "cannot make the run directory of '%s'", keeper->config->name);
	return r;
}

/* A server that workers connect to again and again, as the user. */
static int open_as_its_user(struct keeper *keeper, char why[BDEV_WHY_MAX])
{
	bool as_user = bdev_is_connected(keeper->config->bdev.spec);
	int r;

	if (as_user)
		privileges_begin_as(&keeper->user);
	r = bdev_open(&keeper->config->bdev, &keeper->bdev, why);
	if (as_user)
		privileges_end_as(&keeper->user);
	return r;
}

int keeper_open_backend(struct keeper *keeper)
{
	/* The lock of a killed predecessor goes when its last I/O has ended. */
	uint64_t wait_ms = keeper->predecessor_ended ? KEEPER_OLD_IO_MS : 0;
	uint64_t end = clock_now_ns() + wait_ms * NSEC_PER_MSEC;
	char why[BDEV_WHY_MAX] = "";
	int r;

	while ((r = open_as_its_user(keeper, why)) == -EBUSY && clock_now_ns() < end)
		keeper_short_pause();
	if (r < 0) {
		log_error("%s", why[0] ? why : strerror(-r));
		return r;
	}
	blk_params_init(&keeper->blk, &keeper->bdev->limits, keeper->config->queues,
			keeper->config->queue_size, keeper->config->serial);
	if (!keeper->config->indirect)
		blk_params_without_indirect(&keeper->blk);
	return 0;
}

void keeper_open_stats(struct keeper *keeper)
{
	unsigned int queue_cnt = keeper->blk.queue_cnt;
	int r;

	if (keeper->adopted)
		r = stats_file_adopt(keeper->dir.fd, queue_cnt, &keeper->stats);
	else
		r = stats_file_create(keeper->dir.fd, queue_cnt, &keeper->stats);
	if (r < 0)
		log_warning("cannot keep statistics over restarts: %s", strerror(-r));
}

void keeper_remove(struct keeper *keeper)
{
	bool is_last = keeper->door->remove(keeper);

	inflight_file_close(&keeper->inflight);
	stats_file_close(&keeper->stats);
	if (keeper->listen_fd >= 0)
		close(keeper->listen_fd);
	bdev_close(keeper->bdev);
	if (keeper->dir.fd >= 0 && !is_last)
		run_dir_close(&keeper->dir);
	else if (keeper->dir.fd >= 0)
		run_dir_remove(&keeper->dir);
}
