/* SPDX-License-Identifier: MIT */
/* One queue over one arena, for the tests of the virtqueue module. */
#ifndef TEST_VIRTQUEUE_H
#define TEST_VIRTQUEUE_H

#include <check.h>

#include "packed_ring.h"
#include "ring_builder.h"
#include "vblk/mem/memmap.h"
#include "vblk/virtqueue/vq.h"

#define FX_IOVA	     0x100000u
#define FX_MEM_BYTES 0x20000u
#define FX_IOV_MAX   16u

/*
 * What the map has, as offsets in the arena; the ring and ring_alloc() use the
 * first region. The hole is everything behind FX_RW2 + 0x1000.
 */
#define FX_BUF	    0x8000u  /* inside the first region, RW */
#define FX_RO	    0x10000u /* a page to read only, follows the first region */
#define FX_WO	    0x11000u /* a page to write only */
#define FX_RW2	    0x12000u /* a page of both: a region of its own */
#define FX_TOP	    0x13000u /* this page is at the last 4096 addresses */
#define FX_TOP_IOVA (UINT64_MAX - 0xfffu)
#define FX_HOLE	    0x14000u

/**
 * struct fx - the fixture
 * @packed: a packed ring, whose arena is @ring; or NULL
 * @rec: in-flight record with room for the ring; @cfg uses it when a test says so
 */
struct fx {
	struct ring *ring;
	struct packed_ring *packed;
	struct memmap *map;
	struct vq *vq;
	struct vq_inflight *rec;
	struct vq_config cfg;
	struct vq_chain chain;
	struct iovec iov[FX_IOV_MAX];
};

extern struct fx fx;

/* A ring of @size entries with both indexes at @idx; not started. */
void fx_init(uint16_t size, uint16_t idx);
/* A packed ring of @size descriptors, both sides at @off in a lap of @wrap; not started. */
void fx_init_packed(uint16_t size, uint16_t off, bool wrap);
void fx_start(void);
/* The process dies: only ring and record remain, and the next fx_start() recovers. */
void fx_die(void);
void fx_fini(void);

/* Driver address of an offset in the arena. */
uint64_t fx_iova(uint32_t offset_bytes);
int fx_pop(void);
/* Pops one and checks that it is there. Returns its head. */
uint16_t fx_take(void);
/* One readable descriptor at @head, made available. */
void fx_make(uint16_t head);
/* fx_make(), fx_take(), vq_push(). */
void fx_turn(uint16_t head);

/* One readable descriptor with buffer id @id in the packed ring. */
void fx_packed_make(uint16_t id);
/* A direct chain of @cnt such descriptors. */
void fx_packed_make_chain(uint16_t id, unsigned int cnt);
/* fx_packed_make(), fx_take(), vq_push(). */
void fx_packed_turn(uint16_t id);

void fx_suite_ring(Suite *s);
void fx_suite_chain(Suite *s);
void fx_suite_notify(Suite *s);
void fx_suite_recover(Suite *s);
void fx_suite_gone(Suite *s);
void fx_suite_race(Suite *s);
void fx_suite_packed_ring(Suite *s);
void fx_suite_packed_chain(Suite *s);
void fx_suite_packed_notify(Suite *s);
void fx_suite_packed_recover(Suite *s);

#endif
