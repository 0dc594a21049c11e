/* SPDX-License-Identifier: MIT */
/*
 * The kernel calls that this module makes, as data: the product has one
 * instance (vduse_sys_kernel), tests have scripts. Everything returns -errno.
 */
#ifndef VBLK_VDUSE_VDUSE_SYS_H
#define VBLK_VDUSE_VDUSE_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vduse_sys {
	int (*open)(void *ctx, const char *path, int flags);
	void (*close)(void *ctx, int fd);
	int (*ioctl)(void *ctx, int fd, unsigned long request, void *arg);
	ssize_t (*read)(void *ctx, int fd, void *buf, size_t len);
	ssize_t (*write)(void *ctx, int fd, const void *buf, size_t len);
	/* MAP_SHARED mapping of @fd */
	int (*mmap)(void *ctx, size_t len, int prot, int fd, off_t offset, void **ret_va);
	void (*munmap)(void *ctx, void *va, size_t len);
	void *ctx;
};

extern const struct vduse_sys vduse_sys_kernel;

/* All requests that a process makes of its device, for a list of what it may do. Static. */
const unsigned long *vduse_sys_ioctls(unsigned int *ret_cnt);

#endif
