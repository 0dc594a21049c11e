/* SPDX-License-Identifier: MIT */
#include "inflight_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/math.h"
#include "vblk/vduse/vduse_ctl.h"
#include "vblk/virtqueue/vq_inflight.h"

#define INFLIGHT_MAGIC	      0x6b6c6276666c6e69ull /* "inflvblk" */
#define INFLIGHT_VERSION      1u
#define INFLIGHT_HEADER_BYTES 4096u
#define BOOT_ID_BYTES	      36u
#define DIRECT_RINGS	      " direct-rings"

/*
 * Which device a record belongs to. What the administrator asked for decides
 * most of it and is known before the backend is open; text is zero padded.
 */
struct inflight_identity {
	uint64_t magic;
	uint32_t version;
	uint16_t queues;
	uint16_t queue_size;
	char boot_id[BOOT_ID_BYTES + 4];
	char name[DEVICE_NAME_MAX + 1];
	char serial[BLK_SERIAL_BYTES + 4];
	char options[128];
	char backend[2048];
};

struct inflight_header {
	struct inflight_identity identity;
	/* what the driver was offered; the capacity changes with a resize */
	uint64_t features;
	uint64_t capacity_bytes;
	uint32_t logical_block_bytes;
	uint32_t physical_block_bytes;
	struct inflight_news news;
	uint64_t device_id;
	struct bdev_direct_record direct;
};

/* What of the options decides what the driver was offered; numbers are 0 when not given. */
struct identity_options {
	int read_only, writethrough, discard;
	unsigned int logical_block_bytes, physical_block_bytes;
	bool direct_rings;
};

static int read_boot_id(char ret_id[BOOT_ID_BYTES + 4])
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	memset(ret_id, 0, BOOT_ID_BYTES + 4);
	if (fd < 0)
		return -errno;
	if (read(fd, ret_id, BOOT_ID_BYTES) != BOOT_ID_BYTES)
		return -EIO;
	return 0;
}

static void print_options(const struct identity_options *options, struct inflight_identity *id)
{
	memset(id->options, 0, sizeof(id->options));
	/* A program that does not know them must not take over rings that are the server's. */
	snprintf(id->options, sizeof(id->options), "ro=%d wt=%d discard=%d lbs=%u pbs=%u%s",
		 options->read_only, options->writethrough, options->discard,
		 options->logical_block_bytes, options->physical_block_bytes,
		 options->direct_rings ? DIRECT_RINGS : "");
}

/* False when it is no text of print_options(). */
static bool parse_options(const struct inflight_identity *id, struct identity_options *ret_options)
{
	char text[sizeof(id->options) + 1] = "";

	memcpy(text, id->options, sizeof(id->options));
	ret_options->direct_rings = strstr(text, DIRECT_RINGS) != NULL;
	return sscanf(text, "ro=%d wt=%d discard=%d lbs=%u pbs=%u", &ret_options->read_only,
		      &ret_options->writethrough, &ret_options->discard,
		      &ret_options->logical_block_bytes, &ret_options->physical_block_bytes) == 5;
}

static int fill_identity(const struct vblkd_config *config, struct inflight_identity *ret_id)
{
	const struct bdev_params *bdev = &config->bdev;
	const struct identity_options options = {
		.read_only = bdev->read_only,
		.writethrough = bdev->writethrough,
		.discard = bdev->discard,
		.logical_block_bytes = bdev->logical_block_bytes,
		.physical_block_bytes = bdev->physical_block_bytes,
		.direct_rings = bdev->direct_rings,
	};

	memset(ret_id, 0, sizeof(*ret_id));
	ret_id->magic = INFLIGHT_MAGIC;
	ret_id->version = INFLIGHT_VERSION;
	ret_id->queues = config->queues;
	ret_id->queue_size = config->queue_size;
	snprintf(ret_id->name, sizeof(ret_id->name), "%s", config->name);
	snprintf(ret_id->serial, sizeof(ret_id->serial), "%s", config->serial);
	snprintf(ret_id->backend, sizeof(ret_id->backend), "%s", config->backend);
	print_options(&options, ret_id);
	return read_boot_id(ret_id->boot_id);
}

static int fill_header(const struct vblkd_config *config, const struct blk_params *blk,
		       struct inflight_header *ret_header)
{
	memset(ret_header, 0, sizeof(*ret_header));
	ret_header->features = vduse_features(blk);
	ret_header->capacity_bytes = blk->limits.capacity_bytes;
	ret_header->logical_block_bytes = blk->limits.logical_block_bytes;
	ret_header->physical_block_bytes = blk->limits.physical_block_bytes;
	return fill_identity(config, &ret_header->identity);
}

