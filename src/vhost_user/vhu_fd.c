/* SPDX-License-Identifier: MIT */
/* What a descriptor is that a client has sent, found out without doing anything to it. */
#include "vhu_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

int vhu_fd_open_proc(void)
{
	int fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/*
 * The kernel's own name of a file without one. A file that is called so has a path in
 * front of that.
 */
static bool is_called(int proc_fd, int fd, const char *name)
{
	char number[16], target[64];
	ssize_t n;

	(void)snprintf(number, sizeof(number), "%d", fd);
	n = readlinkat(proc_fd, number, target, sizeof(target) - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return !strcmp(target, name);
}

bool vhu_fd_is_eventfd(int proc_fd, int fd)
{
	return is_called(proc_fd, fd, "anon_inode:[eventfd]");
}

bool vhu_fd_is_stream(int fd)
{
	int domain, type;
	socklen_t len = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return false;
	len = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return false;
	return domain == AF_UNIX && type == SOCK_STREAM;
}

bool vhu_fd_leads_to(int fd, const struct sockaddr_un *name, socklen_t name_bytes)
{
	struct sockaddr_un peer;
	socklen_t bytes = name_bytes;

	/* Fails where the name is shorter. */
	return !getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &peer, &bytes) &&
	       !memcmp(&peer, name, name_bytes);
}

int vhu_fd_memory(int proc_fd, int fd, uint64_t *ret_size_bytes, uint64_t *ret_align_bytes)
{
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	struct statfs fs;
	struct stat st;

	/* It has no length; pages that are not there are caught by memguard. */
	if (is_called(proc_fd, fd, "anon_inode:[vduse-domain]")) {
		*ret_size_bytes = UINT64_MAX;
		*ret_align_bytes = page_bytes;
		return 0;
	}
	/* Only files that are memory have seals, and asking for them reaches no filesystem. */
	if (fcntl(fd, F_GET_SEALS) < 0)
		return -EBADF;
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	*ret_size_bytes = (uint64_t)st.st_size;
	*ret_align_bytes =
		(unsigned long)fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : page_bytes;
	return 0;
}
