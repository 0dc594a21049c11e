/* SPDX-License-Identifier: MIT */
/*
 * An upgrade as the program that runs sees it: asks the new one whether it can
 * take over, and if so becomes it. Until the exec has succeeded nothing is
 * changed, and whatever goes wrong leaves everything as it was.
 */
#include "keeper_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "option_table.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"

#define TRIAL_LIMIT_US	 (5 * USEC_PER_SEC)
#define STUCK_WAIT_US	 (10 * USEC_PER_MSEC)
#define STUCK_LIMIT_MS	 2000u
#define EXIT_EXEC_FAILED 127

static void refuse(struct keeper *keeper, int error, const char *text)
{
	struct link_msg msg = { .type = LINK_UPGRADE_FAILED, .error = error };

	keeper->upgrade = UPGRADE_NONE;
	log_warning("not upgraded: %s", text);
	snprintf(msg.text, sizeof(msg.text), "%s", text);
	if (keeper->upgrade_asked)
		keeper_send(keeper, &msg);
	keeper->upgrade_asked = false;
	/* SIGTERM may have come meanwhile. */
	if (keeper->stop_pending && keeper_can_detach(keeper))
		keeper_begin_detach(keeper, false, 0);
}

static int fill_record(const struct keeper *keeper, struct handover *ret_record)
{
	struct handover *h = ret_record;

	*h = (struct handover){
		.version = VBLK_VERSION,
		.config = *keeper->config,
		.run_dir_fd = keeper->dir.fd,
		.lock_fd = keeper->dir.lock_fd,
		.ctl_fd = keeper->ctl_fd,
		.listen_fd = keeper->listen_fd,
		.umem_fd = keeper->umem_fd,
		.bus_fd = keeper->bus_fd,
		.link_fd = keeper->link_fd,
		.link_version = LINK_VERSION,
		.worker_pid = keeper->worker_pid,
		.restarts = keeper->restarts,
		.upgrades = keeper->upgrades,
		.started_at = keeper->started_at,
		.bounce_bytes = keeper->bounce_bytes,
		.created = keeper->created,
		.adopted = keeper->adopted,
		.serve = {
			.socket = keeper->serve,
			.fence_fd = keeper->fence_fd,
			.features = keeper->blk.features,
			.capacity_bytes = bdev_limits_capacity(&keeper->blk.limits),
			.size_number = inflight_file_news(&keeper->inflight)->decided,
		},
	};
	h->config.log_level = keeper->log_level;
	snprintf(h->program, sizeof(h->program), "%s", keeper->program);
	snprintf(h->run_dir, sizeof(h->run_dir), "%s", keeper->dir.path);
	snprintf(h->disk, sizeof(h->disk), "%s", keeper->disk);
	return bdev_hand_over(keeper->bdev, &h->bdev);
}

/* The arguments of this process behind @option, without what an earlier upgrade put there. */
static int new_argv(const struct keeper *keeper, char *option, char ***ret_argv)
{
	static const char ours[] = "--" HANDOVER_OPTION "=";
	char **from = keeper->argv + 1;
	size_t cnt = 0;
	char **argv;

	if (*from && !strncmp(*from, ours, sizeof(ours) - 1))
		from++;
	while (from[cnt])
		cnt++;
	argv = calloc(cnt + 3, sizeof(*argv));
	if (!argv)
		return -ENOMEM;
	argv[0] = keeper->argv[0];
	argv[1] = option;
	memcpy(argv + 2, from, cnt * sizeof(*argv));
	*ret_argv = argv;
	return 0;
}

/* ---- the exec ---- */

/* Who serves a socket has none. */
static int keep_capability(const struct keeper *keeper, bool keep)
{
	return keeper->door->host_disk ? privileges_keep_over_exec(keep) : 0;
}

/* Returns only when it failed. */
static int become(struct keeper *keeper)
{
	_cleanup_free_ char **argv = NULL;
	_cleanup_close_ int record_fd = -1;
	struct handover record;
	char option[64];
	int r;

	r = fill_record(keeper, &record);
	if (r == 0)
		r = handover_write(&record, &record_fd);
	if (r < 0)
		return r;
	snprintf(option, sizeof(option), "--" HANDOVER_OPTION "=%d", record_fd);
	r = new_argv(keeper, option, &argv);
	if (r < 0)
		return r;
	r = keep_capability(keeper, true);
	if (r < 0)
		return r;
	if (handover_keep_fds(&record, true) == 0 && fcntl(record_fd, F_SETFD, 0) == 0)
		(void)execv(keeper->program, argv);
	r = -errno;
	/* As they were; what is open can be set, and what is there can be given up. */
	if (keep_capability(keeper, false) < 0)
		log_warning("the capability of the keeper is still inheritable");
	if (handover_keep_fds(&record, false) < 0)
		log_warning("descriptors of '%s' are not close-on-exec", keeper->config->name);
	return r;
}

