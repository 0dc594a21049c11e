/* SPDX-License-Identifier: MIT */
#include "serve_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "bus.h"
#include "vblk/util/cleanup.h"

/* One client is served, others wait. */
#define LISTEN_BACKLOG 16
#define LOCK_TRIES     100
#define LOCK_STEP_NS   10000000

int serve_socket_path(const char *path, char ret_path[SERVE_PATH_MAX], char why[BDEV_WHY_MAX])
{
	_cleanup_free_ char *dir = *path == '/' ? strdup("") : getcwd(NULL, 0);
	size_t len = strlen(path);

	if (!dir)
		return -errno;
	if (!len || path[len - 1] == '/') {
		snprintf(why, BDEV_WHY_MAX, "'%s' names no socket", path);
		return -EINVAL;
	}
	if ((size_t)snprintf(ret_path, SERVE_PATH_MAX, "%s%s%s", dir, *path == '/' ? "" : "/",
			     path) < SERVE_PATH_MAX)
		return 0;
	snprintf(
		why, BDEV_WHY_MAX,
		"the path of the socket has %zu characters, but the kernel takes no more than %d: %s",
		strlen(dir) + 1 + len, SERVE_PATH_MAX - 1, path);
	return -ENAMETOOLONG;
}

/* ---- inherited ---- */

static int describe(int fd, char ret_path[SERVE_PATH_MAX])
{
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);

	memset(&addr, 0, sizeof(addr));
	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	if (len <= offsetof(struct sockaddr_un, sun_path))
		return -EINVAL;
	if (addr.sun_path[0])
		snprintf(ret_path, SERVE_PATH_MAX, "%.*s", (int)sizeof(addr.sun_path),
			 addr.sun_path);
	else
		snprintf(ret_path, SERVE_PATH_MAX, "@%.*s",
			 (int)(len - offsetof(struct sockaddr_un, sun_path) - 1),
			 addr.sun_path + 1);
	return 0;
}

/* Return: how many there are beside the one to the vdpa bus; @ret_fd: the last; -errno. */
static int find_passed(int *ret_fd)
{
	char **names = NULL;
	int cnt = sd_listen_fds_with_names(0, &names), found = 0;

	for (int i = 0; i < cnt; i++) {
		if (strcmp(names[i], BUS_FD_NAME) != 0) {
			*ret_fd = SD_LISTEN_FDS_START + i;
			found++;
		}
		free(names[i]);
	}
	free(names);
	return cnt < 0 ? cnt : found;
}

int serve_socket_inherit(int *ret_fd, char ret_path[SERVE_PATH_MAX], char why[BDEV_WHY_MAX])
{
	int fd = -1, cnt = find_passed(&fd);

	if (cnt < 0)
		snprintf(why, BDEV_WHY_MAX, "cannot use what systemd passed on: %s",
			 strerror(-cnt));
	if (cnt <= 0)
		return cnt;
	if (cnt > 1) {
		snprintf(why, BDEV_WHY_MAX, "systemd passed %d sockets on, but one can be served",
			 cnt);
		return -EINVAL;
	}
	if (sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) <= 0 || describe(fd, ret_path) < 0) {
		snprintf(
			why, BDEV_WHY_MAX,
			"what systemd passed on is no unix stream socket: use ListenStream=/PATH in the socket unit");
		return -EINVAL;
	}
	/* Of a socket it cannot fail. */
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	*ret_fd = fd;
	return 1;
}

/* ---- made ---- */

/*
 * Two daemons that find the same stale file must not remove each other's new one. Somebody else
 * may hold such a lock for reasons of his own, so it is not waited for long.
 */
static int lock_directory(const char *path)
{
	const struct timespec step = { .tv_nsec = LOCK_STEP_NS };
	char dir[SERVE_PATH_MAX];
	int fd;

	snprintf(dir, sizeof(dir), "%s", path);
	strrchr(dir, '/')[dir[1] && strrchr(dir, '/') == dir] = '\0';
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && i < LOCK_TRIES && flock(fd, LOCK_EX | LOCK_NB) < 0; i++)
		(void)nanosleep(&step, NULL);
	return fd;
}

/* Return: 0 there is nothing, any more; -errno with @why. */
static int remove_stale(const struct sockaddr_un *addr, char why[BDEV_WHY_MAX])
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode)) {
		snprintf(why, BDEV_WHY_MAX, "'%s' is there already, and is no socket",
			 addr->sun_path);
		return -EEXIST;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 && errno == ECONNREFUSED)
		return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
	snprintf(why, BDEV_WHY_MAX, "somebody listens on '%s' already", addr->sun_path);
	return -EADDRINUSE;
}

static int bind_and_listen(const struct sockaddr_un *addr, mode_t mode, int *ret_fd)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old;
	int r;

	if (fd < 0)
		return -errno;
	/* Never a moment with other permissions, and no change by path that a link could lead
	 * astray. */
	old = umask(0777 & ~mode);
	r = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	(void)umask(old);
	if (r == 0 && listen(fd, LISTEN_BACKLOG) < 0)
		r = -errno;
	if (r == 0)
		*ret_fd = steal_fd(&fd);
	return r;
}

int serve_socket_listen(const char *path, mode_t mode, struct serve_socket *ret_socket,
			char why[BDEV_WHY_MAX])
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct serve_socket sock = { .fd = -1 };
	struct stat st;
	int lock_fd, r;

	why[0] = '\0';
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	snprintf(sock.path, sizeof(sock.path), "%s", path);
	lock_fd = lock_directory(path);
	r = remove_stale(&addr, why);
	if (r == 0)
		r = bind_and_listen(&addr, mode, &sock.fd);
	if (lock_fd >= 0)
		(void)close(lock_fd);
	if (r < 0) {
		if (!why[0])
			snprintf(why, BDEV_WHY_MAX, "cannot make the socket '%s': %s", path,
				 strerror(-r));
		return r;
	}
	if (lstat(path, &st) == 0) {
		sock.dev = st.st_dev;
		sock.ino = st.st_ino;
	}
	*ret_socket = sock;
	return 0;
}

int serve_socket_close(struct serve_socket *sock)
{
	struct stat st;
	int r = 0;

	if (sock->fd < 0)
		return 0;
	/* Before it would be refused: a daemon that starts now must not take it for stale. */
	if (sock->ino && lstat(sock->path, &st) == 0 && st.st_dev == sock->dev &&
	    st.st_ino == sock->ino && unlink(sock->path) < 0)
		r = -errno;
	close(sock->fd);
	sock->fd = -1;
	return r;
}
