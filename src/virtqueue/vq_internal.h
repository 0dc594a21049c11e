/* SPDX-License-Identifier: MIT */
/* What the files of this module share. */
#ifndef VQ_INTERNAL_H
#define VQ_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/virtqueue/vq.h"

enum vq_head_state {
	VQ_HEAD_FREE,	   /* the driver's */
	VQ_HEAD_RECOVERED, /* taken by a predecessor, not popped again yet */
	VQ_HEAD_POPPED,	   /* with the caller */
	VQ_HEAD_PUSHED,	   /* in used->ring, not visible to the driver yet */
};

/**
 * struct vq - device side of a ring; all indexes run freely and wrap at 2^16
 * @hint: the largest region of @map, where almost every address is; empty without a map
 * @by_file: @map has a region that is
 * @avail_idx: avail->idx as last loaded; entries before it may be read
 * @last_avail: next entry to take
 * @used_pushed: next used entry to fill
 * @used_published: used->idx as the driver sees it
 * @avail_event: copy of what is in the ring (EVENT_IDX)
 * @kicks_suppressed: used->flags has NO_NOTIFY (no EVENT_IDX)
 * @irq_unknown: what the driver was last told is not known: interrupt anyway
 * @irq_owed: a predecessor may have died between publishing and interrupting
 * @next_seq: for the in-flight record
 * @inflight_cnt: heads in VQ_HEAD_POPPED
 * @abandoned: a popped head was taken back
 * @guard_hits: memguard_hits() before the ring was touched
 * @redo: @redo_cnt heads of a predecessor, oldest first; next is @redo[@redo_next]
 * @pushed: by used index modulo size: head. The ring's own copy could be changed
 *          by the driver before vq_publish() reads it back.
 * @state: enum vq_head_state by head
 * @packed: what a packed ring needs, while started on one; in @packed_mem
 */
struct vq {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	const struct memmap *map;
	struct memmap_region hint;
	struct vq_inflight *inflight;
	uint64_t next_seq;
	unsigned int inflight_cnt;
	unsigned int guard_hits;
	enum vq_fault fault;
	uint16_t size;
	uint16_t size_max;
	uint16_t avail_idx;
	uint16_t last_avail;
	uint16_t used_pushed;
	uint16_t used_published;
	uint16_t avail_event;
	uint16_t redo_cnt;
	uint16_t redo_next;
	bool started;
	bool abandoned;
	bool event_idx;
	bool indirect;
	bool by_file;
	bool kicks_suppressed;
	bool irq_unknown;
	bool irq_owed;
	uint16_t *redo;
	uint16_t *pushed;
	uint8_t *state;
	struct vq_packed *packed;
	struct vq_packed *packed_mem;
};

/* Buffers of a request, as they are collected. */
struct walk {
	const struct vq *vq;
	struct iovec *iov;
	unsigned int iov_max;
	unsigned int readable_cnt;
	unsigned int writable_cnt;
};

/* Position of a free-running index in the rings. */
static inline uint16_t vq_slot(const struct vq *vq, uint16_t idx)
{
	return idx & (uint16_t)(vq->size - 1);
}

/**
 * vq_chain_walk() - turn the chain at @head, which is < size, into buffers
 * Return: VQ_FAULT_NONE with @ret_chain, or what is wrong with it.
 */
enum vq_fault vq_chain_walk(const struct vq *vq, uint16_t head, struct iovec *iov,
			    unsigned int iov_max, struct vq_chain *ret_chain);

/*
 * For a packed ring: adds one descriptor's buffer, or those of an indirect table,
 * in which only the flag WRITE counts.
 */
enum vq_fault vq_walk_add(struct walk *w, uint64_t addr, uint32_t len, uint16_t flags);
enum vq_fault vq_walk_add_table(struct walk *w, uint64_t addr, uint32_t len, uint16_t flags);
struct vq_chain vq_walk_chain(const struct walk *w, uint16_t head);

/* Loads avail->idx (acquire). */
uint16_t vq_load_avail_idx(const struct vq *vq);

/* Asks for kicks from @vq->last_avail on; at vq_start(). */
void vq_notify_init(struct vq *vq);
/* After taking an entry: keeps a suppressed avail_event out of the future. */
void vq_notify_taken(struct vq *vq);
/* After used->idx went from @old_idx to @vq->used_published: interrupt? */
bool vq_notify_irq_wanted(const struct vq *vq, uint16_t old_idx);

/* Makes the record say: nothing in flight, ring at @used_idx. */
void vq_record_reset(struct vq_inflight *rec, uint16_t size, uint16_t used_idx);
/* Makes the record say: nothing in flight, whatever ring comes next. */
void vq_record_set_clean(struct vq_inflight *rec);
/**
 * vq_record_recover() - take over what a predecessor had in flight
 * @vq: stopped state, with @used_published and all pointers set
 * Fills redo, state and next_seq, brings the record up to date with the ring.
 * Return: 0; -EINVAL the record does not fit the ring; -EFAULT the ring is gone;
 *         -ENOMEM (nothing was stored).
 */
int vq_record_recover(struct vq *vq);
/*
 * Orders redo by @seq, numbers by head, and sets next_seq. Return: 0; -EINVAL two
 * are equal, or nobody can have counted so far.
 */
int vq_redo_sort(struct vq *vq, uint64_t *seq);

#endif
