/* SPDX-License-Identifier: MIT */
/*
 * A split ring. Input: a byte with size and features, the record's used_idx and size,
 * the ring's used->idx and avail->idx (little-endian 16 bits each); an entry has eight
 * bytes: avail entry, used id, seq (16 bits each; seq 0xffff is a huge one), 2 unused.
 */
#include "fuzz_vq_recover.h"

#define AVAIL_AT  512u
#define USED_AT	  1024u
#define BUFFER_AT 1536u

static void configure(struct input *in)
{
	uint8_t flags = take(in);

	st.cfg.size = (uint16_t)(1u << (flags & 7) % 5);
	st.cfg.event_idx = flags & 8;
	st.cfg.desc = (void *)st.arena;
	st.cfg.avail = (void *)(st.arena + AVAIL_AT);
	st.cfg.used = (void *)(st.arena + USED_AT);
	st.rec->used_idx = take16(in);
	st.rec->size = take16(in);
	st.cfg.used->idx = take16(in);
	st.cfg.avail->idx = take16(in);
}

static void fill(unsigned int i, struct input *in)
{
	uint16_t seq;

	st.cfg.desc[i] = (struct vring_desc){ .addr = BUFFER_AT, .len = 16 };
	st.cfg.avail->ring[i] = take16(in);
	st.cfg.used->ring[i].id = take16(in);
	seq = take16(in);
	st.rec->seq[i] = seq == 0xffff ? UINT64_MAX - i : seq;
	(void)take16(in);
}

static uint64_t seq_of(unsigned int i)
{
	return st.rec->seq[i];
}

static void check_started(void)
{
	must(st.rec->used_idx == st.cfg.used->idx, "the record is up to date");
	must(vq_last_avail_idx(st.vq) == (uint16_t)(st.cfg.used->idx + vq_recovered_cnt(st.vq)),
	     "the next one follows those that were taken");
}

const struct fuzz_recover_ring fuzz_recover_ring = {
	.rec_bytes = sizeof(struct vq_inflight) + FUZZ_RECOVER_SIZE_MAX * sizeof(uint64_t),
	.configure = configure,
	.fill = fill,
	.seq = seq_of,
	.check_started = check_started,
};
