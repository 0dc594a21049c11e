/* SPDX-License-Identifier: MIT */
/* A split ring of a hostile driver. */
#include "fuzz_vq.h"

#define DESC_AT	 0u
#define AVAIL_AT 2048u
#define USED_AT	 2560u

static void configure(struct vq_config *cfg, uint8_t flags, uint8_t *arena)
{
	cfg->size = (uint16_t)(1u << (flags & 7) % 7);
	cfg->desc = (void *)(arena + DESC_AT);
	cfg->avail = (void *)(arena + AVAIL_AT);
	cfg->used = (void *)(arena + USED_AT);
}

const struct fuzz_vq_ring fuzz_vq_ring = {
	.rec_bytes = sizeof(struct vq_inflight) + FUZZ_VQ_SIZE_MAX * sizeof(uint64_t),
	.configure = configure,
	.may_store = { { USED_AT,
			 USED_AT + 6 + FUZZ_VQ_SIZE_MAX * sizeof(struct vring_used_elem) } },
};
