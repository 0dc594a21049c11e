/* SPDX-License-Identifier: MIT */
#include "vblk/blk/blk_queue.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>

#include "blk_account.h"
#include "blk_probe.h"
#include "vblk/blk/blk_req.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vblk/util/prefault.h"

/*
 * A request in flight; found by its head, which is unique as long as it is.
 * @io: op, offset and length are also read by blk_queue_oldest() of other threads
 * @gen: odd while @taken_ns and those of @io can be read by others, see slot_show()
 * @taken_ns: when it was taken from the ring
 * @iov: array of the queue's, exchanged with spare_iov at each pop
 * @range_idx: the range that is with the backend
 * @flushing: none is: the flush that makes them durable is
 */
struct blk_slot {
	struct bdev_io io;
	uint32_t gen;
	uint64_t taken_ns;
	struct blk_queue *q;
	struct iovec *iov;
	uint16_t head;
	unsigned int range_idx;
	bool flushing;
	struct blk_req req;
};

/**
 * struct blk_queue - see blk_queue.h
 * @spare_iov: where the next pop writes: its head is only known afterwards
 * @iov_store: (queue_size + 1) arrays of iov_max
 * @submitted: something was handed to bdev_submit() since the last bdev_commit()
 * @turn_ns: the clock when this turn took its first request; one reading serves them all
 * @unpublished_cnt: pushed since the last vq_publish(); @unpublished_bytes: their data
 * @fresh_map: no take() yet since set_map(), so the ring's recovery is not counted
 * @by_file: the map of requests to come, if one of its regions is by_file, else NULL
 * @idx: of this queue, for probes
 * @own_stats: what is counted into until blk_queue_use_stats()
 */
struct blk_queue {
	const struct blk_params *params;
	struct vq *vq;
	const struct memmap *by_file;
	struct bdev_queue *bq;
	struct blk_slot *slots;
	struct iovec *iov_store;
	struct iovec *spare_iov;
	unsigned int iov_max;
	unsigned int idx;
	unsigned int unpublished_cnt;
	uint64_t unpublished_bytes;
	uint64_t turn_ns;
	bool submitted;
	bool fresh_map;
	bool on_hold;
	bool eager;
	bool given_up;
	bool write_through; /* relaxed: any thread writes it */
	struct blk_account account;
	struct stats_queue *own_stats;
};

static void slot_io_done(struct bdev_io *io, int result);

/* Everything of an array that the data path needs; -ENOMEM leaves what there is to the caller. */
static int alloc_account(struct blk_queue *q, unsigned int size)
{
	struct blk_account *account = &q->account;

	q->own_stats = aligned_alloc(_Alignof(struct stats_queue), sizeof(*q->own_stats));
	account->runs = calloc(size, sizeof(*account->runs));
	account->run_max = size;
	account->run = account->runs;
	if (!q->own_stats || !account->runs)
		return -ENOMEM;
	memset(q->own_stats, 0, sizeof(*q->own_stats));
	account->stats = q->own_stats;
	prefault(account->runs, size * sizeof(*account->runs));
	return 0;
}

int blk_queue_new(const struct blk_params *params, struct bdev *bdev, struct loop *loop,
		  struct blk_queue **ret_q)
{
	unsigned int size = params->queue_size;
	struct blk_queue *q;
	int r;

	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->params = params;
	q->iov_max = blk_iov_max(params);
	q->slots = calloc(size, sizeof(*q->slots));
	q->iov_store = calloc((size_t)(size + 1) * q->iov_max, sizeof(*q->iov_store));
	r = q->slots && q->iov_store ? alloc_account(q, size) : -ENOMEM;
	prefault(q->slots, size * sizeof(*q->slots));
	prefault(q->iov_store, (size_t)(size + 1) * q->iov_max * sizeof(*q->iov_store));
	if (!r)
		r = vq_new(params->queue_size, &q->vq);
	if (!r)
		r = bdev_queue_new(bdev, loop, size, &q->bq);
	if (r < 0) {
		blk_queue_free(q);
		return r;
	}

