/* SPDX-License-Identifier: MIT */
/*
 * The well-behaved half: a driver that does what virtio 1.2 allows and Linux
 * never does. Several memory regions, buffers, headers and tables that cross
 * them, address 0 and the last address, no bounce area. What is read must be
 * what was written.
 */
#include "hostile.h"

#include <stdio.h>
#include <string.h>

#define SLOTS	    8u
#define SLOT_BYTES  (64u << 10) /* of the disk */
#define AREA_BYTES  0x60000u	/* of memory; number 5 crosses from A to B */
#define BORDER	    (2ull << 20)
#define SEGS_MAX    6u
#define TABLE_BYTES ((SEGS_MAX + 2) * 16u)

/* One request of a batch, on its own part of disk and memory. */
struct work {
	uint32_t type;
	uint64_t sector;
	uint32_t len;
	uint64_t hdr_iova, data_iova, status_iova, table_iova;
};

static uint8_t model[SLOTS * SLOT_BYTES];
static bool known[SLOTS];

static uint64_t slot_sector(unsigned int slot)
{
	return (uint64_t)slot * SLOT_BYTES / 512;
}

static void place(struct work *w, unsigned int slot)
{
	uint64_t base = (uint64_t)slot * AREA_BYTES;

	w->hdr_iova = base + rnd(64);
	w->status_iova = base + 256 + rnd(64);
	w->table_iova = base + 1024 + rnd(64);
	w->data_iova = base + 4096 + rnd(0x10000);
	if (base > BORDER || base + AREA_BYTES <= BORDER)
		return;
	/* Each of them lies across the border at times. */
	if (rnd(2))
		w->hdr_iova = BORDER - 1 - rnd(15);
	else if (rnd(2))
		w->table_iova = BORDER - 1 - rnd(TABLE_BYTES - 1);
	else
		w->data_iova = BORDER - 1 - rnd(w->len ? w->len : 1);
}

static uint32_t ranges_put(struct drv *d, struct work *w, unsigned int slot)
{
	struct virtio_blk_discard_write_zeroes range = {
		.sector = slot_sector(slot),
		.num_sectors = SLOT_BYTES / 512,
	};

	memcpy(drv_va(d, w->data_iova), &range, sizeof(range));
	return sizeof(range);
}

static void prepare(struct drv *d, struct work *w, unsigned int slot)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,	    VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_IN,	    VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_FLUSH,	    VIRTIO_BLK_T_DISCARD,
					  VIRTIO_BLK_T_WRITE_ZEROES };
	uint32_t first = rnd(SLOT_BYTES / 512);
	struct virtio_blk_outhdr hdr;

	w->type = known[slot] ? types[rnd(sizeof(types) / sizeof(types[0]))] : VIRTIO_BLK_T_OUT;
	w->sector = slot_sector(slot);
	w->len = 0;
	if (!known[slot])
		w->len = SLOT_BYTES;
	else if (w->type == VIRTIO_BLK_T_IN || w->type == VIRTIO_BLK_T_OUT)
		w->len = (1 + rnd(SLOT_BYTES / 512 - first)) * 512;
	if (known[slot])
		w->sector += first;
	place(w, slot);
	if (w->type == VIRTIO_BLK_T_DISCARD || w->type == VIRTIO_BLK_T_WRITE_ZEROES)
		w->len = ranges_put(d, w, slot);
	if (w->type == VIRTIO_BLK_T_OUT)
		for (uint32_t i = 0; i < w->len; i++)
			((uint8_t *)drv_va(d, w->data_iova))[i] = (uint8_t)rnd(256);
	if (w->type == VIRTIO_BLK_T_IN)
		memset(drv_va(d, w->data_iova), 0xee, w->len);
	hdr = (struct virtio_blk_outhdr){ .type = w->type, .sector = w->sector };
	memcpy(drv_va(d, w->hdr_iova), &hdr, sizeof(hdr));
	*(uint8_t *)drv_va(d, w->status_iova) = DRV_NO_ANSWER;
}

/* Cuts the data at random places into up to SEGS_MAX descriptors. */
static void submit(struct drv *d, struct drv_queue *q, const struct work *w, uint16_t head,
		   bool indirect)
{
	struct drv_seg segs[SEGS_MAX + 2];
	unsigned int cnt = 0;
	uint32_t at = 0;

	segs[cnt++] = (struct drv_seg){ w->hdr_iova, 16, false };
	while (at < w->len) {
		uint32_t part = cnt == SEGS_MAX ? w->len - at : 1 + rnd(w->len - at);

		segs[cnt++] =
			(struct drv_seg){ w->data_iova + at, part, w->type == VIRTIO_BLK_T_IN };
		at += part;
	}
	segs[cnt++] = (struct drv_seg){ w->status_iova, 1, true };
	if (indirect)
		drv_chain_indirect(d, q, head, w->table_iova, segs, cnt);
	else
		drv_chain(q, head, segs, cnt);
	drv_add(q, head);
}

