/* SPDX-License-Identifier: MIT */
/*
 * O_DIRECT wants aligned memory in whole blocks, and drivers may send less:
 * segments of 512 bytes on a disk with blocks of 4096. Such requests go
 * through a few aligned buffers a queue, in chunks; who finds none free waits
 * in line.
 */
#include "bdev_uring.h"

#include <errno.h>
#include <stdlib.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/math.h"

#define COPY_ALIGN_BYTES 4096u

int uring_copy_init(struct uring_queue *q)
{
	uint32_t align = MAX(COPY_ALIGN_BYTES, q->dev->dio_mem_align_bytes);

	if (!q->dev->base.limits.direct)
		return 0;
	q->copy_bufs = aligned_alloc(align, (size_t)URING_COPY_BUFS * URING_COPY_BUF_BYTES);
	if (!q->copy_bufs)
		return -ENOMEM;
	q->copy_free_mask = (1u << URING_COPY_BUFS) - 1;
	return 0;
}

void uring_copy_fini(struct uring_queue *q)
{
	free(q->copy_bufs);
	q->copy_bufs = NULL;
}

bool uring_copy_is_needed(const struct uring_bdev *dev, const struct bdev_io *io)
{
	uint64_t addr_bits = 0, len_bits = 0;

	for (unsigned int i = 0; i < io->iov_cnt; i++) {
		addr_bits |= (uintptr_t)io->iov[i].iov_base;
		len_bits |= io->iov[i].iov_len;
	}
	return !is_aligned(addr_bits, dev->dio_mem_align_bytes) ||
	       !is_aligned(len_bits, dev->dio_len_align_bytes);
}

static char *slot_buf(const struct uring_slot *slot)
{
	return slot->q->copy_bufs + (size_t)slot->copy_buf_idx * URING_COPY_BUF_BYTES;
}

static void chunk_done(struct uring_xfer *x, int result);
static void give_buf_back(struct uring_slot *slot);

/* False when the memory is gone: what was copied then must not get to the disk. */
static bool copy_from_driver(struct uring_slot *slot, struct iovec buf)
{
	unsigned int hits = memguard_hits();

	(void)iov_copy_out(&slot->copy_cur, buf.iov_base, buf.iov_len);
	return memguard_hits() == hits;
}

static void start_chunk(struct uring_slot *slot)
{
	const struct bdev_io *io = slot->io;
	bool is_write = uring_io_is_write(io);
	struct iovec buf = { .iov_base = slot_buf(slot) };

	slot->chunk_bytes =
		(uint32_t)MIN(io->len_bytes - slot->copied_bytes, (uint64_t)URING_COPY_BUF_BYTES);
	buf.iov_len = slot->chunk_bytes;
	if (is_write && !copy_from_driver(slot, buf)) {
		give_buf_back(slot);
		uring_slot_end(slot, -EFAULT);
		return;
	}
	slot->xfers[0].done = chunk_done;
	uring_xfer_start_buf(&slot->xfers[0], slot, is_write, buf, -1,
			     io->offset_bytes + slot->copied_bytes);
}

static void take_buf(struct uring_slot *slot)
{
	struct uring_queue *q = slot->q;

	slot->copy_buf_idx = (unsigned int)__builtin_ctz(q->copy_free_mask);
	q->copy_free_mask &= ~(1u << slot->copy_buf_idx);
	start_chunk(slot);
}

static void give_buf_back(struct uring_slot *slot)
{
	struct uring_queue *q = slot->q;
	struct uring_slot *next = q->copy_wait_first;

	q->copy_free_mask |= 1u << slot->copy_buf_idx;
	if (!next)
		return;
	q->copy_wait_first = next->next_waiting;
	if (!q->copy_wait_first)
		q->copy_wait_last = NULL;
	take_buf(next);
}

static void chunk_done(struct uring_xfer *x, int result)
{
	struct uring_slot *slot = x->slot;

	if (result == 0 && !x->is_write)
		(void)iov_copy_in(&slot->copy_cur, slot_buf(slot), slot->chunk_bytes);
	if (result == 0)
		slot->copied_bytes += slot->chunk_bytes;
	if (result == 0 && slot->copied_bytes < slot->io->len_bytes) {
		start_chunk(slot);
		return;
	}
	give_buf_back(slot);
	uring_slot_end(slot, result);
}

static void wait_for_buf(struct uring_slot *slot)
{
	struct uring_queue *q = slot->q;

	slot->next_waiting = NULL;
	if (q->copy_wait_last)
		q->copy_wait_last->next_waiting = slot;
	else
		q->copy_wait_first = slot;
	q->copy_wait_last = slot;
}

void uring_copy_start(struct uring_slot *slot)
{
	slot->copied_bytes = 0;
	slot->copy_cur = iov_cursor_init(slot->io->iov, slot->io->iov_cnt);
	if (slot->q->copy_free_mask)
		take_buf(slot);
	else
		wait_for_buf(slot);
}