static int on_upgrade_wait(sd_event_source *source, uint64_t usec, void *userdata);

/* The old worker has to finish what it holds: not begun while that would not end. */
static void try_become(struct keeper *keeper)
{
	uint64_t waited_ms = (clock_now_ns() - keeper->upgrade_since_ns) / NSEC_PER_MSEC;
	char text[LINK_TEXT_MAX];

	keeper->upgrade = UPGRADE_WAIT;
	if (keeper->stop_pending) {
		refuse(keeper, -EAGAIN, "the device is being stopped");
		return;
	}
	if (keeper_has_stuck_request(keeper)) {
		if (waited_ms < STUCK_LIMIT_MS &&
		    keeper_arm_timer(keeper, &keeper->upgrade_timer, STUCK_WAIT_US,
				     on_upgrade_wait) >= 0)
			return;
		refuse(keeper, -ETIMEDOUT,
		       "a request has not ended for 2 s, the backend does not answer; try again when it does");
		return;
	}
	if (!keeper->worker_pid) {
		refuse(keeper, -EAGAIN, "the data path is just being started again; try again");
		return;
	}
	snprintf(text, sizeof(text), "cannot run %.150s: %s", keeper->program,
		 strerror(-become(keeper)));
	refuse(keeper, -ENOEXEC, text);
}

static int on_upgrade_wait(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			   void *userdata)
{
	try_become(userdata);
	return 0;
}

/* ---- the trial ---- */

/* The last line that the program wrote, without what vblkd puts in front of each. */
static void last_line(int fd, char *buf, size_t len)
{
	ssize_t n = read(fd, buf, len - 1);
	char *line;

	buf[n > 0 ? n : 0] = '\0';
	while ((line = strrchr(buf, '\n')) && !line[1])
		*line = '\0';
	line = line ? line + 1 : buf;
	if (!strncmp(line, "vblkd: ", strlen("vblkd: ")))
		line += strlen("vblkd: ");
	memmove(buf, line, strlen(line) + 1);
	for (; *buf; buf++)
		if (*buf < ' ' || *buf > '~')
			*buf = '?';
}

static void end_trial(struct keeper *keeper)
{
	keeper->trial_source = sd_event_source_disable_unref(keeper->trial_source);
	if (keeper->trial_pid > 0) {
		/* What it may have started has our files, too, and goes with it. */
		(void)kill(-keeper->trial_pid, SIGKILL);
		/* The loop would do it later, but there may be no later. */
		(void)waitpid(keeper->trial_pid, NULL, WNOHANG);
	}
	keeper_disarm_timer(&keeper->upgrade_timer);
	close(keeper->trial_fd);
	keeper->trial_fd = -1;
	keeper->trial_pid = 0;
}

static void trial_failed(struct keeper *keeper, const siginfo_t *si, const char *line)
{
	char text[LINK_TEXT_MAX];

	if (keeper->trial_late)
		snprintf(text, sizeof(text),
			 "%.150s did not say within 5 s whether it can take over", keeper->program);
	else if (si->si_code != CLD_EXITED)
		snprintf(text, sizeof(text), "%.150s died of signal %d when asked to take over",
			 keeper->program, si->si_status);
	else if (si->si_status == 0)
		snprintf(text, sizeof(text), "%.150s is no vblkd that can take over",
			 keeper->program);
	else if (line[0])
		snprintf(text, sizeof(text), "%.100s cannot take over: %.130s", keeper->program,
			 line);
	else
		snprintf(text, sizeof(text), "%.150s ended with code %d when asked to take over",
			 keeper->program, si->si_status);
	refuse(keeper, -ENOEXEC, text);
}

static int on_trial_exit(sd_event_source *source VBLK_UNUSED, const siginfo_t *si, void *userdata)
{
	struct keeper *keeper = userdata;
	char line[512];

	last_line(keeper->trial_fd, line, sizeof(line));
	end_trial(keeper);
	if (si->si_code == CLD_EXITED && si->si_status == 0 && !strcmp(line, HANDOVER_YES))
		try_become(keeper);
	else
		trial_failed(keeper, si, line);
	return 0;
}

