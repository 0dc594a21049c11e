/* SPDX-License-Identifier: MIT */
/*
 * Rules of the fault backend: what shall go wrong, with which requests.
 *
 *   rules  = item { "," item }
 *   item   = "seed=" N | [ op "=" ] action { filter }
 *   op     = "read" | "write" | "flush" | "discard" | "write-zeroes" | "secure-erase"
 *   action = errno by its name ("eio") | "short" | "hang" [ "=" time ]
 *          | "delay=" time [ "-" time ] | "reorder" [ "=" N ]
 *   filter = "@" offset "+" length | "/" N (every Nth) | "%" P (of hundred) | "#" N (at most)
 *   time   = N ( "us" | "ms" | "s" )
 */
#ifndef VBLK_BDEV_FAULT_H
#define VBLK_BDEV_FAULT_H

#include "bdev_priv.h"

#define FAULT_RULES_MAX	 16u
#define FAULT_WINDOW_MAX 64u

enum fault_kind {
	FAULT_ERROR,
	FAULT_SHORT,
	FAULT_DELAY,
	FAULT_HANG,
	FAULT_REORDER,
};

/**
 * struct fault_rule - one rule
 * @op_mask: 1 << enum bdev_op
 * @error: -errno of FAULT_ERROR
 * @min_ns, @max_ns: of FAULT_DELAY and FAULT_HANG; @max_ns 0: for ever
 * @window: of FAULT_REORDER
 * @offset_bytes, @len_bytes: requests that touch this range; @len_bytes 0: all
 * @nth, @percent, @limit: 0 = not given
 */
struct fault_rule {
	enum fault_kind kind;
	unsigned int op_mask;
	int error;
	uint64_t min_ns, max_ns;
	unsigned int window;
	uint64_t offset_bytes, len_bytes;
	uint64_t nth;
	unsigned int percent;
	uint64_t limit;
};

struct fault_rules {
	unsigned int cnt;
	uint64_t seed;
	struct fault_rule rule[FAULT_RULES_MAX];
};

/*
 * How often a rule has been in question and has struck: in memory that workers share with
 * their successors, so that "at most once" holds over a restart.
 */
struct fault_counters {
	uint64_t matched_cnt[FAULT_RULES_MAX];
	uint64_t struck_cnt[FAULT_RULES_MAX];
};

/**
 * fault_rules_parse() - @text up to @len characters
 * Return: 0; -EINVAL with a sentence in @why that names the rule and what it takes.
 */
int fault_rules_parse(const char *text, size_t len, struct fault_rules *ret_rules,
		      char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/**
 * struct fault_verdict - what happens to one request
 * @error: -errno instead of the backend's answer, 0 = none
 * @is_short: only a part is transferred, then @error
 * @wait_ns: before the backend hears of it
 * @hangs: @wait_ns is that of a hang (0: for ever), which others do not wait for
 * @window: completes out of order, among that many; 0 = at once
 */
struct fault_verdict {
	int error;
	bool is_short;
	bool hangs;
	uint64_t wait_ns;
	unsigned int window;
};

/* xorshift64; @state is never 0 */
static inline uint64_t fault_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/**
 * fault_judge() - ask the rules in their order; the first error or short, the first delay
 * or hang, and the first reorder that applies count
 * @counters: shared by threads and processes
 */
struct fault_verdict fault_judge(const struct fault_rules *rules, struct fault_counters *counters,
				 uint64_t *random, const struct bdev_io *io);

#endif
