/* SPDX-License-Identifier: MIT */
/*
 * Taking requests from a packed ring and returning them. Descriptors are taken
 * in ring order, and used ones are written in ring order over others, so each
 * request that was taken has entries of its own (struct vq_packed_slot) until it
 * is published, as many as it has descriptors: what is free in them is what the
 * driver may make available.
 * Source: virtio 1.2 s2.8 (packed virtqueues).
 */
#include "vq_packed.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "vblk/util/le.h"
#include "vblk/util/math.h"
#include "vq_store.h"

#define DESC_FLAGS (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT)

/**
 * struct taken - what of the ring a request consists of
 * @desc_cnt: descriptors; the last one is in entry @last
 * @id: the driver's buffer id
 */
struct taken {
	unsigned int desc_cnt;
	uint16_t last;
	uint16_t id;
};

/* A descriptor in host byte order, our copy. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
};

static bool ptr_is_usable(const void *p, uint64_t align_bytes)
{
	return p && is_aligned((uintptr_t)p, align_bytes);
}

static bool config_is_sane(const struct vq *vq, const struct vq_config *cfg)
{
	if (!cfg->size || cfg->size > vq->size_max)
		return false;
	if (cfg->recover && !cfg->inflight)
		return false;
	if (!is_aligned((uintptr_t)cfg->inflight, _Alignof(struct vq_inflight_packed)))
		return false;
	return ptr_is_usable(cfg->packed_desc, 16) && ptr_is_usable(cfg->driver_event, 4) &&
	       ptr_is_usable(cfg->device_event, 4);
}

/* Kept until vq_free(): a device that has no packed ring does not pay for one. */
static int alloc_once(struct vq *vq)
{
	if (!vq->packed_mem)
		vq->packed_mem = calloc(1, sizeof(*vq->packed_mem) +
						   vq->size_max * sizeof(vq->packed_mem->slot[0]));
	return vq->packed_mem ? 0 : -ENOMEM;
}

static void set_pointers(struct vq *vq, const struct vq_config *cfg)
{
	struct vq_packed *p = vq->packed_mem;

	vq->packed = p;
	vq->size = cfg->size;
	vq->event_idx = cfg->event_idx;
	vq->indirect = cfg->indirect;
	vq->inflight = cfg->inflight;
	p->ring = cfg->packed_desc;
	p->driver_event = cfg->driver_event;
	p->device_event = cfg->device_event;
	p->rec = (void *)cfg->inflight;
	p->pushed_cnt = 0;
	p->free_first = 0;
	p->free_cnt = vq->size;
	for (unsigned int i = 0; i < vq->size; i++)
		p->slot[i].next = (uint16_t)(i + 1);
}

static bool record_is_used(const struct vq_config *cfg)
{
	return cfg->recover &&
	       __atomic_load_n(&cfg->inflight->size, __ATOMIC_RELAXED) != VQ_INFLIGHT_CLEAN;
}

/* What is outstanding on a ring that nobody has a record of cannot be known. */
static int set_base(struct vq *vq, uint32_t base)
{
	uint16_t avail = (uint16_t)base, used = (uint16_t)(base >> 16);

	if (base == (VQ_BASE_PACKED_NEW & 0xffff))
		used = avail;
	if (avail != used || vq_pos_off(avail) >= vq->size)
		return -EINVAL;
	vq->last_avail = avail;
	vq->used_published = avail;
	return 0;
}

int vq_packed_start(struct vq *vq, const struct vq_config *cfg)
{
	bool recover = record_is_used(cfg);
	int r;

	if (!config_is_sane(vq, cfg))
		return -EINVAL;
	r = alloc_once(vq);
	if (r < 0)
		return r;
	set_pointers(vq, cfg);
	r = recover ? vq_packed_record_recover(vq) : set_base(vq, cfg->base);
	if (r < 0)
		return r;
	if (!recover && vq->packed->rec)
		vq_packed_record_reset(vq->packed->rec, vq->size, vq->used_published);
	vq->irq_unknown = true;
	vq->irq_owed = cfg->recover;
	vq->started = true;
	vq_packed_kick_ask(vq);
	fence_full();
	return 0;
}

/* Indirect descriptors stand alone: s2.8.7. */
static enum vq_fault add_desc(struct walk *w, const struct desc *d, bool is_first)
{
	if (!(d->flags & VRING_DESC_F_INDIRECT))
		return vq_walk_add(w, d->addr, d->len, d->flags);
	if (!is_first)
		return VQ_FAULT_INDIRECT_NEXT;
	return vq_walk_add_table(w, d->addr, d->len, d->flags);
}