	for (unsigned int i = 0; i < size; i++) {
		struct blk_slot *slot = &q->slots[i];

		slot->q = q;
		slot->iov = q->iov_store + (size_t)i * q->iov_max;
		slot->head = (uint16_t)i;
		slot->io.slot_idx = i;
		slot->io.done = slot_io_done;
	}
	q->spare_iov = q->iov_store + (size_t)size * q->iov_max;
	*ret_q = q;
	return 0;
}

void blk_queue_free(struct blk_queue *q)
{
	if (!q)
		return;
	if (q->bq)
		bdev_queue_free(q->bq);
	vq_free(q->vq);
	free(q->account.runs);
	free(q->own_stats);
	free(q->iov_store);
	free(q->slots);
	free(q);
}

void blk_queue_use_stats(struct blk_queue *q, struct stats_queue *stats)
{
	q->account.stats = stats;
	free(q->own_stats);
	q->own_stats = NULL;
}

void blk_queue_set_idx(struct blk_queue *q, unsigned int idx)
{
	q->idx = idx;
}

struct vq *blk_queue_vq(struct blk_queue *q)
{
	return q->vq;
}

void blk_queue_set_map(struct blk_queue *q, const struct memmap *map)
{
	assert(!blk_queue_inflight_cnt(q));
	vq_set_map(q->vq, map);
	q->by_file = map && memmap_is_by_file(map) ? map : NULL;
	bdev_map_changed(q->bq, map);
	q->fresh_map = true;
	/* What a stopped ring did not publish is gone with it. */
	q->unpublished_cnt = 0;
	q->unpublished_bytes = 0;
	blk_account_forget(&q->account);
}

void blk_queue_set_write_through(struct blk_queue *q, bool on)
{
	__atomic_store_n(&q->write_through, on && q->params->limits.volatile_cache,
			 __ATOMIC_RELAXED);
}

void blk_queue_hold(struct blk_queue *q, bool on_hold)
{
	q->on_hold = on_hold;
}

void blk_queue_set_eager(struct blk_queue *q, bool eager)
{
	q->eager = eager;
}

/* The one end of every request: the head goes back to the driver. */
static void slot_push(struct blk_slot *slot, uint32_t written_bytes)
{
	struct blk_queue *q = slot->q;

	q->unpublished_cnt++;
	vq_push(q->vq, slot->head, written_bytes);
}

static __attribute__((noinline)) bool store_status_by_file(const struct memmap *map, uint8_t *at,
							   uint8_t status)
{
	return memmap_store(map, at, &status, sizeof(status)) == 0;
}

/* One byte, stored once; vq_publish() releases it together with the data. False: it was not. */
static inline bool store_status(struct blk_queue *q, uint8_t *at, uint8_t status)
{
	if (VBLK_UNLIKELY(q->by_file))
		return store_status_by_file(q->by_file, at, status);
	__atomic_store_n(at, status, __ATOMIC_RELAXED);
	return true;
}

static inline __attribute__((always_inline)) void
slot_push_status(struct blk_slot *slot, uint8_t status, uint32_t data_bytes)
{
	if (store_status(slot->q, slot->req.status_byte, status)) {
		slot_push(slot, data_bytes + 1);
	} else {
		/* Done again: a driver that is shown it would find the status of another one. */
		vq_abandon(slot->q->vq, slot->head);
	}
}

static void parse(const struct blk_queue *q, const struct vq_chain *chain, struct iovec *iov,
		  struct blk_req *ret_req)
{
	if (VBLK_UNLIKELY(q->by_file))
		blk_req_parse_by_file(q->params, q->by_file, iov, chain->readable_cnt,
				      chain->writable_cnt, ret_req);
	else
		blk_req_parse(q->params, iov, chain->readable_cnt, chain->writable_cnt, ret_req);
}

/*
 * Tells blk_queue_oldest() that the slot changes, or that it is complete. Each store of what
 * it reads has release order and so comes after the hide before it, and each of its loads has
 * acquire order and so comes before it looks at @gen again: unchanged means one request.
 */
