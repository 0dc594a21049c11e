/* SPDX-License-Identifier: MIT */
#include "ring_builder.h"

#include <endian.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "ring_builder: %s\n", what);
	abort();
}

struct ring *ring_new(uint16_t size, size_t mem_bytes, uint64_t iova)
{
	struct ring *r = calloc(1, sizeof(*r));

	need(r != NULL, "no memory");
	r->fd = memfd_create("ring", MFD_CLOEXEC);
	need(r->fd >= 0 && !ftruncate(r->fd, (off_t)mem_bytes), "no shared memory");
	r->mem = mmap(NULL, mem_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	need(r->mem != MAP_FAILED, "cannot map the memory");
	r->mem_bytes = mem_bytes;
	r->iova = iova;
	r->size = size;
	r->desc_busy = calloc(size, sizeof(*r->desc_busy));
	r->done_cnt = calloc(size, sizeof(*r->done_cnt));
	r->done_bytes = calloc(size, sizeof(*r->done_bytes));
	need(r->desc_busy && r->done_cnt && r->done_bytes, "no memory");
	/* Page-aligned parts: each can be handed out as a mapping of its own. */
	r->desc = ring_alloc(r, sizeof(struct vring_desc) * size, 4096);
	r->avail = ring_alloc(r, 6 + 2 * (size_t)size, 4096);
	r->used = ring_alloc(r, 6 + sizeof(struct vring_used_elem) * size, 4096);
	ring_alloc(r, 0, 4096);
	r->buf_start_bytes = r->mem_used_bytes;
	return r;
}

void ring_free(struct ring *r)
{
	if (!r)
		return;
	munmap(r->mem, r->mem_bytes);
	close(r->fd);
	free(r->desc_busy);
	free(r->done_cnt);
	free(r->done_bytes);
	free(r);
}

void *ring_alloc(struct ring *r, size_t bytes, size_t align_bytes)
{
	size_t at = (r->mem_used_bytes + align_bytes - 1) & ~(align_bytes - 1);

	need(at <= r->mem_bytes && bytes <= r->mem_bytes - at, "arena is full");
	r->mem_used_bytes = at + bytes;
	memset(r->mem + at, 0, bytes);
	return r->mem + at;
}

void ring_alloc_reset(struct ring *r)
{
	r->mem_used_bytes = r->buf_start_bytes;
}

uint64_t ring_iova(const struct ring *r, const void *p)
{
	return r->iova + (uint64_t)((const uint8_t *)p - r->mem);
}

void *ring_ptr(const struct ring *r, uint64_t iova)
{
	if (iova - r->iova >= r->mem_bytes)
		return NULL;
	return r->mem + (iova - r->iova);
}

uint64_t ring_desc_iova(const struct ring *r)
{
	return ring_iova(r, r->desc);
}

uint64_t ring_avail_iova(const struct ring *r)
{
	return ring_iova(r, r->avail);
}

uint64_t ring_used_iova(const struct ring *r)
{
	return ring_iova(r, r->used);
}

void ring_set_start_idx(struct ring *r, uint16_t idx)
{
	r->avail_idx = idx;
	r->used_idx = idx;
	__atomic_store_n(&r->avail->idx, htole16(idx), __ATOMIC_RELEASE);
	__atomic_store_n(&r->used->idx, htole16(idx), __ATOMIC_RELEASE);
}

void ring_table_write(void *table, unsigned int i, struct vring_desc desc)
{
	struct vring_desc wire = {
		.addr = htole64(desc.addr),
		.len = htole32(desc.len),
		.flags = htole16(desc.flags),
		.next = htole16(desc.next),
	};

	memcpy((uint8_t *)table + i * sizeof(wire), &wire, sizeof(wire));
}

void ring_desc_write(struct ring *r, unsigned int i, struct vring_desc desc)
{
	need(i < r->size, "no such descriptor");
	ring_table_write(r->desc, i, desc);
}

uint16_t ring_desc_alloc(struct ring *r)
{
	for (unsigned int i = 0; i < r->size; i++) {
		if (r->desc_busy[i])
			continue;
		r->desc_busy[i] = true;
		return (uint16_t)i;
	}
	need(false, "no free descriptor");
	return 0;
}

unsigned int ring_desc_free_cnt(const struct ring *r)
{
	unsigned int cnt = 0;

	for (unsigned int i = 0; i < r->size; i++)
		cnt += !r->desc_busy[i];
	return cnt;
}

void ring_avail_add(struct ring *r, uint16_t head)
{
	if (head < r->size)
		r->done_cnt[head] = 0;
	__atomic_store_n(&r->avail->ring[r->avail_idx % r->size], htole16(head), __ATOMIC_RELAXED);
	r->avail_idx++;
}

void ring_avail_show(struct ring *r)
{
	/* Pairs with the device's acquire of avail->idx. The full fence is for
	 * what a driver reads next: avail_event or used->flags. */
	__atomic_store_n(&r->avail->idx, htole16(r->avail_idx), __ATOMIC_RELEASE);
	__sync_synchronize();
}

void ring_publish(struct ring *r, uint16_t head)
{
	ring_avail_add(r, head);
	ring_avail_show(r);
}

void ring_avail_idx_set(struct ring *r, uint16_t idx)
{
	r->avail_idx = idx;
	ring_avail_show(r);
}

uint16_t ring_used_idx(const struct ring *r)
{
	return le16toh(__atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE));
}

