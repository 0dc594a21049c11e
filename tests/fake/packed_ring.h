/* SPDX-License-Identifier: MIT */
/*
 * The driver's side of a packed virtqueue for tests, in the arena of a struct ring
 * (whose own split ring is not used): raw stores into every field, malformed or
 * not. Shares no code with src/virtqueue. Anything a test does wrong aborts.
 *
 *	struct packed_ring *r = packed_ring_new(8, 1 << 20, 0x10000);
 *
 *	packed_ring_add(r, 7, &(struct packed_buf){ .addr = a, .len = 16 }, 1);
 *	... the device works ...
 *	packed_ring_reap(r);
 *	ck_assert_uint_eq(r->done_cnt[7], 1);
 *	packed_ring_free(r);
 */
#ifndef TESTS_FAKE_PACKED_RING_H
#define TESTS_FAKE_PACKED_RING_H

#include "ring_builder.h"

/* A buffer of a request, or an indirect table (VRING_DESC_F_INDIRECT). */
struct packed_buf {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
};

/* A place in the ring. */
struct packed_pos {
	uint16_t off;
	bool wrap;
};

/**
 * struct packed_ring - every field may be read and changed
 * @avail, @used: next descriptor to make available, next used one to look at
 * @free_cnt: descriptors that may be made available
 * @desc_cnt: by buffer id; length of the chain in flight, 0 = none
 * @done_cnt: by buffer id; completions seen since it was last made available
 * @done_bytes: by buffer id; written length of the last one
 * @order: ids as packed_ring_reap() last saw them; @order_cnt of them
 */
struct packed_ring {
	struct ring *arena;
	uint16_t size;
	struct vring_packed_desc *desc;
	struct vring_packed_desc_event *driver;
	struct vring_packed_desc_event *device;
	struct packed_pos avail, used;
	unsigned int free_cnt;
	uint16_t *desc_cnt;
	unsigned int *done_cnt;
	uint32_t *done_bytes;
	uint16_t *order;
	unsigned int order_cnt;
};

/* Arguments as of ring_new(). */
struct packed_ring *packed_ring_new(uint16_t size, size_t mem_bytes, uint64_t iova);
void packed_ring_free(struct packed_ring *r);
/* An empty ring in which both sides are at @off in a lap of @wrap. */
void packed_ring_set_start(struct packed_ring *r, uint16_t off, bool wrap);

struct packed_pos packed_pos_after(const struct packed_ring *r, struct packed_pos pos,
				   unsigned int cnt);
uint16_t packed_pos_word(struct packed_pos pos);
/* Flags that make a descriptor available in a lap of @wrap. */
uint16_t packed_avail_flags(bool wrap);

/* Stores @desc (host byte order) at @off, any values; flags last (release). */
void packed_desc_write(struct packed_ring *r, unsigned int off, struct vring_packed_desc desc);
/* Entry @i of an indirect table in the arena. */
void packed_table_write(void *table, unsigned int i, struct vring_packed_desc desc);
#define packed_table_set(table, i, ...) \
	packed_table_write(table, i, (struct vring_packed_desc){ __VA_ARGS__ })

/* Makes a chain of @cnt descriptors available; the first one's flags come last. */
void packed_ring_add(struct packed_ring *r, uint16_t id, const struct packed_buf *bufs,
		     unsigned int cnt);
/*
 * The same with flags as they are given but for the owner bits, and @id in every
 * descriptor; keeps no books.
 */
void packed_ring_add_raw(struct packed_ring *r, uint16_t id, const struct packed_buf *bufs,
			 unsigned int cnt);

/* Looks at new used descriptors; returns how many. One that is not in flight aborts. */
unsigned int packed_ring_reap(struct packed_ring *r);

/* What the driver says about interrupts. */
void packed_driver_event_set(struct packed_ring *r, uint16_t off_wrap, uint16_t flags);
/* A driver's decision to kick after making available what is between @old and r->avail. */
bool packed_kick_wanted(const struct packed_ring *r, struct packed_pos old);

#endif
