/* SPDX-License-Identifier: MIT */
/*
 * Two daemons on one image destroy it. A lock of the open file lasts exactly
 * as long as somebody has it open, also across fork and death, and there is
 * nothing to clean up.
 */
#include "bdev_uring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "vblk/util/cleanup.h"

static void cleanup_closedir(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* True when the description of an open file says that it holds a lock on @st. */
static bool fdinfo_has_lock(const char *path, const struct stat *st)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	char line[256], want[64];

	if (!f)
		return false;
	/* The kernel's spelling: "lock: 1: OFDLCK ADVISORY WRITE -1 08:01:1234 0 EOF" */
	(void)snprintf(want, sizeof(want), " %02x:%02x:%" PRIu64 " ", major(st->st_dev),
		       minor(st->st_dev), (uint64_t)st->st_ino);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "lock:", 5) && strstr(line, want))
			return true;
	}
	return false;
}

static bool process_has_lock(const char *pid, const struct stat *st)
{
	char path[600];
	_cleanup_(cleanup_closedir) DIR *dir = NULL;
	const struct dirent *entry;

	(void)snprintf(path, sizeof(path), "/proc/%s/fdinfo", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/proc/%s/fdinfo/%s", pid, entry->d_name);
		if (fdinfo_has_lock(path, st))
			return true;
	}
	return false;
}

/* The kernel names no process for a lock of an open file: look for one. 0 = not found. */
static long find_holder(int fd)
{
	_cleanup_(cleanup_closedir) DIR *dir = opendir("/proc");
	const struct dirent *entry;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return 0;
	while (dir && (entry = readdir(dir))) {
		long pid = strtol(entry->d_name, NULL, 10);

		if (pid > 0 && process_has_lock(entry->d_name, &st))
			return pid;
	}
	return 0;
}

static long lock_holder(int fd, struct flock *lock)
{
	/* A lock of a process comes with its number. */
	if (fcntl(fd, F_OFD_GETLK, lock) == 0 && lock->l_type != F_UNLCK && lock->l_pid > 0)
		return lock->l_pid;
	return find_holder(fd);
}

int uring_lock(int fd, const char *path, bool read_only, char why[BDEV_WHY_MAX])
{
	struct flock lock = { .l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };
	long pid;
	int r;

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	r = -errno;
	if (r != -EAGAIN && r != -EACCES)
		return bdev_why(why, r, "cannot lock '%s' against other users: %s", path,
				strerror(-r));
	pid = lock_holder(fd, &lock);
	if (pid)
		return bdev_why(why, -EBUSY, "'%s' is in use by another process (pid %ld)", path,
				pid);
	return bdev_why(why, -EBUSY, "'%s' is in use by another process", path);
}
