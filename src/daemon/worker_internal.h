/* SPDX-License-Identifier: MIT */
/*
 * Shared by worker.c (kernel, queues, keeper), worker_control.c (control socket) and
 * worker_resize.c (its method Resize).
 */
#ifndef VBLKD_WORKER_INTERNAL_H
#define VBLKD_WORKER_INTERNAL_H

#include <stdbool.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "link.h"
#include "vblk/control/varlink.h"
#include "vblk/util/ratelimit.h"
#include "worker.h"

#define CONTROL_CLIENTS_MAX 16u
#define KEEPER_GONE	    "its keeper process is gone"

/* A connection of the control socket; a free place has @conn NULL. */
struct control_client {
	struct worker *worker;
	struct varlink_conn *conn;
	sd_event_source *source;
	bool waits_for_detach;
	bool waits_for_resize;
	bool waits_for_upgrade;
};

/**
 * struct worker - the process
 * @state, @disk, @restarts: as the keeper said last, for status displays
 * @lock_source: when to lock the memory of a worker that took over
 * @complaints: about the driver
 * @stats_since_ns: when the counters were 0
 */
struct worker {
	const struct worker_params *params;
	struct vduse_dev *dev;
	sd_event *event;
	sd_event_source *dev_source;
	sd_event_source *listen_source;
	sd_event_source *deadline_source;
	sd_event_source *lock_source;
	char state[LINK_TEXT_MAX];
	char disk[HOST_NODE_MAX];
	unsigned int restarts;
	bool given_up;
	uint64_t stats_since_ns;
	struct ratelimit complaints;
	struct control_client clients[CONTROL_CLIENTS_MAX];
};

/* Accept clients from now on. Return: 0 or -errno. */
int worker_control_start(struct worker *worker);
void worker_control_stop(struct worker *worker);
/* Tells all who asked for a detach what came of it; @error 0 = done. */
void worker_control_detach_done(struct worker *worker, int error, const char *text);
/* The same for an upgrade. */
void worker_control_upgrade_done(struct worker *worker, int error, const char *text);
/* The client of @conn; with NULL a free place. NULL: none. */
struct control_client *worker_client_of(struct worker *worker, const struct varlink_conn *conn);
/* A call that waited was answered: send it, and let go of a client that has ended. */
void worker_client_answered(struct control_client *client);

/* worker_resize.c */
void worker_call_resize(struct varlink_conn *conn, json_t *parameters, void *ctx);
/* What the keeper said; @msg of type LINK_RESIZED. */
void worker_resized(struct worker *worker, const struct link_msg *msg);
/* Deadlines of the device may have changed. */
void worker_rearm_deadline(struct worker *worker);

#endif
