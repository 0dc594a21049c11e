/* SPDX-License-Identifier: MIT */
/* The helper process that does an attach or detach: starting it, and hearing from it. */
#include "keeper_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vblk/util/log.h"

/* How long the kernel may take to come back when no request holds it up any more. */
#define GIVEN_UP_TIMEOUT_US (10 * USEC_PER_SEC)

static int on_helper_late(sd_event_source *source, uint64_t usec, void *userdata);

/*
 * The kernel waits for requests of this disk and holds locks of the whole host
 * meanwhile. The disk is going away in either case: its requests fail.
 */
static void give_up(struct keeper *keeper)
{
	keeper->given_up = true;
	keeper_send_give_up(keeper);
	(void)keeper_arm_timer(keeper, &keeper->helper_deadline, GIVEN_UP_TIMEOUT_US,
			       on_helper_late);
}

static void call_is_late(struct keeper *keeper)
{
	bool attach = keeper->helper_op == HELPER_ATTACH;

	if (!keeper->given_up && !(attach && keeper->adopted)) {
		log_error("the kernel has not %s the device in time: failing the I/O it waits for",
			  attach ? "attached" : "detached");
		if (attach)
			keeper_report_failure(keeper);
		give_up(keeper);
		return;
	}
	log_error("the kernel does not come back; serving the device until it does");
	if (attach)
		keeper_report_failure(keeper);
	else
		keeper_answer_detach(keeper, -ETIMEDOUT,
				     "the kernel has not come back in time; it goes on trying");
}

static int on_helper_late(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			  void *userdata)
{
	struct keeper *keeper = userdata;

	keeper->late = true;
	if (keeper->helper_op != HELPER_FLUSH) {
		call_is_late(keeper);
		return 0;
	}
	/* It ends when the backend comes back, without having begun the detach. */
	(void)kill(keeper->helper_pid, SIGKILL);
	keeper_detach_refused(
		keeper, -ETIMEDOUT,
		"what was written to the disk has not reached the backend in time, which does not answer");
	return 0;
}

static void forget_helper(struct keeper *keeper)
{
	keeper->helper_source = sd_event_source_disable_unref(keeper->helper_source);
	keeper_disarm_timer(&keeper->helper_deadline);
	if (keeper->helper_fd >= 0)
		close(keeper->helper_fd);
	keeper->helper_fd = -1;
	keeper->helper_pid = 0;
}

static int on_helper(sd_event_source *source VBLK_UNUSED, int fd, uint32_t revents VBLK_UNUSED,
		     void *userdata)
{
	struct keeper *keeper = userdata;
	struct helper_result res;
	bool late = keeper->late;

	helper_result_read(fd, &res);
	(void)waitpid(keeper->helper_pid, NULL, 0);
	forget_helper(keeper);
	switch (keeper->helper_op) {
	case HELPER_ATTACH:
		keeper_attach_done(keeper, &res);
		break;
	case HELPER_FLUSH:
		if (!late)
			keeper_flush_done(keeper, &res);
		break;
	case HELPER_DETACH:
		keeper_detach_done(keeper, &res);
		break;
	}
	keeper->late = false;
	return 0;
}

static uint64_t helper_limit_us(const struct keeper *keeper)
{
	if (keeper->helper_op != HELPER_ATTACH && keeper->detach_timeout_ms)
		return keeper->detach_timeout_ms * USEC_PER_MSEC;
	return keeper->config->attach_timeout_s * USEC_PER_SEC;
}

static void helper_not_started(struct keeper *keeper, int error)
{
	log_errno(error, "cannot start a helper process");
	if (keeper->helper_op == HELPER_ATTACH && !keeper->on_bus) {
		keeper_report_failure(keeper);
		keeper_finish(keeper, EXIT_FAILURE);
		return;
	}
	keeper->state = KEEPER_READY;
	keeper_publish_state(keeper);
	keeper_answer_detach(keeper, error, "cannot start a helper process");
	if (keeper->stop_pending)
		keeper_retry_detach(keeper);
}

static struct helper_request make_request(const struct keeper *keeper, enum helper_op op,
					  bool force)
{
	return (struct helper_request){
		.op = op,
		.name = keeper->config->name,
		.uid = keeper->user.uid,
		.adopt = keeper->adopted,
		.force = force,
		.rotational = keeper->blk.limits.rotational,
		.bus_fd = keeper->bus_fd,
	};
}

int keeper_prepare_attach(struct keeper *keeper)
{
	const struct helper_request req = make_request(keeper, HELPER_ATTACH, false);
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return log_errno(-errno, "cannot make a pipe");
	r = helper_prepare(&req, fds[1], &keeper->attach_go_fd, &keeper->attach_pid);
	close(fds[1]);
	keeper->helper_fd = fds[0];
	if (r < 0)
		log_errno(r, "cannot start a helper process");
	return r;
}

static int watch(struct keeper *keeper)
{
	int r;

	r = sd_event_add_io(keeper->event, &keeper->helper_source, keeper->helper_fd, EPOLLIN,
			    on_helper, keeper);
	if (r >= 0)
		r = keeper_arm_timer(keeper, &keeper->helper_deadline, helper_limit_us(keeper),
				     on_helper_late);
	return r;
}

static int start_prepared(struct keeper *keeper)
{
	int r = watch(keeper);

	keeper->helper_pid = keeper->attach_pid;
	keeper->attach_pid = 0;
	/* Without its word it ends, too. */
	if (r < 0)
		close(keeper->attach_go_fd);
	else
		r = helper_go(keeper->attach_go_fd);
	keeper->attach_go_fd = -1;
	if (r < 0)
		forget_helper(keeper);
	return r;
}

/* Watched before it exists: one that runs unwatched would never be known to have ended. */
static int start_watched(struct keeper *keeper, const struct helper_request *req)
{
	int fds[2], r;

	if (req->op == HELPER_ATTACH && keeper->attach_pid)
		return start_prepared(keeper);
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	keeper->helper_fd = fds[0];
	r = watch(keeper);
	if (r >= 0)
		r = helper_start(req, fds[1], &keeper->helper_pid);
	close(fds[1]);
	if (r < 0)
		forget_helper(keeper);
	return r;
}

void keeper_start_helper(struct keeper *keeper, enum helper_op op, bool force)
{
	const struct helper_request req = make_request(keeper, op, force);
	int r;

	keeper->state = op == HELPER_ATTACH ? KEEPER_ATTACHING : KEEPER_DETACHING;
	keeper->helper_op = op;
	keeper_publish_state(keeper);
	r = start_watched(keeper, &req);
	if (r < 0)
		helper_not_started(keeper, r);
}
