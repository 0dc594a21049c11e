/* SPDX-License-Identifier: MIT */
/* A device's statistics as JSON: the reply of GetStats. */
#ifndef VBLKD_STATS_JSON_H
#define VBLKD_STATS_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "vblk/vdev/vdev.h"

/**
 * struct stats_facts - what is known beside the counters
 * @since_ns: CLOCK_MONOTONIC when the counters were 0
 */
struct stats_facts {
	const char *name;
	uint64_t since_ns;
	unsigned int restarts;
};

#define STATS_ALL_QUEUES (-1)

/**
 * stats_json() - fields of Stats, see io.vblkd.Device.varlink
 * @queue_idx: whose latencies are given; STATS_ALL_QUEUES: those of all together
 * Return: owned; NULL when out of memory.
 */
json_t *stats_json(const struct vdev *vdev, const struct stats_facts *facts, int queue_idx);

#endif