static void slot_hide(struct blk_slot *slot)
{
	__atomic_store_n(&slot->gen, slot->gen + 1, __ATOMIC_RELAXED);
}

static void slot_show(struct blk_slot *slot)
{
	__atomic_store_n(&slot->gen, slot->gen + 1, __ATOMIC_RELEASE);
}

/* The backend has it. */
static bool slot_is_shown(const struct blk_slot *slot)
{
	return slot->gen % 2;
}

/* Prepares the current range; the caller or a later publish commits. */
static void slot_submit_range(struct blk_slot *slot)
{
	const struct blk_range *range = &slot->req.ranges[slot->range_idx];
	struct bdev_io *io = &slot->io;

	__atomic_store_n(&io->op, slot->req.op, __ATOMIC_RELEASE);
	io->flags = range->flags;
	__atomic_store_n(&io->offset_bytes, range->offset_bytes, __ATOMIC_RELEASE);
	__atomic_store_n(&io->len_bytes, range->len_bytes, __ATOMIC_RELEASE);
	io->iov = slot->req.data;
	io->iov_cnt = slot->req.data_cnt;
	slot->q->submitted = true;
	slot_show(slot);
	if (BLK_PROBE_ON(submit))
		BLK_PROBE_SUBMIT(slot->q->idx, slot->head, slot->req.op,
				 range->offset_bytes >> SECTOR_SHIFT, range->len_bytes);
	/* Last: the request may be finished and its head taken again when this returns. */
	bdev_submit(slot->q->bq, io);
}

/* Not inlined: its clock and arguments are no part of the path that nobody traces. */
static __attribute__((noinline)) void slot_trace_end(const struct blk_slot *slot, uint8_t status)
{
	const struct blk_range *range = &slot->req.ranges[0];

	BLK_PROBE_COMPLETE(slot->q->idx, slot->head, slot->req.op,
			   range->offset_bytes >> SECTOR_SHIFT, range->len_bytes, status,
			   clock_now_ns() - slot->taken_ns);
}

static inline __attribute__((always_inline)) void slot_account(struct blk_slot *slot,
							       uint8_t status)
{
	struct blk_account *account = &slot->q->account;
	const struct blk_req *req = &slot->req;
	uint64_t bytes = 0;

	if (status == VIRTIO_BLK_S_OK) {
		bytes = req->ranges[0].len_bytes;
		for (unsigned int i = 1; i < req->range_cnt; i++)
			bytes += req->ranges[i].len_bytes;
	} else if (status == VIRTIO_BLK_S_IOERR) {
		stats_add(&account->stats->errors[req->op], 1);
	}
	slot->q->unpublished_bytes += bytes;
	blk_account_end(account, req->op, slot->taken_ns, bytes);
	if (BLK_PROBE_ON(complete))
		slot_trace_end(slot, status);
}

/* With the status of its I/O. */
static __attribute__((noinline)) void slot_end(struct blk_slot *slot, uint8_t status)
{
	slot_account(slot, status);
	/* After an error the content of data buffers is unknown: claim none of it. */
	slot_push_status(slot, status, status == VIRTIO_BLK_S_OK ? slot->req.written_bytes : 0);
}

/* Asked at the end of a request, so a change meets those in flight as well. */
static bool slot_must_flush(const struct blk_slot *slot)
{
	enum bdev_op op = slot->req.op;

	return __atomic_load_n(&slot->q->write_through, __ATOMIC_RELAXED) && !slot->flushing &&
	       op != BDEV_READ && op != BDEV_FLUSH;
}

static void slot_submit_flush(struct blk_slot *slot)
{
	struct bdev_io *io = &slot->io;

	slot->flushing = true;
	__atomic_store_n(&io->op, BDEV_FLUSH, __ATOMIC_RELEASE);
	io->flags = 0;
	__atomic_store_n(&io->offset_bytes, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&io->len_bytes, 0, __ATOMIC_RELEASE);
	io->iov_cnt = 0;
	slot->q->submitted = true;
	slot_show(slot);
	bdev_submit(slot->q->bq, io);
}

