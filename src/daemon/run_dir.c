/* SPDX-License-Identifier: MIT */
#include "run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vblk/control/paths.h"
#include "vblk/util/cleanup.h"

#define LISTEN_BACKLOG 16

static int make_dir(const char *path)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* A directory that somebody else could have put there, or can write to, is not used. */
static int open_own_dir(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return -EPERM;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int read_pid(int lock_fd)
{
	char text[16] = "";

	if (pread(lock_fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return atoi(text);
}

/*
 * The holder may remove the file between our open and our lock: then what we
 * have locked is not what the next one will find, so look again.
 */
static int lock_file(int dir_fd, int *ret_fd, int *ret_pid)
{
	for (;;) {
		_cleanup_close_ int fd = -1;
		struct stat mine, named;

		fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno != EWOULDBLOCK)
				return -errno;
			*ret_pid = read_pid(fd);
			return -EBUSY;
		}
		if (fstat(fd, &mine) < 0)
			return -errno;
		if (fstatat(dir_fd, "lock", &named, AT_SYMLINK_NOFOLLOW) < 0 ||
		    named.st_ino != mine.st_ino)
			continue;
		if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
			return -errno;
		*ret_fd = steal_fd(&fd);
		return 0;
	}
}

int run_dir_open(const char *name, struct run_dir *ret_dir, int *ret_pid)
{
	struct run_dir dir = { .fd = -1, .lock_fd = -1 };
	_cleanup_close_ int parent_fd = -1;
	int r;

	/* Who can write to the parent could put another directory in our place. */
	r = make_dir(vblkd_run_dir());
	if (r == 0)
		r = open_own_dir(vblkd_run_dir(), &parent_fd);
	if (r < 0)
		return r;
	if (asprintf(&dir.path, "%s/%s", vblkd_run_dir(), name) < 0)
		return -ENOMEM;
	/* A leaving keeper may remove the directory under us: then make it anew. */
	do {
		run_dir_close(&(struct run_dir){ .fd = dir.fd, .lock_fd = -1 });
		dir.fd = -1;
		r = make_dir(dir.path);
		if (r == 0)
			r = open_own_dir(dir.path, &dir.fd);
		if (r == 0)
			r = lock_file(dir.fd, &dir.lock_fd, ret_pid);
	} while (r == -ENOENT);
	if (r < 0) {
		run_dir_close(&dir);
		return r;
	}
	*ret_dir = dir;
	return 0;
}

void run_dir_close(struct run_dir *dir)
{
	if (dir->lock_fd >= 0)
		close(dir->lock_fd);
	if (dir->fd >= 0)
		close(dir->fd);
	free(dir->path);
	*dir = (struct run_dir){ .fd = -1, .lock_fd = -1 };
}

void run_dir_remove(struct run_dir *dir)
{
	static const char *const files[] = { "control",	 "state.json", "state.json.new",
					     "inflight", "stats",      "lock" };

	if (dir->fd >= 0) {
		for (size_t i = 0; i < ARRAY_SIZE(files); i++)
			(void)unlinkat(dir->fd, files[i], 0);
		(void)rmdir(dir->path);
	}
	run_dir_close(dir);
}

int run_dir_listen(const struct run_dir *dir, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control", dir->path) >=
	    sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (unlinkat(dir->fd, "control", 0) < 0 && errno != ENOENT)
		return -errno;
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	if (chmod(addr.sun_path, 0600) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int run_dir_write_state(const struct run_dir *dir, const json_t *state)
{
	_cleanup_close_ int fd = -1;

	fd = openat(dir->fd, "state.json.new",
		    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (json_dumpfd(state, fd, JSON_INDENT(2)) < 0 || dprintf(fd, "\n") < 0)
		return -EIO;
	if (renameat(dir->fd, "state.json.new", dir->fd, "state.json") < 0)
		return -errno;
	return 0;
}