struct vring_used_elem ring_used_elem(const struct ring *r, uint16_t idx)
{
	struct vring_used_elem elem = r->used->ring[idx % r->size];

	return (struct vring_used_elem){ .id = le32toh(elem.id), .len = le32toh(elem.len) };
}

unsigned int ring_reap(struct ring *r)
{
	uint16_t now = ring_used_idx(r);
	unsigned int cnt = 0;

	for (; r->used_idx != now; r->used_idx++, cnt++) {
		struct vring_used_elem elem = ring_used_elem(r, r->used_idx);

		if (elem.id >= r->size) {
			r->bad_used_cnt++;
			continue;
		}
		r->done_cnt[elem.id]++;
		r->done_bytes[elem.id] = elem.len;
	}
	return cnt;
}

void ring_avail_flags_set(struct ring *r, uint16_t flags)
{
	__atomic_store_n(&r->avail->flags, htole16(flags), __ATOMIC_SEQ_CST);
}

void ring_used_event_set(struct ring *r, uint16_t idx)
{
	__atomic_store_n(&r->avail->ring[r->size], htole16(idx), __ATOMIC_SEQ_CST);
}

uint16_t ring_used_flags(const struct ring *r)
{
	return le16toh(__atomic_load_n(&r->used->flags, __ATOMIC_SEQ_CST));
}

uint16_t ring_avail_event(const struct ring *r)
{
	const uint16_t *event = (const uint16_t *)(const void *)&r->used->ring[r->size];

	return le16toh(__atomic_load_n(event, __ATOMIC_SEQ_CST));
}

bool ring_kick_wanted(const struct ring *r, uint16_t old_idx, bool event_idx)
{
	uint16_t moved = (uint16_t)(r->avail_idx - old_idx);

	if (!event_idx)
		return !(ring_used_flags(r) & VRING_USED_F_NO_NOTIFY);
	/* Kick when the index asked for is one of old_idx .. avail_idx - 1. */
	return (uint16_t)(ring_avail_event(r) - old_idx) < moved;
}

/* One part of a request: appended to the ring's chain, or to the table. */
struct part {
	void *ptr;
	uint32_t bytes;
	bool writable;
};

