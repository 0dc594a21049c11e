/* SPDX-License-Identifier: MIT */
/* A device's status as JSON: state.json and the reply of GetStatus. */
#ifndef VBLKD_STATUS_JSON_H
#define VBLKD_STATUS_JSON_H

#include <jansson.h>
#include <sys/types.h>

#include "config.h"
#include "vblk/bdev/bdev.h"
#include "vblk/blk/blk_config.h"
#include "vblk/vdev/vdev.h"

/**
 * struct status_facts - what changes over a device's life
 * @bdev: the open backend
 * @disk: "vda" or ""
 * @started_at: seconds since the epoch
 */
struct status_facts {
	const struct bdev *bdev;
	const char *state;
	const char *disk;
	pid_t keeper_pid;
	pid_t worker_pid;
	unsigned int restarts;
	unsigned int upgrades;
	time_t started_at;
};

/* RFC 3339, UTC; owned. */
json_t *status_timestamp(time_t when);

/* Owned; NULL when out of memory. @vdev: adds live figures, may be NULL. */
json_t *status_json(const struct vblkd_config *config, const struct blk_params *blk,
		    const struct status_facts *facts, const struct vdev *vdev);

/* "0x...", owned. */
json_t *status_hex(uint64_t value);

#endif
