/* SPDX-License-Identifier: MIT */
/*
 * Who is told of what: kicks (driver to device) and interrupts (device to
 * driver), each suppressed by a flag or, with EVENT_IDX, by an index.
 *
 * Both directions are the same race: one side stores "there is something" and
 * then looks whether the other wants to hear; the other stores "I want to
 * hear" and then looks whether there is something. Without a full fence
 * between store and load on both sides each can miss the other for ever.
 * Source: virtio 1.2 s2.7.7 (used buffer notification), s2.7.10 (available).
 */
#include "vq_internal.h"

#include "vblk/util/le.h"
#include "vq_packed.h"
#include "vq_store.h"

/* An avail_event this far behind is refreshed, before it looks like the future. */
#define EVENT_STALE_MAX 0x7fffu

uint16_t vq_load_avail_idx(const struct vq *vq)
{
	/* Pairs with the driver's release of avail->idx: the ring entries and
	 * descriptors it stored before are visible. */
	return load_acquire_le16(&vq->avail->idx);
}

/* Behind the used ring; s2.7.8. */
static uint16_t *avail_event_ptr(const struct vq *vq)
{
	return (uint16_t *)(void *)&vq->used->ring[vq->size];
}

static void avail_event_set(struct vq *vq, uint16_t idx)
{
	vq->avail_event = idx;
	vq_store_le16(avail_event_ptr(vq), idx);
}

static void no_notify_set(struct vq *vq, bool suppressed)
{
	vq->kicks_suppressed = suppressed;
	vq_store_le16(&vq->used->flags, suppressed ? VRING_USED_F_NO_NOTIFY : 0);
}

void vq_notify_init(struct vq *vq)
{
	no_notify_set(vq, false);
	if (vq->event_idx)
		avail_event_set(vq, vq->last_avail);
	fence_full();
}

void vq_notify_taken(struct vq *vq)
{
	if (!vq->event_idx)
		return;
	/* The driver kicks when it passes avail_event. One that is left behind
	 * suppresses kicks until the index has wrapped to it. */
	if ((uint16_t)(vq->last_avail - vq->avail_event) >= EVENT_STALE_MAX)
		avail_event_set(vq, (uint16_t)(vq->last_avail - 1));
}

void vq_kick_suppress(struct vq *vq)
{
	if (VBLK_UNLIKELY(vq->packed)) {
		vq_packed_kick_suppress(vq);
		return;
	}
	/* With EVENT_IDX it is enough not to advance avail_event. */
	if (!vq->started || vq->event_idx || vq->kicks_suppressed)
		return;
	no_notify_set(vq, true);
}

bool vq_kick_enable(struct vq *vq)
{
	if (!vq->started)
		return false;
	if (VBLK_UNLIKELY(vq->packed))
		return vq_packed_kick_enable(vq);
	if (vq->event_idx)
		avail_event_set(vq, vq->last_avail);
	else if (vq->kicks_suppressed)
		no_notify_set(vq, false);
	/* Pairs with the driver's fence between storing avail->idx and loading
	 * avail_event or used->flags: it kicks, or we see its request here. */
	fence_full();
	if (vq->fault || !vq->map)
		return false;
	return vq->redo_next < vq->redo_cnt || vq_load_avail_idx(vq) != vq->last_avail;
}

bool vq_notify_irq_wanted(const struct vq *vq, uint16_t old_idx)
{
	uint16_t new_idx = vq->used_published;
	uint16_t used_event;

	/* Pairs with the driver's fence between storing used_event or
	 * avail->flags and loading used->idx: we see that it wants an
	 * interrupt, or it sees our entries. */
	fence_full();
	if (vq->irq_unknown)
		return true;
	if (!vq->event_idx)
		return !(load_le16(&vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	/* Behind the available ring; s2.7.6. Wanted when used_event is one of the
	 * entries old_idx .. new_idx - 1 of this batch, modulo 2^16. */
	used_event = load_le16(&vq->avail->ring[vq->size]);
	return (uint16_t)(new_idx - used_event - 1) < (uint16_t)(new_idx - old_idx);
}
