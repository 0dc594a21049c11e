/* SPDX-License-Identifier: MIT */
/* The worker process: starting it, hearing from it, telling it things. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keeper_internal.h"
#include "status_json.h"
#include "vblk/util/log.h"
#include "worker.h"
#include "worker_mark.h"

static const char *const state_names[] = {
	[KEEPER_STARTING] = "starting",	  [KEEPER_ATTACHING] = "attaching",
	[KEEPER_READY] = "ready",	  [KEEPER_DETACHING] = "detaching",
	[KEEPER_FINISHING] = "detaching",
};

const char *keeper_state_str(const struct keeper *keeper)
{
	return keeper->worker_pid ? state_names[keeper->state] : "restarting";
}

void keeper_send(struct keeper *keeper, const struct link_msg *msg)
{
	if (keeper->link_fd >= 0)
		(void)link_send(keeper->link_fd, msg);
}

void keeper_send_give_up(struct keeper *keeper)
{
	const struct link_msg msg = { .type = LINK_GIVE_UP };

	keeper_send(keeper, &msg);
}

void keeper_publish_state(struct keeper *keeper)
{
	struct link_msg msg = { .type = LINK_STATE, .number = keeper->restarts };
	struct status_facts facts = {
		.bdev = keeper->bdev,
		.state = keeper_state_str(keeper),
		.disk = keeper->disk,
		.keeper_pid = getpid(),
		.worker_pid = keeper->worker_pid,
		.restarts = keeper->restarts,
		.upgrades = keeper->upgrades,
		.started_at = keeper->started_at,
	};
	json_t *state;

	if (keeper->state == KEEPER_READY)
		keeper->door->look_for_disk(keeper);
	state = status_json(keeper->config, &keeper->blk, &facts, NULL);
	snprintf(msg.text, sizeof(msg.text), "%s", facts.state);
	snprintf(msg.node, sizeof(msg.node), "%s", keeper->disk);
	keeper_send(keeper, &msg);
	if (run_dir_write_state(&keeper->dir, state) < 0)
		log_warning("cannot write %s/state.json", keeper->dir.path);
	json_decref(state);
}

void keeper_drop_link(struct keeper *keeper)
{
	keeper->link_source = sd_event_source_disable_unref(keeper->link_source);
	if (keeper->link_fd >= 0)
		close(keeper->link_fd);
	keeper->link_fd = -1;
	keeper->serving = false;
	keeper->watchdog_pinged = false;
}

/* Ours and, inherited or handed over, that of workers and programs to come. */
static void on_log_level(struct keeper *keeper, uint32_t level)
{
	if (level < LOG_LEVEL_ERROR || level > LOG_LEVEL_DEBUG)
		return;
	keeper->log_level = (enum log_level)level;
	log_set_level(keeper->log_level);
}

