/* SPDX-License-Identifier: MIT */
#include "test_virtqueue.h"

#include <stdlib.h>

#include "vblk/util/compiler.h"

struct fx fx;

static struct memmap_region region(uint32_t from, uint32_t to, unsigned int perm)
{
	return (struct memmap_region){
		.iova = fx.ring->iova + from,
		.len_bytes = to - from,
		.va = fx.ring->mem + from,
		.perm = perm,
		.fd = -1,
	};
}

static void make_map(void)
{
	struct memmap_region regions[] = {
		region(0, FX_RO, MEMMAP_READ | MEMMAP_WRITE),
		region(FX_RO, FX_WO, MEMMAP_READ),
		region(FX_WO, FX_RW2, MEMMAP_WRITE),
		region(FX_RW2, FX_TOP, MEMMAP_READ | MEMMAP_WRITE),
		region(FX_TOP, FX_HOLE, MEMMAP_READ | MEMMAP_WRITE),
	};

	regions[4].iova = FX_TOP_IOVA;
	ck_assert_int_eq(memmap_new(regions, ARRAY_SIZE(regions), NULL, NULL, &fx.map), 0);
}

void fx_init(uint16_t size, uint16_t idx)
{
	fx = (struct fx){ .ring = ring_new(size, FX_MEM_BYTES, FX_IOVA) };
	ring_set_start_idx(fx.ring, idx);
	make_map();
	ck_assert_int_eq(vq_new(size, &fx.vq), 0);
	vq_set_map(fx.vq, fx.map);
	fx.rec = calloc(1, vq_inflight_bytes(size));
	ck_assert_ptr_nonnull(fx.rec);
	fx.cfg = (struct vq_config){
		.size = size,
		.desc = fx.ring->desc,
		.avail = fx.ring->avail,
		.used = fx.ring->used,
		.indirect = true,
	};
}

void fx_start(void)
{
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), 0);
}

void fx_fini(void)
{
	vq_free(fx.vq);
	memmap_unref(fx.map);
	ring_free(fx.ring);
	free(fx.rec);
}

uint64_t fx_iova(uint32_t offset_bytes)
{
	return fx.ring->iova + offset_bytes;
}

int fx_pop(void)
{
	return vq_pop(fx.vq, fx.iov, FX_IOV_MAX, &fx.chain);
}

uint16_t fx_take(void)
{
	ck_assert_int_eq(fx_pop(), 1);
	return fx.chain.head;
}

void fx_make(uint16_t head)
{
	ring_desc_set(fx.ring, head, .addr = fx_iova(FX_BUF), .len = 16);
	ring_publish(fx.ring, head);
}

void fx_turn(uint16_t head)
{
	fx_make(head);
	ck_assert_uint_eq(fx_take(), head);
	vq_push(fx.vq, head, 0);
}