/*
 * Ranges run one after the other, since a request has one status and the first error ends
 * it. With a backend that completes inside submit this recurses, at most BLK_RANGES_MAX deep.
 */
static void slot_io_done(struct bdev_io *io, int result)
{
	struct blk_slot *slot = container_of(io, struct blk_slot, io);
	uint8_t status = blk_status_from_result(result);

	slot_hide(slot);
	if (status == VIRTIO_BLK_S_OK && slot->range_idx + 1 < slot->req.range_cnt) {
		slot->range_idx++;
		slot_submit_range(slot);
		return;
	}
	if (status == VIRTIO_BLK_S_OK && slot_must_flush(slot)) {
		slot_submit_flush(slot);
		return;
	}
	slot_end(slot, status);
}

static struct blk_slot *slot_of_chain(struct blk_queue *q, const struct vq_chain *chain)
{
	struct blk_slot *slot = &q->slots[chain->head];

	q->spare_iov = slot->iov;
	slot->iov = chain->iov;
	slot->range_idx = 0;
	slot->flushing = false;
	return slot;
}

static void start_request(struct blk_queue *q, const struct vq_chain *chain)
{
	struct blk_slot *slot = slot_of_chain(q, chain);
	struct stats_queue *stats = q->account.stats;
	struct blk_req *req = &slot->req;

	parse(q, chain, slot->iov, req);
	if (vq_memory_is_gone(q->vq)) {
		/* Nobody knows what was asked. */
		vq_abandon(q->vq, chain->head);
		return;
	}
	switch (req->action) {
	case BLK_ACTION_IO:
		__atomic_store_n(&slot->taken_ns, q->turn_ns, __ATOMIC_RELEASE);
		slot_submit_range(slot);
		break;
	case BLK_ACTION_REPLY:
		stats_add(req->is_get_id ? &stats->get_ids : &stats->other_requests, 1);
		slot_push_status(slot, req->status, req->written_bytes);
		break;
	case BLK_ACTION_DISCARD_CHAIN:
		stats_add(&stats->other_requests, 1);
		slot_push(slot, 0);
		break;
	}
}

/* Touches no slot: the one of this head may still be with the backend. */
static void refuse_request(struct blk_queue *q, const struct vq_chain *chain)
{
	struct blk_req req;

	parse(q, chain, chain->iov, &req);
	stats_add(&q->account.stats->other_requests, 1);
	if (req.action != BLK_ACTION_DISCARD_CHAIN &&
	    !store_status(q, req.status_byte, VIRTIO_BLK_S_IOERR)) {
		vq_abandon(q->vq, chain->head);
		return;
	}
	q->unpublished_cnt++;
	vq_push(q->vq, chain->head, req.action != BLK_ACTION_DISCARD_CHAIN);
}

static void slot_io_ignored(struct bdev_io *io VBLK_UNUSED, int result VBLK_UNUSED)
{
}

void blk_queue_give_up(struct blk_queue *q)
{
	q->given_up = true;
	for (unsigned int i = 0; i < q->params->queue_size; i++) {
		struct blk_slot *slot = &q->slots[i];

		if (!slot_is_shown(slot))
			continue;
		slot->io.done = slot_io_ignored;
		slot_hide(slot);
		slot_end(slot, VIRTIO_BLK_S_IOERR);
	}
}

/* Again while completions inside submit more: nothing may be left behind when we sleep. */
static void commit_submitted(struct blk_queue *q)
{
	q->account.inside = 1;
	while (q->submitted) {
		q->submitted = false;
		bdev_commit(q->bq);
	}
	q->account.inside = 0;
}

/* The driver could be at work on what has completed, while the rest of the batch is. */
static bool has_enough(const struct blk_queue *q)
{
	return q->eager && (q->unpublished_cnt >= BLK_QUEUE_EAGER_MAX ||
			    q->unpublished_bytes >= BLK_QUEUE_EAGER_BYTES);
}

