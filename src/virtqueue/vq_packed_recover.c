/* SPDX-License-Identifier: MIT */
/*
 * The in-flight record of a packed ring: what is noted before a batch is shown,
 * and what a successor makes of it. vq_inflight.h says what the fields mean,
 * src/README.md why this is exact. Others may write into the memory of a record
 * while it is read: each field is loaded once and checked. A crash in here leaves
 * a record that can be taken over again.
 */
#include "vq_packed.h"

#include <errno.h>
#include <stdlib.h>

#include "vblk/util/le.h"
#include "vq_store.h"

#define NO_HEAD 0xffffu

/**
 * struct found - what the record says, by entry
 * @busy: the entry belongs to a request
 * @seq: of a request's first entry: its number; else 0
 * @place: in the batch that was being published, from 1; 0 = in none
 */
struct found {
	uint64_t seq;
	uint16_t place;
	bool busy;
};

/**
 * struct reading - a record while it is read
 * @used, @next_used: as in the record
 * @is_shown: the driver has seen the batch from @used to @next_used
 */
struct reading {
	struct vq *vq;
	struct found *found;
	uint64_t *seq;
	uint16_t used;
	uint16_t next_used;
	bool is_shown;
};

static uint64_t leave_word(const struct vq_packed_slot *slot, uint64_t place)
{
	return slot->written_bytes | place << 32 | (uint64_t)slot->id << 48;
}

void vq_packed_record_reset(struct vq_inflight_packed *rec, uint16_t size, uint16_t used)
{
	/* Until the size is back, a successor starts like us with nothing. */
	vq_store_record16(&rec->size, VQ_INFLIGHT_CLEAN);
	for (unsigned int i = 0; i < size; i++)
		vq_store_record64(&rec->desc[i].seq, 0);
	vq_store_record16(&rec->used, used);
	vq_store_record16(&rec->next_used, used);
	vq_store_record16(&rec->format, VQ_INFLIGHT_PACKED);
	vq_store_record16(&rec->size, size);
}

void vq_packed_record_batch(struct vq *vq, uint16_t next_used)
{
	struct vq_packed *p = vq->packed;

	for (unsigned int i = 0; i < p->pushed_cnt; i++) {
		uint16_t head = vq->pushed[i];

		vq_store_record64(&p->rec->desc[head].leave, leave_word(&p->slot[head], i + 1));
	}
	vq_store_record16(&p->rec->next_used, next_used);
}

static uint64_t load_record64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static bool batch_was_begun(const struct reading *rd)
{
	return rd->used != rd->next_used;
}

static int read_header(struct reading *rd)
{
	const struct vq_inflight_packed *rec = rd->vq->packed->rec;

	if (__atomic_load_n(&rec->size, __ATOMIC_RELAXED) != rd->vq->size ||
	    __atomic_load_n(&rec->format, __ATOMIC_RELAXED) != VQ_INFLIGHT_PACKED)
		return -EINVAL;
	rd->used = __atomic_load_n(&rec->used, __ATOMIC_RELAXED);
	rd->next_used = __atomic_load_n(&rec->next_used, __ATOMIC_RELAXED);
	if (vq_pos_off(rd->used) >= rd->vq->size || vq_pos_off(rd->next_used) >= rd->vq->size)
		return -EINVAL;
	return 0;
}

/* A request from its first entry on, into the slots. No entry has two owners. */
static int read_chain(struct reading *rd, uint16_t head)
{
	struct vq_packed *p = rd->vq->packed;
	uint16_t entry = head, desc_cnt = 0;
	uint64_t link, leave;

	for (;;) {
		if (rd->found[entry].busy)
			return -EINVAL;
		rd->found[entry].busy = true;
		desc_cnt++;
		link = load_record64(&p->rec->desc[entry].len_link);
		if (!(link >> 48 & VRING_DESC_F_NEXT))
			break;
		p->slot[entry].next = (uint16_t)(link >> 32);
		entry = p->slot[entry].next;
		if (entry >= rd->vq->size)
			return -EINVAL;
	}
	leave = load_record64(&p->rec->desc[head].leave);
	rd->found[head].place = (uint16_t)(leave >> 32);
	p->slot[head].written_bytes = (uint32_t)leave;
	p->slot[head].last = entry;
	p->slot[head].desc_cnt = desc_cnt;
	p->slot[head].id = (uint16_t)(leave >> 48);
	return 0;
}

