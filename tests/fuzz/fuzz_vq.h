/* SPDX-License-Identifier: MIT */
/*
 * A virtqueue over memory made of the input. Input: a byte of setup, the number of
 * bytes with operations, these, then the arena's content (rings, tables, buffers).
 * Whatever is in there, buffers lie in the arena with the right permission, counts
 * agree, stores go where the device may store, and nothing else is touched (ASan:
 * the arena is a heap block of its own).
 */
#ifndef FUZZ_VQ_H
#define FUZZ_VQ_H

#include "fuzz.h"

#include <stdbool.h>

#include "vblk/virtqueue/vq.h"

#define FUZZ_VQ_ARENA_BYTES 8192u
#define FUZZ_VQ_SIZE_MAX    64u

/**
 * struct fuzz_vq_ring - what depends on the kind of ring; each target has one
 * @rec_bytes: of a record for FUZZ_VQ_SIZE_MAX
 * @configure: size and places, from the lower 3 and upper 2 bits of @flags
 * @check: after each operation; @is_empty: everything was returned and published
 * @may_store: bytes of the arena in which the device stores: from, to (not included)
 */
struct fuzz_vq_ring {
	size_t rec_bytes;
	void (*configure)(struct vq_config *cfg, uint8_t flags, uint8_t *arena);
	void (*check)(const struct vq *vq, bool is_empty);
	struct {
		size_t from, to;
	} may_store[2];
};

void must(bool ok, const char *what);

extern const struct fuzz_vq_ring fuzz_vq_ring;

#endif