static void record_desc(const struct vq *vq, uint16_t entry, const struct desc *d)
{
	struct vq_inflight_desc *to = &vq->packed->rec->desc[entry];
	uint64_t link = vq->packed->slot[entry].next;
	uint64_t flags = d->flags & DESC_FLAGS;

	vq_store_record64(&to->addr, d->addr);
	vq_store_record64(&to->len_link, d->len | link << 32 | flags << 48);
}

/*
 * The chain whose first descriptor has @flags, into the first free entries. What
 * goes into the record there means nothing until the first one has a number.
 */
static enum vq_fault walk_ring(const struct vq *vq, struct walk *w, uint16_t flags,
			       struct taken *ret_taken)
{
	const struct vq_packed *p = vq->packed;
	uint16_t pos = vq->last_avail, entry = p->free_first;

	for (unsigned int i = 0; i < p->free_cnt; i++) {
		const struct vring_packed_desc *from = &p->ring[vq_pos_off(pos)];
		struct desc d = { load_le64((const uint64_t *)&from->addr), load_le32(&from->len),
				  flags };
		enum vq_fault fault;

		if (i)
			d.flags = load_le16(&from->flags);
		if ((d.flags & VQ_PACKED_OWNER) != vq_pos_avail_flags(pos))
			return VQ_FAULT_NOT_AVAILABLE;
		fault = add_desc(w, &d, !i);
		if (fault)
			return fault;
		if (p->rec)
			record_desc(vq, entry, &d);
		if (!(d.flags & VRING_DESC_F_NEXT)) {
			*ret_taken = (struct taken){ i + 1, entry, load_le16(&from->id) };
			return VQ_FAULT_NONE;
		}
		pos = vq_pos_advance(vq, pos, 1);
		entry = p->slot[entry].next;
	}
	return VQ_FAULT_OVERRUN;
}

/* What a predecessor noted; others may have written there, so it is checked as the ring is. */
static enum vq_fault walk_record(const struct vq *vq, struct walk *w, uint16_t head)
{
	const struct vq_packed *p = vq->packed;
	enum vq_fault fault = VQ_FAULT_NONE;
	uint16_t entry = head;

	for (unsigned int i = 0; !fault && i < p->slot[head].desc_cnt; i++) {
		const struct vq_inflight_desc *from = &p->rec->desc[entry];
		uint64_t link = __atomic_load_n(&from->len_link, __ATOMIC_RELAXED);
		struct desc d = {
			.addr = __atomic_load_n(&from->addr, __ATOMIC_RELAXED),
			.len = (uint32_t)link,
			.flags = (uint16_t)(link >> 48),
		};

		fault = add_desc(w, &d, !i);
		entry = p->slot[entry].next;
	}
	return fault;
}

/* The request in the first free entries is taken: in the record before anybody acts on it. */
static void take(struct vq *vq, const struct taken *t)
{
	struct vq_packed *p = vq->packed;
	uint16_t head = p->free_first;
	struct vq_packed_slot *slot = &p->slot[head];

	if (p->rec) {
		vq_store_record64(&p->rec->desc[head].leave, (uint64_t)t->id << 48);
		vq_store_record64(&p->rec->desc[head].seq, vq->next_seq++);
	}
	p->free_first = p->slot[t->last].next;
	p->free_cnt -= t->desc_cnt;
	slot->last = t->last;
	slot->desc_cnt = (uint16_t)t->desc_cnt;
	slot->id = t->id;
	vq->last_avail = vq_pos_advance(vq, vq->last_avail, t->desc_cnt);
}

static enum vq_fault pop_available(struct vq *vq, struct walk *w, uint16_t *ret_head, bool *ret_any)
{
	uint16_t flags = vq_packed_load_flags(vq);
	uint16_t head = vq->packed->free_first;
	enum vq_fault fault;
	struct taken taken;

	if (!vq_packed_is_available(vq, flags)) {
		*ret_any = false;
		return vq_memory_is_gone(vq) ? VQ_FAULT_MEMORY : VQ_FAULT_NONE;
	}
	fault = walk_ring(vq, w, flags, &taken);
	/* What was read from pages that are gone is no chain, whatever it looks like. */
	if (vq_memory_is_gone(vq))
		return VQ_FAULT_MEMORY;
	if (fault)
		return fault;
	take(vq, &taken);
	*ret_head = head;
	*ret_any = true;
	return VQ_FAULT_NONE;
}

