/* SPDX-License-Identifier: MIT */
#include "fuzz_vq_recover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/mem/memmap.h"

#define SIZE_MAX_   FUZZ_RECOVER_SIZE_MAX
#define ARENA_BYTES FUZZ_RECOVER_ARENA_BYTES

struct fuzz_recover_state st;

void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "violated: %s\n", what);
	abort();
}

uint8_t take(struct input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

uint16_t take16(struct input *in)
{
	uint16_t low = take(in);

	return (uint16_t)(low | take(in) << 8);
}

static void setup_memory(void)
{
	struct memmap_region region = { .iova = 0, .len_bytes = ARENA_BYTES, .fd = -1 };

	memset(&st, 0, sizeof(st));
	st.arena = calloc(1, ARENA_BYTES);
	st.rec = calloc(1, fuzz_recover_ring.rec_bytes);
	st.arena_before = malloc(ARENA_BYTES);
	st.rec_before = malloc(fuzz_recover_ring.rec_bytes);
	must(st.arena && st.rec && st.arena_before && st.rec_before, "memory");
	region.va = st.arena;
	region.perm = MEMMAP_READ | MEMMAP_WRITE;
	must(!memmap_new(&region, 1, NULL, NULL, &st.map), "map");
	must(!vq_new(SIZE_MAX_, &st.vq), "vq");
	vq_set_map(st.vq, st.map);
}

static unsigned int recorded_cnt(void)
{
	unsigned int cnt = 0;

	for (unsigned int i = 0; i < st.cfg.size; i++)
		cnt += fuzz_recover_ring.seq(i) != 0;
	return cnt;
}

/* A fresh process; true when it took over. */
static bool successor_starts(void)
{
	int r;

	vq_free(st.vq);
	st.held_cnt = 0;
	must(!vq_new(SIZE_MAX_, &st.vq), "vq");
	vq_set_map(st.vq, st.map);
	memcpy(st.rec_before, st.rec, fuzz_recover_ring.rec_bytes);
	memcpy(st.arena_before, st.arena, ARENA_BYTES);
	r = vq_start(st.vq, &st.cfg);
	if (r < 0) {
		must(!memcmp(st.rec_before, st.rec, fuzz_recover_ring.rec_bytes) &&
			     !memcmp(st.arena_before, st.arena, ARENA_BYTES),
		     "a refusal stores nothing");
		return false;
	}
	must(st.rec->size == st.cfg.size, "the record is of this ring");
	must(vq_recovered_cnt(st.vq) == recorded_cnt(), "recorded is what is redone");
	must(vq_recovered_cnt(st.vq) <= st.cfg.size, "no more heads than there are");
	fuzz_recover_ring.check_started();
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
	must(fuzz_recover_ring.seq(chain.head) != 0, "what is taken is recorded");
	st.held[st.held_cnt++] = chain.head;
	return true;
}

/*
 * Takes the recovered ones, oldest first, as they stand in the record. Returns how
 * many came before a fault.
 */
static unsigned int pop_recovered(uint16_t *heads)
{
	unsigned int cnt = vq_recovered_cnt(st.vq);

	for (unsigned int i = 0; i < cnt; i++) {
		if (!pop()) {
			must(vq_fault(st.vq) && fuzz_recover_ring.has_chains,
			     "recovered heads come");
			return i;
		}
		heads[i] = st.held[st.held_cnt - 1];
		must(!i || fuzz_recover_ring.seq(heads[i - 1]) < fuzz_recover_ring.seq(heads[i]),
		     "oldest first");
	}
	return cnt;
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
	unsigned int recovered_cnt = vq_recovered_cnt(st.vq), cnt;

	cnt = pop_recovered(first);
	must(successor_starts(), "what was taken over once is taken over again");
	must(vq_recovered_cnt(st.vq) == recovered_cnt, "as many");
	must(pop_recovered(second) == cnt, "as many come");
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
		if (!(op & 0x80) || !fuzz_recover_ring.drive)
			return successor_starts();
		fuzz_recover_ring.drive(op >> 2);
		break;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len }, ops;

	setup_memory();
	st.cfg = (struct vq_config){ .inflight = st.rec, .recover = true };
	fuzz_recover_ring.configure(&in);
	ops = in;
	while (in.len && take(&in) != 0xff)
		;
	ops.len -= in.len;
	for (unsigned int i = 0; i < SIZE_MAX_; i++)
		fuzz_recover_ring.fill(i, &in);
	if (successor_starts()) {
		check_takes_over_twice();
		while (ops.len && run_op(take(&ops)))
			;
	}
	vq_free(st.vq);
	memmap_unref(st.map);
	free(st.rec_before);
	free(st.arena_before);
	free(st.rec);
	free(st.arena);
	return 0;
}
