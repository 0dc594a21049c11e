/* SPDX-License-Identifier: MIT */
/* Limits messages that a driver or peer can cause at will. */
#ifndef VBLK_UTIL_RATELIMIT_H
#define VBLK_UTIL_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct ratelimit - at most @burst messages in @interval_ns; one thread
 * @suppressed: how many were not let through; for the caller to tell and set to 0
 */
struct ratelimit {
	uint64_t interval_ns;
	uint32_t burst;
	uint64_t window_start_ns;
	uint32_t window_count;
	uint64_t suppressed;
};

/* @now_ns: CLOCK_MONOTONIC. Returns true when the message may be written. */
bool ratelimit_allows(struct ratelimit *rl, uint64_t now_ns);

#endif
