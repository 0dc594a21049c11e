/* SPDX-License-Identifier: MIT */
/*
 * Shared by the keeper's files: keeper.c (the process), keeper_setup.c (run directory,
 * backend), keeper_resize.c, keeper_news.c (what the backend tells by itself), keeper_worker.c
 * (when one is started), keeper_link.c (the worker process and its socket), keeper_watchdog.c,
 * keeper_upgrade.c and keeper_resume.c (both sides of an exec). What is done with a VDUSE device
 * alone: keeper_vduse.c (create, take over, remove), keeper_attach.c, keeper_detach.c,
 * keeper_helper.c (the process that does these); with a socket: keeper_serve.c. Each has its part
 * of the state machine; a function that logs says so.
 */
#ifndef VBLKD_KEEPER_INTERNAL_H
#define VBLKD_KEEPER_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "attach_helper.h"
#include "ballast.h"
#include "config.h"
#include "handover.h"
#include "inflight_file.h"
#include "keeper.h"
#include "link.h"
#include "privileges.h"
#include "resize.h"
#include "run_dir.h"
#include "serve_socket.h"
#include "stats_file.h"
#include "vblk/bdev/bdev.h"
#include "vblk/blk/blk_config.h"
#include "vblk/util/ratelimit.h"

#define USEC_PER_SEC  1000000ull
#define USEC_PER_MSEC 1000ull

enum keeper_state {
	KEEPER_STARTING,  /* the first worker prepares itself */
	KEEPER_ATTACHING, /* a helper puts the device on the bus */
	KEEPER_READY,
	KEEPER_DETACHING, /* a helper takes it off */
	KEEPER_FINISHING, /* off the bus: the worker ends, then everything is removed */
};

enum keeper_upgrade {
	UPGRADE_NONE,
	UPGRADE_TRIAL,	/* the new program is asked whether it can take over */
	UPGRADE_WAIT,	/* it can; a request looks stuck */
	UPGRADE_RETIRE, /* we are the new program; the old worker ends */
	UPGRADE_START,	/* its successor starts */
};

/**
 * struct keeper_resize - a resize under way
 * @asked: a control client waits for the answer
 * @pid: the process that asks the backend, 0 = none runs; @req: what for
 * @late: it is over its time, which was answered; its result no longer counts
 */
struct keeper_resize {
	bool asked;
	bool late;
	struct resize_request req;
	pid_t pid;
	int fd;
	sd_event_source *source;
	sd_event_source *deadline;
};

/**
 * struct keeper_news - of a backend that tells something by itself
 * @timer: while it is not heard
 * @server_is_gone: as was logged, which has a limit
 */
struct keeper_news {
	sd_event_source *source;
	sd_event_source *timer;
	struct ratelimit limit;
	bool server_is_gone;
};

struct keeper;

/**
 * struct keeper_door - through what the disk is reached
 * @host_disk: it is a disk of this host, for whose memory others may wait
 * @setup: all that workers need, before privileges go. Logs. 0 or -errno
 * @remove: what @setup made, also half of it. False: a successor needs the run directory
 * @open_for_worker: a file that the next worker has alone, owned by the caller. Logs and
 *             returns -errno; -EBUSY, unlogged, while I/O of a dead worker has not ended
 * @first_served: the first worker serves: what follows until KEEPER_READY
 * @begin_detach: as keeper_begin_detach()
 * @look_for_disk: brings keeper->disk up to date
 */
struct keeper_door {
	bool host_disk;
	int (*setup)(struct keeper *keeper);
	bool (*remove)(struct keeper *keeper);
	int (*open_for_worker)(struct keeper *keeper, int *ret_fd);
	void (*first_served)(struct keeper *keeper);
	void (*begin_detach)(struct keeper *keeper, bool force, uint32_t timeout_ms);
	void (*look_for_disk)(struct keeper *keeper);
};

extern const struct keeper_door keeper_door_vduse;
extern const struct keeper_door keeper_door_serve;

