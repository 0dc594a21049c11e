/* SPDX-License-Identifier: MIT */
/* Requests that the backend does not end: found, and put into words. */
#ifndef VBLKD_STUCK_H
#define VBLKD_STUCK_H

#include <stdint.h>

#include "vblk/bdev/bdev.h"
#include "vblk/vdev/vdev.h"

/* A request this old is shown by GetStatus; the log tells of older ones only. */
#define STUCK_SHOW_MS 5000u
#define STUCK_LOG_MS  10000u
#define STUCK_MAX     8u

struct stuck_request {
	unsigned int queue_idx;
	struct blk_held held;
};

/**
 * struct stuck_list - the oldest requests of a device
 * @total_cnt: how many there are, also beyond @cnt
 * @now_ns: CLOCK_MONOTONIC of the look
 * @req: oldest first
 */
struct stuck_list {
	unsigned int cnt;
	unsigned int total_cnt;
	uint64_t now_ns;
	struct stuck_request req[STUCK_MAX];
};

/* Those of all queues that are at least @age_ms old. */
void stuck_find(const struct vdev *vdev, unsigned int age_ms, struct stuck_list *ret_list);

static inline uint64_t stuck_age_ms(const struct stuck_list *list, unsigned int idx)
{
	return (list->now_ns - list->req[idx].held.taken_ns) / 1000000u;
}

#define STUCK_TEXT_MAX (160 + BDEV_WHY_MAX)
/*
 * "write of 64K at 8M on queue 0 for 12 s, and 3 more", with the reason behind a colon where the
 * server of @bdev is gone; "" for an empty list. Returns @buf.
 */
const char *stuck_text(const struct stuck_list *list, const struct bdev *bdev,
		       char buf[STUCK_TEXT_MAX]);

#endif
