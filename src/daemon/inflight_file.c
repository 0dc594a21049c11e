/* SPDX-License-Identifier: MIT */
#include "inflight_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/vduse/vduse_ctl.h"
#include "vblk/virtqueue/vq_inflight.h"

#define INFLIGHT_MAGIC	      0x6b6c6276666c6e69ull /* "inflvblk" */
#define INFLIGHT_VERSION      1u
#define INFLIGHT_HEADER_BYTES 4096u
#define BOOT_ID_BYTES	      36u

/* Compared as a whole; text fields are zero padded. */
struct inflight_header {
	uint64_t magic;
	uint32_t version;
	uint16_t queues;
	uint16_t queue_size;
	uint64_t features;
	uint64_t capacity_bytes;
	uint32_t logical_block_bytes;
	uint32_t reserved;
	char boot_id[BOOT_ID_BYTES + 4];
	char name[DEVICE_NAME_MAX + 1];
	char backend[2048];
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

static int fill_header(const struct vblkd_config *config, const struct blk_params *blk,
		       struct inflight_header *ret_header)
{
	memset(ret_header, 0, sizeof(*ret_header));
	ret_header->magic = INFLIGHT_MAGIC;
	ret_header->version = INFLIGHT_VERSION;
	ret_header->queues = blk->queue_cnt;
	ret_header->queue_size = blk->queue_size;
	ret_header->features = vduse_features(blk);
	ret_header->capacity_bytes = blk->limits.capacity_bytes;
	ret_header->logical_block_bytes = blk->limits.logical_block_bytes;
	snprintf(ret_header->name, sizeof(ret_header->name), "%s", config->name);
	snprintf(ret_header->backend, sizeof(ret_header->backend), "%s", config->backend);
	return read_boot_id(ret_header->boot_id);
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

int inflight_file_create(int dir_fd, const struct vblkd_config *config,
			 const struct blk_params *blk, struct inflight_file *ret_file)
{
	_cleanup_close_ int fd = -1;
	struct inflight_header header;
	int r;

	_Static_assert(sizeof(header) <= INFLIGHT_HEADER_BYTES, "header fits its page");
	r = fill_header(config, blk, &header);
	if (r < 0)
		return r;
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
	return map_file(fd, file_bytes(blk), ret_file);
}

static const char *difference(const struct inflight_header *found,
			      const struct inflight_header *want)
{
	if (found->magic != want->magic || found->version != want->version)
		return "was written by another version of vblkd";
	if (memcmp(found->boot_id, want->boot_id, sizeof(want->boot_id)) != 0)
		return "is of an earlier boot";
	if (memcmp(found->backend, want->backend, sizeof(want->backend)) != 0)
		return "is of another backend";
	if (found->queues != want->queues || found->queue_size != want->queue_size)
		return "is of other --queues or --queue-size";
	if (found->capacity_bytes != want->capacity_bytes)
		return "is of a backend of another size";
	if (memcmp(found, want, sizeof(*want)) != 0)
		return "is of other options (read-only, cache, discard, block sizes)";
	return NULL;
}

int inflight_file_adopt(int dir_fd, const struct vblkd_config *config, const struct blk_params *blk,
			struct inflight_file *ret_file, char why[BDEV_WHY_MAX])
{
	_cleanup_close_ int fd = -1;
	struct inflight_header want, found;
	const char *wrong;
	struct stat st;
	int r;

	r = fill_header(config, blk, &want);
	if (r < 0)
		return r;
	fd = openat(dir_fd, "inflight", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	memset(&found, 0, sizeof(found));
	if (fstat(fd, &st) < 0 || pread(fd, &found, sizeof(found), 0) < 0)
		return -errno;
	wrong = difference(&found, &want);
	if (!wrong && (size_t)st.st_size != file_bytes(blk))
		wrong = "has the wrong length";
	if (wrong) {
		snprintf(why, BDEV_WHY_MAX, "its record of requests in flight %s", wrong);
		return -ESTALE;
	}
	return map_file(fd, file_bytes(blk), ret_file);
}

void *inflight_file_records(const struct inflight_file *file)
{
	return (char *)file->base + INFLIGHT_HEADER_BYTES;
}

void inflight_file_close(struct inflight_file *file)
{
	if (file->base)
		munmap(file->base, file->len_bytes);
	*file = (struct inflight_file){ 0 };
}
