/* SPDX-License-Identifier: MIT */
/*
 * A disk of the host: who uses it, its attributes. Root directory is a
 * parameter where only files are read, so that tests use a recorded tree.
 */
#ifndef VBLK_HOST_HOST_DISK_H
#define VBLK_HOST_HOST_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

/**
 * host_disk_claim() - open /dev/DISK exclusively, without I/O
 * While the descriptor is open nobody can mount, swap on or stack a device on
 * the disk or its partitions.
 * Return: 0 and an owned descriptor; -EBUSY in use; -ENOENT.
 */
int host_disk_claim(const char *disk, int *ret_fd) VBLK_MUST_CHECK;

/**
 * host_disk_users() - say who uses @disk or a partition of it, in words
 * "mounted on /mnt", "swap", "held by dm-0 (vg-data)", "open in dd (pid 123)";
 * several are separated by ", ", at most five, then "and N more".
 * Looks at mounts (of all mount namespaces it may see), swaps, sysfs holders and
 * open files of all processes it may see; not the caller itself, and not udev's
 * short-lived workers.
 *
 * Return: number of users found, 0 = none; -errno.
 */
int host_disk_users(const char *root, const char *disk, char *buf, size_t len) VBLK_MUST_CHECK;

/**
 * host_disk_is_swap() - does the host swap to @disk?
 * Also to a partition of it, to a device that stands on it (dm, md, loop), or to a file of a
 * filesystem on any of these. Reads /proc and /sys only.
 */
bool host_disk_is_swap(const char *root, const char *disk);

/* Writes /sys/block/DISK/queue/ATTR. May block until the disk is idle. Return: 0 or -errno. */
int host_disk_set_queue_attr(const char *root, const char *disk, const char *attr,
			     const char *value) VBLK_MUST_CHECK;
/* Reads /sys/block/DISK/ATTR ("size", "ro", "queue/scheduler") without its newline. */
int host_disk_get_attr(const char *root, const char *disk, const char *attr, char *buf,
		       size_t len) VBLK_MUST_CHECK;

#endif
