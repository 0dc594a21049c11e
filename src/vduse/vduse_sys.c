/* SPDX-License-Identifier: MIT */
/* The only file that makes VDUSE system calls. */
#include "vblk/vduse/vduse_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/vduse.h>

#include "vblk/util/compiler.h"

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

const unsigned long *vduse_sys_ioctls(unsigned int *ret_cnt)
{
	/* Not those of /dev/vduse/control, nor VQ_SETUP: they make a device, not serve it. */
	static const unsigned long requests[] = {
		VDUSE_IOTLB_GET_FD,	     VDUSE_IOTLB_GET_INFO,   VDUSE_IOTLB_REG_UMEM,
		VDUSE_IOTLB_DEREG_UMEM,	     VDUSE_DEV_GET_FEATURES, VDUSE_DEV_SET_CONFIG,
		VDUSE_DEV_INJECT_CONFIG_IRQ, VDUSE_VQ_GET_INFO,	     VDUSE_VQ_SETUP_KICKFD,
		VDUSE_VQ_INJECT_IRQ,
	};

	*ret_cnt = ARRAY_SIZE(requests);
	return requests;
}
