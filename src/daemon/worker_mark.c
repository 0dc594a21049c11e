/* SPDX-License-Identifier: MIT */
#include "worker_mark.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run_dir.h"
#include "vblk/util/cleanup.h"

int worker_mark(int dir_fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = getpid(), .l_len = 1 };
	_cleanup_close_ int fd = -1;

	fd = openat(dir_fd, WORKER_MARK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0)
		return -errno;
	(void)steal_fd(&fd);
	return 0;
}

/* Return: owned; -1 there is none. A link to a file of somebody else's would lead to them. */
static int open_marks(int dir_fd)
{
	_cleanup_close_ int fd = openat(dir_fd, WORKER_MARK_NAME, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_uid != geteuid() || st.st_nlink != 1)
		return -1;
	return steal_fd(&fd);
}

/* The first lock of another process from @start on. Return: its process; 0 = none. */
static pid_t find_lock(int fd, off_t start, off_t len)
{
	struct flock lock = { .l_type = F_WRLCK, .l_start = start, .l_len = len };

	if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK || lock.l_pid <= 1)
		return 0;
	return lock.l_pid == lock.l_start ? lock.l_pid : 0;
}

bool worker_is_marked(int dir_fd, pid_t pid)
{
	_cleanup_close_ int fd = open_marks(dir_fd);

	return fd >= 0 && find_lock(fd, pid, 1) == pid;
}

void worker_each_marked(int dir_fd, void (*fn)(pid_t pid, void *ctx), void *ctx)
{
	_cleanup_close_ int fd = open_marks(dir_fd);
	pid_t pid;

	for (off_t start = 0; fd >= 0 && (pid = find_lock(fd, start, 0)); start = pid + 1)
		fn(pid, ctx);
}
