/* SPDX-License-Identifier: MIT */
/*
 * Another size: a process asks the backend, the keeper decides and writes it
 * down, then the worker hears of it. Whoever is killed in between, the next
 * worker begins with what was written down and tells the kernel.
 */
#include "keeper_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vblk/util/log.h"

/* How long the backend may take to tell its size. */
#define BACKEND_LIMIT_S 10u

/* @number: of the size that was decided */
static void tell_worker(struct keeper *keeper, const struct resize_result *res, uint32_t number)
{
	struct link_msg msg = {
		.type = LINK_RESIZED,
		.error = res->error,
		.flag = res->would_cut,
		.number = number,
		.size_bytes = res->size_bytes,
	};

	keeper->resize.asked = false;
	snprintf(msg.text, sizeof(msg.text), "%s", res->text);
	keeper_send(keeper, &msg);
}

static void answer(struct keeper *keeper, const struct resize_result *res, uint32_t number)
{
	if (keeper->resize.asked)
		tell_worker(keeper, res, number);
}

static void refuse(struct keeper *keeper, int error, const char *text)
{
	struct resize_result res = { .error = error };

	snprintf(res.text, sizeof(res.text), "%s", text);
	answer(keeper, &res, 0);
}

void keeper_use_capacity(struct keeper *keeper, uint64_t capacity_bytes)
{
	/* Both are inherited by workers to come. */
	bdev_limits_set_capacity(&keeper->bdev->limits, capacity_bytes);
	bdev_limits_set_capacity(&keeper->blk.limits, capacity_bytes);
}

/* Return: the number of the size. */
static uint32_t decide(struct keeper *keeper, uint64_t size_bytes)
{
	uint64_t old_bytes = bdev_limits_capacity(&keeper->blk.limits);
	char old[FORMAT_SIZE_MAX], new[FORMAT_SIZE_MAX];
	uint32_t number;

	/* Before anybody hears of it: what a successor of ours finds. */
	number = inflight_file_set_capacity(&keeper->inflight, size_bytes);
	keeper_use_capacity(keeper, size_bytes);
	keeper_publish_state(keeper);
	if (size_bytes != old_bytes)
		log_notice("the disk has %s now, it had %s", format_size_bytes(size_bytes, new),
			   format_size_bytes(old_bytes, old));
	return number;
}

static void take_result(struct keeper *keeper, const struct resize_result *res)
{
	answer(keeper, res, res->error ? 0 : decide(keeper, res->size_bytes));
}

static void forget_process(struct keeper *keeper)
{
	struct keeper_resize *resize = &keeper->resize;

	resize->source = sd_event_source_disable_unref(resize->source);
	keeper_disarm_timer(&resize->deadline);
	if (resize->fd >= 0)
		close(resize->fd);
	resize->fd = -1;
	resize->pid = 0;
}

static int on_result(sd_event_source *source VBLK_UNUSED, int fd, uint32_t revents VBLK_UNUSED,
		     void *userdata)
{
	struct keeper *keeper = userdata;
	struct resize_result res;

	resize_result_read(fd, &res);
	(void)waitpid(keeper->resize.pid, NULL, 0);
	forget_process(keeper);
	/* Whoever asked was told that nothing came of it. */
	if (!keeper->resize.late)
		take_result(keeper, &res);
	return 0;
}

static int on_late(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED, void *userdata)
{
	struct keeper *keeper = userdata;

	/* It ends when the backend lets it; until then there is no second one. */
	keeper->resize.late = true;
	(void)kill(keeper->resize.pid, SIGKILL);
	refuse(keeper, -ETIMEDOUT,
	       "the backend does not tell its size (does it hang?); the disk keeps the size it has");
	return 0;
}