static int read_chains(struct reading *rd)
{
	for (unsigned int i = 0; i < rd->vq->size; i++) {
		int r;

		rd->seq[i] = load_record64(&rd->vq->packed->rec->desc[i].seq);
		if (!rd->seq[i])
			continue;
		r = read_chain(rd, (uint16_t)i);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * The flags at the batch's place tell whether it was shown: they were those of an
 * available descriptor, as something was in flight, and a driver that has seen it
 * leaves USED as it is when it makes its next lap there.
 */
static void look_whether_shown(struct reading *rd)
{
	const struct vring_packed_desc *desc = &rd->vq->packed->ring[vq_pos_off(rd->used)];
	uint16_t flags = load_acquire_le16(&desc->flags);

	rd->is_shown =
		batch_was_begun(rd) && !((flags ^ vq_pos_used_flags(rd->used)) & VQ_PACKED_USED);
}

static int batch_add(struct reading *rd, uint16_t head)
{
	struct vq *vq = rd->vq;
	unsigned int at = rd->found[head].place - 1u;

	if (rd->is_shown) /* some are free already; the order means nothing any more */
		at = vq->packed->pushed_cnt;
	if (at >= vq->size || vq->pushed[at] != NO_HEAD)
		return -EINVAL;
	vq->pushed[at] = head;
	vq->packed->pushed_cnt++;
	return 0;
}

/* Each request belongs to the batch, or is to be done again. */
static int sort_chains(struct reading *rd, unsigned int *ret_batch_descs,
		       unsigned int *ret_redo_descs)
{
	struct vq *vq = rd->vq;
	unsigned int batch_descs = 0, redo_descs = 0;
	int r;

	for (unsigned int i = 0; i < vq->size; i++)
		vq->pushed[i] = NO_HEAD;
	for (unsigned int i = 0; i < vq->size; i++) {
		if (!rd->seq[i])
			continue;
		if (!batch_was_begun(rd) || !rd->found[i].place) {
			vq->redo[vq->redo_cnt++] = (uint16_t)i;
			redo_descs += vq->packed->slot[i].desc_cnt;
			continue;
		}
		r = batch_add(rd, (uint16_t)i);
		if (r < 0)
			return r;
		batch_descs += vq->packed->slot[i].desc_cnt;
	}
	*ret_batch_descs = batch_descs;
	*ret_redo_descs = redo_descs;
	return 0;
}

/* A batch that is still to be shown is complete, and all of it has its place. */
static int check_batch(const struct reading *rd, unsigned int batch_descs)
{
	const struct vq *vq = rd->vq;
	unsigned int distance = vq_pos_distance(vq, rd->used, rd->next_used);

	if (distance > vq->size || batch_descs > distance)
		return -EINVAL;
	if (rd->is_shown)
		return 0;
	for (unsigned int i = 0; i < vq->packed->pushed_cnt; i++)
		if (vq->pushed[i] == NO_HEAD)
			return -EINVAL;
	return batch_descs == distance ? 0 : -EINVAL;
}

/*
 * What is in flight was made available in this ring, and is the device's: unless
 * it is, the record is another ring's. A batch that was not shown may have left
 * flags of used descriptors behind.
 */
static int check_ring(const struct reading *rd)
{
	const struct vq *vq = rd->vq;
	unsigned int batch_left = vq_pos_distance(vq, rd->used, rd->next_used);
	uint16_t pos = rd->used;

	if (rd->is_shown) {
		batch_left = 0;
		pos = rd->next_used;
	}
	for (; pos != vq->last_avail; pos = vq_pos_advance(vq, pos, 1)) {
		uint16_t flags = load_le16(&vq->packed->ring[vq_pos_off(pos)].flags);
		uint16_t mask = batch_left ? VQ_PACKED_AVAIL : VQ_PACKED_OWNER;

		if ((flags ^ vq_pos_avail_flags(pos)) & mask)
			return -EINVAL;
		batch_left -= batch_left > 0;
	}
	return 0;
}

/* All of the record, checked; stores nothing into record or ring. */
static int read_record(struct reading *rd)
{
	unsigned int batch_descs, redo_descs;
	struct vq *vq = rd->vq;
	int r;

	r = read_header(rd);
	if (r < 0)
		return r;
	r = read_chains(rd);
	if (r < 0)
		return r;
	look_whether_shown(rd);
	r = sort_chains(rd, &batch_descs, &redo_descs);
	if (r < 0)
		return r;
	r = check_batch(rd, batch_descs);
	if (r < 0)
		return r;
	vq->used_published = rd->used;
	vq->last_avail = vq_pos_advance(vq, rd->next_used, redo_descs);
	r = check_ring(rd);
	if (r < 0)
		return r;
	return vq_redo_sort(vq, rd->seq);
}

static void collect_free(struct reading *rd)
{
	struct vq_packed *p = rd->vq->packed;

	p->free_cnt = 0;
	for (unsigned int i = rd->vq->size; i-- > 0;) {
		if (rd->found[i].busy)
			continue;
		p->slot[i].next = p->free_first;
		p->free_first = (uint16_t)i;
		p->free_cnt++;
	}
}

/* From here on there are stores; each may be the last one. */
static void take_over(struct reading *rd)
{
	struct vq *vq = rd->vq;
	struct vq_packed *p = vq->packed;

	collect_free(rd);
	for (unsigned int i = 0; i < vq->redo_cnt; i++) {
		uint16_t head = vq->redo[i];

		vq->state[head] = VQ_HEAD_RECOVERED;
		/* Of a batch that was not begun; the next one is another. */
		if (rd->found[head].place)
			vq_store_record64(&p->rec->desc[head].leave, leave_word(&p->slot[head], 0));
	}
	if (!batch_was_begun(rd))
		return;
	if (!rd->is_shown)
		vq_packed_write_batch(vq);
	vq_packed_finish_batch(vq, rd->next_used);
}

int vq_packed_record_recover(struct vq *vq)
{
	struct vq_packed *p = vq->packed;
	struct reading rd = { .vq = vq };
	int r;

	free(p->scratch);
	p->scratch = calloc(vq->size, sizeof(*rd.found) + sizeof(*rd.seq));
	if (!p->scratch)
		return -ENOMEM;
	rd.found = p->scratch;
	rd.seq = (void *)(rd.found + vq->size);
	r = read_record(&rd);
	if (r != -ENOMEM && vq_memory_is_gone(vq))
		r = -EFAULT;
	if (!r)
		take_over(&rd);
	free(p->scratch);
	p->scratch = NULL;
	return r;
}
