/* SPDX-License-Identifier: MIT */
/*
 * The page cache often has the answer at once. Asking it directly saves the
 * ring's bookkeeping and, where the file system cannot do non-blocking I/O,
 * two context switches to a kernel worker.
 */
#include "bdev_uring.h"

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vblk/util/math.h"

/* Refusals in a row before attempts become rare, and how rare they become. */
#define REFUSALS_FREE  4u
#define SKIP_FIRST_CNT 16u
#define SKIP_DOUBLINGS 6u
#define HALF_LONG_BITS (sizeof(long) * CHAR_BIT / 2)

static ssize_t rw_now(const struct uring_queue *q, const struct bdev_io *io, uint64_t pos_bytes,
		      const struct iovec *iov, unsigned int iov_cnt, int flags)
{
	unsigned long cnt = MIN(iov_cnt, (unsigned int)IOV_MAX);
	long call = uring_io_is_write(io) ? SYS_pwritev2 : SYS_preadv2;
	ssize_t n;

	/*
	 * Not the library's functions, which are points of cancellation: two atomic exchanges
	 * and some 50 instructions a request. The kernel takes the offset in two halves.
	 */
	n = syscall(call, (long)q->fd, iov, cnt, (unsigned long)pos_bytes,
		    (unsigned long)(pos_bytes >> HALF_LONG_BITS >> HALF_LONG_BITS), (long)flags);
	return n < 0 ? -errno : n;
}

/* The file refuses at times: each refusal in a row makes the next attempt rarer. */
static void note_refusal(struct inline_verdict *v)
{
	unsigned int over;

	if (v->refused_cnt < REFUSALS_FREE + SKIP_DOUBLINGS)
		v->refused_cnt++;
	if (v->refused_cnt < REFUSALS_FREE)
		return;
	over = v->refused_cnt - REFUSALS_FREE;
	v->skip_cnt = SKIP_FIRST_CNT << over;
}

uint64_t uring_inline_try(struct uring_queue *q, const struct bdev_io *io)
{
	bool is_write = uring_io_is_write(io);
	struct inline_verdict *v = &q->inline_verdict[is_write];
	ssize_t n;

	/* Nothing of these files is on a device: waiting is only ever for memory. */
	if (q->dev->is_ram_fs) {
		n = rw_now(q, io, io->offset_bytes, io->iov, io->iov_cnt, 0);
		return n > 0 ? (uint64_t)n : 0;
	}
	if (v->never)
		return 0;
	if (v->skip_cnt) {
		v->skip_cnt--;
		return 0;
	}
	n = rw_now(q, io, io->offset_bytes, io->iov, io->iov_cnt, RWF_NOWAIT);
	if (n > 0)
		v->refused_cnt = 0;
	else if (n == -EOPNOTSUPP)
		v->never = true;
	else if (n == -EAGAIN)
		note_refusal(v);
	/* Other errors and the end of the file: io_uring will find and report them. */
	return n > 0 ? (uint64_t)n : 0;
}

/*
 * XFS refuses a write when it would change the time of the file, which is once a tick. Those behind
 * it would be refused as well, as the kernel's worker then has the file's lock; and where it works
 * on writes of one file it does so one by one.
 */
bool uring_inline_is_passing(const struct uring_queue *q, const struct bdev_io *io)
{
	const struct inline_verdict *v = &q->inline_verdict[uring_io_is_write(io)];

	return uring_io_is_write(io) && !q->dev->is_block && v->refused_cnt &&
	       v->refused_cnt < REFUSALS_FREE;
}