/* Watched before it exists: one that runs unwatched would never be known to have ended. */
static int start_process(struct keeper *keeper, const struct resize_request *req)
{
	struct keeper_resize *resize = &keeper->resize;
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	resize->fd = fds[0];
	resize->req = *req;
	resize->late = false;
	r = sd_event_add_io(keeper->event, &resize->source, fds[0], EPOLLIN, on_result, keeper);
	if (r >= 0)
		r = keeper_arm_timer(keeper, &resize->deadline, BACKEND_LIMIT_S * USEC_PER_SEC,
				     on_late);
	if (r >= 0) {
		/* Stuck in the kernel, it must not go on holding these after us. */
		const int ours[] = { keeper->dir.lock_fd, keeper->dir.fd,
				     keeper->ctl_fd,	  keeper->listen_fd,
				     keeper->link_fd,	  keeper->helper_fd,
				     keeper->umem_fd,	  keeper->serve.fd,
				     keeper->fence_fd,	  fds[0] };

		r = resize_start(keeper->bdev, keeper->config->backend, req, ours, ARRAY_SIZE(ours),
				 fds[1], &resize->pid);
	}
	close(fds[1]);
	if (r < 0)
		forget_process(keeper);
	return r;
}

/* Asked again by whoever lost the worker that was to answer: the answer is on its way. */
static bool is_running(const struct keeper *keeper, const struct resize_request *req)
{
	const struct keeper_resize *resize = &keeper->resize;

	return !resize->late && resize->req.size_bytes == req->size_bytes &&
	       resize->req.force == req->force;
}

void keeper_on_resize_asked(struct keeper *keeper, const struct resize_request *req)
{
	struct resize_result res;
	int r;

	keeper->resize.asked = true;
	if (keeper->state != KEEPER_READY) {
		refuse(keeper, -EAGAIN,
		       keeper->state < KEEPER_READY ? "it is being attached; try again"
						    : "it is being detached");
		return;
	}
	if (keeper->upgrade != UPGRADE_NONE) {
		refuse(keeper, -EAGAIN, "it is being upgraded; try again");
		return;
	}
	if (keeper->resize.pid && is_running(keeper, req))
		return;
	if (keeper->resize.pid) {
		refuse(keeper, -EBUSY,
		       "an earlier resize still waits for the backend to tell its size");
		return;
	}
	if (resize_refused(&keeper->blk.limits, req, &res)) {
		answer(keeper, &res, 0);
		return;
	}
	r = start_process(keeper, req);
	if (r < 0) {
		log_errno(r, "cannot start a process that asks the backend for its size");
		refuse(keeper, r, "cannot start a process that asks the backend for its size");
	}
}

/* ---- a backend that tells by itself ---- */

/* What lies behind the backend's end fails there; to cut it off is not for us to decide. */
static void keep_size(const struct keeper *keeper, uint64_t told_bytes)
{
	uint64_t now_bytes = bdev_limits_capacity(&keeper->blk.limits);
	char told[FORMAT_SIZE_MAX], now[FORMAT_SIZE_MAX];

	log_warning(
		"the backend has only %s now and the disk keeps its %s: what lies behind the backend's end fails ('vblkctl resize --force %s' cuts it off)",
		format_size_bytes(told_bytes, told), format_size_bytes(now_bytes, now),
		keeper->config->name);
}

bool keeper_take_told_size(struct keeper *keeper)
{
	const struct resize_request req = { .size_bytes = 0 };
	struct resize_result res;
	uint64_t told_bytes;

	/* Not between the decisions of others: what was told stays there. */
	if (keeper->state != KEEPER_READY || keeper->upgrade != UPGRADE_NONE || keeper->resize.pid)
		return false;
	told_bytes = bdev_size_told(keeper->bdev);
	resize_settle(&keeper->blk.limits, &req, told_bytes, &res);
	if (res.error)
		keep_size(keeper, told_bytes);
	else if (res.size_bytes != bdev_limits_capacity(&keeper->blk.limits))
		tell_worker(keeper, &res, decide(keeper, res.size_bytes));
	return true;
}
