/* SPDX-License-Identifier: MIT */
/* A driver whose device dies at any store: what depends on the kind of ring. */
#ifndef TEST_VIRTQUEUE_CRASH_H
#define TEST_VIRTQUEUE_CRASH_H

#include <check.h>

#include "ring_builder.h"
#include "vblk/mem/memmap.h"
#include "vblk/virtqueue/vq.h"

#define CRASH_RING_MAX	  8u
#define CRASH_REQS	  6u	  /* requests that a driver can have in flight */
#define CRASH_WRITTEN	  0x5a5au /* bytes that every request is said to have written */
#define CRASH_ARENA_IOVA  0x40000u
#define CRASH_ARENA_BYTES 0x10000u

/**
 * struct crash_ring_ops - a driver
 * @create: makes the ring and what requests consist of; sets arena, rec, rec_bytes
 * @reset: the ring is new; with an odd seed the clean record becomes another ring's
 * @make: makes request @req available, not necessarily visible. False: no room
 * @show: then makes it visible
 * @reap: calls crash_done() for every request that was completed
 * @which: the request that was taken; checks its buffers
 * @configure: where the ring is
 * @check_stores: looks at the ring before every store of the device; or NULL
 */
struct crash_ring_ops {
	const char *name;
	void (*create)(void);
	void (*destroy)(void);
	void (*reset)(uint64_t seed);
	bool (*make)(unsigned int req);
	void (*show)(void);
	void (*reap)(void);
	unsigned int (*which)(const struct vq_chain *chain);
	void (*configure)(struct vq_config *cfg);
	void (*check_stores)(void);
};

struct crash_world {
	const struct crash_ring_ops *ops;
	struct ring *arena;
	struct memmap *map;
	void *rec;
	size_t rec_bytes;
	bool pending[CRASH_REQS];
	unsigned int made_cnt, done_cnt;
	uint64_t rng;
};

extern struct crash_world world;
extern const struct crash_ring_ops crash_ring_split, crash_ring_packed;

void crash_done(unsigned int req);

#endif