/**
 * struct keeper - one device
 * @user: as which the keeper and its workers run
 * @attach_pid, @attach_go_fd: the helper that attaches, while it waits for its word; 0, -1
 * @predecessor_ended: what it had open may be so for another moment
 * @bus_fd: socket to the vdpa bus that systemd gave us, -1 = helpers make their own
 * @serve: the socket that the disk is served on; closed: none
 * @fence_fd: readable when no I/O of the worker that was started last runs any more; -1: none was
 * @umem_fd: memory of the device, which a new worker finds allocated; -1 = none
 * @direct_fd: with --direct-rings what the server has in flight, else -1
 * @adopted: the VDUSE device was there: a predecessor died
 * @event_fd: of @event, which does not tell a child
 * @on_bus: as far as we know; the worker must live while it is set
 * @swaps_fd: /proc/swaps, -1 = none; @is_swap: the host swaps to the disk
 * @reserve_fd: what the kernel keeps back, -1 = not known; @ballast: what we do
 * @stop_pending: SIGTERM came; detach as soon as nobody uses the disk
 * @told_refused: why it could not be stopped, as it was logged last
 * @detach_asked: a control client waits for the answer
 * @detach_since_ns: a detach waits for requests to end since then, 0 = none does
 * @oldest_before: the oldest request of each queue when a detach or an upgrade was asked for
 * @late: the running helper is over its time, which was reported
 * @given_up: an attach or detach hung on the backend: each worker is told to fail all requests
 * @log_level: the configuration's, or what somebody asked for later
 * @argv: as the process was started, without what an upgrade adds
 * @program: path of our program at the start; an upgrade runs what is there then
 * @upgrade_asked: a control client waits for the answer
 * @trial_fd: what the program on trial writes
 * @retired_pid: worker of the replaced program that has let go of the device and ends, 0 = none
 * @busy_since_ns: a new worker waits for a dead one's I/O since then, 0 = none does
 * @serving: the worker has said so, and was not told to end
 * @watchdog_us: how often we are looked at, 0 = not; @watchdog_pinged: the worker owes an
 *         answer, @watchdog_told: as was logged
 * @worker_failures: workers in a row that died before they served, SIGKILL aside
 */
struct keeper {
	const struct vblkd_config *config;
	const struct keeper_door *door;
	struct blk_params blk;
	struct bdev *bdev;
	struct privileges_user user;
	struct run_dir dir;
	struct inflight_file inflight;
	struct stats_file stats;
	int ctl_fd;
	int listen_fd;
	uint64_t bounce_bytes;
	int bus_fd;
	int umem_fd;
	struct serve_socket serve;
	int fence_fd;
	int direct_fd;
	bool created;
	bool adopted;
	bool predecessor_ended;

	sd_event *event;
	int event_fd;
	enum keeper_state state;
	bool on_bus;
	int swaps_fd;
	bool is_swap;
	int reserve_fd;
	struct ballast ballast;
	sd_event_source *ballast_source;
	bool stop_pending;
	bool detach_asked;
	bool late;
	bool given_up;
	bool detach_force;
	uint32_t detach_timeout_ms;
	uint64_t detach_since_ns;
	uint64_t oldest_before[VDEV_QUEUES_MAX];
	char told_refused[LINK_TEXT_MAX];
	int exit_code;
	char disk[HOST_NODE_MAX];
	time_t started_at;
	enum log_level log_level;

	pid_t worker_pid;
	int link_fd;
	unsigned int restarts;
	unsigned int worker_failures;
	uint64_t busy_since_ns;
	bool told_busy;
	sd_event_source *worker_source;
	pid_t retired_pid;
	sd_event_source *retired_source;
	sd_event_source *link_source;
	sd_event_source *restart_source;
	bool serving;
	bool watchdog_pinged;
	bool watchdog_told;
	uint64_t watchdog_us;
	sd_event_source *watchdog_source;

	pid_t attach_pid;
	int attach_go_fd;
	pid_t helper_pid;
	int helper_fd;
	enum helper_op helper_op;
	sd_event_source *helper_source;
	sd_event_source *helper_deadline;
	sd_event_source *retry_source;

	struct keeper_resize resize;
	struct keeper_news news;
	char **argv;
	char program[PATH_MAX];
	unsigned int upgrades;
	enum keeper_upgrade upgrade;
	bool upgrade_asked;
	uint64_t upgrade_since_ns;
	pid_t trial_pid;
	int trial_fd;
	bool trial_late;
	sd_event_source *trial_source;
	sd_event_source *upgrade_timer;
};

/* How long I/O of a killed predecessor may keep the device or the backend to itself. */
#define KEEPER_OLD_IO_MS 30000u

/* keeper_setup.c: steps of a door's setup. They log what is wrong and return -errno. */
int keeper_find_user(struct keeper *keeper) VBLK_MUST_CHECK;
int keeper_take_run_dir(struct keeper *keeper) VBLK_MUST_CHECK;
int keeper_open_backend(struct keeper *keeper) VBLK_MUST_CHECK;
/* Those of an orphan go on. Without a file each worker counts for itself, from zero. */
void keeper_open_stats(struct keeper *keeper);
void keeper_short_pause(void);
/* Destroys the device if we made it, and all that belongs to it. */
void keeper_remove(struct keeper *keeper);

/* keeper.c */
/* One shot, replaces what @source was. Return: 0 or -errno. */
int keeper_arm_timer(struct keeper *keeper, sd_event_source **source, uint64_t delay_us,
		     sd_event_time_handler_t handler);
void keeper_disarm_timer(sd_event_source **source);

/* keeper_attach.c */
/* The start failed for good: whoever waits for READY=1 need not wait longer. */
void keeper_report_failure(struct keeper *keeper);
void keeper_attach_done(struct keeper *keeper, const struct helper_result *res);

/* keeper_detach.c */
void keeper_note_oldest(struct keeper *keeper);
/*
 * True while a request of keeper_note_oldest() is still the oldest of its queue. What is in flight
 * over a socket the worker alone knows.
 */
