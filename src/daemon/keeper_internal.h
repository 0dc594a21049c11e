/* SPDX-License-Identifier: MIT */
/*
 * Shared by keeper.c (state machine), keeper_setup.c (create, take over,
 * remove) and keeper_link.c (worker process and its socket).
 */
#ifndef VBLKD_KEEPER_INTERNAL_H
#define VBLKD_KEEPER_INTERNAL_H

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "attach_helper.h"
#include "config.h"
#include "inflight_file.h"
#include "keeper.h"
#include "link.h"
#include "run_dir.h"
#include "vblk/bdev/bdev.h"
#include "vblk/blk/blk_config.h"

enum keeper_state {
	KEEPER_STARTING,  /* the first worker prepares itself */
	KEEPER_ATTACHING, /* a helper puts the device on the bus */
	KEEPER_READY,
	KEEPER_DETACHING, /* a helper takes it off */
	KEEPER_FINISHING, /* off the bus: the worker ends, then everything is removed */
};

/**
 * struct keeper - one device
 * @predecessor_ended: what it had open may be so for another moment
 * @adopted: the VDUSE device was there: a predecessor died
 * @on_bus: as far as we know; the worker must live while it is set
 * @stop_pending: SIGTERM came; detach as soon as nobody uses the disk
 * @detach_asked: a control client waits for the answer
 * @detach_since_ns: a detach waits for requests to end since then, 0 = none does
 * @detach_oldest: the oldest request of each queue at that time
 * @late: the running helper is over its time, which was reported
 * @busy_since_ns: a new worker waits for a dead one's I/O since then, 0 = none does
 * @worker_failures: workers in a row that died before they served
 */
struct keeper {
	const struct vblkd_config *config;
	struct blk_params blk;
	struct bdev *bdev;
	struct run_dir dir;
	struct inflight_file inflight;
	int ctl_fd;
	int listen_fd;
	uint64_t bounce_bytes;
	bool created;
	bool adopted;
	bool predecessor_ended;

	sd_event *event;
	enum keeper_state state;
	bool on_bus;
	bool stop_pending;
	bool detach_asked;
	bool late;
	bool told_in_use;
	bool detach_force;
	uint32_t detach_timeout_ms;
	uint64_t detach_since_ns;
	uint64_t detach_oldest[VDEV_QUEUES_MAX];
	int exit_code;
	char disk[HOST_NODE_MAX];
	time_t started_at;

	pid_t worker_pid;
	int link_fd;
	unsigned int restarts;
	unsigned int worker_failures;
	uint64_t busy_since_ns;
	bool told_busy;
	sd_event_source *worker_source;
	sd_event_source *link_source;
	sd_event_source *restart_source;

	pid_t helper_pid;
	int helper_fd;
	enum helper_op helper_op;
	sd_event_source *helper_source;
	sd_event_source *helper_deadline;
	sd_event_source *retry_source;
};

/* keeper_setup.c. All log what is wrong and return -errno. */
int keeper_setup(struct keeper *keeper) VBLK_MUST_CHECK;
/* Destroys the device if we made it, and all that belongs to it. */
void keeper_remove(struct keeper *keeper);

/* keeper_link.c */
/* Logs and returns -errno; -EBUSY, unlogged, while I/O of a dead worker has not ended. */
int keeper_start_worker(struct keeper *keeper) VBLK_MUST_CHECK;
void keeper_send(struct keeper *keeper, const struct link_msg *msg);
/* Tells the worker and state.json how things are. */
void keeper_publish_state(struct keeper *keeper);
const char *keeper_state_str(const struct keeper *keeper);

/* keeper.c, called by keeper_link.c */
void keeper_on_serving(struct keeper *keeper);
/* @timeout_ms: when a detach that hangs is reported, 0 = as the options say */
void keeper_on_detach_asked(struct keeper *keeper, bool force, uint32_t timeout_ms);
void keeper_on_worker_exit(struct keeper *keeper, int code, bool killed);

#endif
