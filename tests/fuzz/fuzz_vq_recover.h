/* SPDX-License-Identifier: MIT */
/*
 * A successor on whatever a predecessor, a driver and a damaged file left: any
 * ring, any record. Either it refuses and has stored nothing, or it takes over
 * a set of requests that fits the ring, and the record says so afterwards: the next
 * successor takes over the same set in the same order.
 *
 * Input: what configure() takes, then operations up to a byte 0xff, then what fill()
 * takes for each of FUZZ_RECOVER_SIZE_MAX entries.
 */
#ifndef FUZZ_VQ_RECOVER_H
#define FUZZ_VQ_RECOVER_H

#include "fuzz.h"

#include <stdbool.h>

#include "vblk/virtqueue/vq.h"

#define FUZZ_RECOVER_SIZE_MAX	 16u
#define FUZZ_RECOVER_ARENA_BYTES 2048u

struct input {
	const uint8_t *data;
	size_t len;
};

struct fuzz_recover_state {
	uint8_t *arena, *arena_before;
	struct vq_inflight *rec, *rec_before;
	struct memmap *map;
	struct vq *vq;
	struct vq_config cfg;
	uint16_t held[FUZZ_RECOVER_SIZE_MAX];
	unsigned int held_cnt;
};

/**
 * struct fuzz_recover_ring - what depends on the kind of ring; each target has one
 * @rec_bytes: of a record for FUZZ_RECOVER_SIZE_MAX
 * @has_chains: the record has chains of its own, and a request in it can be bad
 * @configure: size and places of the ring, heads of ring and record
 * @fill: entry @i of ring and record
 * @seq: number of entry @i in the record
 * @check_started: record, ring and queue agree after a start
 * @drive: a driver's doing meanwhile, @arg any; or NULL
 */
struct fuzz_recover_ring {
	size_t rec_bytes;
	bool has_chains;
	void (*configure)(struct input *in);
	void (*fill)(unsigned int i, struct input *in);
	uint64_t (*seq)(unsigned int i);
	void (*check_started)(void);
	void (*drive)(uint8_t arg);
};

extern struct fuzz_recover_state st;
extern const struct fuzz_recover_ring fuzz_recover_ring;

void must(bool ok, const char *what);
uint8_t take(struct input *in);
uint16_t take16(struct input *in);

#endif
