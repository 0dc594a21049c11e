/* SPDX-License-Identifier: MIT */
/*
 * A packed ring. Input: a byte with size and features, the record's used, next_used and
 * size (little-endian 16 bits each), flags of the record's format; an entry has eight
 * bytes: seq (0xff is a huge one), next entry, flags (bit 3: no address, bit 4: no
 * length), place in the batch, written bytes, buffer id, the ring's flags (bits 0 and 1:
 * AVAIL and USED, bit 2: NEXT), one unused.
 */
#include "fuzz_vq_recover.h"

#include <string.h>

#define DRIVER_AT 512u
#define DEVICE_AT 516u
#define BUFFER_AT 1024u
#define TABLE_AT  1536u /* whatever is there */

#define FLAG_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define FLAG_USED  (1u << VRING_PACKED_DESC_F_USED)

static struct vq_inflight_packed *rec(void)
{
	return (void *)st.rec;
}

static void configure(struct input *in)
{
	uint8_t flags = take(in);

	st.cfg.packed = true;
	st.cfg.size = (uint16_t)(1u + (flags & 15));
	st.cfg.event_idx = flags & 16;
	st.cfg.indirect = flags & 32;
	st.cfg.base = VQ_BASE_PACKED_NEW;
	st.cfg.packed_desc = (void *)st.arena;
	st.cfg.driver_event = (void *)(st.arena + DRIVER_AT);
	st.cfg.device_event = (void *)(st.arena + DEVICE_AT);
	rec()->used = take16(in);
	rec()->next_used = take16(in);
	rec()->size = take16(in);
	rec()->format = flags & 64 ? VQ_INFLIGHT_SPLIT : VQ_INFLIGHT_PACKED;
}

static void fill_record(struct vq_inflight_desc *to, unsigned int i, struct input *in)
{
	uint64_t seq = take(in), next = take(in), flags = take(in);
	uint64_t place = take(in), written = take(in), id = take(in);
	uint64_t addr = flags & VRING_DESC_F_INDIRECT ? TABLE_AT : BUFFER_AT;

	to->seq = seq == 0xff ? UINT64_MAX - i : seq;
	to->addr = flags & 8 ? UINT64_MAX - i : addr;
	to->len_link = (flags & 16 ? 0 : 16) | next << 32 | (flags & 7) << 48;
	to->leave = written | place << 32 | id << 48;
}

static void fill(unsigned int i, struct input *in)
{
	uint8_t flags;

	fill_record(&rec()->desc[i], i, in);
	flags = take(in);
	st.cfg.packed_desc[i] = (struct vring_packed_desc){
		.addr = BUFFER_AT,
		.len = 16,
		.id = (uint16_t)i,
		.flags = (uint16_t)((flags & 1 ? FLAG_AVAIL : 0) | (flags & 2 ? FLAG_USED : 0) |
				    (flags & 4 ? VRING_DESC_F_NEXT : 0)),
	};
	(void)take(in);
}

static uint64_t seq_of(unsigned int i)
{
	return rec()->desc[i].seq;
}

/* Descriptors of the requests in a record. */
static unsigned int recorded_desc_cnt(const struct vq_inflight_packed *r)
{
	unsigned int cnt = 0;

	for (unsigned int i = 0; i < st.cfg.size; i++) {
		unsigned int entry = i;

		if (!r->desc[i].seq)
			continue;
		for (cnt++; r->desc[entry].len_link >> 48 & VRING_DESC_F_NEXT; cnt++) {
			entry = (uint16_t)(r->desc[entry].len_link >> 32);
			must(entry < st.cfg.size && cnt <= st.cfg.size, "chains are in the ring");
		}
	}
	return cnt;
}

static uint16_t pos_after(uint16_t pos, unsigned int cnt)
{
	while (cnt--) {
		pos++;
		if ((pos & 0x7fff) == st.cfg.size)
			pos = ~pos & 0x8000;
	}
	return pos;
}

/* Of a batch that the driver has seen, some may be free already. */
static bool batch_was_shown(const struct vq_inflight_packed *r)
{
	const struct vring_packed_desc *ring = (void *)st.arena_before;
	bool is_used = ring[r->used & 0x7fff].flags & FLAG_USED;

	return r->used != r->next_used && is_used == (r->used >> 15);
}

static void check_started(void)
{
	const struct vq_inflight_packed *before = (void *)st.rec_before;

	must(rec()->used == rec()->next_used, "no batch is under way");
	must((uint16_t)(vq_base(st.vq) >> 16) == rec()->used, "the record is up to date");
	must(vq_last_avail_idx(st.vq) == pos_after(rec()->used, recorded_desc_cnt(rec())),
	     "the next one follows those that were taken");
	if (before->size != VQ_INFLIGHT_CLEAN && !batch_was_shown(before))
		must(vq_last_avail_idx(st.vq) == pos_after(before->used, recorded_desc_cnt(before)),
		     "what was taken has its place");
}

/* Bits 0-3: where; bit 4: made available in which lap; bit 5 is 1. */
static void drive(uint8_t arg)
{
	struct vring_packed_desc *desc = &st.cfg.packed_desc[(arg & 15) % st.cfg.size];

	desc->flags = arg & 16 ? FLAG_AVAIL : FLAG_USED;
}

const struct fuzz_recover_ring fuzz_recover_ring = {
	.rec_bytes = sizeof(struct vq_inflight_packed) +
		     FUZZ_RECOVER_SIZE_MAX * sizeof(struct vq_inflight_desc),
	.has_chains = true,
	.configure = configure,
	.fill = fill,
	.seq = seq_of,
	.check_started = check_started,
	.drive = drive,
};
