/* SPDX-License-Identifier: MIT */
/*
 * The buffer that a client keeps for us, so that we, or who comes after us, can
 * go on where a server died. Its content is ours: a header, then a record for
 * each queue (vq_inflight.h). The client can write it at any time, so what is
 * read is read once and checked; a buffer that it truncates is guarded.
 */
#include "vhu_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/math.h"

#define INFLIGHT_MAGIC	 0x314c464e49424c56ull /* "VLBINFL1" */
#define INFLIGHT_VERSION 1u

/**
 * struct inflight_header - begins the buffer; @magic 0: it is new
 * @record_bytes: of each record that follows
 * @write_back: the cache mode of the client's driver
 */
struct inflight_header {
	uint64_t magic;
	uint32_t version;
	uint16_t queue_cnt;
	uint16_t queue_size;
	uint32_t record_bytes;
	uint32_t write_back;
	uint64_t reserved[5];
};

_Static_assert(sizeof(struct inflight_header) == 64, "records begin on a cache line");

static size_t record_bytes(uint16_t queue_size)
{
	/* Has room for either format: which one it will be is not known yet. */
	return vq_inflight_packed_bytes(queue_size);
}

static size_t buf_bytes(uint16_t queue_cnt, uint16_t queue_size)
{
	return sizeof(struct inflight_header) + queue_cnt * record_bytes(queue_size);
}

static struct vq_inflight *buf_record(const struct vhu_inflight_buf *buf, unsigned int idx)
{
	return (struct vq_inflight *)(void *)((char *)buf->base + sizeof(struct inflight_header) +
					      idx * record_bytes(buf->queue_size));
}

struct vq_inflight *vhu_inflight_record(const struct vhu_dev *dev, unsigned int idx)
{
	const struct vhu_inflight_buf *buf = &dev->inflight;

	if (!buf->base || idx >= buf->queue_cnt)
		return (struct vq_inflight *)(void *)(dev->own_records +
						      idx * record_bytes(dev->blk->queue_size));
	return dev->queues[idx].size <= buf->queue_size ? buf_record(buf, idx) : NULL;
}

int vhu_inflight_init(struct vhu_dev *dev)
{
	/* A multiple of its alignment, as each record is. */
	dev->own_records =
		aligned_alloc(64, dev->blk->queue_cnt * record_bytes(dev->blk->queue_size));
	if (!dev->own_records)
		return -ENOMEM;
	for (unsigned int i = 0; i < dev->blk->queue_cnt; i++)
		vhu_inflight_clear(dev, i);
	return 0;
}

void vhu_inflight_fini(struct vhu_dev *dev)
{
	free(dev->own_records);
}

static void record_clear(struct vq_inflight *rec)
{
	__atomic_store_n(&rec->size, VQ_INFLIGHT_CLEAN, __ATOMIC_RELAXED);
}

void vhu_inflight_clear(const struct vhu_dev *dev, unsigned int idx)
{
	struct vq_inflight *rec = vhu_inflight_record(dev, idx);

	if (rec)
		record_clear(rec);
}

void vhu_inflight_note_cache(const struct vhu_dev *dev)
{
	struct inflight_header *hdr = dev->inflight.base;

	if (hdr)
		__atomic_store_n(&hdr->write_back, dev->write_back, __ATOMIC_RELAXED);
}

void vhu_inflight_drop(struct vhu_dev *dev)
{
	struct vhu_inflight_buf *buf = &dev->inflight;

	if (!buf->base)
		return;
	memguard_remove(buf->base);
	(void)munmap(buf->base, buf->bytes);
	memset(buf, 0, sizeof(*buf));
}

/* As much as is used of it, in whole pages of @align_bytes. */
static int buf_map(const struct vhu_inflight *info, int fd, uint64_t align_bytes,
		   struct vhu_inflight_buf *ret_buf)
{
	struct vhu_inflight_buf buf = {
		.bytes = align_up(buf_bytes(info->queue_cnt, info->queue_size), align_bytes),
		.queue_cnt = info->queue_cnt,
		.queue_size = info->queue_size,
	};
	int r;

	buf.base = mmap(NULL, buf.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			(off_t)info->mmap_offset_bytes);
	if (buf.base == MAP_FAILED) {
		r = -errno;
		return r < 0 ? r : -EIO;
	}
	r = memguard_add(buf.base, buf.bytes);
	if (r < 0) {
		(void)munmap(buf.base, buf.bytes);
		return r;
	}
	*ret_buf = buf;
	return 0;
}

static void buf_init(const struct vhu_dev *dev, const struct vhu_inflight_buf *buf)
{
	struct inflight_header *hdr = buf->base;

	for (unsigned int i = 0; i < buf->queue_cnt; i++)
		record_clear(buf_record(buf, i));
	*hdr = (struct inflight_header){
		.version = INFLIGHT_VERSION,
		.queue_cnt = buf->queue_cnt,
		.queue_size = buf->queue_size,
		.record_bytes = (uint32_t)record_bytes(buf->queue_size),
		.write_back = dev->write_back,
	};
	/* Last: a buffer without it is new. */
	__atomic_store_n(&hdr->magic, INFLIGHT_MAGIC, __ATOMIC_RELEASE);
}

