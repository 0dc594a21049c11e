/* SPDX-License-Identifier: MIT */
/*
 * Six requests of nine descriptors, more than the ring has, so that it fills and
 * used descriptors overwrite those of requests in flight. A request is known again
 * by its buffers, which only the record still has then.
 */
#include "test_virtqueue_crash.h"

#include <stdlib.h>
#include <string.h>

#include "packed_ring.h"
#include "vblk/util/compiler.h"

#define SLICE_BYTES 64u
#define PARTS_MAX   3u

/**
 * struct req - a request
 * @id: the driver's buffer id
 * @part_cnt: its buffers
 * @indirect: they are in a table
 */
static const struct req {
	uint16_t id;
	unsigned int part_cnt;
	bool indirect;
} reqs[CRASH_REQS] = { { 0, 3, false },	  { 65535, 2, false }, { 7, 1, false },
		       { 300, 1, false }, { 40000, 2, true },  { 12, 3, true } };

static const uint16_t sizes[] = { 7, 8, 5, 4 };

static struct {
	struct packed_ring *ring;
	uint8_t *bufs;
	void *tables[CRASH_REQS];
	uint16_t start;
	struct vring_packed_desc seen[CRASH_RING_MAX];
} p;

/* An address and a length of its own; the first is readable, the others writable. */
static struct packed_buf part_of(unsigned int req, unsigned int part)
{
	return (struct packed_buf){
		.addr = ring_iova(world.arena, p.bufs + req * SLICE_BYTES + part * 16),
		.len = 1 + req + part,
		.flags = part ? VRING_DESC_F_WRITE : 0,
	};
}

static void create(void)
{
	p.ring = packed_ring_new(CRASH_RING_MAX, CRASH_ARENA_BYTES, CRASH_ARENA_IOVA);
	world.arena = p.ring->arena;
	p.bufs = ring_alloc(world.arena, SLICE_BYTES * CRASH_REQS, 16);
	for (unsigned int i = 0; i < CRASH_REQS; i++) {
		p.tables[i] = ring_alloc(world.arena, sizeof(*p.ring->desc) * PARTS_MAX, 16);
		for (unsigned int j = 0; j < reqs[i].part_cnt; j++) {
			struct packed_buf b = part_of(i, j);

			packed_table_set(p.tables[i], j, .addr = b.addr, .len = b.len,
					 .flags = b.flags);
		}
	}
	world.rec_bytes = vq_inflight_packed_bytes(CRASH_RING_MAX);
	world.rec = calloc(1, world.rec_bytes);
	ck_assert_ptr_nonnull(world.rec);
}

static void destroy(void)
{
	packed_ring_free(p.ring);
}

static void reset(uint64_t seed)
{
	struct vq_inflight_packed *rec = world.rec;

	p.ring->size = sizes[seed / 2 % ARRAY_SIZE(sizes)];
	packed_ring_set_start(p.ring, (uint16_t)(seed % p.ring->size), seed % 3);
	p.start = packed_pos_word(p.ring->avail);
	memcpy(p.seen, p.ring->desc, sizeof(p.seen));
	if (!(seed & 1))
		return;
	rec->size = p.ring->size;
	rec->format = VQ_INFLIGHT_PACKED;
	rec->used = 1;
	rec->next_used = 3;
	for (unsigned int i = 0; i < CRASH_RING_MAX; i++)
		rec->desc[i] = (struct vq_inflight_desc){ .seq = i + 1 };
}

static bool make(unsigned int req)
{
	struct packed_buf bufs[PARTS_MAX];

	if (reqs[req].indirect) {
		bufs[0] = (struct packed_buf){
			.addr = ring_iova(world.arena, p.tables[req]),
			.len = (uint32_t)sizeof(*p.ring->desc) * reqs[req].part_cnt,
			.flags = VRING_DESC_F_INDIRECT,
		};
		if (!p.ring->free_cnt)
			return false;
		packed_ring_add(p.ring, reqs[req].id, bufs, 1);
		return true;
	}
	if (p.ring->free_cnt < reqs[req].part_cnt)
		return false;
	for (unsigned int i = 0; i < reqs[req].part_cnt; i++)
		bufs[i] = part_of(req, i);
	packed_ring_add(p.ring, reqs[req].id, bufs, reqs[req].part_cnt);
	return true;
}

/* Each was visible at once. */
static void show(void)
{
}

static void reap(void)
{
	unsigned int cnt = packed_ring_reap(p.ring);

	for (unsigned int i = 0; i < cnt; i++) {
		unsigned int req = 0;

		while (req < CRASH_REQS && reqs[req].id != p.ring->order[i])
			req++;
		ck_assert_uint_eq(p.ring->done_bytes[p.ring->order[i]], CRASH_WRITTEN);
		crash_done(req);
	}
}

static unsigned int which(const struct vq_chain *chain)
{
	const uint8_t *first = chain->iov[0].iov_base;
	unsigned int req = (unsigned int)((size_t)(first - p.bufs) / SLICE_BYTES);

	ck_assert_uint_lt(req, CRASH_REQS);
	ck_assert_uint_eq(chain->readable_cnt, 1);
	ck_assert_uint_eq(chain->writable_cnt, reqs[req].part_cnt - 1);
	for (unsigned int i = 0; i < reqs[req].part_cnt; i++) {
		struct packed_buf b = part_of(req, i);

		ck_assert_ptr_eq(chain->iov[i].iov_base, ring_ptr(world.arena, b.addr));
		ck_assert_uint_eq(chain->iov[i].iov_len, b.len);
	}
	return req;
}

static void configure(struct vq_config *cfg)
{
	const struct vq_inflight_packed *rec = world.rec;
	bool use_base = !cfg->recover || rec->size == VQ_INFLIGHT_CLEAN;

	cfg->packed = true;
	cfg->size = p.ring->size;
	cfg->packed_desc = p.ring->desc;
	cfg->driver_event = p.ring->driver;
	cfg->device_event = p.ring->device;
	/* The record knows better than a driver that was told nothing meanwhile. */
	cfg->base = use_base ? p.start * 0x10001u : 0x12345678;
}

static bool is_used(const struct vring_packed_desc *d)
{
	return !(d->flags >> VRING_PACKED_DESC_F_AVAIL & 1) ==
	       !(d->flags >> VRING_PACKED_DESC_F_USED & 1);
}

/* Once a descriptor is marked used, only the driver changes it (s2.8.15). */
static void check_stores(void)
{
	for (unsigned int i = 0; i < p.ring->size; i++) {
		if (!memcmp(&p.seen[i], &p.ring->desc[i], sizeof(p.seen[i])))
			continue;
		if (is_used(&p.seen[i]) && is_used(&p.ring->desc[i]))
			ck_abort_msg("used descriptor %u was changed", i);
		p.seen[i] = p.ring->desc[i];
	}
}

const struct crash_ring_ops crash_ring_packed = {
	.name = "packed",
	.create = create,
	.destroy = destroy,
	.reset = reset,
	.make = make,
	.show = show,
	.reap = reap,
	.which = which,
	.configure = configure,
	.check_stores = check_stores,
};