bool keeper_has_stuck_request(const struct keeper *keeper);
bool keeper_can_detach(const struct keeper *keeper);
/* Only when it can. @timeout_ms: when a detach that hangs is reported, 0 = as the options say */
void keeper_begin_detach(struct keeper *keeper, bool force, uint32_t timeout_ms);
/* The same of a VDUSE device. */
void keeper_begin_bus_detach(struct keeper *keeper, bool force, uint32_t timeout_ms);
/* In a while, if it still can then. */
void keeper_retry_detach(struct keeper *keeper);
void keeper_flush_done(struct keeper *keeper, const struct helper_result *res);
void keeper_detach_done(struct keeper *keeper, const struct helper_result *res);
/* It goes on as before; tried again when the keeper wants to end. Logs then. */
void keeper_detach_refused(struct keeper *keeper, int error, const char *why);
/* Tells the client that asked, if one did, that nothing came of it. */
void keeper_answer_detach(struct keeper *keeper, int error, const char *text);
void keeper_on_detach_asked(struct keeper *keeper, bool force, uint32_t timeout_ms);
/* Off the bus: end the worker, then the loop. */
void keeper_finish(struct keeper *keeper, int exit_code);

/* keeper_direct.c: --direct-rings; without it they do nothing */
/* As the user, when the run directory is there. Logs. Return: 0 or -errno. */
int keeper_direct_open(struct keeper *keeper) VBLK_MUST_CHECK;
/* The server may work on the driver's rings, or shall no more. */
void keeper_direct_want(struct keeper *keeper, bool wanted);
/* It does, or may know of requests that nobody else does. */
bool keeper_direct_is_servers(const struct keeper *keeper);
/* It has not given them back for @waited_s: no detach. */
void keeper_direct_refused(struct keeper *keeper, unsigned int waited_s);

/* keeper_resize.c */
void keeper_on_resize_asked(struct keeper *keeper, const struct resize_request *req);
/* What the backend has told by itself. Return: false: it cannot be settled now, ask again. */
bool keeper_take_told_size(struct keeper *keeper);
/* What is served from now on, by workers to come. */
void keeper_use_capacity(struct keeper *keeper, uint64_t capacity_bytes);

/* keeper_news.c */
/* A backend that tells something by itself is heard. Return: 0 or -errno */
int keeper_watch_news(struct keeper *keeper) VBLK_MUST_CHECK;

/* keeper_helper.c */
/* As root, for keeper_start_helper(HELPER_ATTACH) later. Logs. Return: 0 or -errno. */
int keeper_prepare_attach(struct keeper *keeper) VBLK_MUST_CHECK;
/* What comes of it goes to keeper_attach_done(), _flush_done() or _detach_done(). Logs. */
void keeper_start_helper(struct keeper *keeper, enum helper_op op, bool force);

/* keeper_worker.c */
/* Logs. Return: 0, also when it has to wait for I/O of a dead worker first; -errno. */
int keeper_start_worker(struct keeper *keeper) VBLK_MUST_CHECK;
void keeper_on_serving(struct keeper *keeper);
void keeper_on_worker_exit(struct keeper *keeper, int code, bool killed);

/* keeper_swap.c */
/* Looks now and whenever the host's swaps change; logs what is news. */
void keeper_watch_swaps(struct keeper *keeper);
/* A worker serves now, or has ended: before its successor is started. */
void keeper_swap_follow(struct keeper *keeper);

/* keeper_watchdog.c */
/* Where systemd asks for signs of life. Return: 0 or -errno. */
int keeper_start_watchdog(struct keeper *keeper) VBLK_MUST_CHECK;
void keeper_on_pong(struct keeper *keeper);

/* keeper_upgrade.c: in the program that is replaced */
void keeper_on_upgrade_asked(struct keeper *keeper);

/* keeper_resume.c: in the program that replaces it */
/* Logs and returns -errno; what the device needs is then left as it is. */
int keeper_resume(struct keeper *keeper, const struct handover *handover) VBLK_MUST_CHECK;
/* Tells the worker of the replaced program to end. */
void keeper_retire_worker(struct keeper *keeper);
/* It has let go of the device, and ends. */
void keeper_on_released(struct keeper *keeper);
/* True: it has ended as it should, and its successor is started. */
bool keeper_retired(struct keeper *keeper);
/* The successor serves, or died before. */
void keeper_upgrade_done(struct keeper *keeper, bool serving);

/* keeper_link.c */
int keeper_watch_worker(struct keeper *keeper) VBLK_MUST_CHECK;
void keeper_drop_link(struct keeper *keeper);
/* Logs and returns -errno; -EBUSY, unlogged, while I/O of a dead worker has not ended. */
int keeper_fork_worker(struct keeper *keeper) VBLK_MUST_CHECK;
void keeper_send(struct keeper *keeper, const struct link_msg *msg);
void keeper_send_give_up(struct keeper *keeper);
/* Tells the worker and state.json how things are. */
void keeper_publish_state(struct keeper *keeper);
const char *keeper_state_str(const struct keeper *keeper);

#endif
