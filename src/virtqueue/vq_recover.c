/* SPDX-License-Identifier: MIT */
/*
 * The in-flight record at start: reset it, or take over what a predecessor
 * left in it. See vq_inflight.h for why this is exact. A crash in here leaves
 * a record that can be taken over again.
 */
#include "vq_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "vblk/util/le.h"
#include "vq_store.h"

/* Larger numbers cannot have been counted up to: the record is damaged. */
#define SEQ_MAX ((uint64_t)INT64_MAX)

void vq_record_set_clean(struct vq_inflight *rec)
{
	vq_store_record16(&rec->size, VQ_INFLIGHT_CLEAN);
}

void vq_record_reset(struct vq_inflight *rec, uint16_t size, uint16_t used_idx)
{
	/* Until the size is back, a successor starts like us with nothing. */
	vq_record_set_clean(rec);
	for (unsigned int head = 0; head < size; head++)
		vq_store_record64(&rec->seq[head], 0);
	vq_store_record16(&rec->used_idx, used_idx);
	vq_store_record16(&rec->format, VQ_INFLIGHT_SPLIT);
	vq_store_record16(&rec->size, size);
}

/*
 * Heads of batches that were published but perhaps not cleared: marks them
 * VQ_HEAD_PUSHED, for now.
 */
static int mark_published(struct vq *vq)
{
	uint16_t idx = vq->inflight->used_idx;

	if ((uint16_t)(vq->used_published - idx) > vq->size)
		return -EINVAL;
	for (; idx != vq->used_published; idx++) {
		uint32_t head = load_le32(&vq->used->ring[vq_slot(vq, idx)].id);

		if (head >= vq->size)
			return -EINVAL;
		vq->state[head] = VQ_HEAD_PUSHED;
	}
	return 0;
}

static int compare_seq(const void *a, const void *b, void *ctx)
{
	const uint64_t *seq = ctx;
	uint64_t seq_a = seq[*(const uint16_t *)a];
	uint64_t seq_b = seq[*(const uint16_t *)b];

	return (seq_a > seq_b) - (seq_a < seq_b);
}

int vq_redo_sort(struct vq *vq, uint64_t *seq)
{
	if (!vq->redo_cnt)
		return 0;
	qsort_r(vq->redo, vq->redo_cnt, sizeof(vq->redo[0]), compare_seq, seq);
	for (unsigned int i = 1; i < vq->redo_cnt; i++)
		if (seq[vq->redo[i - 1]] == seq[vq->redo[i]])
			return -EINVAL;
	if (seq[vq->redo[vq->redo_cnt - 1]] > SEQ_MAX)
		return -EINVAL;
	vq->next_seq = seq[vq->redo[vq->redo_cnt - 1]] + 1;
	return 0;
}

/* Fills redo with the heads that are in flight, oldest first; @seq with their numbers. */
static int collect(struct vq *vq, uint64_t *seq)
{
	vq->redo_cnt = 0;
	for (unsigned int head = 0; head < vq->size; head++) {
		seq[head] = __atomic_load_n(&vq->inflight->seq[head], __ATOMIC_RELAXED);
		if (seq[head] && vq->state[head] != VQ_HEAD_PUSHED)
			vq->redo[vq->redo_cnt++] = (uint16_t)head;
	}
	/* More taken than was ever made available: not this ring's record. */
	if (vq->redo_cnt > (uint16_t)(vq_load_avail_idx(vq) - vq->used_published))
		return -EINVAL;
	return vq_redo_sort(vq, seq);
}

/* Steps 3 and 4 of the publish that the predecessor did not finish. */
static void finish_publish(struct vq *vq)
{
	struct vq_inflight *rec = vq->inflight;

	for (unsigned int head = 0; head < vq->size; head++) {
		if (vq->state[head] != VQ_HEAD_PUSHED)
			continue;
		vq->state[head] = VQ_HEAD_FREE;
		if (rec->seq[head])
			vq_store_record64(&rec->seq[head], 0);
	}
	vq_store_record16(&rec->used_idx, vq->used_published);
}

int vq_record_recover(struct vq *vq)
{
	struct vq_inflight *rec = vq->inflight;
	uint64_t *seq;
	int r;

	/* used->idx was read; a ring that is gone says 0. */
	if (vq_memory_is_gone(vq))
		return -EFAULT;
	if (rec->size == VQ_INFLIGHT_CLEAN) {
		vq_record_reset(rec, vq->size, vq->used_published);
		return 0;
	}
	if (rec->size != vq->size || rec->format != VQ_INFLIGHT_SPLIT)
		return -EINVAL;
	r = mark_published(vq);
	if (r < 0)
		return r;
	/* A copy: the record may be in memory that others write, too. */
	seq = calloc(vq->size, sizeof(*seq));
	if (!seq)
		return -ENOMEM;
	r = collect(vq, seq);
	free(seq);
	if (r < 0)
		return r;
	if (vq_memory_is_gone(vq))
		return -EFAULT;
	finish_publish(vq);
	for (unsigned int i = 0; i < vq->redo_cnt; i++)
		vq->state[vq->redo[i]] = VQ_HEAD_RECOVERED;
	return 0;
}
