/* SPDX-License-Identifier: MIT */
/*
 * Discard, zeroing and erasing. Which way of zeroing a file or device has is
 * only known after asking, so a refusal is remembered for the queue and the
 * next way is taken; writing zeroes always works.
 */
#include "bdev_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mman.h>

#include "vblk/util/math.h"

int uring_range_init(struct uring_queue *q)
{
	void *p;

	if (q->dev->base.limits.read_only)
		return 0;
	/* Only ever read, so it takes no memory of its own. */
	p = mmap(NULL, URING_ZERO_BUF_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	q->zero_buf = p;
	if (!q->dev->is_block)
		return 0;
	return offload_new(q->loop, q->dev->fd, q->depth, &offload_sys_kernel, &q->offload);
}

void uring_range_fini(struct uring_queue *q)
{
	offload_free(q->offload);
	q->offload = NULL;
	if (q->zero_buf)
		(void)munmap(q->zero_buf, URING_ZERO_BUF_BYTES);
	q->zero_buf = NULL;
}

/* --- the ways --- */

static void start_fallocate(struct uring_slot *slot, int mode,
			    void (*complete)(struct loop_op *op, int res, uint32_t flags))
{
	struct uring_queue *q = slot->q;
	struct io_uring_sqe *sqe = loop_get_sqe(q->loop);

	io_uring_prep_fallocate(sqe, q->range_sqe_fd, mode | FALLOC_FL_KEEP_SIZE,
				(off_t)slot->io->offset_bytes, (off_t)slot->io->len_bytes);
	slot->op.complete = complete;
	uring_sqe_bind(q, sqe, &slot->op);
}

static void start_ioctl(struct uring_slot *slot, unsigned long req,
			void (*done)(struct offload_job *job, int result))
{
	slot->job = (struct offload_job){
		.req = req,
		.range = { slot->io->offset_bytes, slot->io->len_bytes },
		.done = done,
	};
	offload_submit(slot->q->offload, &slot->job);
}

static void zero_chunk_done(struct uring_xfer *x, int result);

static void start_zero_chunk(struct uring_slot *slot)
{
	struct uring_xfer *x = &slot->xfers[0];
	uint64_t left_bytes = slot->io->len_bytes - slot->copied_bytes;
	uint64_t chunk_bytes = 0;
	unsigned int cnt = 0;

	while (cnt < URING_XFER_IOVS && chunk_bytes < left_bytes) {
		uint64_t n = MIN(left_bytes - chunk_bytes, (uint64_t)URING_ZERO_BUF_BYTES);

		x->iov[cnt++] = (struct iovec){ slot->q->zero_buf, n };
		chunk_bytes += n;
	}
	slot->chunk_bytes = (uint32_t)chunk_bytes;
	x->done = zero_chunk_done;
	uring_xfer_start(x, slot, true, iov_cursor_init(x->iov, cnt),
			 slot->io->offset_bytes + slot->copied_bytes, chunk_bytes);
}

static void zero_chunk_done(struct uring_xfer *x, int result)
{
	struct uring_slot *slot = x->slot;

	if (result == 0)
		slot->copied_bytes += slot->chunk_bytes;
	if (result == 0 && slot->copied_bytes < slot->io->len_bytes)
		start_zero_chunk(slot);
	else
		uring_slot_end_durable(slot, result);
}

/* --- zeroing --- */

static void zero_start(struct uring_slot *slot);

static bool zero_method_usable(const struct uring_queue *q, enum zero_method method)
{
	if (method == ZERO_IOCTL && !q->offload)
		return false;
	return method == ZERO_WRITE || !(q->zero_refused & (1u << method));
}

static void zero_method_result(struct uring_slot *slot, int result)
{
	if (result != -EOPNOTSUPP && uring_retry(result, &slot->retry_cnt)) {
		zero_start(slot);
	} else if (result == -EOPNOTSUPP) {
		slot->q->zero_refused |= 1u << slot->zero_method;
		zero_start(slot);
	} else {
		uring_slot_end_durable(slot, uring_final_error(result));
	}
}

static void zero_fallocated(struct loop_op *op, int res, uint32_t flags VBLK_UNUSED)
{
	zero_method_result(container_of(op, struct uring_slot, op), res);
}

static void zero_ioctl_done(struct offload_job *job, int result)
{
	zero_method_result(container_of(job, struct uring_slot, job), result);
}

static void zero_start(struct uring_slot *slot)
{
	while (!zero_method_usable(slot->q, slot->zero_method))
		slot->zero_method++;

	switch (slot->zero_method) {
	case ZERO_PUNCH:
		start_fallocate(slot, FALLOC_FL_PUNCH_HOLE, zero_fallocated);
		break;
	case ZERO_RANGE:
		start_fallocate(slot, FALLOC_FL_ZERO_RANGE, zero_fallocated);
		break;
	case ZERO_IOCTL:
		start_ioctl(slot, BLKZEROOUT, zero_ioctl_done);
		break;
	case ZERO_WRITE:
		slot->copied_bytes = 0;
		start_zero_chunk(slot);
		break;
	}
}

/* --- discard and erase --- */

static void discard_start(struct uring_slot *slot);

static void discard_result(struct uring_slot *slot, int result)
{
	if (uring_retry(result, &slot->retry_cnt))
		discard_start(slot);
	else
		uring_slot_end_durable(slot, uring_final_error(result));
}

static void discard_fallocated(struct loop_op *op, int res, uint32_t flags VBLK_UNUSED)
{
	discard_result(container_of(op, struct uring_slot, op), res);
}

static void discard_ioctl_done(struct offload_job *job, int result)
{
	discard_result(container_of(job, struct uring_slot, job), result);
}

static void discard_start(struct uring_slot *slot)
{
	bool erase = slot->io->op == BDEV_SECURE_ERASE;

	if (slot->q->offload)
		start_ioctl(slot, erase ? BLKSECDISCARD : BLKDISCARD, discard_ioctl_done);
	else
		start_fallocate(slot, FALLOC_FL_PUNCH_HOLE, discard_fallocated);
}

void uring_range_start(struct uring_slot *slot)
{
	bool may_unmap = (slot->io->flags & BDEV_IO_MAY_UNMAP) && slot->q->dev->discard;

	if (slot->io->op != BDEV_WRITE_ZEROES) {
		discard_start(slot);
		return;
	}
	slot->zero_method = may_unmap ? ZERO_PUNCH : ZERO_RANGE;
	zero_start(slot);
}

const unsigned long *bdev_ioctls(unsigned int *ret_cnt)
{
	static const unsigned long requests[] = { BLKDISCARD, BLKSECDISCARD, BLKZEROOUT };

	*ret_cnt = ARRAY_SIZE(requests);
	return requests;
}
