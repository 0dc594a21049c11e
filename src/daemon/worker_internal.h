/* SPDX-License-Identifier: MIT */
/*
 * Shared by worker.c (the process, its keeper), worker_vduse.c (the kernel's side of a VDUSE
 * device), worker_control.c (control socket) and worker_resize.c (its method Resize).
 */
#ifndef VBLKD_WORKER_INTERNAL_H
#define VBLKD_WORKER_INTERNAL_H

#include <stdbool.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "link.h"
#include "status_json.h"
#include "vblk/control/varlink.h"
#include "vblk/util/ratelimit.h"
#include "worker.h"

#define CONTROL_CLIENTS_MAX 16u
#define WORKER_USERS_MAX    128
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

struct worker;

/**
 * struct worker_door - through what the disk is reached; everything on the control thread
 *
 * @start: makes the device with its threads. Logs. 0 or -errno
 * @watch: what it listens to joins the event loop. 0 or -errno
 * @ready: before the keeper hears that we serve
 * @deadline_ns, @handle_deadline: as vduse_dev_deadline_ns()
 * @set_capacity: as vduse_dev_set_capacity()
 * @find_users: who is in the way of a detach, in words; false: nobody that we know of
 * @give_up: fail all requests; the process ends by _exit() then
 * @detached: the keeper wants no more of us: exit, at once or in order
 * @keeper_gone: it died. Logs
 * @retire, @is_retired: as vduse_dev_retire()
 * @close, @free: as vduse_dev_close(), vduse_dev_free()
 * @add_status: live fields of the status
 * @look_at_rings: params->direct has changed; NULL where there is none
 */
struct worker_door {
	int (*start)(struct worker *worker);
	int (*watch)(struct worker *worker);
	void (*ready)(struct worker *worker);
	const struct vdev *(*vdev)(const struct worker *worker);
	uint64_t (*deadline_ns)(const struct worker *worker);
	void (*handle_deadline)(struct worker *worker);
	int (*set_capacity)(struct worker *worker, uint64_t capacity_bytes, uint32_t number);
	bool (*find_users)(const struct worker *worker, char ret_text[WORKER_USERS_MAX]);
	void (*give_up)(struct worker *worker);
	void (*detached)(struct worker *worker);
	void (*keeper_gone)(struct worker *worker);
	void (*retire)(struct worker *worker);
	bool (*is_retired)(const struct worker *worker);
	void (*close)(struct worker *worker);
	void (*free)(struct worker *worker);
	void (*add_status)(const struct worker *worker, json_t *status);
	void (*look_at_rings)(struct worker *worker);
};

extern const struct worker_door worker_door_vduse;
extern const struct worker_door worker_door_serve;

/**
 * struct worker - the process
 * @vduse, @vhu: of @door, its own affair
 * @state, @disk, @restarts: as the keeper said last, for status displays
 * @lock_source: when to lock the memory of a worker that took over
 * @was_resized: by this process; @wants_size: the client has to be told the size
 * @complaints: about the driver
 * @stats_since_ns: when the counters were 0
 */
struct worker {
	const struct worker_params *params;
	const struct worker_door *door;
	struct vduse_dev *vduse;
	struct vhu_dev *vhu;
	sd_event *event;
	sd_event_source *listen_source;
	sd_event_source *deadline_source;
	sd_event_source *lock_source;
	char state[LINK_TEXT_MAX];
	char disk[HOST_NODE_MAX];
	unsigned int restarts;
	bool given_up;
	bool was_resized;
	bool wants_size;
	uint64_t stats_since_ns;
	struct ratelimit complaints;
	struct control_client clients[CONTROL_CLIENTS_MAX];
};

/* worker.c */
/* For struct vduse_dev_params, with the worker as context. */
int worker_confine(void *ctx);
/* May a message about a driver be logged? */
bool worker_may_complain(struct worker *worker);
void worker_log_stuck(const struct worker *worker, unsigned int queue_idx);
void worker_log_unstuck(unsigned int queue_idx);
/* Deadlines of the device may have changed. */
void worker_rearm_deadline(struct worker *worker);
/* Whatever handled an event: it may have been the last that a retiring worker waits for. */
void worker_exit_if_retired(struct worker *worker);

/* worker_control.c */
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

#endif
