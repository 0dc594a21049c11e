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

static void init(uint16_t size_max)
{
	make_map();
	ck_assert_int_eq(vq_new(size_max, &fx.vq), 0);
	vq_set_map(fx.vq, fx.map);
	/* Room for either kind; exactly as much, so that tools see what goes beyond. */
	fx.rec = calloc(1, fx.packed ? vq_inflight_packed_bytes(fx.cfg.size)
				     : vq_inflight_bytes(fx.cfg.size));
	ck_assert_ptr_nonnull(fx.rec);
}

void fx_init(uint16_t size, uint16_t idx)
{
	fx = (struct fx){ .ring = ring_new(size, FX_MEM_BYTES, FX_IOVA) };
	ring_set_start_idx(fx.ring, idx);
	fx.cfg = (struct vq_config){
		.size = size,
		.desc = fx.ring->desc,
		.avail = fx.ring->avail,
		.used = fx.ring->used,
		.indirect = true,
	};
	init(size);
}

void fx_init_packed(uint16_t size, uint16_t off, bool wrap)
{
	struct packed_ring *r = packed_ring_new(size, FX_MEM_BYTES, FX_IOVA);
	uint16_t size_max = 1;

	fx = (struct fx){ .ring = r->arena, .packed = r };
	packed_ring_set_start(r, off, wrap);
	fx.cfg = (struct vq_config){
		.size = size,
		.packed = true,
		.packed_desc = r->desc,
		.driver_event = r->driver,
		.device_event = r->device,
		.base = packed_pos_word(r->avail) * 0x10001u,
		.indirect = true,
	};
	while (size_max < size)
		size_max *= 2;
	init(size_max);
}

void fx_die(void)
{
	uint16_t size_max = 1;

	while (size_max < fx.cfg.size)
		size_max *= 2;
	vq_free(fx.vq);
	ck_assert_int_eq(vq_new(size_max, &fx.vq), 0);
	vq_set_map(fx.vq, fx.map);
	fx.cfg.recover = true;
}

void fx_start(void)
{
	ck_assert_int_eq(vq_start(fx.vq, &fx.cfg), 0);
}

void fx_fini(void)
{
	vq_free(fx.vq);
	memmap_unref(fx.map);
	if (fx.packed)
		packed_ring_free(fx.packed);
	else
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

void fx_packed_make_chain(uint16_t id, unsigned int cnt)
{
	struct packed_buf bufs[FX_IOV_MAX];

	for (unsigned int i = 0; i < cnt; i++)
		bufs[i] = (struct packed_buf){ .addr = fx_iova(FX_BUF), .len = 16 };
	packed_ring_add(fx.packed, id, bufs, cnt);
}

void fx_packed_make(uint16_t id)
{
	fx_packed_make_chain(id, 1);
}

void fx_packed_turn(uint16_t id)
{
	fx_packed_make(id);
	vq_push(fx.vq, fx_take(), 0);
}
