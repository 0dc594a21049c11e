/* SPDX-License-Identifier: MIT */
/* Requests are numbered by their heads; descriptors 6 and 7 are second ones of 0 and 1. */
#include "test_virtqueue_crash.h"

#include <stdlib.h>

#define RING_SIZE CRASH_RING_MAX

/* Head 0 and 1: two descriptors; 2 and 3: one; 4 and 5: indirect. */
static void describe_heads(struct ring *r)
{
	uint64_t buf = ring_iova(r, ring_alloc(r, 64, 16));

	for (unsigned int i = 0; i < RING_SIZE; i++)
		ring_desc_set(r, i, .addr = buf, .len = 8, .flags = i < 2 ? VRING_DESC_F_NEXT : 0,
			      .next = (uint16_t)(i + 6));
	for (unsigned int i = 4; i < CRASH_REQS; i++) {
		void *table = ring_alloc(r, 32, 16);

		ring_table_set(table, 0, .addr = buf, .len = 8, .flags = VRING_DESC_F_NEXT,
			       .next = 1);
		ring_table_set(table, 1, .addr = buf, .len = 8, .flags = VRING_DESC_F_WRITE);
		ring_desc_set(r, i, .addr = ring_iova(r, table), .len = 32,
			      .flags = VRING_DESC_F_INDIRECT);
	}
}

static void create(void)
{
	world.arena = ring_new(RING_SIZE, CRASH_ARENA_BYTES, CRASH_ARENA_IOVA);
	world.rec_bytes = vq_inflight_bytes(RING_SIZE);
	world.rec = calloc(1, world.rec_bytes);
	ck_assert_ptr_nonnull(world.rec);
	describe_heads(world.arena);
}

static void destroy(void)
{
	ring_free(world.arena);
}

static void reset(uint64_t seed)
{
	struct vq_inflight *rec = world.rec;

	ring_set_start_idx(world.arena, (uint16_t)(65530 + seed % 8));
	if (!(seed & 1))
		return;
	rec->size = RING_SIZE;
	rec->format = VQ_INFLIGHT_SPLIT;
	rec->used_idx = (uint16_t)(65530 + seed % 8);
	for (unsigned int i = 0; i < RING_SIZE; i++)
		rec->seq[i] = i + 1;
}

static bool make(unsigned int req)
{
	ring_avail_add(world.arena, (uint16_t)req);
	return true;
}

static void show(void)
{
	ring_avail_show(world.arena);
}

static void reap(void)
{
	struct ring *r = world.arena;
	uint16_t now = ring_used_idx(r);

	ck_assert_uint_le((uint16_t)(now - r->used_idx), RING_SIZE);
	for (; r->used_idx != now; r->used_idx++) {
		struct vring_used_elem elem = ring_used_elem(r, r->used_idx);

		/* Both were stored before used->idx, wherever the device died. */
		ck_assert_uint_eq(elem.len, CRASH_WRITTEN);
		crash_done(elem.id);
		r->used->ring[r->used_idx % RING_SIZE].len = 0;
	}
}

static unsigned int which(const struct vq_chain *chain)
{
	return chain->head;
}

static void configure(struct vq_config *cfg)
{
	cfg->size = RING_SIZE;
	cfg->desc = world.arena->desc;
	cfg->avail = world.arena->avail;
	cfg->used = world.arena->used;
}

const struct crash_ring_ops crash_ring_split = {
	.name = "split",
	.create = create,
	.destroy = destroy,
	.reset = reset,
	.make = make,
	.show = show,
	.reap = reap,
	.which = which,
	.configure = configure,
};
