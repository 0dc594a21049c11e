/* SPDX-License-Identifier: MIT */
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "bus.h"
#include "keeper_internal.h"
#include "privileges.h"
#include "sandbox.h"
#include "vblk/host/host_process.h"
#include "vblk/util/log.h"
#include "vblk/util/math.h"

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
	if (r >= 0)
		r = keeper->event_fd = sd_event_get_fd(keeper->event);
	return r < 0 ? r : 0;
}

/* After the last privilege is gone, as the kernel asks. */
static int confine(const struct keeper *keeper, bool host_disk)
{
	bool connects = bdev_is_connected(keeper->config->bdev.spec);
	int r;

	if (!keeper->config->seccomp) {
		log_warning(
			"system calls are not restricted (--seccomp=off), which is for debugging only");
		return 0;
	}
	if (!sandbox_is_built())
		return 0;
	/* Filters pile up, and one of the program before refuses the same. */
	r = keeper->upgrades ? 0 : sandbox_enter_keeper();
	if (r >= 0)
		r = sandbox_prepare_worker(host_disk, connects);
	if (r < 0)
		log_errno(r, "cannot restrict system calls (--seccomp=off does without)");
	return r;
}

static void tell_user(const struct keeper *keeper)
{
	if (!keeper->config->user[0] && !keeper->user.uid)
		log_info("there is no system user '" PRIVILEGES_USER_DEFAULT
			 "': the daemon stays root, without its capabilities");
}

static void tell_poll(const struct vblkd_config *config)
{
	if (config->poll_set && config->poll != VDEV_POLL_OFF && !vdev_can_poll())
		log_warning("there is only one CPU to run on: queues sleep as with --poll=off");
}

static int begin(struct keeper *keeper)
{
	bool host_disk = keeper->door->host_disk;
	int r;

	r = privileges_prepare(host_disk);
	if (r >= 0)
		r = privileges_drop_keeper(&keeper->user, host_disk);
	if (r < 0)
		return log_errno(r, "cannot give up privileges");
	tell_user(keeper);
	tell_poll(keeper->config);
	r = confine(keeper, host_disk);
	if (r < 0)
		return r;
	if (host_disk && privileges_lock_memory() < 0)
		log_warning(
			"cannot lock the keeper in memory: no worker can be restarted while memory waits for this disk");
	(void)signal(SIGPIPE, SIG_IGN);
	r = add_sources(keeper);
	if (r >= 0)
		r = keeper_start_watchdog(keeper);
	if (r >= 0)
		r = keeper_watch_news(keeper);
	if (r < 0)
		return log_errno(r, "cannot set up the event loop");
	if (host_disk)
		keeper_watch_swaps(keeper);
	return 0;
}

/* A package manager puts a new file at the path of the one that runs. */
static void find_program(struct keeper *keeper)
{
	ssize_t len = readlink("/proc/self/exe", keeper->program, sizeof(keeper->program) - 1);

	keeper->program[MAX(len, 0)] = '\0';
}

static void init(struct keeper *keeper, const struct vblkd_config *config, char **argv)
{
	*keeper = (struct keeper){
		.config = config,
		.door = config->socket[0] ? &keeper_door_serve : &keeper_door_vduse,
		.argv = argv,
		.dir = { .fd = -1, .lock_fd = -1 },
		.log_level = config->log_level,
		.ctl_fd = -1,
		.listen_fd = -1,
		.bus_fd = -1,
		.umem_fd = -1,
		.serve = { .fd = -1 },
		.fence_fd = -1,
		.direct_fd = -1,
		.link_fd = -1,
		.attach_go_fd = -1,
		.helper_fd = -1,
		.resize = { .fd = -1 },
		.trial_fd = -1,
		.swaps_fd = -1,
		.reserve_fd = -1,
	};
}

/*
 * Who submits goes first. Of a program that does one I/O after the other and a queue thread, both
 * ready on one CPU, the kernel takes the one that had less. Where that is the queue thread it finds
 * nothing to do and goes to sleep, and the next request has to wake it; with a little less weight
 * it finds that request instead. A third of the wake-ups at depth 1 go so, with a program that does
 * little else. On a busy CPU nobody loses: the program needs more of it for a request than we, and
 * with equal weights it was the program that all waited for.
 */
#define SESSION_NICE 1

static void give_way(const struct vblkd_config *config)
{
	/* Its server has the most to do, and waits for us. */
	if (bdev_is_connected(config->bdev.spec))
		return;
	/* A wish. In somebody else's session, a terminal's, it is not ours to say. */
	if (host_session_set_nice("", SESSION_NICE) < 0)
		return;
}

int keeper_run(const struct vblkd_config *config, char **argv)
{
	struct keeper keeper;
	int r;

	init(&keeper, config, argv);
	/* The modes of what we make are those that vblkd(8) tells, whoever starts us. */
	(void)umask(0007);
	privileges_raise_open_files();
	give_way(config);
	keeper.bus_fd = bus_find(config->socket_fd);
	keeper.started_at = time(NULL);
	find_program(&keeper);
	r = keeper.door->setup(&keeper);
	if (r == 0)
		r = begin(&keeper);
	if (r == 0)
		r = keeper_start_worker(&keeper);
	if (r == 0)
		r = sd_event_loop(keeper.event);
	keeper_remove(&keeper);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int keeper_run_handover(int fd, char **argv)
{
	char why[BDEV_WHY_MAX] = "";
	struct handover handover;
	struct keeper keeper;
	int r;

	r = handover_read(fd, &handover, why);
	if (r < 0) {
		log_error("%s", why[0] ? why : strerror(-r));
		return EXIT_FAILURE;
	}
	close(fd);
	/* The record's, as the command line may only name a file. */
	log_set_level(handover.config.log_level);
	log_set_tag(handover.config.name);
	init(&keeper, &handover.config, argv);
	r = keeper_resume(&keeper, &handover);
	if (r == 0)
		r = begin(&keeper);
	if (r == 0)
		r = keeper_watch_worker(&keeper);
	/* The worker serves on without a keeper, and the device waits for another one. */
	if (r < 0)
		return EXIT_FAILURE;
	keeper_retire_worker(&keeper);
	r = sd_event_loop(keeper.event);
	keeper_remove(&keeper);
	handover_fini(&handover);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
