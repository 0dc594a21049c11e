/* SPDX-License-Identifier: MIT */
/* Small files and links of /proc and /sys under a root directory. */
#ifndef VBLK_SRC_HOST_FILE_H
#define VBLK_SRC_HOST_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "vblk/util/compiler.h"

/**
 * host_path() - print a path into @buf[@len]
 * Return: 0; -ENAMETOOLONG.
 */
int host_path(char *buf, size_t len, const char *fmt, ...) VBLK_PRINTF(3, 4) VBLK_MUST_CHECK;

/* True for what can be one component of a path: not "", ".", "..", no '/'. */
bool host_is_component(const char *name);

/* First @len - 1 bytes of the file, without a newline at the end. Return: 0 or -errno. */
int host_read(const char *path, char *buf, size_t len) VBLK_MUST_CHECK;

/* One write(2) of @text to an existing file. Return: 0 or -errno. */
int host_write(const char *path, const char *text) VBLK_MUST_CHECK;

/* Last component of the link's target. Return: 0; -ENOENT; -EINVAL no link. */
int host_link_name(const char *path, char *buf, size_t len) VBLK_MUST_CHECK;

/**
 * host_dir_each() - call @fn with each name in directory @path, hidden ones left out
 * @fn: a value other than 0 stops and is returned
 * Return: 0; @fn's value; -errno of opendir(3).
 */
int host_dir_each(const char *path, int (*fn)(const char *name, void *ctx), void *ctx);

#endif
