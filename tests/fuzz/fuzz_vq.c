/* SPDX-License-Identifier: MIT */
/*
 * A virtqueue over memory made of the input. Input: a few bytes of setup, then
 * operations, then the arena's content (rings, tables, buffers). Whatever is in
 * there, buffers lie in the arena with the right permission, counts agree, and
 * nothing else is touched (ASan: the arena is a heap block of its own).
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/mem/memmap.h"
#include "vblk/util/compiler.h"
#include "vblk/util/math.h"
#include "vblk/virtqueue/vq.h"

#define ARENA_BYTES   8192u
#define ARENA_IOVA    0x10000u
#define SIZE_MAX_     64u
#define IOV_MAX_      12u
#define DESC_AT	      0u
#define AVAIL_AT      2048u
#define USED_AT	      2560u
#define READ_ONLY_AT  6144u /* up to the write-only part */
#define WRITE_ONLY_AT 7168u

struct input {
	const uint8_t *data;
	size_t len;
};

struct state {
	uint8_t *arena;
	struct memmap *map;
	struct vq *vq;
	struct vq_inflight *rec;
	struct vq_config cfg;
	uint16_t held[SIZE_MAX_];
	unsigned int held_cnt;
};

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "violated: %s\n", what);
	abort();
}

static uint8_t take(struct input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

static struct memmap_region region(struct state *st, uint32_t from, uint32_t to, unsigned int perm)
{
	return (struct memmap_region){ .iova = ARENA_IOVA + from,
				       .len_bytes = to - from,
				       .va = st->arena + from,
				       .perm = perm,
				       .fd = -1 };
}

static void make_map(struct state *st)
{
	struct memmap_region regions[] = {
		region(st, 0, 4096, MEMMAP_READ | MEMMAP_WRITE),
		region(st, 4096, READ_ONLY_AT, MEMMAP_READ | MEMMAP_WRITE),
		region(st, READ_ONLY_AT, WRITE_ONLY_AT, MEMMAP_READ),
		region(st, WRITE_ONLY_AT, ARENA_BYTES, MEMMAP_WRITE),
	};

	must(!memmap_new(regions, ARRAY_SIZE(regions), NULL, NULL, &st->map), "map");
}

static void check_buffer(const struct state *st, const struct iovec *iov, bool writable)
{
	uint64_t at = (uint64_t)((uint8_t *)iov->iov_base - st->arena);

	must(iov->iov_len > 0, "buffers are not empty");
	must(range_fits(at, iov->iov_len, ARENA_BYTES), "buffers are in the arena");
	if (writable)
		must(at + iov->iov_len <= READ_ONLY_AT || at >= WRITE_ONLY_AT, "may be written");
	else
		must(at + iov->iov_len <= WRITE_ONLY_AT, "may be read");
}

static void op_pop(struct state *st)
{
	struct iovec *iov = malloc(IOV_MAX_ * sizeof(*iov));
	enum vq_fault before = vq_fault(st->vq);
	struct vq_chain chain;
	int r;

	must(iov != NULL, "memory");
	r = vq_pop(st->vq, iov, IOV_MAX_, &chain);
	must(!before || r < 0, "a fault is sticky");
	must((r < 0) == (vq_fault(st->vq) != VQ_FAULT_NONE), "an error is a fault");
	if (r == 1) {
		must(chain.head < st->cfg.size, "head in range");
		must(chain.readable_cnt + chain.writable_cnt <= IOV_MAX_, "buffers fit");
		must(chain.readable_cnt + chain.writable_cnt > 0, "there are buffers");
		for (unsigned int i = 0; i < st->held_cnt; i++)
			must(st->held[i] != chain.head, "a head is held once");
		for (unsigned int i = 0; i < chain.readable_cnt + chain.writable_cnt; i++)
			check_buffer(st, &iov[i], i >= chain.readable_cnt);
		st->held[st->held_cnt++] = chain.head;
	}
	free(iov);
}

static void op_push(struct state *st, uint8_t which)
{
	uint16_t head;

	if (!st->held_cnt)
		return;
	which %= st->held_cnt;
	head = st->held[which];
	st->held[which] = st->held[--st->held_cnt];
	vq_push(st->vq, head, which);
}

static void start(struct state *st)
{
	if (vq_start(st->vq, &st->cfg) < 0)
		return;
	must(vq_recovered_cnt(st->vq) <= st->cfg.size, "recovered heads exist");
	(void)vq_publish(st->vq);
}

/* A driver (or a damaged file) changes two bytes. */
static void op_scribble(struct state *st, struct input *in)
{
	uint16_t at = (uint16_t)(take(in) | take(in) << 8);

	st->arena[at % ARENA_BYTES] = take(in);
	if (at & 0x8000)
		((uint8_t *)st->rec)[at % vq_inflight_bytes(SIZE_MAX_)] = take(in);
}

static void op_restart(struct state *st, bool recover)
{
	while (st->held_cnt)
		op_push(st, 0);
	if (!recover)
		(void)vq_publish(st->vq);
	vq_stop(st->vq);
	st->cfg.recover = recover && st->cfg.inflight;
	start(st);
}

static void run_op(struct state *st, struct input *in)
{
	uint8_t op = take(in);

	switch (op & 7) {
	case 0:
	case 1:
		op_pop(st);
		break;
	case 2:
		op_push(st, op >> 3);
		break;
	case 3:
		(void)vq_publish(st->vq);
		break;
	case 4:
		if (vq_kick_enable(st->vq))
			op_pop(st);
		break;
	case 5:
		vq_kick_suppress(st->vq);
		break;
	case 6:
		op_scribble(st, in);
		break;
	case 7:
		if (op & 0x80)
			op_restart(st, op & 0x40);
		break;
	}
	must(vq_inflight_cnt(st->vq) == st->held_cnt, "counts agree");
}

static void setup(struct state *st, struct input *in)
{
	uint8_t flags = take(in);

	st->arena = calloc(1, ARENA_BYTES);
	st->rec = calloc(1, vq_inflight_bytes(SIZE_MAX_));
	must(st->arena && st->rec, "memory");
	make_map(st);
	must(!vq_new(SIZE_MAX_, &st->vq), "vq");
	vq_set_map(st->vq, st->map);
	st->cfg = (struct vq_config){
		.size = (uint16_t)(1u << (flags & 7) % 7),
		.desc = (void *)(st->arena + DESC_AT),
		.avail = (void *)(st->arena + AVAIL_AT),
		.used = (void *)(st->arena + USED_AT),
		.indirect = flags & 8,
		.event_idx = flags & 16,
		.inflight = flags & 32 ? st->rec : NULL,
	};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len }, ops;
	struct state st = { .held_cnt = 0 };

	setup(&st, &in);
	ops.len = take(&in);
	ops.data = in.data;
	if (ops.len > in.len)
		ops.len = in.len;
	in.data += ops.len;
	in.len -= ops.len;
	memcpy(st.arena, in.data, MIN(in.len, (size_t)ARENA_BYTES));
	start(&st);
	while (ops.len)
		run_op(&st, &ops);
	vq_free(st.vq);
	memmap_unref(st.map);
	free(st.rec);
	free(st.arena);
	return 0;
}
