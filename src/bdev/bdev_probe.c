/* SPDX-License-Identifier: MIT */
/* What an open file or block device is like: sizes, alignments, abilities. */
#include "bdev_uring.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/math.h"

/* What a file or device asks for, before the administrator's wishes. */
struct facts {
	uint64_t size_bytes;
	uint32_t logical_bytes;
	uint32_t physical_bytes;
	uint32_t opt_io_bytes;
	dev_t dev; /* of the block device itself, or of the file system's */
};

/* A number of the queue of block device @dev; @dflt when it is not there. */
static uint64_t queue_attr(dev_t dev, const char *name, uint64_t dflt)
{
	/* A partition has none of its own. */
	static const char *const dirs[] = { "", "../" };
	uint64_t value;
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		_cleanup_fclose_ FILE *f = NULL;

		(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s", major(dev),
			       minor(dev), dirs[i], name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%" SCNu64, &value) == 1)
			return value;
	}
	return dflt;
}

static int probe_block(struct uring_bdev *dev, const char *path, struct facts *facts,
		       char why[BDEV_WHY_MAX])
{
	unsigned int physical = 0, opt_io = 0;
	int logical = 0;

	if (ioctl(dev->fd, BLKGETSIZE64, &facts->size_bytes) < 0 ||
	    ioctl(dev->fd, BLKSSZGET, &logical) < 0) {
		int r = -errno;

		return bdev_why(why, r, "cannot ask '%s' for its size: %s", path, strerror(-r));
	}
	/* Hints: a device without them is fine. */
	(void)ioctl(dev->fd, BLKPBSZGET, &physical);
	(void)ioctl(dev->fd, BLKIOOPT, &opt_io);
	facts->logical_bytes = (uint32_t)logical;
	facts->physical_bytes =
		is_power_of_two(physical) && physical <= BDEV_PHYSICAL_BLOCK_MAX_BYTES
			? physical
			: facts->logical_bytes;
	facts->opt_io_bytes = opt_io;
	return 0;
}

/* Asks by reading: the smallest length that O_DIRECT takes. 0 = none. */
static uint32_t smallest_direct_read(int fd)
{
	uint32_t found = 0;
	void *buf = aligned_alloc(BDEV_LOGICAL_BLOCK_MAX_BYTES, BDEV_LOGICAL_BLOCK_MAX_BYTES);

	for (uint32_t n = BDEV_LOGICAL_BLOCK_MIN_BYTES;
	     buf && !found && n <= BDEV_LOGICAL_BLOCK_MAX_BYTES; n <<= 1) {
		if (pread(fd, buf, n, 0) >= 0)
			found = n;
	}
	free(buf);
	return found;
}

/* True when the kernel says what O_DIRECT wants (6.1 and later, not for every file). */
static bool statx_dio_align(struct uring_bdev *dev)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (statx(dev->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN) && is_power_of_two(stx.stx_dio_mem_align) &&
	    is_power_of_two(stx.stx_dio_offset_align)) {
		dev->dio_mem_align_bytes = stx.stx_dio_mem_align;
		dev->dio_len_align_bytes = stx.stx_dio_offset_align;
		return true;
	}
#endif
	return false;
}

static int probe_direct(struct uring_bdev *dev, const char *path, struct facts *facts,
			char why[BDEV_WHY_MAX])
{
	if (!statx_dio_align(dev)) {
		dev->dio_len_align_bytes =
			dev->is_block ? facts->logical_bytes : smallest_direct_read(dev->fd);
		if (!dev->dio_len_align_bytes)
			return bdev_why(why, -EOPNOTSUPP,
					"'%s' cannot be read with O_DIRECT (try without --direct)",
					path);
		/* Not known, so what has always been enough. */
		dev->dio_mem_align_bytes = MAX(dev->dio_len_align_bytes, 4096u);
	}
	facts->logical_bytes = MAX(facts->logical_bytes, dev->dio_len_align_bytes);
	return 0;
}

static void probe_discard_block(struct uring_bdev *dev, const struct facts *facts)
{
	struct bdev_limits *lim = &dev->base.limits;
	uint64_t max = queue_attr(facts->dev, "discard_max_bytes", 0);
	uint64_t granularity = queue_attr(facts->dev, "discard_granularity", 0);

	max = align_down(MIN(max, URING_DISCARD_MAX_BYTES), lim->logical_block_bytes);
	if (!dev->discard || !max)
		return;
	lim->max_discard_bytes = max;
	if (granularity && granularity <= URING_DISCARD_MAX_BYTES &&
	    granularity % lim->logical_block_bytes == 0)
		lim->discard_align_bytes = (uint32_t)granularity;
}

