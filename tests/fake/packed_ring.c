/* SPDX-License-Identifier: MIT */
#include "packed_ring.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS   65536u
#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "packed_ring: %s\n", what);
	abort();
}

struct packed_ring *packed_ring_new(uint16_t size, size_t mem_bytes, uint64_t iova)
{
	struct packed_ring *r = calloc(1, sizeof(*r));

	need(r != NULL, "no memory");
	r->arena = ring_new(1, mem_bytes, iova);
	r->size = size;
	r->desc_cnt = calloc(IDS, sizeof(*r->desc_cnt));
	r->done_cnt = calloc(IDS, sizeof(*r->done_cnt));
	r->done_bytes = calloc(IDS, sizeof(*r->done_bytes));
	r->order = calloc(size, sizeof(*r->order));
	need(r->desc_cnt && r->done_cnt && r->done_bytes && r->order, "no memory");
	/* The parts instead of those of a split ring. */
	r->arena->mem_used_bytes = 0;
	r->desc = ring_alloc(r->arena, sizeof(*r->desc) * size, 4096);
	r->driver = ring_alloc(r->arena, sizeof(*r->driver), 4096);
	r->device = ring_alloc(r->arena, sizeof(*r->device), 4096);
	ring_alloc(r->arena, 0, 4096);
	r->arena->buf_start_bytes = r->arena->mem_used_bytes;
	packed_ring_set_start(r, 0, true);
	return r;
}

void packed_ring_free(struct packed_ring *r)
{
	if (!r)
		return;
	ring_free(r->arena);
	free(r->desc_cnt);
	free(r->done_cnt);
	free(r->done_bytes);
	free(r->order);
	free(r);
}

/* A descriptor before @pos has been used in this lap, one behind it in the last. */
void packed_ring_set_start(struct packed_ring *r, uint16_t off, bool wrap)
{
	memset(r->desc, 0, sizeof(*r->desc) * r->size);
	for (unsigned int i = 0; i < r->size; i++)
		r->desc[i].flags = htole16((i < off) == wrap ? AVAIL | USED : 0);
	memset(r->desc_cnt, 0, IDS * sizeof(*r->desc_cnt));
	memset(r->done_cnt, 0, IDS * sizeof(*r->done_cnt));
	r->avail = (struct packed_pos){ off, wrap };
	r->used = r->avail;
	r->free_cnt = r->size;
	r->order_cnt = 0;
}

struct packed_pos packed_pos_after(const struct packed_ring *r, struct packed_pos pos,
				   unsigned int cnt)
{
	while (cnt--) {
		pos.off++;
		if (pos.off == r->size) {
			pos.off = 0;
			pos.wrap = !pos.wrap;
		}
	}
	return pos;
}

uint16_t packed_pos_word(struct packed_pos pos)
{
	return (uint16_t)(pos.off | (pos.wrap ? 1u << VRING_PACKED_EVENT_F_WRAP_CTR : 0));
}

uint16_t packed_avail_flags(bool wrap)
{
	return wrap ? AVAIL : USED;
}

void packed_desc_write(struct packed_ring *r, unsigned int off, struct vring_packed_desc desc)
{
	struct vring_packed_desc *to = &r->desc[off];

	need(off < r->size, "no such descriptor");
	__atomic_store_n(&to->addr, htole64(desc.addr), __ATOMIC_RELAXED);
	__atomic_store_n(&to->len, htole32(desc.len), __ATOMIC_RELAXED);
	__atomic_store_n(&to->id, htole16(desc.id), __ATOMIC_RELAXED);
	__atomic_store_n(&to->flags, htole16(desc.flags), __ATOMIC_RELEASE);
}

void packed_table_write(void *table, unsigned int i, struct vring_packed_desc desc)
{
	struct vring_packed_desc wire = {
		.addr = htole64(desc.addr),
		.len = htole32(desc.len),
		.id = htole16(desc.id),
		.flags = htole16(desc.flags),
	};

	memcpy((uint8_t *)table + i * sizeof(wire), &wire, sizeof(wire));
}

