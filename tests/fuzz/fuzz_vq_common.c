/* SPDX-License-Identifier: MIT */
#include "fuzz_vq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/mem/memmap.h"
#include "vblk/util/compiler.h"
#include "vblk/util/math.h"

#define ARENA_IOVA    0x10000u
#define IOV_MAX_      12u
#define READ_ONLY_AT  6144u /* up to the write-only part */
#define WRITE_ONLY_AT 7168u

struct input {
	const uint8_t *data;
	size_t len;
};

struct state {
	uint8_t *arena;
	uint8_t *known;
	struct memmap *map;
	struct vq *vq;
	struct vq_inflight *rec;
	struct vq_config cfg;
	uint16_t held[FUZZ_VQ_SIZE_MAX];
	unsigned int held_cnt;
};

void must(bool ok, const char *what)
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
		region(st, WRITE_ONLY_AT, FUZZ_VQ_ARENA_BYTES, MEMMAP_WRITE),
	};

	must(!memmap_new(regions, ARRAY_SIZE(regions), NULL, NULL, &st->map), "map");
}

static void check_buffer(const struct state *st, const struct iovec *iov, bool writable)
{
	uint64_t at = (uint64_t)((uint8_t *)iov->iov_base - st->arena);

	must(iov->iov_len > 0, "buffers are not empty");
	must(range_fits(at, iov->iov_len, FUZZ_VQ_ARENA_BYTES), "buffers are in the arena");
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

	st->arena[at % FUZZ_VQ_ARENA_BYTES] = take(in);
	st->known[at % FUZZ_VQ_ARENA_BYTES] = st->arena[at % FUZZ_VQ_ARENA_BYTES];
	if (at & 0x8000)
		((uint8_t *)st->rec)[at % fuzz_vq_ring.rec_bytes] = take(in);
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

/* What was stored where the device may store is known from now on; anything else is wrong. */
static void check_stores(struct state *st)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(fuzz_vq_ring.may_store); i++) {
		size_t from = fuzz_vq_ring.may_store[i].from, to = fuzz_vq_ring.may_store[i].to;

		memcpy(st->known + from, st->arena + from, to - from);
	}
	must(!memcmp(st->known, st->arena, FUZZ_VQ_ARENA_BYTES), "may be stored there");
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
	check_stores(st);
	if (fuzz_vq_ring.check)
		fuzz_vq_ring.check(st->vq, (op & 7) == 3 && !st->held_cnt && !vq_redo_cnt(st->vq));
}

static void setup(struct state *st, struct input *in)
{
	uint8_t flags = take(in);

	st->arena = calloc(1, FUZZ_VQ_ARENA_BYTES);
	st->known = calloc(1, FUZZ_VQ_ARENA_BYTES);
	st->rec = calloc(1, fuzz_vq_ring.rec_bytes);
	must(st->arena && st->known && st->rec, "memory");
	make_map(st);
	must(!vq_new(FUZZ_VQ_SIZE_MAX, &st->vq), "vq");
	vq_set_map(st->vq, st->map);
	st->cfg = (struct vq_config){
		.indirect = flags & 8,
		.event_idx = flags & 16,
		.inflight = flags & 32 ? st->rec : NULL,
	};
	fuzz_vq_ring.configure(&st->cfg, flags, st->arena);
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
	memcpy(st.arena, in.data, MIN(in.len, (size_t)FUZZ_VQ_ARENA_BYTES));
	memcpy(st.known, st.arena, FUZZ_VQ_ARENA_BYTES);
	start(&st);
	while (ops.len)
		run_op(&st, &ops);
	vq_free(st.vq);
	memmap_unref(st.map);
	free(st.rec);
	free(st.known);
	free(st.arena);
	return 0;
}
