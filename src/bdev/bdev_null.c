/* SPDX-License-Identifier: MIT */
/* Keeps nothing and reads as zeroes: shows what everything but storage costs. */
#include "bdev_priv.h"

#include <errno.h>
#include <stdlib.h>

#include "vblk/util/iov.h"

#define NULL_RANGE_MAX_BYTES (1ull << 30)

static int null_open(const struct bdev_params *params, struct bdev **ret_bdev,
		     char why[BDEV_WHY_MAX])
{
	struct bdev *bdev = calloc(1, sizeof(*bdev));
	int r;

	if (!bdev)
		return bdev_why(why, -ENOMEM, "'%s': out of memory", params->spec);
	r = bdev_set_sized_limits(params, &bdev->limits, why);
	if (r < 0) {
		free(bdev);
		return r;
	}
	bdev->ops = &bdev_null_ops;
	if (!params->read_only) {
		bdev->limits.max_discard_bytes = params->discard ? NULL_RANGE_MAX_BYTES : 0;
		bdev->limits.max_write_zeroes_bytes = NULL_RANGE_MAX_BYTES;
		bdev->limits.write_zeroes_may_unmap = params->discard;
	}
	bdev->limits.discard_align_bytes = bdev->limits.logical_block_bytes;
	*ret_bdev = bdev;
	return 0;
}

static void null_close(struct bdev *bdev)
{
	free(bdev);
}

/* As large as anybody likes. */
static int null_resize(struct bdev *bdev, uint64_t want_bytes, uint64_t *ret_size_bytes)
{
	*ret_size_bytes = want_bytes ? want_bytes : bdev_limits_capacity(&bdev->limits);
	return 0;
}

static void null_hand_over(const struct bdev *bdev VBLK_UNUSED,
			   struct bdev_handover *ret_handover VBLK_UNUSED)
{
}

static int null_take_over(const struct bdev_params *params VBLK_UNUSED,
			  const struct bdev_handover *handover, struct bdev **ret_bdev)
{
	struct bdev *bdev;

	if (handover->fd_cnt)
		return -EINVAL;
	bdev = calloc(1, sizeof(*bdev));
	if (!bdev)
		return -ENOMEM;
	bdev->ops = &bdev_null_ops;
	bdev->limits = handover->limits;
	*ret_bdev = bdev;
	return 0;
}

static int null_queue_new(struct bdev *bdev VBLK_UNUSED, struct loop *loop VBLK_UNUSED,
			  unsigned int depth VBLK_UNUSED, struct bdev_queue **ret_bq)
{
	struct bdev_queue *bq = calloc(1, sizeof(*bq));

	if (!bq)
		return -ENOMEM;
	*ret_bq = bq;
	return 0;
}

static void null_queue_free(struct bdev_queue *bq)
{
	free(bq);
}

static void null_map_changed(struct bdev_queue *bq VBLK_UNUSED,
			     const struct memmap *map VBLK_UNUSED)
{
}

static void null_submit(struct bdev_queue *bq VBLK_UNUSED, struct bdev_io *io)
{
	/*
	 * The driver hands the whole buffer to its reader, so one left as it is
	 * would show what an earlier request of somebody else left there.
	 */
	if (io->op == BDEV_READ) {
		struct iov_cursor cur = iov_cursor_init(io->iov, io->iov_cnt);

		(void)iov_fill(&cur, 0, io->len_bytes);
	}
	io->done(io, 0);
}

static void null_commit(struct bdev_queue *bq VBLK_UNUSED)
{
}

const struct bdev_ops bdev_null_ops = {
	.name = "null",
	.open = null_open,
	.close = null_close,
	.resize = null_resize,
	.hand_over = null_hand_over,
	.take_over = null_take_over,
	.queue_new = null_queue_new,
	.queue_free = null_queue_free,
	.map_changed = null_map_changed,
	.submit = null_submit,
	.commit = null_commit,
};
