/* SPDX-License-Identifier: MIT */
/*
 * Taking requests from a split ring and returning them, and the functions of vq.h
 * for both kinds of rings. Indexes that belong to the device live in struct vq; the
 * ring gets copies and is never asked.
 * Source: virtio 1.2 s2.7.6 (available ring), s2.7.8 (used ring).
 */
#include "vblk/virtqueue/vq.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/util/le.h"
#include "vblk/util/math.h"
#include "vblk/mem/memguard.h"
#include "vq_internal.h"
#include "vq_packed.h"
#include "vq_store.h"

int vq_new(uint16_t size_max, struct vq **ret_vq)
{
	struct vq *vq;

	if (!is_power_of_two(size_max) || size_max > VQ_SIZE_MAX)
		return -EINVAL;
	vq = calloc(1, sizeof(*vq));
	if (!vq)
		return -ENOMEM;
	vq->size_max = size_max;
	vq->redo = calloc(size_max, sizeof(*vq->redo));
	vq->pushed = calloc(size_max, sizeof(*vq->pushed));
	vq->state = calloc(size_max, sizeof(*vq->state));
	if (!vq->redo || !vq->pushed || !vq->state) {
		vq_free(vq);
		return -ENOMEM;
	}
	*ret_vq = vq;
	return 0;
}

void vq_free(struct vq *vq)
{
	if (!vq)
		return;
	free(vq->redo);
	free(vq->pushed);
	free(vq->state);
	if (vq->packed_mem)
		free(vq->packed_mem->scratch);
	free(vq->packed_mem);
	free(vq);
}

static bool ptr_is_usable(const void *p, uint64_t align_bytes)
{
	return p && is_aligned((uintptr_t)p, align_bytes);
}

static bool config_is_sane(const struct vq *vq, const struct vq_config *cfg)
{
	if (!is_power_of_two(cfg->size) || cfg->size > vq->size_max)
		return false;
	if (cfg->recover && !cfg->inflight)
		return false;
	if (!is_aligned((uintptr_t)cfg->inflight, _Alignof(struct vq_inflight)))
		return false;
	return ptr_is_usable(cfg->desc, 16) && ptr_is_usable(cfg->avail, 2) &&
	       ptr_is_usable(cfg->used, 4);
}

/* A stopped queue that remembers only what does not belong to a ring. */
static void reset(struct vq *vq)
{
	struct vq clean = {
		.size_max = vq->size_max,
		.map = vq->map,
		.hint = vq->hint,
		.by_file = vq->by_file,
		.redo = vq->redo,
		.pushed = vq->pushed,
		.state = vq->state,
		.packed_mem = vq->packed_mem,
		.next_seq = 1,
	};

	*vq = clean;
	memset(vq->state, VQ_HEAD_FREE, vq->size_max * sizeof(*vq->state));
}

int vq_start(struct vq *vq, const struct vq_config *cfg)
{
	int r;

	assert(!vq->inflight_cnt);
	reset(vq);
	vq->guard_hits = memguard_hits();
	if (cfg->packed) {
		r = vq_packed_start(vq, cfg);
		if (r < 0)
			reset(vq);
		return r;
	}
	if (!config_is_sane(vq, cfg))
		return -EINVAL;
	vq->size = cfg->size;
	vq->desc = cfg->desc;
	vq->avail = cfg->avail;
	vq->used = cfg->used;
	vq->event_idx = cfg->event_idx;
	vq->indirect = cfg->indirect;
	vq->inflight = cfg->inflight;
	/* The only time that the ring is asked for a device-owned index. */
	vq->used_published = load_acquire_le16(&vq->used->idx);
	if (cfg->recover) {
		r = vq_record_recover(vq);
		if (r < 0) {
			reset(vq);
			return r;
		}
	} else if (vq->inflight) {
		vq_record_reset(vq->inflight, vq->size, vq->used_published);
	}
	vq->used_pushed = vq->used_published;
	/* Every taken request was in one of the slots before this one. */
	vq->last_avail = (uint16_t)(vq->used_published + vq->redo_cnt);
	vq->avail_idx = vq->last_avail;
	vq->irq_unknown = true;
	vq->irq_owed = cfg->recover;
	vq->started = true;
	vq_notify_init(vq);
	return 0;
}