static int check_shape(struct vhu_dev *dev, const struct vhu_inflight *info)
{
	if (!info->queue_cnt || info->queue_cnt > dev->blk->queue_cnt)
		return vhu_refuse(dev, -EINVAL, "%u queues instead of at most %u", info->queue_cnt,
				  dev->blk->queue_cnt);
	if (!info->queue_size || info->queue_size > dev->blk->queue_size)
		return vhu_refuse(dev, -EINVAL, "queues of %u entries instead of at most %u",
				  info->queue_size, dev->blk->queue_size);
	return 0;
}

static void buf_install(struct vhu_dev *dev, const struct vhu_inflight_buf *buf)
{
	vhu_inflight_drop(dev);
	dev->inflight = *buf;
	vdev_forget_redo(dev->vdev);
}

int vhu_inflight_new(struct vhu_dev *dev, const struct vhu_inflight *want,
		     struct vhu_inflight *ret_made, int *ret_fd)
{
	struct vhu_inflight made = {
		.mmap_size_bytes = buf_bytes(want->queue_cnt, want->queue_size),
		.queue_cnt = want->queue_cnt,
		.queue_size = want->queue_size,
	};
	_cleanup_close_ int fd = -1;
	struct vhu_inflight_buf buf;
	int r;

	r = check_shape(dev, want);
	if (r < 0)
		return r;
	fd = memfd_create("vblkd-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)made.mmap_size_bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return vhu_refuse(dev, -errno, "no memory for the buffer");
	r = buf_map(&made, fd, (uint64_t)sysconf(_SC_PAGESIZE), &buf);
	if (r < 0)
		return vhu_refuse(dev, r, "the buffer cannot be mapped");
	buf_init(dev, &buf);
	buf_install(dev, &buf);
	*ret_made = made;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int check_file(struct vhu_dev *dev, const struct vhu_inflight *has, int fd,
		      uint64_t *ret_align_bytes)
{
	uint64_t file_bytes, align_bytes;

	if (vhu_fd_memory(dev->proc_fd, fd, &file_bytes, &align_bytes) < 0)
		return vhu_refuse(dev, -EBADF, "its file is no memory");
	if (has->mmap_size_bytes < buf_bytes(has->queue_cnt, has->queue_size) ||
	    !range_fits(has->mmap_offset_bytes, has->mmap_size_bytes, file_bytes) ||
	    !is_aligned(has->mmap_offset_bytes, align_bytes))
		return vhu_refuse(dev, -EINVAL, "size or offset is wrong");
	*ret_align_bytes = align_bytes;
	return 0;
}

static int check_header(struct vhu_dev *dev, const struct inflight_header *hdr,
			const struct vhu_inflight_buf *buf)
{
	if (hdr->magic != INFLIGHT_MAGIC)
		return vhu_refuse(dev, -EUCLEAN, "another program wrote the buffer");
	if (hdr->version != INFLIGHT_VERSION)
		return vhu_refuse(dev, -EUCLEAN, "another version wrote the buffer");
	if (hdr->queue_cnt != buf->queue_cnt || hdr->queue_size != buf->queue_size ||
	    hdr->record_bytes != record_bytes(buf->queue_size))
		return vhu_refuse(dev, -EUCLEAN, "the buffer was made for other queues");
	return 0;
}

/* Perhaps more than really are: who publishes last had no time to clear them. */
static bool record_has_requests(const struct vq_inflight *rec, uint16_t queue_size)
{
	const struct vq_inflight_packed *packed = (const void *)rec;
	uint16_t size = __atomic_load_n(&rec->size, __ATOMIC_RELAXED);
	bool is_packed = __atomic_load_n(&rec->format, __ATOMIC_RELAXED) == VQ_INFLIGHT_PACKED;

	if (size == VQ_INFLIGHT_CLEAN)
		return false;
	for (unsigned int i = 0; i < MIN(1u * size, 1u * queue_size); i++)
		if (__atomic_load_n(is_packed ? &packed->desc[i].seq : &rec->seq[i],
				    __ATOMIC_RELAXED))
			return true;
	return false;
}

int vhu_inflight_use(struct vhu_dev *dev, const struct vhu_inflight *has, int fd)
{
	_cleanup_close_ int own_fd = fd;
	unsigned int hits = memguard_hits();
	struct inflight_header hdr;
	struct vhu_inflight_buf buf;
	uint64_t align_bytes = 0;
	int r;

	r = check_shape(dev, has);
	if (r == 0)
		r = check_file(dev, has, own_fd, &align_bytes);
	if (r < 0)
		return r;
	r = buf_map(has, own_fd, align_bytes, &buf);
	if (r < 0)
		return vhu_refuse(dev, r, "the buffer cannot be mapped");
	hdr = *(volatile struct inflight_header *)buf.base;
	if (!hdr.magic)
		buf_init(dev, &buf);
	else
		r = check_header(dev, &hdr, &buf);
	if (r == 0 && memguard_hits() != hits)
		r = vhu_refuse(dev, -EFAULT, "memory of the buffer is gone");
	if (r < 0) {
		memguard_remove(buf.base);
		(void)munmap(buf.base, buf.bytes);
		return r;
	}
	buf_install(dev, &buf);
	/* What it has said itself is newer, though. */
	if (dev->wce_told) {
		vhu_inflight_note_cache(dev);
	} else if (hdr.magic) {
		dev->write_back = hdr.write_back;
		dev->wce_known = true;
	}
	for (unsigned int i = 0; i < buf.queue_cnt; i++)
		if (record_has_requests(buf_record(&buf, i), buf.queue_size))
			vdev_expect_redo(dev->vdev, i);
	return 0;
}
