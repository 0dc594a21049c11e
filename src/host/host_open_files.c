/* SPDX-License-Identifier: MIT */
/* Processes that have the disk or a partition open. */
#include "host_users.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "host_file.h"

struct process {
	const struct host_users *users;
	const char *dir;
};

/* Decided by the text alone, which asks nothing of the file's filesystem: stat() of a file on
 * a dead network mount would never return. */
static bool may_be_node(const struct host_users *users, const char *target)
{
	const char *base = strrchr(target, '/');

	if (!strncmp(target, "/dev/", 5))
		return true;
	for (unsigned int i = 0; base && i < users->part_cnt; i++)
		if (!strcmp(base + 1, users->part[i].name))
			return true;
	return false;
}

/* The number decides: containers have nodes of their own, under any name. */
static bool has_number(const struct host_users *users, const char *path)
{
	char number[32];
	struct statx st;

	if (statx(AT_FDCWD, path, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0 ||
	    !S_ISBLK(st.stx_mode))
		return false;
	snprintf(number, sizeof(number), "%u:%u", st.stx_rdev_major, st.stx_rdev_minor);
	return host_users_has_number(users, number);
}

static int each_fd(const char *fd, void *ctx)
{
	const struct process *process = ctx;
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;

	if (host_path(path, sizeof(path), "%s/%s", process->dir, fd) < 0)
		return 0;
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	if (!may_be_node(process->users, target))
		return 0;
	/* In a recorded tree the links are text; there the name has to do. */
	if (process->users->root[0])
		return host_users_has_node(process->users, target);
	return has_number(process->users, path);
}

/* udev opens every new or closed disk for a moment; waiting for it is the caller's business. */
static bool is_udev(const char *comm)
{
	return !strcmp(comm, "(udev-worker)") || !strcmp(comm, "systemd-udevd") ||
	       !strcmp(comm, "udevd");
}

static int each_process(const char *pid, void *ctx)
{
	struct host_users *users = ctx;
	char dir[PATH_MAX], path[PATH_MAX], comm[32];
	struct process process = { users, dir };

	if (!isdigit((unsigned char)pid[0]) ||
	    (!users->root[0] && strtol(pid, NULL, 10) == (long)getpid()))
		return 0;
	if (host_path(path, sizeof(path), "%s/proc/%s/comm", users->root, pid) < 0 ||
	    host_read(path, comm, sizeof(comm)) < 0 || is_udev(comm))
		return 0;
	if (!host_path(dir, sizeof(dir), "%s/proc/%s/fd", users->root, pid) &&
	    host_dir_each(dir, each_fd, &process) == 1)
		host_users_add(users, "open in %s (pid %s)", comm, pid);
	return 0;
}

int host_users_open_files(struct host_users *users)
{
	char path[PATH_MAX];

	if (!host_path(path, sizeof(path), "%s/proc", users->root))
		(void)host_dir_each(path, each_process, users);
	return 0;
}