static void probe_discard_file(struct uring_bdev *dev, const struct stat *st)
{
	struct bdev_limits *lim = &dev->base.limits;
	/* Behind the end, where a hole changes nothing. */
	off_t beyond = (off_t)align_up((uint64_t)st->st_size, 1u << 20);

	if (!dev->discard ||
	    fallocate(dev->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, beyond, 4096) < 0)
		return;
	lim->max_discard_bytes = URING_DISCARD_MAX_BYTES;
	if (is_power_of_two((uint64_t)st->st_blksize) && st->st_blksize <= (1 << 20))
		lim->discard_align_bytes = MAX((uint32_t)st->st_blksize, lim->logical_block_bytes);
}

/*
 * The limit is shown nowhere. The kernel looks at the ability first and at the
 * range second, so a range that is no multiple of 512 bytes asks without any
 * danger: EINVAL means yes.
 */
static bool can_secure_erase(int fd)
{
	uint64_t impossible[2] = { 1, 1 };

	return ioctl(fd, BLKSECDISCARD, impossible) < 0 && errno == EINVAL;
}

static void probe_ranges(struct uring_bdev *dev, const struct facts *facts, const struct stat *st)
{
	struct bdev_limits *lim = &dev->base.limits;

	lim->discard_align_bytes = lim->logical_block_bytes;
	if (lim->read_only)
		return;
	lim->max_write_zeroes_bytes = URING_ZEROES_MAX_BYTES;
	if (dev->is_block)
		probe_discard_block(dev, facts);
	else
		probe_discard_file(dev, st);
	lim->write_zeroes_may_unmap = lim->max_discard_bytes > 0;
	if (dev->is_block && lim->max_discard_bytes && can_secure_erase(dev->fd))
		lim->max_secure_erase_bytes = lim->max_discard_bytes;
}

static bool on_ram_fs(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

static int probe_facts(struct uring_bdev *dev, const struct stat *st, const char *path,
		       struct facts *facts, char why[BDEV_WHY_MAX])
{
	int r;

	*facts = (struct facts){ .size_bytes = (uint64_t)st->st_size,
				 .logical_bytes = BDEV_LOGICAL_BLOCK_MIN_BYTES,
				 .physical_bytes = 4096,
				 .dev = dev->is_block ? st->st_rdev : st->st_dev };
	if (dev->is_block) {
		r = probe_block(dev, path, facts, why);
		if (r < 0)
			return r;
	}
	if (!facts->size_bytes)
		return bdev_why(why, -EINVAL,
				dev->is_block
					? "'%s' has no medium or no size"
					: "'%s' is empty (give it a size: truncate -s 10G %s)",
				path, path);
	return dev->base.limits.direct ? probe_direct(dev, path, facts, why) : 0;
}

int uring_probe_type(struct uring_bdev *dev)
{
	struct stat st;

	if (fstat(dev->fd, &st) < 0)
		return -errno;
	dev->is_block = S_ISBLK(st.st_mode);
	dev->is_ram_fs = !dev->is_block && on_ram_fs(dev->fd);
	return 0;
}

int uring_probe(struct uring_bdev *dev, const struct bdev_params *params, const char *path,
		char why[BDEV_WHY_MAX])
{
	struct bdev_limits *lim = &dev->base.limits;
	struct facts facts;
	struct stat st = { 0 };
	int r;

	r = uring_probe_type(dev);
	if (r == 0 && fstat(dev->fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return bdev_why(why, r, "cannot look at '%s': %s", path, strerror(-r));
	dev->dio_mem_align_bytes = 1;
	dev->dio_len_align_bytes = 1;
	r = probe_facts(dev, &st, path, &facts, why);
	if (r < 0)
		return r;
	r = bdev_set_block_sizes(params, facts.logical_bytes, facts.physical_bytes, lim, why);
	if (r < 0)
		return r;
	r = bdev_set_capacity(params, facts.size_bytes, lim, why);
	if (r < 0)
		return r;

	lim->opt_io_bytes =
		facts.opt_io_bytes % lim->logical_block_bytes == 0 ? facts.opt_io_bytes : 0;
	lim->buf_align_bytes = dev->dio_mem_align_bytes;
	lim->rotational = queue_attr(facts.dev, "rotational", 0) != 0;
	probe_ranges(dev, &facts, &st);
	return 0;
}
