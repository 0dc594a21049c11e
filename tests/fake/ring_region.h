/* SPDX-License-Identifier: MIT */
/* A ring of ring_builder.h as the layers above are told of it. */
#ifndef TESTS_FAKE_RING_REGION_H
#define TESTS_FAKE_RING_REGION_H

#include "ring_builder.h"
#include "vblk/mem/memmap.h"
#include "vblk/virtqueue/vq.h"

/* All of its memory, without a file. */
static inline struct memmap_region ring_region(const struct ring *r)
{
	return (struct memmap_region){
		.iova = r->iova,
		.len_bytes = r->mem_bytes,
		.va = r->mem,
		.perm = MEMMAP_READ | MEMMAP_WRITE,
		.fd = -1,
	};
}

static inline struct vq_config ring_vq_config(const struct ring *r)
{
	return (struct vq_config){
		.size = r->size,
		.desc = r->desc,
		.avail = r->avail,
		.used = r->used,
		.indirect = true,
	};
}

#endif
