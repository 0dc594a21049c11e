/* SPDX-License-Identifier: MIT */
#include "bdev_uring.h"

#include "vblk/util/math.h"

struct warm_op {
	struct loop_op op;
	unsigned int left_cnt;
};

static void warm_complete(struct loop_op *op, int res VBLK_UNUSED, uint32_t flags VBLK_UNUSED)
{
	container_of(op, struct warm_op, op)->left_cnt--;
}

/*
 * Reads of nothing, in one chain: the kernel prepares all links before the
 * first runs. That one runs in a kernel worker, of which the last one stays.
 */
int uring_warm(struct uring_queue *q)
{
	unsigned int cnt = MIN(q->depth, URING_ISSUED_MAX);
	struct warm_op warm = { .op.complete = warm_complete, .left_cnt = cnt };
	static char nowhere;

	for (unsigned int i = 0; i < cnt; i++) {
		struct io_uring_sqe *sqe = loop_get_sqe(q->loop);

		io_uring_prep_read(sqe, q->sqe_fd, &nowhere, 0, 0);
		if (i == 0)
			sqe->flags |= IOSQE_ASYNC;
		if (i + 1 < cnt)
			sqe->flags |= IOSQE_IO_LINK;
		uring_sqe_bind(q, sqe, &warm.op);
	}
	while (warm.left_cnt) {
		int r = loop_wait(q->loop);

		/* The ring itself is broken and runs nothing any more. */
		if (r < 0)
			return r;
	}
	return 0;
}