int blk_queue_take(struct blk_queue *q)
{
	struct vq_chain chain;
	int cnt = 0, r = 0;

	if (q->fresh_map) {
		q->fresh_map = false;
		stats_add(&q->account.stats->recovered, vq_recovered_cnt(q->vq));
	}
	q->account.inside = 1;
	while (cnt < BLK_QUEUE_TAKE_MAX) {
		if (q->on_hold && !vq_redo_cnt(q->vq))
			break;
		r = vq_pop(q->vq, q->spare_iov, q->iov_max, &chain);
		if (r <= 0)
			break;
		if (!cnt)
			q->turn_ns = clock_now_ns();
		if (q->given_up)
			refuse_request(q, &chain);
		else
			start_request(q, &chain);
		cnt++;
		if (has_enough(q))
			break;
	}
	/* As the driver sees it: what has ended and was not shown to it counts. */
	stats_at_least(&q->account.stats->inflight_max,
		       blk_queue_inflight_cnt(q) + q->unpublished_cnt);
	commit_submitted(q);
	return r < 0 ? r : cnt;
}

bool blk_queue_publish(struct blk_queue *q)
{
	bool wants_interrupt;

	commit_submitted(q);
	/* Also with nothing pushed: a recovered ring may owe the driver an interrupt. */
	wants_interrupt = vq_publish(q->vq);
	if (!q->unpublished_cnt && !wants_interrupt)
		return false;
	blk_account_runs(&q->account);
	if (q->unpublished_cnt)
		stats_add(&q->account.stats->batches, 1);
	if (wants_interrupt)
		stats_add(&q->account.stats->interrupts, 1);
	q->unpublished_cnt = 0;
	q->unpublished_bytes = 0;
	return wants_interrupt;
}

unsigned int blk_queue_inflight_cnt(const struct blk_queue *q)
{
	return vq_inflight_cnt(q->vq);
}

struct stats_queue *blk_queue_stats(const struct blk_queue *q)
{
	return q->account.stats;
}

/* False when the slot is free or changes while it is looked at. */
static bool slot_read(const struct blk_slot *slot, struct blk_held *ret_held)
{
	uint32_t gen = __atomic_load_n(&slot->gen, __ATOMIC_ACQUIRE);

	if (gen % 2 == 0)
		return false;
	ret_held->taken_ns = __atomic_load_n(&slot->taken_ns, __ATOMIC_ACQUIRE);
	ret_held->op = __atomic_load_n(&slot->io.op, __ATOMIC_ACQUIRE);
	ret_held->offset_bytes = __atomic_load_n(&slot->io.offset_bytes, __ATOMIC_ACQUIRE);
	ret_held->len_bytes = __atomic_load_n(&slot->io.len_bytes, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&slot->gen, __ATOMIC_RELAXED) == gen;
}

/* Into its place in @list[@cnt], of which the @max oldest stay. Returns the new @cnt. */
static unsigned int held_insert(struct blk_held *list, unsigned int cnt, unsigned int max,
				const struct blk_held *held)
{
	unsigned int at = cnt;

	while (at && list[at - 1].taken_ns > held->taken_ns)
		at--;
	if (at == max)
		return cnt;
	cnt = MIN(cnt + 1, max);
	for (unsigned int i = cnt - 1; i > at; i--)
		list[i] = list[i - 1];
	list[at] = *held;
	return cnt;
}

unsigned int blk_queue_oldest(const struct blk_queue *q, uint64_t before_ns,
			      struct blk_held *ret_held, unsigned int max,
			      unsigned int *ret_total_cnt)
{
	unsigned int cnt = 0, total_cnt = 0;
	struct blk_held held;

	for (unsigned int i = 0; i < q->params->queue_size; i++) {
		if (!slot_read(&q->slots[i], &held) || held.taken_ns > before_ns)
			continue;
		total_cnt++;
		cnt = held_insert(ret_held, cnt, max, &held);
	}
	*ret_total_cnt = total_cnt;
	return cnt;
}
