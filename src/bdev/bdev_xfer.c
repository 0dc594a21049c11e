/* SPDX-License-Identifier: MIT */
#include "bdev_uring.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/uio.h>

#include "vblk/util/math.h"

/* The length field of an entry has 32 bits and a result 31. */
#define XFER_BUF_MAX_BYTES (1u << 30)

int uring_rw_flags(const struct uring_bdev *dev, bool is_write)
{
	return is_write && dev->writethrough ? RWF_DSYNC : 0;
}

/* True when the cursor walks over x->iov, not over an array of the caller. */
static bool walks_own_array(const struct uring_xfer *x)
{
	return x->cur.iov >= x->iov && x->cur.iov < x->iov + URING_XFER_IOVS;
}

/*
 * Buffers for the next attempt: the caller's own array when the next buffer is
 * whole, else a few of the next ones with the first one cut.
 */
static unsigned int next_buffers(struct uring_xfer *x, const struct iovec **ret_iov)
{
	unsigned int cnt = MIN(x->cur.cnt, (unsigned int)IOV_MAX);

	*ret_iov = x->cur.iov;
	if (!x->cur.skip_bytes)
		return cnt;

	cnt = MIN(cnt, URING_XFER_IOVS);
	memmove(x->iov, x->cur.iov, cnt * sizeof(*x->iov));
	x->iov[0].iov_base = (char *)x->iov[0].iov_base + x->cur.skip_bytes;
	x->iov[0].iov_len -= x->cur.skip_bytes;
	if (walks_own_array(x)) {
		x->cur.iov = x->iov;
		x->cur.skip_bytes = 0;
	}
	*ret_iov = x->iov;
	return cnt;
}

static void prep_one(struct uring_xfer *x, struct io_uring_sqe *sqe, struct iovec buf)
{
	int fd = x->slot->q->sqe_fd;
	unsigned int len = (unsigned int)MIN(buf.iov_len, (size_t)XFER_BUF_MAX_BYTES);

	if (x->buf_idx >= 0 && x->is_write)
		io_uring_prep_write_fixed(sqe, fd, buf.iov_base, len, x->pos_bytes, x->buf_idx);
	else if (x->buf_idx >= 0)
		io_uring_prep_read_fixed(sqe, fd, buf.iov_base, len, x->pos_bytes, x->buf_idx);
	else if (x->is_write)
		io_uring_prep_write(sqe, fd, buf.iov_base, len, x->pos_bytes);
	else
		io_uring_prep_read(sqe, fd, buf.iov_base, len, x->pos_bytes);
}

static void issue_now(struct uring_xfer *x)
{
	struct uring_queue *q = x->slot->q;
	struct io_uring_sqe *sqe = loop_get_sqe(q->loop);
	const struct iovec *iov;
	unsigned int cnt = next_buffers(x, &iov);

	if (cnt == 1)
		prep_one(x, sqe, iov[0]);
	else if (x->is_write)
		io_uring_prep_writev(sqe, q->sqe_fd, iov, cnt, x->pos_bytes);
	else
		io_uring_prep_readv(sqe, q->sqe_fd, iov, cnt, x->pos_bytes);
	sqe->rw_flags = uring_rw_flags(q->dev, x->is_write);
	if (x->force_async)
		sqe->flags |= IOSQE_ASYNC;
	uring_sqe_bind(q, sqe, &x->op);
	q->issued_cnt++;
}

static void issue(struct uring_xfer *x)
{
	struct uring_queue *q = x->slot->q;

	if (q->issued_cnt < URING_ISSUED_MAX) {
		issue_now(x);
		return;
	}
	x->next_waiting = NULL;
	if (q->issue_first)
		q->issue_last->next_waiting = x;
	else
		q->issue_first = x;
	q->issue_last = x;
}

static void issue_waiting(struct uring_queue *q)
{
	while (q->issue_first && q->issued_cnt < URING_ISSUED_MAX) {
		struct uring_xfer *x = q->issue_first;

		q->issue_first = x->next_waiting;
		issue_now(x);
	}
}

/* True when @x moved on. O_DIRECT can only go on at whole blocks. */
static bool advance(struct uring_xfer *x, uint64_t got_bytes)
{
	const struct uring_bdev *dev = x->slot->q->dev;

	if (got_bytes < x->left_bytes)
		got_bytes = align_down(got_bytes, dev->dio_len_align_bytes);
	else
		got_bytes = x->left_bytes;
	(void)iov_skip(&x->cur, got_bytes);
	x->pos_bytes += got_bytes;
	x->left_bytes -= got_bytes;
	return got_bytes > 0;
}

static void xfer_go_on(struct uring_xfer *x, int res)
{
	if (res > 0 && advance(x, (uint64_t)res)) {
		x->retry_cnt = 0;
		if (!x->left_bytes)
			x->done(x, 0);
		else
			issue(x);
		return;
	}
	/* Nothing to read where there must be something: the file has shrunk. */
	if (res >= 0)
		res = x->is_write ? -EAGAIN : -EIO;
	if (!uring_retry(res, &x->retry_cnt)) {
		x->done(x, uring_final_error(res));
		return;
	}
	/* What was refused here and now succeeds where it may sleep. */
	x->force_async = x->force_async || res == -EAGAIN;
	issue(x);
}

static void xfer_complete(struct loop_op *op, int res, uint32_t flags VBLK_UNUSED)
{
	struct uring_xfer *x = container_of(op, struct uring_xfer, op);
	struct uring_queue *q = x->slot->q;

	q->issued_cnt--;
	xfer_go_on(x, res);
	issue_waiting(q);
}

static void xfer_init(struct uring_xfer *x, struct uring_slot *slot, bool is_write,
		      uint64_t pos_bytes, uint64_t len_bytes)
{
	x->op.complete = xfer_complete;
	x->slot = slot;
	x->is_write = is_write;
	x->pos_bytes = pos_bytes;
	x->left_bytes = len_bytes;
	x->buf_idx = -1;
	x->force_async = false;
	x->retry_cnt = 0;
}

void uring_xfer_start(struct uring_xfer *x, struct uring_slot *slot, bool is_write,
		      struct iov_cursor cur, uint64_t pos_bytes, uint64_t len_bytes)
{
	xfer_init(x, slot, is_write, pos_bytes, len_bytes);
	x->cur = cur;
	issue(x);
}

void uring_xfer_start_buf(struct uring_xfer *x, struct uring_slot *slot, bool is_write,
			  struct iovec buf, int buf_idx, uint64_t pos_bytes)
{
	xfer_init(x, slot, is_write, pos_bytes, buf.iov_len);
	x->iov[0] = buf;
	x->cur = iov_cursor_init(x->iov, 1);
	x->buf_idx = buf_idx;
	issue(x);
}