static int on_trial_late(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			 void *userdata)
{
	struct keeper *keeper = userdata;

	keeper->trial_late = true;
	(void)kill(keeper->trial_pid, SIGKILL);
	return 0;
}

static VBLK_NORETURN void run_trial(struct keeper *keeper, const struct handover *record,
				    int record_fd, int out_fd, pid_t keeper_pid)
{
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	char option[64], **argv;
	sigset_t none;

	/* It has all that is ours: it must not outlive us and keep it from an adopter. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != keeper_pid ||
	    setpgid(0, 0) < 0)
		_exit(EXIT_EXEC_FAILED);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(option, sizeof(option), "--" HANDOVER_CHECK_OPTION "=%d", record_fd);
	if (null_fd >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 && dup2(out_fd, STDOUT_FILENO) >= 0 &&
	    dup2(out_fd, STDERR_FILENO) >= 0 && new_argv(keeper, option, &argv) == 0 &&
	    handover_keep_fds(record, true) == 0 && fcntl(record_fd, F_SETFD, 0) == 0)
		(void)execv(keeper->program, argv);
	dprintf(out_fd, "%s\n", strerror(errno));
	_exit(EXIT_EXEC_FAILED);
}

static int watch_trial(struct keeper *keeper)
{
	int r;

	keeper->trial_late = false;
	r = sd_event_add_child(keeper->event, &keeper->trial_source, keeper->trial_pid, WEXITED,
			       on_trial_exit, keeper);
	if (r >= 0)
		r = keeper_arm_timer(keeper, &keeper->upgrade_timer, TRIAL_LIMIT_US, on_trial_late);
	if (r >= 0)
		return 0;
	(void)kill(keeper->trial_pid, SIGKILL);
	(void)waitpid(keeper->trial_pid, NULL, 0);
	return r;
}

static int start_trial(struct keeper *keeper)
{
	_cleanup_close_ int record_fd = -1;
	pid_t keeper_pid = getpid();
	struct handover record;
	int fds[2], r;

	r = fill_record(keeper, &record);
	if (r == 0)
		r = handover_write(&record, &record_fd);
	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	keeper->trial_fd = fds[0];
	keeper->trial_pid = fork();
	if (keeper->trial_pid == 0)
		run_trial(keeper, &record, record_fd, fds[1], keeper_pid);
	/* Both do it: neither knows who comes first. */
	if (keeper->trial_pid > 0)
		(void)setpgid(keeper->trial_pid, 0);
	r = keeper->trial_pid < 0 ? -errno : 0;
	close(fds[1]);
	if (r == 0)
		r = watch_trial(keeper);
	if (r < 0)
		end_trial(keeper);
	return r;
}

/* ---- asked ---- */

static const char *why_not_now(const struct keeper *keeper)
{
	if (keeper->upgrade != UPGRADE_NONE)
		return "it is being upgraded already";
	if (keeper->stop_pending)
		return "the device is being stopped";
	if (keeper->state == KEEPER_STARTING || keeper->state == KEEPER_ATTACHING)
		return "it is being attached; try again";
	if (keeper->state != KEEPER_READY || keeper->helper_pid || keeper->detach_since_ns)
		return "it is being detached";
	if (keeper->resize.pid)
		return "it is being resized; try again";
	/* A child that the next program would not know of. */
	if (keeper->retired_pid)
		return "the process that was replaced last has not ended yet; try again";
	if (keeper->given_up)
		return "its backend hung while it was attached or detached; detach it";
	if (!keeper->program[0])
		return "the path of the running program is not known";
	return NULL;
}

void keeper_on_upgrade_asked(struct keeper *keeper)
{
	const char *why_not = why_not_now(keeper);
	char text[LINK_TEXT_MAX];
	int r;

	if (why_not) {
		struct link_msg msg = { .type = LINK_UPGRADE_FAILED, .error = -EAGAIN };

		snprintf(msg.text, sizeof(msg.text), "%s", why_not);
		keeper_send(keeper, &msg);
		return;
	}
	keeper->upgrade = UPGRADE_TRIAL;
	keeper->upgrade_asked = true;
	keeper->upgrade_since_ns = clock_now_ns();
	keeper_note_oldest(keeper);
	r = start_trial(keeper);
	if (r < 0) {
		snprintf(text, sizeof(text), "cannot ask the new program: %s",
			 r == -EOPNOTSUPP ? "this backend cannot be handed over" : strerror(-r));
		refuse(keeper, r, text);
	}
}
