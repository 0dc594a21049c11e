/* SPDX-License-Identifier: MIT */
/*
 * A successor on whatever a predecessor, a driver and a damaged file left: any
 * ring, any record. Either it refuses and has stored nothing, or it takes over
 * a set of heads that fits the ring, and the record says so afterwards: the next
 * successor takes over the same set in the same order.
 *
 * Input: a byte of setup (size, features), the record's used_idx and size, the
 * ring's used->idx and avail->idx (little-endian 16 bits each), then operations
 * up to a byte 0xff, then eight bytes of descriptor-free ring content a head:
 * avail entry, used id, seq (16 bits each; seq 0xffff is a huge one), 2 unused.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/mem/memmap.h"
#include "vblk/util/math.h"
#include "vblk/virtqueue/vq.h"

#define SIZE_MAX_   16u
#define ARENA_BYTES 2048u
#define AVAIL_AT    512u
#define USED_AT	    1024u
#define BUFFER_AT   1536u

struct input {
	const uint8_t *data;
	size_t len;
};

static struct {
	uint8_t *arena;
	struct vq_inflight *rec;
	struct memmap *map;
	struct vq *vq;
	struct vq_config cfg;
	uint16_t held[SIZE_MAX_];
	unsigned int held_cnt;
} st;

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

static uint16_t take16(struct input *in)
{
	uint16_t low = take(in);

	return (uint16_t)(low | take(in) << 8);
}

static void setup_memory(void)
{
	struct memmap_region region = { .iova = 0, .len_bytes = ARENA_BYTES, .fd = -1 };

	memset(&st, 0, sizeof(st));
	st.arena = calloc(1, ARENA_BYTES);
	st.rec = calloc(1, vq_inflight_bytes(SIZE_MAX_));
	must(st.arena && st.rec, "memory");
	region.va = st.arena;
	region.perm = MEMMAP_READ | MEMMAP_WRITE;
	must(!memmap_new(&region, 1, NULL, NULL, &st.map), "map");
	must(!vq_new(SIZE_MAX_, &st.vq), "vq");
	vq_set_map(st.vq, st.map);
}

static void setup_ring(uint8_t flags)
{
	struct vring_desc *desc = (void *)st.arena;

	for (unsigned int i = 0; i < SIZE_MAX_; i++)
		desc[i] = (struct vring_desc){ .addr = BUFFER_AT, .len = 16 };
	st.cfg = (struct vq_config){
		.size = (uint16_t)(1u << (flags & 7) % 5),
		.desc = desc,
		.avail = (void *)(st.arena + AVAIL_AT),
		.used = (void *)(st.arena + USED_AT),
		.event_idx = flags & 8,
		.inflight = st.rec,
		.recover = true,
	};
}

static void fill(struct input *in)
{
	for (unsigned int i = 0; i < SIZE_MAX_; i++) {
		uint16_t seq;

		st.cfg.avail->ring[i] = take16(in);
		st.cfg.used->ring[i].id = take16(in);
		seq = take16(in);
		st.rec->seq[i] = seq == 0xffff ? UINT64_MAX - i : seq;
		(void)take16(in);
	}
}

static unsigned int recorded_cnt(void)
{
	unsigned int cnt = 0;

	for (unsigned int i = 0; i < st.cfg.size; i++)
		cnt += st.rec->seq[i] != 0;
	return cnt;
}

/* A fresh process; true when it took over. */
static bool successor_starts(void)
{
	size_t bytes = vq_inflight_bytes(SIZE_MAX_);
	struct vq_inflight *before = malloc(bytes);
	int r;

	must(before != NULL, "memory");
	vq_free(st.vq);
	st.held_cnt = 0;
	must(!vq_new(SIZE_MAX_, &st.vq), "vq");
	vq_set_map(st.vq, st.map);
	memcpy(before, st.rec, bytes);
	r = vq_start(st.vq, &st.cfg);
	if (r < 0)
		must(!memcmp(before, st.rec, bytes), "a refusal stores nothing");
	free(before);
	if (r < 0)
		return false;
	must(st.rec->size == st.cfg.size, "the record is of this ring");
	must(st.rec->used_idx == st.cfg.used->idx, "the record is up to date");
	must(vq_recovered_cnt(st.vq) == recorded_cnt(), "recorded is what is redone");
	must(vq_recovered_cnt(st.vq) <= st.cfg.size, "no more heads than there are");
	must(vq_last_avail_idx(st.vq) == (uint16_t)(st.cfg.used->idx + vq_recovered_cnt(st.vq)),
	     "the next one follows those that were taken");
	(void)vq_publish(st.vq);
	return true;
}

static bool pop(void)
{
	struct vq_chain chain;
	struct iovec iov[4];
	int r = vq_pop(st.vq, iov, 4, &chain);

	if (r <= 0)
		return false;
	must(chain.head < st.cfg.size, "head in range");
	for (unsigned int i = 0; i < st.held_cnt; i++)
		must(st.held[i] != chain.head, "a head is held once");
	must(st.held_cnt < st.cfg.size, "no more heads than there are");
	must(st.rec->seq[chain.head] != 0, "what is taken is recorded");
	st.held[st.held_cnt++] = chain.head;
	return true;
}

/* Takes the recovered ones, oldest first, as they stand in the record. */
static void pop_recovered(uint16_t *heads)
{
	unsigned int cnt = vq_recovered_cnt(st.vq);

	for (unsigned int i = 0; i < cnt; i++) {
		must(pop(), "recovered heads come");
		heads[i] = st.held[st.held_cnt - 1];
		must(!i || st.rec->seq[heads[i - 1]] < st.rec->seq[heads[i]], "oldest first");
	}
}

static void push(uint8_t which)
{
	uint16_t head;

	if (!st.held_cnt)
		return;
	which = (uint8_t)(which % st.held_cnt);
	head = st.held[which];
	st.held[which] = st.held[--st.held_cnt];
	vq_push(st.vq, head, which);
}

static void check_takes_over_twice(void)
{
	uint16_t first[SIZE_MAX_], second[SIZE_MAX_];
	unsigned int cnt = vq_recovered_cnt(st.vq);

	pop_recovered(first);
	must(successor_starts(), "what was taken over once is taken over again");
	must(vq_recovered_cnt(st.vq) == cnt, "as many");
	pop_recovered(second);
	must(!memcmp(first, second, cnt * sizeof(first[0])), "the same heads in the same order");
}

/* Work, and deaths in between. False when a successor refused. */
static bool run_op(uint8_t op)
{
	switch (op & 3) {
	case 0:
		(void)pop();
		break;
	case 1:
		push(op >> 2);
		break;
	case 2:
		(void)vq_publish(st.vq);
		break;
	case 3:
		return successor_starts();
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len }, ops;

	setup_memory();
	setup_ring(take(&in));
	st.rec->used_idx = take16(&in);
	st.rec->size = take16(&in);
	st.cfg.used->idx = take16(&in);
	st.cfg.avail->idx = take16(&in);
	ops = in;
	while (in.len && take(&in) != 0xff)
		;
	ops.len -= in.len;
	fill(&in);
	if (successor_starts()) {
		check_takes_over_twice();
		while (ops.len && run_op(take(&ops)))
			;
	}
	vq_free(st.vq);
	memmap_unref(st.map);
	free(st.rec);
	free(st.arena);
	return 0;
}