static void check_one(struct drv *d, const struct work *w, unsigned int slot, uint32_t used_len)
{
	uint8_t *disk = model + (w->sector * 512) % sizeof(model);
	uint32_t want_len = w->type == VIRTIO_BLK_T_IN ? w->len + 1 : 1;

	if (*(uint8_t *)drv_va(d, w->status_iova) != VIRTIO_BLK_S_OK)
		die("request of type %u ended with status %u", w->type,
		    *(uint8_t *)drv_va(d, w->status_iova));
	if (used_len != want_len)
		die("request of type %u: used length %u, not %u", w->type, used_len, want_len);
	switch (w->type) {
	case VIRTIO_BLK_T_IN:
		if (memcmp(disk, drv_va(d, w->data_iova), w->len) != 0)
			die("read other data than were written, sector %llu, %u bytes",
			    (unsigned long long)w->sector, w->len);
		break;
	case VIRTIO_BLK_T_OUT:
		memcpy(disk, drv_va(d, w->data_iova), w->len);
		known[slot] = true;
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		memset(model + slot * SLOT_BYTES, 0, SLOT_BYTES);
		break;
	case VIRTIO_BLK_T_DISCARD:
		known[slot] = false;
		break;
	default:
		break;
	}
}

static void batch(struct drv *d, struct drv_queue *q, bool indirect)
{
	struct work work[SLOTS];
	struct vring_used_elem elem;
	unsigned int seen = 0;

	for (unsigned int i = 0; i < SLOTS; i++) {
		prepare(d, &work[i], i);
		submit(d, q, &work[i], (uint16_t)(i * (DRV_RING_SIZE / SLOTS)), indirect);
	}
	drv_kick(q);
	for (unsigned int i = 0; i < SLOTS; i++) {
		unsigned int slot;

		if (!drv_reap(q, DRV_WAIT_MS, &elem))
			die("queue %u: %u requests never came back", q->idx, SLOTS - i);
		slot = elem.id / (DRV_RING_SIZE / SLOTS);
		if (elem.id % (DRV_RING_SIZE / SLOTS) || slot >= SLOTS || (seen & (1u << slot)))
			die("queue %u: head %u came back and should not", q->idx, elem.id);
		seen |= 1u << slot;
		check_one(d, &work[slot], slot, elem.len);
	}
}

/* The last addresses there are. */
static void check_top(struct drv *d)
{
	uint64_t top = d->region[REGION_TOP].iova;
	uint8_t *data = drv_va(d, UINT64_MAX - 4095);

	memset(data, 0x77, 4096);
	if (drv_request(d, &d->q[0], VIRTIO_BLK_T_OUT, 8, top, UINT64_MAX - 4095, 4096,
			DRV_WAIT_MS) != VIRTIO_BLK_S_OK)
		die("write from the top of the address space failed");
	memset(data, 0, 4096);
	if (drv_request(d, &d->q[1], VIRTIO_BLK_T_IN, 8, top, UINT64_MAX - 4095, 4096,
			DRV_WAIT_MS) != VIRTIO_BLK_S_OK)
		die("read to the top of the address space failed");
	for (unsigned int i = 0; i < 4096; i++)
		if (data[i] != 0x77)
			die("read other data than were written");
	known[0] = false;
}

void hostile_behave(struct drv *d, unsigned int rounds)
{
	static const uint64_t ring_features[] = {
		0,
		BIT64(VIRTIO_RING_F_INDIRECT_DESC),
		BIT64(VIRTIO_RING_F_EVENT_IDX),
		BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX),
	};

	if (d->capacity_bytes < sizeof(model))
		die("the disk is too small");
	for (unsigned int i = 0; i < sizeof(ring_features) / sizeof(ring_features[0]); i++) {
		drv_start(d, FEATURES_BASIC | ring_features[i]);
		for (unsigned int n = 0; n < rounds; n++)
			batch(d, &d->q[n & 1], ring_features[i] & ring_features[1]);
		check_top(d);
		drv_reset(d);
	}
	(void)printf("a driver that keeps the rules: %u batches verified\n",
		     rounds * (unsigned int)(sizeof(ring_features) / sizeof(ring_features[0])));
}