/* From the last to the first, so that the device sees all or nothing. */
void packed_ring_add_raw(struct packed_ring *r, uint16_t id, const struct packed_buf *bufs,
			 unsigned int cnt)
{
	for (unsigned int i = cnt; i-- > 0;) {
		struct packed_pos pos = packed_pos_after(r, r->avail, i);

		packed_desc_write(r, pos.off,
				  (struct vring_packed_desc){
					  .addr = bufs[i].addr,
					  .len = bufs[i].len,
					  .id = id,
					  .flags = bufs[i].flags | packed_avail_flags(pos.wrap),
				  });
	}
	r->avail = packed_pos_after(r, r->avail, cnt);
}

void packed_ring_add(struct packed_ring *r, uint16_t id, const struct packed_buf *bufs,
		     unsigned int cnt)
{
	struct packed_pos first = r->avail;

	need(cnt && cnt <= r->free_cnt, "no room for the chain");
	need(!r->desc_cnt[id], "the id is in flight");
	r->desc_cnt[id] = (uint16_t)cnt;
	r->done_cnt[id] = 0;
	r->free_cnt -= cnt;
	for (unsigned int i = cnt; i-- > 0;) {
		struct packed_pos pos = packed_pos_after(r, first, i);
		bool is_last = i == cnt - 1;

		packed_desc_write(
			r, pos.off,
			(struct vring_packed_desc){
				.addr = bufs[i].addr,
				.len = bufs[i].len,
				/* Means something in the last one only. */
				.id = is_last ? id : (uint16_t)~id,
				.flags = (uint16_t)(bufs[i].flags | packed_avail_flags(pos.wrap) |
						    (is_last ? 0 : VRING_DESC_F_NEXT)),
			});
	}
	r->avail = packed_pos_after(r, first, cnt);
}

/* The next used descriptor's id, or false: it is not used yet. */
static bool next_used(const struct packed_ring *r, uint16_t *ret_id)
{
	const struct vring_packed_desc *d = &r->desc[r->used.off];
	uint16_t want = r->used.wrap ? AVAIL | USED : 0;
	uint16_t flags = le16toh(__atomic_load_n(&d->flags, __ATOMIC_ACQUIRE));

	if (r->free_cnt == r->size || (flags & (AVAIL | USED)) != want)
		return false;
	*ret_id = le16toh(__atomic_load_n(&d->id, __ATOMIC_RELAXED));
	return true;
}

unsigned int packed_ring_reap(struct packed_ring *r)
{
	uint16_t id;

	for (r->order_cnt = 0; next_used(r, &id); r->order_cnt++) {
		need(r->desc_cnt[id] > 0, "a request was completed that is not in flight");
		r->done_cnt[id]++;
		r->done_bytes[id] =
			le32toh(__atomic_load_n(&r->desc[r->used.off].len, __ATOMIC_RELAXED));
		r->order[r->order_cnt] = id;
		r->used = packed_pos_after(r, r->used, r->desc_cnt[id]);
		r->free_cnt += r->desc_cnt[id];
		r->desc_cnt[id] = 0;
	}
	return r->order_cnt;
}

void packed_driver_event_set(struct packed_ring *r, uint16_t off_wrap, uint16_t flags)
{
	__atomic_store_n(&r->driver->off_wrap, htole16(off_wrap), __ATOMIC_RELAXED);
	__atomic_store_n(&r->driver->flags, htole16(flags), __ATOMIC_RELEASE);
}

bool packed_kick_wanted(const struct packed_ring *r, struct packed_pos old)
{
	/* Both fields at once, as Linux does it. */
	const uint32_t *both = (const uint32_t *)(const void *)r->device;
	uint32_t event = le32toh(__atomic_load_n(both, __ATOMIC_ACQUIRE));
	uint16_t off_wrap = (uint16_t)event;
	uint16_t flags = (uint16_t)(event >> 16);

	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	while (packed_pos_word(old) != packed_pos_word(r->avail)) {
		if (packed_pos_word(old) == off_wrap)
			return true;
		old = packed_pos_after(r, old, 1);
	}
	return false;
}
