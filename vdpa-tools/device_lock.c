/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "vblk/util/cleanup.h"

/* "3: FLOCK  ADVISORY  WRITE 1234 00:19:5678 0 EOF"; one that waits has "->" in front. */
static bool line_is_lock_on(const char *line, const struct stat *st)
{
	unsigned int dev_major, dev_minor;
	unsigned long inode;

	return sscanf(line, "%*u: FLOCK %*s %*s %*d %x:%x:%lu", &dev_major, &dev_minor, &inode) ==
		       3 &&
	       inode == st->st_ino && makedev(dev_major, dev_minor) == st->st_dev;
}

int device_is_locked(const char *path)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	f = fopen("/proc/locks", "re");
	if (!f)
		return -errno;
	while (getline(&line, &cap, f) > 0)
		if (line_is_lock_on(line, &st))
			return 1;
	return 0;
}
