/* SPDX-License-Identifier: MIT */
/*
 * The packed ring's side of a virtqueue: what its files share, and what the
 * functions of vq.h call when the ring is packed.
 *
 * A place in the ring is one 16-bit word as on the wire: position in bits 0-14,
 * wrap counter in bit 15. @last_avail and @used_published of struct vq are such
 * words here.
 */
#ifndef VQ_PACKED_H
#define VQ_PACKED_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/util/le.h"
#include "vq_internal.h"

#define VQ_POS_WRAP 0x8000u

/* Flags of a descriptor that say whose it is. */
#define VQ_PACKED_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define VQ_PACKED_USED	(1u << VRING_PACKED_DESC_F_USED)
#define VQ_PACKED_OWNER (VQ_PACKED_AVAIL | VQ_PACKED_USED)

/**
 * struct vq_packed_slot - an entry for one descriptor that was taken; entries of a
 *			   request are linked, its first one's number is vq_chain.head
 * @next: next entry of the request, or of the free list
 * @last, @desc_cnt, @id, @written_bytes: of a first one: the last entry, how many
 *		there are, the driver's buffer id, what vq_push() was told
 */
struct vq_packed_slot {
	uint32_t written_bytes;
	uint16_t next;
	uint16_t last;
	uint16_t desc_cnt;
	uint16_t id;
};

/**
 * struct vq_packed - what only a packed ring has
 * @rec: the in-flight record, or NULL
 * @event: what @device_event holds: off_wrap, flags << 16
 * @free_first, @free_cnt: entries not in use: as many as descriptors that the
 *			   driver may make available
 * @pushed_cnt: entries of vq.pushed[], in the order of vq_push()
 * @scratch: of a recovery under way, owned
 */
struct vq_packed {
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver_event;
	struct vring_packed_desc_event *device_event;
	struct vq_inflight_packed *rec;
	void *scratch;
	uint32_t event;
	unsigned int free_cnt;
	unsigned int pushed_cnt;
	uint16_t free_first;
	struct vq_packed_slot slot[];
};

static inline uint16_t vq_pos_off(uint16_t pos)
{
	return (uint16_t)(pos & ~VQ_POS_WRAP);
}

/* @cnt: at most the ring's size */
static inline uint16_t vq_pos_advance(const struct vq *vq, uint16_t pos, unsigned int cnt)
{
	unsigned int off = vq_pos_off(pos) + cnt;
	unsigned int wrap = pos & VQ_POS_WRAP;

	if (off >= vq->size) {
		off -= vq->size;
		wrap ^= VQ_POS_WRAP;
	}
	return (uint16_t)(off | wrap);
}

/* Descriptors from @from up to @to, 0 .. 2 * size - 1; both are places in the ring. */
static inline unsigned int vq_pos_distance(const struct vq *vq, uint16_t from, uint16_t to)
{
	unsigned int lap = (from ^ to) & VQ_POS_WRAP ? vq->size : 0;
	unsigned int to_off = lap + vq_pos_off(to);

	if (to_off < vq_pos_off(from))
		to_off += 2u * vq->size;
	return to_off - vq_pos_off(from);
}

/* The owner flags of a descriptor at @pos that is available, or that was used. */
static inline uint16_t vq_pos_avail_flags(uint16_t pos)
{
	return pos & VQ_POS_WRAP ? VQ_PACKED_AVAIL : VQ_PACKED_USED;
}

static inline uint16_t vq_pos_used_flags(uint16_t pos)
{
	return pos & VQ_POS_WRAP ? VQ_PACKED_OWNER : 0;
}

/* Flags of the next descriptor to take (acquire). */
static inline uint16_t vq_packed_load_flags(const struct vq *vq)
{
	/* Pairs with the driver's release of the flags: the descriptors of the
	 * chain that it stored before are visible. */
	return load_acquire_le16(&vq->packed->ring[vq_pos_off(vq->last_avail)].flags);
}

static inline bool vq_packed_is_available(const struct vq *vq, uint16_t flags)
{
	return (flags & VQ_PACKED_OWNER) == vq_pos_avail_flags(vq->last_avail);
}

/* Functions of vq.h; the caller has checked what does not depend on the ring's form. */
int vq_packed_start(struct vq *vq, const struct vq_config *cfg);
int vq_packed_pop(struct vq *vq, struct iovec *iov, unsigned int iov_max,
		  struct vq_chain *ret_chain);
void vq_packed_push(struct vq *vq, uint16_t head, uint32_t written_bytes);
bool vq_packed_publish(struct vq *vq);
void vq_packed_kick_suppress(struct vq *vq);
bool vq_packed_kick_enable(struct vq *vq);

/* Asks for kicks from @vq->last_avail on. */
void vq_packed_kick_ask(struct vq *vq);
/* After used descriptors were written from @old_pos to @vq->used_published: interrupt? */
bool vq_packed_irq_wanted(const struct vq *vq, uint16_t old_pos);

/* The batch in vq.pushed[] becomes used descriptors, visible all at once. */
void vq_packed_write_batch(struct vq *vq);
/* Then: its entries are free, in the record, too, and the next batch is at @next_used. */
void vq_packed_finish_batch(struct vq *vq, uint16_t next_used);

/* Makes the record say: nothing in flight, ring at @used. */
void vq_packed_record_reset(struct vq_inflight_packed *rec, uint16_t size, uint16_t used);
/* Notes the batch in vq.pushed[]: from here on it will be seen, by a successor if need be. */
void vq_packed_record_batch(struct vq *vq, uint16_t next_used);
/**
 * vq_packed_record_recover() - take over what a predecessor had in flight
 * @vq: stopped state with all pointers set; places as for a fresh ring
 * Fills redo, state, slots, places and next_seq, and finishes a batch that the
 * predecessor had begun to publish.
 * Return: 0; -EINVAL the record does not fit the ring; -EFAULT the ring is gone;
 *	   -ENOMEM (nothing was stored).
 */
int vq_packed_record_recover(struct vq *vq);

#endif