void vq_stop(struct vq *vq)
{
	assert(!vq->inflight_cnt);
	/* The next ring may be another: no stale record may be taken for its. */
	if (vq->started && !vq->packed && vq->inflight && !vq->inflight_cnt && !vq->abandoned &&
	    vq->redo_next == vq->redo_cnt && vq->used_pushed == vq->used_published)
		vq_record_set_clean(vq->inflight);
	reset(vq);
}

void vq_set_map(struct vq *vq, const struct memmap *map)
{
	const struct memmap_region *regions;
	unsigned int cnt;

	vq->map = map;
	vq->hint = (struct memmap_region){ .fd = -1 };
	vq->by_file = map && memmap_is_by_file(map);
	if (!map)
		return;
	regions = memmap_regions(map, &cnt);
	for (unsigned int i = 0; i < cnt; i++)
		if (regions[i].len_bytes > vq->hint.len_bytes)
			vq->hint = regions[i];
}

/* Is an entry waiting? Loads avail->idx only when none is known of. */
static enum vq_fault check_avail(struct vq *vq, bool *ret_any)
{
	if (vq->avail_idx == vq->last_avail) {
		uint16_t idx = vq_load_avail_idx(vq);

		if ((uint16_t)(idx - vq->last_avail) > vq->size)
			return VQ_FAULT_AVAIL_IDX;
		vq->avail_idx = idx;
	}
	*ret_any = vq->avail_idx != vq->last_avail;
	return VQ_FAULT_NONE;
}

/* What was read from pages that are gone is no chain, whatever it looks like. */
static enum vq_fault walk(const struct vq *vq, uint16_t head, struct iovec *iov,
			  unsigned int iov_max, struct vq_chain *ret_chain)
{
	enum vq_fault fault = vq_chain_walk(vq, head, iov, iov_max, ret_chain);

	return vq_memory_is_gone(vq) ? VQ_FAULT_MEMORY : fault;
}

static void mark_popped(struct vq *vq, uint16_t head)
{
	vq->state[head] = VQ_HEAD_POPPED;
	vq->inflight_cnt++;
}

static enum vq_fault pop_recovered(struct vq *vq, struct iovec *iov, unsigned int iov_max,
				   struct vq_chain *ret_chain)
{
	uint16_t head = vq->redo[vq->redo_next];
	enum vq_fault fault = walk(vq, head, iov, iov_max, ret_chain);

	if (fault)
		return fault;
	vq->redo_next++;
	mark_popped(vq, head);
	return VQ_FAULT_NONE;
}

static enum vq_fault pop_available(struct vq *vq, struct iovec *iov, unsigned int iov_max,
				   struct vq_chain *ret_chain)
{
	uint16_t head = load_le16(&vq->avail->ring[vq_slot(vq, vq->last_avail)]);
	enum vq_fault fault;

	if (head >= vq->size)
		return VQ_FAULT_HEAD_RANGE;
	if (vq->state[head] != VQ_HEAD_FREE)
		return VQ_FAULT_HEAD_BUSY;
	fault = walk(vq, head, iov, iov_max, ret_chain);
	if (fault)
		return fault;
	/* Recorded before the caller can act on it. */
	if (vq->inflight)
		vq_store_record64(&vq->inflight->seq[head], vq->next_seq++);
	mark_popped(vq, head);
	vq->last_avail++;
	vq_notify_taken(vq);
	return VQ_FAULT_NONE;
}

bool vq_memory_is_gone(const struct vq *vq)
{
	return memguard_hits() != vq->guard_hits;
}

void vq_abandon(struct vq *vq, uint16_t head)
{
	assert(head < vq->size && vq->state[head] == VQ_HEAD_POPPED);
	vq->state[head] = VQ_HEAD_RECOVERED;
	vq->inflight_cnt--;
	vq->abandoned = true;
	vq->fault = VQ_FAULT_MEMORY;
}

