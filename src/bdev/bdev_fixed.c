/* SPDX-License-Identifier: MIT */
/*
 * Memory of the driver registered with the ring: the kernel need not look up
 * and pin its pages for every O_DIRECT request. Costs memory that stays
 * pinned, so only maps that say they are pinned anyway take part; where it
 * fails, plain addresses do the same work more slowly.
 */
#include "bdev_uring.h"

#include <stdlib.h>

#include "vblk/util/math.h"

#define FIXED_BUF_MAX_BYTES (1ull << 30) /* the kernel's limit for one buffer */
#define FIXED_BUFS_MAX	    1024u

static int compare_base(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct iovec *)a)->iov_base;
	uintptr_t y = (uintptr_t)((const struct iovec *)b)->iov_base;

	return (x > y) - (x < y);
}

/* Writes the pieces of one region to @ret_iov[@max]; returns how many, all or none. */
static unsigned int split_region(const struct memmap_region *region, struct iovec *ret_iov,
				 unsigned int max)
{
	uint64_t done_bytes = 0;
	unsigned int cnt = 0;

	while (done_bytes < region->len_bytes) {
		uint64_t n = MIN(region->len_bytes - done_bytes, FIXED_BUF_MAX_BYTES);

		if (cnt == max)
			return 0;
		ret_iov[cnt++] = (struct iovec){ (char *)region->va + done_bytes, n };
		done_bytes += n;
	}
	return cnt;
}

static unsigned int collect(const struct memmap *map, struct iovec *ret_iov, unsigned int max)
{
	unsigned int region_cnt, cnt = 0;
	const struct memmap_region *regions = memmap_regions(map, &region_cnt);

	for (unsigned int i = 0; i < region_cnt; i++) {
		if (regions[i].pinned)
			cnt += split_region(&regions[i], ret_iov + cnt, max - cnt);
	}
	qsort(ret_iov, cnt, sizeof(*ret_iov), compare_base);
	return cnt;
}

void uring_fixed_unregister(struct uring_queue *q)
{
	if (q->fixed_cnt)
		(void)io_uring_unregister_buffers(&q->loop->ring);
	free(q->fixed);
	q->fixed = NULL;
	q->fixed_cnt = 0;
}

void uring_fixed_register(struct uring_queue *q, const struct memmap *map)
{
	unsigned int cnt;

	uring_fixed_unregister(q);
	/* With the page cache in between it gains nothing (measured). */
	if (!map || !q->dev->base.limits.direct)
		return;
	q->fixed = calloc(FIXED_BUFS_MAX, sizeof(*q->fixed));
	if (!q->fixed)
		return;
	cnt = collect(map, q->fixed, FIXED_BUFS_MAX);
	if (cnt && !io_uring_register_buffers(&q->loop->ring, q->fixed, cnt)) {
		q->fixed_cnt = cnt;
		return;
	}
	uring_fixed_unregister(q);
}

/* Index of the registered buffer that holds all of @buf, or -1. */
static int find_buf(const struct uring_queue *q, struct iovec buf)
{
	uintptr_t addr = (uintptr_t)buf.iov_base;
	unsigned int lo = 0, hi = q->fixed_cnt;
	uint64_t skip;

	while (hi - lo > 1) {
		unsigned int mid = lo + (hi - lo) / 2;

		if ((uintptr_t)q->fixed[mid].iov_base <= addr)
			lo = mid;
		else
			hi = mid;
	}
	if (!q->fixed_cnt || addr < (uintptr_t)q->fixed[lo].iov_base)
		return -1;
	skip = addr - (uintptr_t)q->fixed[lo].iov_base;
	return range_fits(skip, buf.iov_len, q->fixed[lo].iov_len) ? (int)lo : -1;
}

bool uring_fixed_start(struct uring_slot *slot, void (*done)(struct uring_xfer *x, int result))
{
	struct uring_queue *q = slot->q;
	const struct bdev_io *io = slot->io;
	bool is_write = uring_io_is_write(io);
	uint64_t pos_bytes = io->offset_bytes;
	int idx[URING_XFERS_PER_SLOT];

	if (!q->fixed_cnt || io->iov_cnt > URING_XFERS_PER_SLOT)
		return false;
	/* Each piece would be made durable on its own. */
	if (io->iov_cnt > 1 && uring_rw_flags(q->dev, is_write))
		return false;
	for (unsigned int i = 0; i < io->iov_cnt; i++) {
		idx[i] = find_buf(q, io->iov[i]);
		if (idx[i] < 0 || !io->iov[i].iov_len || io->iov[i].iov_len > FIXED_BUF_MAX_BYTES)
			return false;
	}
	slot->xfer_cnt = io->iov_cnt;
	for (unsigned int i = 0; i < io->iov_cnt; i++) {
		slot->xfers[i].done = done;
		uring_xfer_start_buf(&slot->xfers[i], slot, is_write, io->iov[i], idx[i],
				     pos_bytes);
		pos_bytes += io->iov[i].iov_len;
	}
	return true;
}