static enum vq_fault pop_recovered(struct vq *vq, struct walk *w, uint16_t *ret_head)
{
	uint16_t head = vq->redo[vq->redo_next];
	enum vq_fault fault = walk_record(vq, w, head);

	if (vq_memory_is_gone(vq))
		return VQ_FAULT_MEMORY;
	if (fault)
		return fault;
	vq->redo_next++;
	*ret_head = head;
	return VQ_FAULT_NONE;
}

int vq_packed_pop(struct vq *vq, struct iovec *iov, unsigned int iov_max,
		  struct vq_chain *ret_chain)
{
	struct walk w = { .vq = vq, .iov = iov, .iov_max = iov_max };
	bool any = true;
	uint16_t head;

	if (vq->redo_next < vq->redo_cnt)
		vq->fault = pop_recovered(vq, &w, &head);
	else
		vq->fault = pop_available(vq, &w, &head, &any);
	if (vq->fault)
		return -EBADMSG;
	if (!any)
		return 0;
	vq->state[head] = VQ_HEAD_POPPED;
	vq->inflight_cnt++;
	*ret_chain = vq_walk_chain(&w, head);
	return 1;
}

void vq_packed_push(struct vq *vq, uint16_t head, uint32_t written_bytes)
{
	struct vq_packed *p = vq->packed;

	p->slot[head].written_bytes = written_bytes;
	vq->pushed[p->pushed_cnt++] = head;
	vq->state[head] = VQ_HEAD_PUSHED;
	vq->inflight_cnt--;
}

/*
 * The driver looks only at the place of the first one before it has seen that,
 * so its flags come last and show the whole batch.
 */
void vq_packed_write_batch(struct vq *vq)
{
	struct vq_packed *p = vq->packed;
	uint16_t first_flags = 0, pos = vq->used_published;

	for (unsigned int i = 0; i < p->pushed_cnt; i++) {
		const struct vq_packed_slot *slot = &p->slot[vq->pushed[i]];
		struct vring_packed_desc *to = &p->ring[vq_pos_off(pos)];
		uint16_t flags = vq_pos_used_flags(pos);

		if (slot->written_bytes)
			flags |= VRING_DESC_F_WRITE;
		vq_store_le16(&to->id, slot->id);
		vq_store_le32(&to->len, slot->written_bytes);
		if (i)
			vq_store_le16(&to->flags, flags);
		else
			first_flags = flags;
		pos = vq_pos_advance(vq, pos, slot->desc_cnt);
	}
	/* Pairs with the driver's acquire of the flags: data, status bytes and all
	 * used descriptors of the batch are visible. */
	vq_store_release_le16(&p->ring[vq_pos_off(vq->used_published)].flags, first_flags);
}

void vq_packed_finish_batch(struct vq *vq, uint16_t next_used)
{
	struct vq_packed *p = vq->packed;

	for (unsigned int i = 0; i < p->pushed_cnt; i++) {
		uint16_t head = vq->pushed[i];
		struct vq_packed_slot *slot = &p->slot[head];

		if (p->rec)
			vq_store_record64(&p->rec->desc[head].seq, 0);
		vq->state[head] = VQ_HEAD_FREE;
		p->slot[slot->last].next = p->free_first;
		p->free_first = head;
		p->free_cnt += slot->desc_cnt;
	}
	if (p->rec)
		vq_store_record16(&p->rec->used, next_used);
	p->pushed_cnt = 0;
	vq->used_published = next_used;
}

static uint16_t batch_end(const struct vq *vq)
{
	uint16_t pos = vq->used_published;

	for (unsigned int i = 0; i < vq->packed->pushed_cnt; i++)
		pos = vq_pos_advance(vq, pos, vq->packed->slot[vq->pushed[i]].desc_cnt);
	return pos;
}

bool vq_packed_publish(struct vq *vq)
{
	uint16_t old_pos = vq->used_published;
	bool wanted;

	if (vq->packed->pushed_cnt) {
		uint16_t next_used = batch_end(vq);

		if (vq->packed->rec)
			vq_packed_record_batch(vq, next_used);
		vq_packed_write_batch(vq);
		vq_packed_finish_batch(vq, next_used);
	} else if (!vq->irq_owed) {
		return false;
	}
	wanted = vq_packed_irq_wanted(vq, old_pos);
	vq->irq_unknown = false;
	vq->irq_owed = false;
	return wanted;
}
