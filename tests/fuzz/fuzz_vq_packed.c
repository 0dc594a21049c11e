/* SPDX-License-Identifier: MIT */
/* A packed ring of a hostile driver; sizes that are no powers of two, too. */
#include "fuzz_vq.h"

#define DESC_AT	  0u
#define DRIVER_AT 1024u
#define DEVICE_AT 1028u
#define BUSY_END  1032u

static const uint16_t sizes[] = { 1, 2, 3, 5, 8, 13, 33, FUZZ_VQ_SIZE_MAX };

/* Bit 6: where the ring begins, its last place; bit 7: the wrap counter. */
static void configure(struct vq_config *cfg, uint8_t flags, uint8_t *arena)
{
	uint32_t pos;

	cfg->packed = true;
	cfg->size = sizes[flags & 7];
	cfg->packed_desc = (void *)(arena + DESC_AT);
	cfg->driver_event = (void *)(arena + DRIVER_AT);
	cfg->device_event = (void *)(arena + DEVICE_AT);
	pos = (flags & 64 ? cfg->size - 1u : 0) | (flags & 128 ? 0 : 0x8000u);
	cfg->base = pos | pos << 16;
}

static uint32_t linear(uint16_t pos, uint16_t size)
{
	return (pos & 0x7fffu) + (pos & 0x8000 ? size : 0);
}

/* Between the two places are the descriptors that the device has. */
static void check(const struct vq *vq, bool is_empty)
{
	uint16_t size = vq_size(vq);
	uint32_t base = vq_base(vq), avail, used;

	if (!vq_is_started(vq))
		return;
	avail = linear((uint16_t)base, size);
	used = linear((uint16_t)(base >> 16), size);
	must((base & 0x7fff) < size && (base >> 16 & 0x7fff) < size, "places are in the ring");
	must((avail + 2u * size - used) % (2u * size) <= size, "not more than the ring is taken");
	must(!is_empty || avail == used, "the places meet when nothing is taken");
}

const struct fuzz_vq_ring fuzz_vq_ring = {
	.rec_bytes = sizeof(struct vq_inflight_packed) +
		     FUZZ_VQ_SIZE_MAX * sizeof(struct vq_inflight_desc),
	.configure = configure,
	.check = check,
	.may_store = { { DESC_AT, DRIVER_AT }, { DEVICE_AT, BUSY_END } },
};
