/* SPDX-License-Identifier: MIT */
/* The only file that makes VDUSE system calls. */
#include "vblk/vduse/vduse_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int kernel_open(void *ctx, const char *path, int flags)
{
	int fd;

	(void)ctx;
	fd = open(path, flags);
	return fd < 0 ? -errno : fd;
}

static void kernel_close(void *ctx, int fd)
{
	(void)ctx;
	(void)close(fd);
}

static int kernel_ioctl(void *ctx, int fd, unsigned long request, void *arg)
{
	int r;

	(void)ctx;
	r = ioctl(fd, request, arg);
	return r < 0 ? -errno : r;
}

static ssize_t kernel_read(void *ctx, int fd, void *buf, size_t len)
{
	ssize_t n;

	(void)ctx;
	n = read(fd, buf, len);
	return n < 0 ? -errno : n;
}

static ssize_t kernel_write(void *ctx, int fd, const void *buf, size_t len)
{
	ssize_t n;

	(void)ctx;
	n = write(fd, buf, len);
	return n < 0 ? -errno : n;
}

static int kernel_mmap(void *ctx, size_t len, int prot, int fd, off_t offset, void **ret_va)
{
	void *va;

	(void)ctx;
	va = mmap(NULL, len, prot, MAP_SHARED, fd, offset);
	if (va == MAP_FAILED)
		return -errno;
	*ret_va = va;
	return 0;
}

static void kernel_munmap(void *ctx, void *va, size_t len)
{
	(void)ctx;
	(void)munmap(va, len);
}

const struct vduse_sys vduse_sys_kernel = {
	.open = kernel_open,
	.close = kernel_close,
	.ioctl = kernel_ioctl,
	.read = kernel_read,
	.write = kernel_write,
	.mmap = kernel_mmap,
	.munmap = kernel_munmap,
};
