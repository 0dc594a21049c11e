/* SPDX-License-Identifier: MIT */
/*
 * Kicks and interrupts of a packed ring: the races are those of vq_notify.c. Each
 * side's wish is one aligned 32-bit word, stored and loaded as a whole.
 * Source: virtio 1.2 s2.8.10 (event suppression), s2.8.14 (structure format).
 */
#include "vq_packed.h"

#include "vblk/util/le.h"
#include "vq_store.h"

static uint32_t event_word(uint32_t off_wrap, uint32_t flags)
{
	return off_wrap | flags << 16;
}

static void event_set(struct vq *vq, uint32_t event)
{
	vq->packed->event = event;
	vq_store_le32((uint32_t *)(void *)vq->packed->device_event, event);
}

/* With EVENT_IDX only the next descriptor kicks: the ones behind it find us awake. */
void vq_packed_kick_ask(struct vq *vq)
{
	event_set(vq, vq->event_idx ? event_word(vq->last_avail, VRING_PACKED_EVENT_FLAG_DESC)
				    : event_word(0, VRING_PACKED_EVENT_FLAG_ENABLE));
}

void vq_packed_kick_suppress(struct vq *vq)
{
	uint32_t none = event_word(0, VRING_PACKED_EVENT_FLAG_DISABLE);

	/* An event that is left behind is not enough here: its place comes round again. */
	if (vq->packed->event != none)
		event_set(vq, none);
}

bool vq_packed_kick_enable(struct vq *vq)
{
	vq_packed_kick_ask(vq);
	/* Pairs with the driver's fence between storing flags and loading
	 * device_event: it kicks, or we see its request here. */
	fence_full();
	if (vq->fault || !vq->map)
		return false;
	return vq->redo_next < vq->redo_cnt || vq_packed_is_available(vq, vq_packed_load_flags(vq));
}

bool vq_packed_irq_wanted(const struct vq *vq, uint16_t old_pos)
{
	uint32_t event;
	uint16_t wanted_pos;

	/* Pairs with the driver's fence between storing driver_event and loading
	 * flags: we see that it wants an interrupt, or it sees our descriptors. */
	fence_full();
	if (vq->irq_unknown)
		return true;
	event = load_le32((const uint32_t *)(const void *)vq->packed->driver_event);
	wanted_pos = (uint16_t)event;
	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	case VRING_PACKED_EVENT_FLAG_DESC:
		/* One too many is better than one too few, for a place that is none. */
		if (!vq->event_idx || vq_pos_off(wanted_pos) >= vq->size)
			return true;
		return vq_pos_distance(vq, old_pos, wanted_pos) <
		       vq_pos_distance(vq, old_pos, vq->used_published);
	}
	return true;
}
