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
#define DIR_MODE       0750
/* Also for the group's members, who may talk to the daemon. */
#define SOCKET_MODE 0660
#define STATE_MODE  0640
/* Each user that serves disks makes and removes its directories, and no other's. */
#define SHARED_DIR_MODE 01770

static const char *const files[] = { "control",		"state.json", "state.json.new", "inflight",
				     "server-inflight", "stats",      "rotational",	"lock",
				     WORKER_MARK_NAME };

static int make_dir(const char *path)
{
	if (mkdir(path, DIR_MODE) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

static int open_dir(const char *path, int *ret_fd, struct stat *ret_st)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	if (fstat(fd, ret_st) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static bool others_can_write(const struct stat *st)
{
	return st->st_mode & (S_IWGRP | S_IWOTH);
}

/* A directory that somebody else could have put there, or can write to, is not used. */
static int open_own_dir(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	r = open_dir(path, &fd, &st);
	if (r < 0)
		return r;
	if (st.st_uid != geteuid() || others_can_write(&st))
		return -EPERM;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* The one above; others may make what they like in it, if they must leave what is ours. */
static int check_shared_dir(const char *path)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	r = open_dir(path, &fd, &st);
	if (r < 0)
		return r;
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & S_IWOTH))
		return -EPERM;
	return others_can_write(&st) && !(st.st_mode & S_ISVTX) ? -EPERM : 0;
}

static int give_shared_dir(const char *path, gid_t gid)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	r = make_dir(path);
	if (r == 0)
		r = open_dir(path, &fd, &st);
	if (r < 0)
		return r;
	if (st.st_uid != 0 || (st.st_mode & S_IWOTH))
		return -EPERM;
	/* In this order: never a moment for another group. */
	if (fchmod(fd, 0700) < 0 || fchown(fd, 0, gid) < 0 || fchmod(fd, SHARED_DIR_MODE) < 0)
		return -errno;
	return 0;
}

/* Nobody but root can have put anything into it so far. */
static int give_files(int dir_fd, uid_t uid, gid_t gid)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (fchownat(dir_fd, files[i], uid, gid, AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno != ENOENT)
			return -errno;
	return 0;
}

int run_dir_give(const char *name, uid_t uid, gid_t gid)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (uid == 0)
		return 0;
	r = give_shared_dir(vblkd_run_dir(), gid);
	if (r < 0)
		return r;
	if (asprintf(&path, "%s/%s", vblkd_run_dir(), name) < 0)
		return -ENOMEM;
	r = make_dir(path);
	if (r == 0)
		r = open_dir(path, &fd, &st);
	if (r < 0 || st.st_uid == uid)
		return r;
	if (st.st_uid != 0 || others_can_write(&st))
		return -EPERM;
	r = give_files(fd, uid, gid);
	if (r == 0 && (fchmod(fd, DIR_MODE) < 0 || fchown(fd, uid, gid) < 0))
		r = -errno;
	return r;
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
	int r;

	/* Who can write to the parent could put another directory in our place. */
	r = make_dir(vblkd_run_dir());
	if (r == 0)
		r = check_shared_dir(vblkd_run_dir());
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
	if (chmod(addr.sun_path, SOCKET_MODE) < 0 || listen(fd, LISTEN_BACKLOG) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

int run_dir_note_rotational(const struct run_dir *dir, bool rotational)
{
	int fd;

	if (!rotational)
		return unlinkat(dir->fd, "rotational", 0) < 0 && errno != ENOENT ? -errno : 0;
	fd = openat(dir->fd, "rotational", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

int run_dir_write_state(const struct run_dir *dir, const json_t *state)
{
	_cleanup_close_ int fd = -1;

	fd = openat(dir->fd, "state.json.new",
		    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, STATE_MODE);
	if (fd < 0)
		return -errno;
	if (json_dumpfd(state, fd, JSON_INDENT(2)) < 0 || dprintf(fd, "\n") < 0)
		return -EIO;
	if (renameat(dir->fd, "state.json.new", dir->fd, "state.json") < 0)
		return -errno;
	return 0;
}