static void link_parts(struct ring *r, const struct part *parts, unsigned int cnt,
		       struct ring_blk_req *req)
{
	for (unsigned int i = 0; i < cnt; i++)
		req->descs[i] = ring_desc_alloc(r);
	for (unsigned int i = 0; i < cnt; i++) {
		bool last = i + 1 == cnt;

		ring_desc_set(r, req->descs[i], .addr = ring_iova(r, parts[i].ptr),
			      .len = parts[i].bytes,
			      .flags = (uint16_t)((parts[i].writable ? VRING_DESC_F_WRITE : 0) |
						  (last ? 0 : VRING_DESC_F_NEXT)),
			      .next = last ? 0 : req->descs[i + 1]);
	}
	req->desc_cnt = (uint16_t)cnt;
	req->head = req->descs[0];
}

static void link_parts_indirect(struct ring *r, const struct part *parts, unsigned int cnt,
				struct ring_blk_req *req)
{
	void *table = ring_alloc(r, cnt * sizeof(struct vring_desc), 16);

	for (unsigned int i = 0; i < cnt; i++) {
		bool last = i + 1 == cnt;

		ring_table_set(table, i, .addr = ring_iova(r, parts[i].ptr), .len = parts[i].bytes,
			       .flags = (uint16_t)((parts[i].writable ? VRING_DESC_F_WRITE : 0) |
						   (last ? 0 : VRING_DESC_F_NEXT)),
			       .next = (uint16_t)(last ? 0 : i + 1));
	}
	req->descs[0] = ring_desc_alloc(r);
	req->desc_cnt = 1;
	req->head = req->descs[0];
	ring_desc_set(r, req->head, .addr = ring_iova(r, table),
		      .len = (uint32_t)(cnt * sizeof(struct vring_desc)),
		      .flags = VRING_DESC_F_INDIRECT);
}

void ring_blk_build(struct ring *r, const struct ring_blk_spec *spec, struct ring_blk_req *ret_req)
{
	struct part parts[RING_BLK_SEGS_MAX + 2];
	struct virtio_blk_outhdr *hdr = ring_alloc(r, sizeof(*hdr), 16);
	unsigned int cnt = 0;

	need(spec->seg_cnt <= RING_BLK_SEGS_MAX, "too many segments");
	memset(ret_req, 0, sizeof(*ret_req));
	hdr->type = htole32(spec->type);
	hdr->ioprio = htole32(spec->ioprio);
	hdr->sector = htole64(spec->sector);
	ret_req->hdr = hdr;
	ret_req->seg_cnt = spec->seg_cnt;
	parts[cnt++] = (struct part){ hdr, sizeof(*hdr), false };
	for (unsigned int i = 0; i < spec->seg_cnt; i++) {
		ret_req->data[i] = ring_alloc(r, spec->seg_bytes[i], 4096);
		ret_req->data_bytes[i] = spec->seg_bytes[i];
		parts[cnt++] =
			(struct part){ ret_req->data[i], spec->seg_bytes[i], !spec->from_driver };
	}
	ret_req->status = ring_alloc(r, 1, 1);
	*ret_req->status = 0xff;
	parts[cnt++] = (struct part){ ret_req->status, 1, true };
	if (spec->indirect)
		link_parts_indirect(r, parts, cnt, ret_req);
	else
		link_parts(r, parts, cnt, ret_req);
}

void ring_blk_submit(struct ring *r, const struct ring_blk_spec *spec, struct ring_blk_req *ret_req)
{
	ring_blk_build(r, spec, ret_req);
	ring_publish(r, ret_req->head);
}

bool ring_blk_is_done(const struct ring *r, const struct ring_blk_req *req)
{
	need(r->done_cnt[req->head] <= 1, "a request was completed twice");
	return r->done_cnt[req->head] == 1;
}

uint32_t ring_blk_written_bytes(const struct ring *r, const struct ring_blk_req *req)
{
	return r->done_bytes[req->head];
}

void ring_blk_put(struct ring *r, struct ring_blk_req *req)
{
	for (unsigned int i = 0; i < req->desc_cnt; i++)
		r->desc_busy[req->descs[i]] = false;
	req->desc_cnt = 0;
}
