/* SPDX-License-Identifier: MIT */
#include "link.h"

#include <errno.h>
#include <sys/socket.h>

int link_new(int ret_fds[2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_fds) < 0)
		return -errno;
	return 0;
}

int link_send(int fd, const struct link_msg *msg)
{
	if (send(fd, msg, sizeof(*msg), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

int link_recv(int fd, struct link_msg *ret_msg)
{
	ssize_t n = recv(fd, ret_msg, sizeof(*ret_msg), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	if (n == 0)
		return -EPIPE;
	if ((size_t)n != sizeof(*ret_msg))
		return -EBADMSG;
	ret_msg->node[sizeof(ret_msg->node) - 1] = '\0';
	ret_msg->text[sizeof(ret_msg->text) - 1] = '\0';
	return 1;
}
