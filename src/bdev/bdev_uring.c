/* SPDX-License-Identifier: MIT */
#include "bdev_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/prefault.h"

/* --- open --- */

static int check_file_type(const char *path, char why[BDEV_WHY_MAX], bool *ret_is_block)
{
	struct stat st;
	int r;

	if (stat(path, &st) < 0) {
		r = -errno;
		if (r == -ENOENT)
			return bdev_why(why, r,
					"'%s' does not exist (make one: truncate -s 10G %s)", path,
					path);
		return bdev_why(why, r, "cannot look at '%s': %s", path, strerror(-r));
	}
	*ret_is_block = S_ISBLK(st.st_mode);
	if (S_ISDIR(st.st_mode))
		return bdev_why(why, -EISDIR, "'%s' is a directory, not an image", path);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return bdev_why(why, -ENOTBLK, "'%s' is neither a regular file nor a block device",
				path);
	return 0;
}

static int open_failed(int r, const struct bdev_params *params, const char *path,
		       char why[BDEV_WHY_MAX])
{
	switch (r) {
	case -EROFS:
		return bdev_why(why, r,
				"'%s' is on a read-only file system (use --read-only to attach it "
				"so)",
				path);
	case -EACCES:
	case -EPERM:
		return bdev_why(why, r, "no permission to open '%s' for %s", path,
				params->read_only ? "reading" : "writing (or use --read-only)");
	case -EBUSY:
		return bdev_why(why, r,
				"'%s' is in use: mounted, or part of another device (RAID, LVM)",
				path);
	case -EINVAL:
		if (params->direct)
			return bdev_why(why, r,
					"the file system of '%s' does not support O_DIRECT (try "
					"without --direct)",
					path);
		break;
	default:
		break;
	}
	return bdev_why(why, r, "cannot open '%s': %s", path, strerror(-r));
}

static int open_file(const struct bdev_params *params, const char *path, int *ret_fd,
		     char why[BDEV_WHY_MAX])
{
	int flags = O_CLOEXEC | (params->read_only ? O_RDONLY : O_RDWR);
	bool is_block = false;
	int fd, r;

	/* Before opening: that alone would block on a FIFO and rewind a tape. */
	r = check_file_type(path, why, &is_block);
	if (r < 0)
		return r;
	if (params->direct)
		flags |= O_DIRECT;
	/* Keeps file systems, RAID and LVM of this host off a device that we write. */
	if (is_block && !params->read_only)
		flags |= O_EXCL;
	fd = open(path, flags);
	if (fd < 0)
		return open_failed(-errno, params, path, why);
	*ret_fd = fd;
	return 0;
}

/*
 * What a guest reads is no access to the image that anybody asks for, and each read would look
 * whether its time is due. Only the owner and CAP_FOWNER may go without.
 */
static int open_without_atime(const char *path, int flags)
{
	int fd = open(path, flags | O_NOATIME);

	return fd < 0 && errno == EPERM ? open(path, flags) : fd;
}

/*
 * The kernel reports a failed write-back once to every open file. With one open
 * file for all queues, the flush of one queue would take the error away and
 * that of another would call lost data durable.
 */