static size_t file_bytes(const struct blk_params *blk)
{
	return INFLIGHT_HEADER_BYTES + blk->queue_cnt * vq_inflight_bytes(blk->queue_size);
}

static int map_file(int fd, size_t len, struct inflight_file *ret_file)
{
	void *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	*ret_file = (struct inflight_file){ .base = base, .len_bytes = len };
	return 0;
}

/*
 * The device is new, so its rings are: nothing is in flight in them. A worker that dies
 * after the driver's first request and before it has touched its record leaves it so, and
 * its successor begins like it. Records of zeroes, in contrast, are a damaged file.
 */
static void mark_clean(const struct inflight_file *file, const struct blk_params *blk)
{
	char *at = inflight_file_records(file);

	for (unsigned int i = 0; i < blk->queue_cnt; i++) {
		((struct vq_inflight *)(void *)at)->size = VQ_INFLIGHT_CLEAN;
		at += vq_inflight_bytes(blk->queue_size);
	}
}

int inflight_file_create(int dir_fd, const struct vblkd_config *config,
			 const struct blk_params *blk, uint64_t device_id,
			 struct inflight_file *ret_file)
{
	_cleanup_close_ int fd = -1;
	struct inflight_header header;
	int r;

	_Static_assert(sizeof(header) <= INFLIGHT_HEADER_BYTES, "header fits its page");
	r = fill_header(config, blk, &header);
	if (r < 0)
		return r;
	header.device_id = device_id;
	if (unlinkat(dir_fd, "inflight", 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dir_fd, "inflight", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* Space is taken now: a full /run later would be a SIGBUS on the data path. */
	r = posix_fallocate(fd, 0, (off_t)file_bytes(blk));
	if (r)
		return -r;
	if (pwrite(fd, &header, sizeof(header), 0) != sizeof(header))
		return -EIO;
	r = map_file(fd, file_bytes(blk), ret_file);
	if (r == 0)
		mark_clean(ret_file, blk);
	return r;
}

/*
 * Who takes an orphan over may spell out what the default had come to, as the command that
 * 'vblkctl list' prints does: that is the same disk. The other way round is not known before the
 * backend is open, so a default stands for a default only.
 */
static void accept_spelled_out(const struct inflight_header *found, struct inflight_identity *want)
{
	struct identity_options was, now;

	if (!parse_options(&found->identity, &was) || !parse_options(want, &now))
		return;
	if (now.read_only == !!(found->features & 1ull << VIRTIO_BLK_F_RO))
		now.read_only = was.read_only;
	if (now.discard == !!(found->features & 1ull << VIRTIO_BLK_F_DISCARD))
		now.discard = was.discard;
	if (now.logical_block_bytes == found->logical_block_bytes)
		now.logical_block_bytes = was.logical_block_bytes;
	if (now.physical_block_bytes == found->physical_block_bytes)
		now.physical_block_bytes = was.physical_block_bytes;
	print_options(&now, want);
}

static const char *other_identity(const struct inflight_identity *found,
				  const struct inflight_identity *want)
{
	if (found->magic != want->magic || found->version != want->version)
		return "was written by another version of vblkd";
	if (memcmp(found->boot_id, want->boot_id, sizeof(want->boot_id)) != 0)
		return "is of an earlier boot";
	if (memcmp(found->backend, want->backend, sizeof(want->backend)) != 0)
		return "is of another backend";
	if (found->queues != want->queues || found->queue_size != want->queue_size)
		return "is of other --queues or --queue-size";
	if (memcmp(found, want, sizeof(*want)) != 0)
		return "is of other options (serial, read-only, cache, discard, block sizes, direct-rings)";
	return NULL;
}

static const char *other_header(const struct inflight_header *found,
				const struct inflight_header *want)
{
	const char *wrong = other_identity(&found->identity, &want->identity);

	if (wrong)
		return wrong;
	if (found->features != want->features ||
	    found->logical_block_bytes != want->logical_block_bytes)
		return "is of a backend with other abilities";
	if (!found->capacity_bytes || found->capacity_bytes > INT64_MAX ||
	    !is_aligned(found->capacity_bytes, want->logical_block_bytes))
		return "has a size that no disk can have";
	return NULL;
}

/*
 * The directory keeps strangers out. Should it ever have failed to, a file that they
 * could have made, or can still change, is not believed.
 */
static bool is_own_file(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_nlink == 1 &&
	       !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* Somebody may have deleted the device and made another one, whose requests are not these. */
static bool is_other_device(const struct inflight_header *found, uint64_t device_id)
{
	return device_id && found->device_id && found->device_id != device_id;
}

static int refuse(const char *wrong, char why[BDEV_WHY_MAX])
{
	snprintf(why, BDEV_WHY_MAX, "its record of requests in flight %s", wrong);
	return -ESTALE;
}

/* A file that is too short gives zeroes, which are nobody's. */
static int read_header(int dir_fd, int *ret_fd, struct inflight_header *ret_header)
{
	int fd = openat(dir_fd, "inflight", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !is_own_file(&st)) {
		close(fd);
		return -EPERM;
	}
	memset(ret_header, 0, sizeof(*ret_header));
	if (pread(fd, ret_header, sizeof(*ret_header), 0) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int inflight_file_check(int dir_fd, const struct vblkd_config *config, uint64_t device_id,
			char why[BDEV_WHY_MAX])
{
	_cleanup_close_ int fd = -1;
	struct inflight_identity want;
	struct inflight_header found = { .device_id = 0 };
	const char *wrong;
	int r;

	r = fill_identity(config, &want);
	if (r == 0)
		r = read_header(dir_fd, &fd, &found);
	if (r < 0)
		return r;
	if (is_other_device(&found, device_id))
		return -ENODEV;
	accept_spelled_out(&found, &want);
	wrong = other_identity(&found.identity, &want);
	return wrong ? refuse(wrong, why) : 0;
}

int inflight_file_adopt(int dir_fd, const struct vblkd_config *config, const struct blk_params *blk,
			uint64_t device_id, struct inflight_file *ret_file,
			uint64_t *ret_capacity_bytes, char why[BDEV_WHY_MAX])
{
	_cleanup_close_ int fd = -1;
	struct inflight_header want, found = { .device_id = 0 };
	const char *wrong;
	struct stat st;
	int r;

	r = fill_header(config, blk, &want);
	if (r == 0)
		r = read_header(dir_fd, &fd, &found);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (is_other_device(&found, device_id))
		return -ENODEV;
	accept_spelled_out(&found, &want.identity);
	wrong = other_header(&found, &want);
	if (!wrong && (size_t)st.st_size != file_bytes(blk))
		wrong = "has the wrong length";
	if (wrong)
		return refuse(wrong, why);
	r = map_file(fd, file_bytes(blk), ret_file);
	if (r == 0)
		*ret_capacity_bytes = found.capacity_bytes;
	return r;
}

int inflight_file_without_records(struct inflight_file *ret_file)
{
	void *base = mmap(NULL, INFLIGHT_HEADER_BYTES, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	*ret_file = (struct inflight_file){ base, INFLIGHT_HEADER_BYTES };
	return 0;
}

uint32_t inflight_file_set_capacity(struct inflight_file *file, uint64_t capacity_bytes)
{
	struct inflight_header *header = file->base;
	uint32_t number = __atomic_load_n(&header->news.decided, __ATOMIC_RELAXED) + 1;

	/* First: killed in between, the driver hears of the old size once more. */
	__atomic_store_n(&header->news.decided, number, __ATOMIC_RELEASE);
	/* One aligned store: whoever is killed here leaves the old size or the new one. */
	_Static_assert(offsetof(struct inflight_header, capacity_bytes) % 8 == 0, "aligned");
	__atomic_store_n(&header->capacity_bytes, capacity_bytes, __ATOMIC_RELEASE);
	return number;
}

struct inflight_news *inflight_file_news(const struct inflight_file *file)
{
	struct inflight_header *header = file->base;

	return &header->news;
}

struct bdev_direct_record *inflight_file_direct(const struct inflight_file *file)
{
	struct inflight_header *header = file->base;

	return &header->direct;
}

void *inflight_file_records(const struct inflight_file *file)
{
	return (char *)file->base + INFLIGHT_HEADER_BYTES;
}

static uint64_t oldest_of(const struct vq_inflight *rec, uint16_t size_max)
{
	uint16_t size = __atomic_load_n(&rec->size, __ATOMIC_RELAXED);
	uint64_t oldest = 0;

	/* Not a ring's size while there is no ring. */
	if (size > size_max)
		return 0;
	for (uint16_t head = 0; head < size; head++) {
		uint64_t seq = __atomic_load_n(&rec->seq[head], __ATOMIC_RELAXED);

		if (seq && (!oldest || seq < oldest))
			oldest = seq;
	}
	return oldest;
}

void inflight_file_oldest(const struct inflight_file *file, const struct blk_params *blk,
			  uint64_t ret_seq[VDEV_QUEUES_MAX])
{
	const char *rec = inflight_file_records(file);

	for (unsigned int i = 0; i < blk->queue_cnt; i++) {
		ret_seq[i] =
			oldest_of((const struct vq_inflight *)(const void *)rec, blk->queue_size);
		rec += vq_inflight_bytes(blk->queue_size);
	}
}

void inflight_file_close(struct inflight_file *file)
{
	if (file->base)
		munmap(file->base, file->len_bytes);
	*file = (struct inflight_file){ 0 };
}
