/* SPDX-License-Identifier: MIT */
/*
 * Kernel modules that a disk needs: which are missing, and what to do about it.
 * Root directory is a parameter so that tests use a recorded tree.
 */
#ifndef VBLK_HOST_HOST_MODULE_H
#define VBLK_HOST_HOST_MODULE_H

#include <stddef.h>

/* Modules that must be there: bits of host_missing_modules(). */
#define HOST_NO_VDUSE	    1u /* /dev/vduse/control */
#define HOST_NO_VDPA	    2u /* /sys/bus/vdpa */
#define HOST_NO_VIRTIO_VDPA 4u /* /sys/bus/vdpa/drivers/virtio_vdpa */
#define HOST_NO_VIRTIO_BLK  8u /* /sys/bus/virtio/drivers/virtio_blk */

#define HOST_RELEASE_MAX 128
/* Room for every text below. */
#define HOST_MODULE_TEXT_MAX 512

enum host_module_state {
	HOST_MODULE_LOADED,   /* or built into the kernel */
	HOST_MODULE_LOADABLE, /* modprobe finds it */
	HOST_MODULE_NONE,     /* this kernel has none, or a package of it is missing */
	HOST_MODULE_NO_TREE,  /* nothing is known: no list of modules for the running kernel */
};

/* @root: "" on the host. Returns a mask, 0 = all there. */
unsigned int host_missing_modules(const char *root);

/* The running kernel's release, as uname -r; "" when /proc does not tell. Return: @buf. */
const char *host_kernel_release(const char *root, char buf[HOST_RELEASE_MAX]);

/* @module: with '_', as the kernel has it. */
enum host_module_state host_module_state(const char *root, const char *release, const char *module);

/**
 * host_missing_text() - one sentence for a mask of host_missing_modules(), not 0:
 * what is missing and what to do, by what this kernel has and which distribution it is
 * Return: @buf
 */
const char *host_missing_text(const char *root, unsigned int mask, char *buf, size_t len);

/**
 * host_kernel_advice() - how to get a kernel with VDUSE on this distribution
 * Goes on after "...: ", without a full stop. Return: @buf.
 */
const char *host_kernel_advice(const char *root, const char *release, char *buf, size_t len);

#endif
