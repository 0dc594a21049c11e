/* SPDX-License-Identifier: MIT */
/* Shared by worker.c (kernel, queues, keeper) and worker_control.c (control socket). */
#ifndef VBLKD_WORKER_INTERNAL_H
#define VBLKD_WORKER_INTERNAL_H

#include <stdbool.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

#include "link.h"
#include "vblk/control/varlink.h"
#include "worker.h"

#define CONTROL_CLIENTS_MAX 16u

/* A connection of the control socket; a free place has @conn NULL. */
struct control_client {
	struct worker *worker;
	struct varlink_conn *conn;
	sd_event_source *source;
	bool waits_for_detach;
};

/**
 * struct worker - the process
 * @state, @disk, @restarts: as the keeper said last, for status displays
 */
struct worker {
	const struct worker_params *params;
	struct vduse_dev *dev;
	sd_event *event;
	sd_event_source *dev_source;
	sd_event_source *listen_source;
	sd_event_source *deadline_source;
	char state[LINK_TEXT_MAX];
	char disk[HOST_NODE_MAX];
	unsigned int restarts;
	struct control_client clients[CONTROL_CLIENTS_MAX];
};

/* Accept clients from now on. Return: 0 or -errno. */
int worker_control_start(struct worker *worker);
void worker_control_stop(struct worker *worker);
/* Tells all who asked for a detach what came of it; @error 0 = done. */
void worker_control_detach_done(struct worker *worker, int error, const char *text);

#endif