static int on_link(sd_event_source *source, int fd, uint32_t revents VBLK_UNUSED, void *userdata)
{
	struct keeper *keeper = userdata;
	struct link_msg msg;
	int r;

	while ((r = link_recv(fd, &msg)) > 0) {
		if (msg.type == LINK_SERVING)
			keeper_on_serving(keeper);
		else if (msg.type == LINK_DETACH)
			keeper_on_detach_asked(keeper, msg.flag != 0, msg.number);
		else if (msg.type == LINK_RESIZE)
			keeper_on_resize_asked(keeper, &(struct resize_request){ msg.size_bytes,
										 msg.flag != 0 });
		else if (msg.type == LINK_UPGRADE)
			keeper_on_upgrade_asked(keeper);
		else if (msg.type == LINK_RELEASED)
			keeper_on_released(keeper);
		else if (msg.type == LINK_LOG_LEVEL)
			on_log_level(keeper, msg.number);
		else if (msg.type == LINK_PING)
			keeper_on_pong(keeper);
		if (keeper->link_fd != fd)
			return 0;
	}
	/* Its end is told by SIGCHLD. */
	if (r < 0)
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

static int on_worker_exit(sd_event_source *source, const siginfo_t *si, void *userdata)
{
	struct keeper *keeper = userdata;

	if (source == keeper->retired_source) {
		keeper->retired_source = sd_event_source_disable_unref(source);
		keeper->retired_pid = 0;
		keeper_disarm_timer(&keeper->upgrade_timer);
		return 0;
	}
	keeper->worker_source = sd_event_source_disable_unref(keeper->worker_source);
	keeper->worker_pid = 0;
	keeper_drop_link(keeper);
	keeper_on_worker_exit(keeper, si->si_status, si->si_code != CLD_EXITED);
	return 0;
}

static void unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static VBLK_NORETURN void run_worker(struct keeper *keeper, int door_fd, int link_fd,
				     pid_t keeper_pid, uint32_t size_number)
{
	struct worker_params params = {
		.config = keeper->config,
		.blk = &keeper->blk,
		.bdev = keeper->bdev,
		.door_fd = door_fd,
		.link_fd = link_fd,
		.listen_fd = keeper->listen_fd,
		.serve_fd = keeper->serve.fd,
		.inflight = inflight_file_records(&keeper->inflight),
		.size_number = size_number,
		.size_told = &inflight_file_news(&keeper->inflight)->told,
		.stats = stats_file_queues(&keeper->stats),
		.stats_since_ns = keeper->stats.since_ns,
		.bounce_bytes = keeper->bounce_bytes,
		.umem_fd = keeper->umem_fd,
		.direct = keeper->direct_fd < 0 ? NULL : inflight_file_direct(&keeper->inflight),
		.direct_fd = keeper->direct_fd,
		.is_swap = keeper->is_swap,
		.keeper_pid = keeper_pid,
		.started_at = keeper->started_at,
		.upgrades = keeper->upgrades,
	};
	int r;

	r = worker_mark(keeper->dir.fd);
	if (r < 0) {
		log_errno(r, "cannot mark the worker process");
		_exit(EXIT_FAILURE);
	}
	/* Whoever looked for the mark before this moment waits for our end. */
	if (getppid() != keeper_pid)
		_exit(EXIT_FAILURE);
	/*
	 * The lock must go when the keeper goes; an attach helper's result and
	 * the control node are none of the worker's business.
	 */
	close(keeper->dir.lock_fd);
	close(keeper->dir.fd);
	if (keeper->ctl_fd >= 0)
		close(keeper->ctl_fd);
	if (keeper->fence_fd >= 0)
		close(keeper->fence_fd);
	close(keeper->link_fd);
	if (keeper->bus_fd >= 0)
		close(keeper->bus_fd);
	/* One epoll instance: a worker could take the keeper's sources off it. */
	close(keeper->event_fd);
	if (keeper->helper_fd >= 0)
		close(keeper->helper_fd);
	if (keeper->attach_go_fd >= 0)
		close(keeper->attach_go_fd);
	if (keeper->resize.fd >= 0)
		close(keeper->resize.fd);
	if (keeper->trial_fd >= 0)
		close(keeper->trial_fd);
	if (keeper->swaps_fd >= 0)
		close(keeper->swaps_fd);
	if (keeper->reserve_fd >= 0)
		close(keeper->reserve_fd);
	unblock_signals();
	exit(worker_main(&params));
}

int keeper_watch_worker(struct keeper *keeper)
{
	int r;

	r = sd_event_add_child(keeper->event, &keeper->worker_source, keeper->worker_pid, WEXITED,
			       on_worker_exit, keeper);
	if (r >= 0 && keeper->link_fd >= 0)
		r = sd_event_add_io(keeper->event, &keeper->link_source, keeper->link_fd, EPOLLIN,
				    on_link, keeper);
	return r < 0 ? r : 0;
}

int keeper_fork_worker(struct keeper *keeper)
{
	/* The child has a copy of the capacity, and must not have another number than that of it.
	 */
	uint32_t size_number = inflight_file_news(&keeper->inflight)->decided;
	pid_t keeper_pid = getpid();
	int fds[2], door_fd, r;
	pid_t pid;

	r = keeper->door->open_for_worker(keeper, &door_fd);
	if (r < 0)
		return r;
	r = link_new(fds);
	if (r < 0) {
		close(door_fd);
		return log_errno(r, "cannot make a socket pair");
	}
	keeper->link_fd = fds[0];
	pid = fork();
	if (pid == 0)
		run_worker(keeper, door_fd, fds[1], keeper_pid, size_number);
	r = -errno;
	close(fds[1]);
	close(door_fd);
	if (pid < 0) {
		keeper_drop_link(keeper);
		return log_errno(r, "cannot start the worker process");
	}
	keeper->worker_pid = pid;
	return keeper_watch_worker(keeper);
}