int vq_pop(struct vq *vq, struct iovec *iov, unsigned int iov_max, struct vq_chain *ret_chain)
{
	enum vq_fault fault;
	bool any = false;

	if (vq->fault)
		return -EBADMSG;
	if (!vq->started || !vq->map)
		return 0;
	if (VBLK_UNLIKELY(vq->packed))
		return vq_packed_pop(vq, iov, iov_max, ret_chain);
	if (vq->redo_next < vq->redo_cnt) {
		fault = pop_recovered(vq, iov, iov_max, ret_chain);
	} else {
		fault = check_avail(vq, &any);
		if (!fault && !any && !vq_memory_is_gone(vq))
			return 0;
		if (!fault)
			fault = pop_available(vq, iov, iov_max, ret_chain);
	}
	if (fault) {
		vq->fault = vq_memory_is_gone(vq) ? VQ_FAULT_MEMORY : fault;
		return -EBADMSG;
	}
	return 1;
}

void vq_push(struct vq *vq, uint16_t head, uint32_t written_bytes)
{
	uint16_t slot = vq_slot(vq, vq->used_pushed);
	struct vring_used_elem *elem;

	assert(head < vq->size && vq->state[head] == VQ_HEAD_POPPED);
	if (VBLK_UNLIKELY(vq->packed)) {
		vq_packed_push(vq, head, written_bytes);
		return;
	}
	elem = &vq->used->ring[slot];
	vq_store_le32(&elem->id, head);
	vq_store_le32(&elem->len, written_bytes);
	vq->pushed[slot] = head;
	vq->state[head] = VQ_HEAD_PUSHED;
	vq->used_pushed++;
	vq->inflight_cnt--;
}

/* Steps 2 to 4 of vq_inflight.h; vq_push() was step 1. */
static void publish_batch(struct vq *vq)
{
	uint16_t idx = vq->used_published;

	/* The driver may look at any time: the entries must be complete first.
	 * Pairs with its acquire of used->idx. */
	vq_store_release_le16(&vq->used->idx, vq->used_pushed);
	for (; idx != vq->used_pushed; idx++) {
		uint16_t head = vq->pushed[vq_slot(vq, idx)];

		vq->state[head] = VQ_HEAD_FREE;
		if (vq->inflight)
			vq_store_record64(&vq->inflight->seq[head], 0);
	}
	if (vq->inflight)
		vq_store_record16(&vq->inflight->used_idx, vq->used_pushed);
	vq->used_published = vq->used_pushed;
}

bool vq_publish(struct vq *vq)
{
	uint16_t old_idx = vq->used_published;
	bool wanted;

	if (VBLK_UNLIKELY(vq->packed))
		return vq_packed_publish(vq);
	if (vq->used_pushed != old_idx)
		publish_batch(vq);
	else if (!vq->irq_owed)
		return false;
	wanted = vq_notify_irq_wanted(vq, old_idx);
	vq->irq_unknown = false;
	vq->irq_owed = false;
	return wanted;
}

bool vq_is_started(const struct vq *vq)
{
	return vq->started;
}

enum vq_fault vq_fault(const struct vq *vq)
{
	return vq->fault;
}

unsigned int vq_inflight_cnt(const struct vq *vq)
{
	return vq->inflight_cnt;
}

bool vq_has_available(const struct vq *vq)
{
	if (!vq->started)
		return false;
	if (vq->packed)
		return vq_packed_is_available(vq, vq_packed_load_flags(vq));
	return vq_load_avail_idx(vq) != vq->last_avail;
}

uint16_t vq_last_avail_idx(const struct vq *vq)
{
	return vq->last_avail;
}

uint32_t vq_base(const struct vq *vq)
{
	return vq->last_avail | (vq->packed ? (uint32_t)vq->used_published << 16 : 0);
}

uint16_t vq_size(const struct vq *vq)
{
	return vq->size;
}

unsigned int vq_recovered_cnt(const struct vq *vq)
{
	return vq->redo_cnt;
}

unsigned int vq_redo_cnt(const struct vq *vq)
{
	return vq->redo_cnt - vq->redo_next;
}