static int open_again(const struct uring_bdev *dev)
{
	int flags = fcntl(dev->fd, F_GETFL);
	char path[32];
	int fd;

	if (flags < 0)
		return -errno;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", dev->fd);
	fd = open_without_atime(path, (flags & (O_ACCMODE | O_DIRECT)) | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void uring_close(struct bdev *bdev)
{
	struct uring_bdev *dev = uring_bdev_of(bdev);

	for (unsigned int i = 0; i < dev->queue_cnt; i++)
		(void)close(dev->queue_fds[i]);
	free(dev->queue_fds);
	if (dev->fd >= 0)
		(void)close(dev->fd);
	free(dev);
}

/* Now, since a worker without capabilities may not open somebody else's image. */
static int open_for_queues(struct uring_bdev *dev, unsigned int cnt, const char *path,
			   char why[BDEV_WHY_MAX])
{
	dev->queue_fds = calloc(cnt, sizeof(*dev->queue_fds));
	if (cnt && !dev->queue_fds)
		return bdev_why(why, -ENOMEM, "'%s': out of memory", path);
	for (unsigned int i = 0; i < cnt; i++) {
		int fd = open_again(dev);

		if (fd < 0)
			return bdev_why(why, fd, "cannot open '%s' once for each queue: %s", path,
					strerror(-fd));
		dev->queue_fds[dev->queue_cnt++] = fd;
	}
	return 0;
}

static int uring_setup(struct uring_bdev *dev, const struct bdev_params *params, const char *path,
		       char why[BDEV_WHY_MAX])
{
	int r = open_file(params, path, &dev->fd, why);

	if (r < 0)
		return r;
	r = uring_lock(dev->fd, path, params->read_only, why);
	if (r < 0)
		return r;
	dev->base.limits.read_only = params->read_only;
	dev->base.limits.direct = params->direct;
	dev->base.limits.volatile_cache = !params->writethrough;
	dev->writethrough = params->writethrough;
	dev->discard = params->discard;
	r = open_for_queues(dev, params->queue_cnt, path, why);
	if (r < 0)
		return r;
	return uring_probe(dev, params, path, why);
}

static int uring_open(const struct bdev_params *params, struct bdev **ret_bdev,
		      char why[BDEV_WHY_MAX])
{
	const char *path = params->spec;
	struct uring_bdev *dev = calloc(1, sizeof(*dev));
	int r;

	if (!dev)
		return bdev_why(why, -ENOMEM, "'%s': out of memory", params->spec);
	dev->base.ops = &bdev_uring_ops;
	dev->fd = -1;
	if (!strncmp(path, "file:", 5))
		path += 5;
	r = uring_setup(dev, params, path, why);
	if (r < 0) {
		uring_close(&dev->base);
		return r;
	}
	*ret_bdev = &dev->base;
	return 0;
}

static int uring_resize(struct bdev *bdev, uint64_t want_bytes, uint64_t *ret_size_bytes)
{
	const struct uring_bdev *dev = uring_bdev_of(bdev);

	if (dev->is_block)
		return bdev_block_size(dev->fd, ret_size_bytes);
	return bdev_file_resize(dev->fd, bdev->limits.read_only, want_bytes, ret_size_bytes);
}

static void uring_hand_over(const struct bdev *bdev, struct bdev_handover *ret_handover)
{
	const struct uring_bdev *dev = container_of(bdev, const struct uring_bdev, base);

	ret_handover->length_align_bytes = dev->dio_len_align_bytes;
	ret_handover->fds[ret_handover->fd_cnt++] = dev->fd;
	for (unsigned int i = 0; i < dev->queue_cnt; i++)
		ret_handover->fds[ret_handover->fd_cnt++] = dev->queue_fds[i];
}

/* The lock is the open file's and came with it. */
static int uring_take_over(const struct bdev_params *params, const struct bdev_handover *handover,
			   struct bdev **ret_bdev)
{
	struct uring_bdev *dev;
	int r;

	if (handover->fd_cnt != params->queue_cnt + 1)
		return -EINVAL;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	dev->base.ops = &bdev_uring_ops;
	dev->base.limits = handover->limits;
	dev->fd = handover->fds[0];
	dev->writethrough = params->writethrough;
	dev->discard = params->discard;
	dev->dio_mem_align_bytes = handover->limits.buf_align_bytes;
	dev->dio_len_align_bytes = handover->length_align_bytes;
	r = uring_probe_type(dev);
	if (r == 0)
		dev->queue_fds = calloc(params->queue_cnt, sizeof(*dev->queue_fds));
	if (r < 0 || (params->queue_cnt && !dev->queue_fds)) {
		free(dev);
		return r < 0 ? r : -ENOMEM;
	}
	dev->queue_cnt = params->queue_cnt;
	memcpy(dev->queue_fds, handover->fds + 1, dev->queue_cnt * sizeof(*dev->queue_fds));
	*ret_bdev = &dev->base;
	return 0;
}

/* --- queue --- */

static void uring_queue_free(struct bdev_queue *bq)
{
	struct uring_queue *q = container_of(bq, struct uring_queue, base);

	uring_fixed_unregister(q);
	uring_copy_fini(q);
	uring_range_fini(q);
	loop_unregister_file(q->loop, q->file_idx);
	loop_unregister_file(q->loop, q->range_file_idx);
	if (q->owns_fd)
		(void)close(q->fd);
	free(q);
}

static void take_file(struct uring_queue *q)
{
	struct uring_bdev *dev = q->dev;
	unsigned int i = __atomic_fetch_add(&dev->queue_next, 1, __ATOMIC_RELAXED);
	int fd;

	q->fd = dev->fd;
	if (i < dev->queue_cnt) {
		q->fd = dev->queue_fds[i];
		return;
	}
	fd = open_again(dev);
	q->owns_fd = fd >= 0;
	/* Without permission the common one has to do. */
	if (q->owns_fd)
		q->fd = fd;
}

/* Saves two reference counts a request; plain descriptors work as well. Both or none. */
static void register_files(struct uring_queue *q)
{
	q->file_idx = loop_register_file(q->loop, q->fd);
	q->range_file_idx = loop_register_file(q->loop, q->dev->fd);
	q->file_registered = q->file_idx >= 0 && q->range_file_idx >= 0;
	q->sqe_fd = q->file_registered ? q->file_idx : q->fd;
	q->range_sqe_fd = q->file_registered ? q->range_file_idx : q->dev->fd;
}

static int uring_queue_new(struct bdev *bdev, struct loop *loop, unsigned int depth,
			   struct bdev_queue **ret_bq)
{
	size_t bytes = sizeof(struct uring_queue) + depth * sizeof(struct uring_slot);
	struct uring_queue *q = calloc(1, bytes);
	int r;

	if (!q)
		return -ENOMEM;
	prefault(q, bytes);
	q->dev = uring_bdev_of(bdev);
	q->loop = loop;
	q->depth = depth;
	for (unsigned int i = 0; i < depth; i++)
		q->slots[i].q = q;
	take_file(q);
	register_files(q);
	r = uring_warm(q);
	if (r == 0)
		r = uring_copy_init(q);
	if (r == 0)
		r = uring_range_init(q);
	if (r < 0) {
		uring_queue_free(&q->base);
		return r;
	}
	*ret_bq = &q->base;
	return 0;
}

static void uring_map_changed(struct bdev_queue *bq, const struct memmap *map)
{
	uring_fixed_register(container_of(bq, struct uring_queue, base), map);
}

/* --- ends of requests --- */

void uring_slot_end(struct uring_slot *slot, int result)
{
	struct bdev_io *io = slot->io;

	slot->io = NULL;
	io->done(io, result);
}

bool uring_retry(int result, unsigned int *retry_cnt)
{
	if (result != -EAGAIN && result != -EINTR)
		return false;
	return ++*retry_cnt <= URING_RETRY_MAX;
}

int uring_final_error(int result)
{
	return result == -EAGAIN || result == -EINTR ? -EIO : result;
}

static void sync_start(struct uring_slot *slot);

static void sync_complete(struct loop_op *op, int res, uint32_t flags VBLK_UNUSED)
{
	struct uring_slot *slot = container_of(op, struct uring_slot, op);

	if (uring_retry(res, &slot->retry_cnt))
		sync_start(slot);
	else
		uring_slot_end(slot, uring_final_error(res));
}

/* The whole file: what other queues have written is to be durable as well. */
static void sync_start(struct uring_slot *slot)
{
	struct io_uring_sqe *sqe = loop_get_sqe(slot->q->loop);

	io_uring_prep_fsync(sqe, slot->q->sqe_fd, IORING_FSYNC_DATASYNC);
	slot->op.complete = sync_complete;
	uring_sqe_bind(slot->q, sqe, &slot->op);
}

void uring_slot_end_durable(struct uring_slot *slot, int result)
{
	if (result == 0 && slot->q->dev->writethrough) {
		slot->retry_cnt = 0;
		sync_start(slot);
	} else {
		uring_slot_end(slot, result);
	}
}

/* --- reads and writes --- */

static void data_done(struct uring_xfer *x, int result)
{
	struct uring_slot *slot = x->slot;

	if (result < 0 && slot->result == 0)
		slot->result = result;
	if (--slot->xfer_cnt)
		return;
	/* Stricter about alignment than it said (stacked devices): aligned memory will do. */
	if (slot->result == -EINVAL && slot->q->copy_bufs)
		uring_copy_start(slot);
	else
		uring_slot_end(slot, slot->result);
}

static void data_start_plain(struct uring_slot *slot, uint64_t done_bytes)
{
	const struct bdev_io *io = slot->io;
	struct iov_cursor cur = iov_cursor_init(io->iov, io->iov_cnt);

	(void)iov_skip(&cur, done_bytes);
	slot->xfer_cnt = 1;
	slot->xfers[0].done = data_done;
	uring_xfer_start(&slot->xfers[0], slot, uring_io_is_write(io), cur,
			 io->offset_bytes + done_bytes, io->len_bytes - done_bytes);
}

static __attribute__((noinline)) void data_start_direct(struct uring_slot *slot)
{
	if (uring_copy_is_needed(slot->q->dev, slot->io))
		uring_copy_start(slot);
	else if (!uring_fixed_start(slot, data_done))
		data_start_plain(slot, 0);
}

/* Making a write durable waits for the device, so such writes are never done here. */
static bool may_try_inline(const struct uring_bdev *dev, const struct bdev_io *io)
{
	return dev->is_ram_fs || !uring_rw_flags(dev, uring_io_is_write(io));
}

static void data_start_cached(struct uring_slot *slot);

static void hold(struct uring_slot *slot)
{
	struct uring_queue *q = slot->q;

	slot->next_waiting = NULL;
	if (q->held_first)
		q->held_last->next_waiting = slot;
	else
		q->held_first = slot;
	q->held_last = slot;
}

/* Those behind it can be done at once now, or the next one is refused. */
static void refused_done(struct uring_xfer *x, int result)
{
	struct uring_queue *q = x->slot->q;

	q->write_is_refused = false;
	data_done(x, result);
	while (q->held_first && !q->write_is_refused) {
		struct uring_slot *slot = q->held_first;

		q->held_first = slot->next_waiting;
		data_start_cached(slot);
	}
}

static void data_start_cached(struct uring_slot *slot)
{
	struct uring_queue *q = slot->q;
	uint64_t done_bytes = 0;

	if (may_try_inline(q->dev, slot->io))
		done_bytes = uring_inline_try(q, slot->io);
	if (done_bytes >= slot->io->len_bytes) {
		uring_slot_end(slot, 0);
		return;
	}
	data_start_plain(slot, done_bytes);
	if (done_bytes || !uring_inline_is_passing(q, slot->io))
		return;
	q->write_is_refused = true;
	slot->xfers[0].done = refused_done;
}

static void data_start(struct uring_slot *slot)
{
	if (slot->q->dev->base.limits.direct)
		data_start_direct(slot);
	else if (slot->q->write_is_refused && uring_io_is_write(slot->io))
		hold(slot);
	else
		data_start_cached(slot);
}

/* Apart, so that the way of reads and writes stays small. */
static __attribute__((noinline)) void other_start(struct uring_slot *slot)
{
	switch (slot->io->op) {
	case BDEV_READ:
	case BDEV_WRITE:
		break;
	case BDEV_FLUSH:
		/* Nothing to make durable, and not worth a worker of the kernel. */
		if (slot->q->dev->is_ram_fs)
			uring_slot_end(slot, 0);
		else
			sync_start(slot);
		return;
	case BDEV_DISCARD:
	case BDEV_WRITE_ZEROES:
	case BDEV_SECURE_ERASE:
		uring_range_start(slot);
		return;
	}
	uring_slot_end(slot, -EOPNOTSUPP);
}

static void uring_submit(struct bdev_queue *bq, struct bdev_io *io)
{
	struct uring_queue *q = container_of(bq, struct uring_queue, base);
	struct uring_slot *slot = &q->slots[io->slot_idx];

	slot->io = io;
	slot->result = 0;
	slot->retry_cnt = 0;
	if (io->op == BDEV_READ || io->op == BDEV_WRITE)
		data_start(slot);
	else
		other_start(slot);
}

/*
 * Nothing to do: entries are handed on by the next loop_wait() or loop_poll(), which the thread
 * does before it sleeps: one system call submits and waits.
 */
static void uring_commit(struct bdev_queue *bq VBLK_UNUSED)
{
}

const struct bdev_ops bdev_uring_ops = {
	.name = "file",
	.open = uring_open,
	.close = uring_close,
	.resize = uring_resize,
	.hand_over = uring_hand_over,
	.take_over = uring_take_over,
	.queue_new = uring_queue_new,
	.queue_free = uring_queue_free,
	.map_changed = uring_map_changed,
	.submit = uring_submit,
	.commit = uring_commit,
};
