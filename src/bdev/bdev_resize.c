/* SPDX-License-Identifier: MIT */
/* Sizes of stores that may have changed since they were opened. */
#include "bdev_priv.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

int bdev_block_size(int fd, uint64_t *ret_size_bytes)
{
	return ioctl(fd, BLKGETSIZE64, ret_size_bytes) < 0 ? -errno : 0;
}

int bdev_file_resize(int fd, bool read_only, uint64_t want_bytes, uint64_t *ret_size_bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < want_bytes) {
		if (read_only)
			return -EROFS;
		/* Adds a hole: space is taken when it is written. */
		if (ftruncate(fd, (off_t)want_bytes) < 0)
			return -errno;
		st.st_size = (off_t)want_bytes;
	}
	*ret_size_bytes = (uint64_t)st.st_size;
	return 0;
}
