/* SPDX-License-Identifier: MIT */
/*
 * A disk in memory: an unnamed file that every process which inherits it
 * shares, so the content survives a restart of the worker.
 *
 * It is read and written with system calls, never mapped: no page tables and
 * no locked or dumped pages for user data, reading a hole takes no memory, and
 * running out of memory is an error of one request instead of a signal.
 */
#include "bdev_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/iov.h"
#include "vblk/util/math.h"

#define MEM_RANGE_MAX_BYTES (1ull << 30)
#define MEM_IOV_BATCH	    64u

struct mem_bdev {
	struct bdev base;
	int fd;
};

static int mem_file_new(uint64_t size_bytes)
{
	_cleanup_close_ int fd = memfd_create("vblk-mem", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size_bytes) < 0)
		return -errno;
	/* Nothing can shrink it under us; growing is bdev_resize()'s. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return -errno;
	return steal_fd(&fd);
}

static void mem_close(struct bdev *bdev)
{
	struct mem_bdev *m = container_of(bdev, struct mem_bdev, base);

	if (m->fd >= 0)
		(void)close(m->fd);
	free(m);
}

static int mem_setup(struct mem_bdev *m, const struct bdev_params *params, char why[BDEV_WHY_MAX])
{
	struct bdev_limits *lim = &m->base.limits;
	int r = bdev_set_sized_limits(params, lim, why);

	if (r < 0)
		return r;
	if (!params->read_only) {
		lim->max_discard_bytes = params->discard ? MEM_RANGE_MAX_BYTES : 0;
		lim->max_write_zeroes_bytes = MEM_RANGE_MAX_BYTES;
		lim->write_zeroes_may_unmap = params->discard;
	}
	lim->discard_align_bytes = MAX(4096u, lim->logical_block_bytes);

	r = mem_file_new(lim->capacity_bytes);
	if (r < 0)
		return bdev_why(why, r, "'%s': cannot create the memory: %s", params->spec,
				strerror(-r));
	m->fd = r;
	return 0;
}

static int mem_open(const struct bdev_params *params, struct bdev **ret_bdev,
		    char why[BDEV_WHY_MAX])
{
	struct mem_bdev *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return bdev_why(why, -ENOMEM, "'%s': out of memory", params->spec);
	m->base.ops = &bdev_mem_ops;
	m->fd = -1;
	r = mem_setup(m, params, why);
	if (r < 0) {
		mem_close(&m->base);
		return r;
	}
	*ret_bdev = &m->base;
	return 0;
}

static int mem_resize(struct bdev *bdev, uint64_t want_bytes, uint64_t *ret_size_bytes)
{
	const struct mem_bdev *m = container_of(bdev, struct mem_bdev, base);

	return bdev_file_resize(m->fd, bdev->limits.read_only, want_bytes, ret_size_bytes);
}

static void mem_hand_over(const struct bdev *bdev, struct bdev_handover *ret_handover)
{
	ret_handover->fds[0] = container_of(bdev, const struct mem_bdev, base)->fd;
	ret_handover->fd_cnt = 1;
}

static int mem_take_over(const struct bdev_params *params VBLK_UNUSED,
			 const struct bdev_handover *handover, struct bdev **ret_bdev)
{
	struct mem_bdev *m;
	struct stat st;

	if (handover->fd_cnt != 1)
		return -EINVAL;
	if (fstat(handover->fds[0], &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < handover->limits.capacity_bytes)
		return -EINVAL;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->base.ops = &bdev_mem_ops;
	m->base.limits = handover->limits;
	m->fd = handover->fds[0];
	*ret_bdev = &m->base;
	return 0;
}

static int mem_queue_new(struct bdev *bdev VBLK_UNUSED, struct loop *loop VBLK_UNUSED,
			 unsigned int depth VBLK_UNUSED, struct bdev_queue **ret_bq)
{
	struct bdev_queue *bq = calloc(1, sizeof(*bq));

	if (!bq)
		return -ENOMEM;
	*ret_bq = bq;
	return 0;
}

static void mem_queue_free(struct bdev_queue *bq)
{
	free(bq);
}

static void mem_map_changed(struct bdev_queue *bq VBLK_UNUSED, const struct memmap *map VBLK_UNUSED)
{
}

/* The next buffers of the cursor, as many as @ret_iov[MEM_IOV_BATCH] takes. */
static int next_batch(const struct iov_cursor *cur, struct iovec *ret_iov)
{
	unsigned int cnt = MIN(cur->cnt, MEM_IOV_BATCH);

	memcpy(ret_iov, cur->iov, cnt * sizeof(*ret_iov));
	ret_iov[0].iov_base = (char *)ret_iov[0].iov_base + cur->skip_bytes;
	ret_iov[0].iov_len -= cur->skip_bytes;
	return (int)cnt;
}

static int mem_rw(int fd, const struct bdev_io *io)
{
	struct iov_cursor cur = iov_cursor_init(io->iov, io->iov_cnt);
	struct iovec batch[MEM_IOV_BATCH];
	uint64_t done_bytes = 0;

	while (done_bytes < io->len_bytes) {
		off_t pos = (off_t)(io->offset_bytes + done_bytes);
		int cnt = next_batch(&cur, batch);
		ssize_t n = io->op == BDEV_READ ? preadv(fd, batch, cnt, pos)
						: pwritev(fd, batch, cnt, pos);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		(void)iov_skip(&cur, (uint64_t)n);
		done_bytes += (uint64_t)n;
	}
	return 0;
}

/* A hole reads as zeroes, so this serves discard and zeroing alike. */
static int mem_punch(int fd, const struct bdev_io *io)
{
	int r;

	do
		r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)io->offset_bytes, (off_t)io->len_bytes);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int mem_do(int fd, const struct bdev_io *io)
{
	switch (io->op) {
	case BDEV_READ:
	case BDEV_WRITE:
		return mem_rw(fd, io);
	case BDEV_FLUSH:
		return 0;
	case BDEV_DISCARD:
	case BDEV_WRITE_ZEROES:
		return mem_punch(fd, io);
	case BDEV_SECURE_ERASE:
		break;
	}
	return -EOPNOTSUPP;
}

static void mem_submit(struct bdev_queue *bq, struct bdev_io *io)
{
	struct mem_bdev *m = container_of(bq->bdev, struct mem_bdev, base);

	io->done(io, mem_do(m->fd, io));
}

static void mem_commit(struct bdev_queue *bq VBLK_UNUSED)
{
}

const struct bdev_ops bdev_mem_ops = {
	.name = "mem",
	.open = mem_open,
	.close = mem_close,
	.resize = mem_resize,
	.hand_over = mem_hand_over,
	.take_over = mem_take_over,
	.queue_new = mem_queue_new,
	.queue_free = mem_queue_free,
	.map_changed = mem_map_changed,
	.submit = mem_submit,
	.commit = mem_commit,
};
