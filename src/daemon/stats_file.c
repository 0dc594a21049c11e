/* SPDX-License-Identifier: MIT */
#include "stats_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"

#define STATS_FILE_NAME	   "stats"
#define STATS_MAGIC	   0x6b6c627674617473ull /* "statvblk" */
#define STATS_HEADER_BYTES 4096u

/* @queue_bytes: whoever counts with another structure does not understand it */
struct stats_header {
	uint64_t magic;
	uint32_t layout;
	uint32_t queue_cnt;
	uint64_t queue_bytes;
	uint64_t since_ns;
};

static size_t file_bytes(unsigned int queue_cnt)
{
	return STATS_HEADER_BYTES + queue_cnt * sizeof(struct stats_queue);
}

static int map_file(int fd, unsigned int queue_cnt, uint64_t since_ns, struct stats_file *ret_file)
{
	size_t len = file_bytes(queue_cnt);
	void *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (base == MAP_FAILED)
		return -errno;
	*ret_file = (struct stats_file){ base, len, since_ns };
	return 0;
}

int stats_file_create(int dir_fd, unsigned int queue_cnt, struct stats_file *ret_file)
{
	const struct stats_header header = {
		.magic = STATS_MAGIC,
		.layout = STATS_LAYOUT,
		.queue_cnt = queue_cnt,
		.queue_bytes = sizeof(struct stats_queue),
		.since_ns = clock_now_ns(),
	};
	_cleanup_close_ int fd = -1;
	int r;

	if (unlinkat(dir_fd, STATS_FILE_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dir_fd, STATS_FILE_NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    0600);
	if (fd < 0)
		return -errno;
	/* Space is taken now: a full /run later would be a SIGBUS on the data path. */
	r = posix_fallocate(fd, 0, (off_t)file_bytes(queue_cnt));
	if (r)
		return -r;
	if (pwrite(fd, &header, sizeof(header), 0) != sizeof(header))
		return -EIO;
	return map_file(fd, queue_cnt, header.since_ns, ret_file);
}

/* The header is copied: what it says later is not asked. */
static bool is_ours(int fd, unsigned int queue_cnt, uint64_t *ret_since_ns)
{
	struct stats_header header;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_nlink != 1 || (st.st_mode & (S_IWGRP | S_IWOTH)) ||
	    (size_t)st.st_size != file_bytes(queue_cnt))
		return false;
	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		return false;
	*ret_since_ns = header.since_ns;
	return header.magic == STATS_MAGIC && header.layout == STATS_LAYOUT &&
	       header.queue_cnt == queue_cnt && header.queue_bytes == sizeof(struct stats_queue) &&
	       /* of an earlier boot, where the clock was ahead */
	       header.since_ns <= clock_now_ns();
}

int stats_file_adopt(int dir_fd, unsigned int queue_cnt, struct stats_file *ret_file)
{
	_cleanup_close_ int fd =
		openat(dir_fd, STATS_FILE_NAME, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint64_t since_ns;

	if (fd >= 0 && is_ours(fd, queue_cnt, &since_ns))
		return map_file(fd, queue_cnt, since_ns, ret_file);
	return stats_file_create(dir_fd, queue_cnt, ret_file);
}

struct stats_queue *stats_file_queues(const struct stats_file *file)
{
	return file->base ? (void *)((char *)file->base + STATS_HEADER_BYTES) : NULL;
}

void stats_file_close(struct stats_file *file)
{
	if (file->base)
		munmap(file->base, file->len_bytes);
	*file = (struct stats_file){ 0 };
}
