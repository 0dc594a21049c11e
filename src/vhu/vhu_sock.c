/* SPDX-License-Identifier: MIT */
#include "vblk/vhu/vhu_sock.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/math.h"

/* Room for descriptors, aligned as the kernel wants it. */
union ctl {
	struct cmsghdr align;
	char room[CMSG_SPACE(VHU_FDS_MAX * sizeof(int))];
};

void vhu_rx_init(struct vhu_rx *rx)
{
	memset(rx, 0, sizeof(*rx));
}

void vhu_rx_fini(struct vhu_rx *rx)
{
	vhu_msg_close_fds(&rx->msg);
	vhu_rx_init(rx);
}

void vhu_msg_close_fds(struct vhu_msg *msg)
{
	for (unsigned int i = 0; i < msg->fd_cnt; i++)
		if (msg->fds[i] >= 0)
			(void)close(msg->fds[i]);
	msg->fd_cnt = 0;
}

int vhu_msg_steal_fd(struct vhu_msg *msg, unsigned int i)
{
	return steal_fd(&msg->fds[i]);
}

/* Adds those of one control message; what finds no room is closed. */
static int take_fds(struct vhu_msg *msg, struct cmsghdr *cmsg)
{
	size_t cnt = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	int r = 0;

	for (size_t i = 0; i < cnt; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
		if (msg->fd_cnt < VHU_FDS_MAX) {
			msg->fds[msg->fd_cnt++] = fd;
		} else {
			(void)close(fd);
			r = -ETOOMANYREFS;
		}
	}
	return r;
}

static int take_ancillary(struct vhu_msg *msg, struct msghdr *mh)
{
	/* The kernel has closed what it found no room for. */
	int r = mh->msg_flags & MSG_CTRUNC ? -ETOOMANYREFS : 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(mh); cmsg; cmsg = CMSG_NXTHDR(mh, cmsg)) {
		int err = 0;

		if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
			err = take_fds(msg, cmsg);
		if (err < 0)
			r = err;
	}
	return r;
}

/* Reads up to @want_bytes to @to. Returns how many, 0 at the end of the stream, -errno. */
static ssize_t recv_some(struct vhu_msg *msg, int sock_fd, void *to, size_t want_bytes)
{
	union ctl ctl;
	struct iovec iov = { .iov_base = to, .iov_len = want_bytes };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl.room,
		.msg_controllen = sizeof(ctl.room),
	};
	ssize_t n;
	int r;

	do
		n = recvmsg(sock_fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	r = take_ancillary(msg, &mh);
	return r < 0 ? r : n;
}

/* Where the next byte goes, and how many may come. */
static void *rx_next(struct vhu_rx *rx, size_t *ret_want_bytes)
{
	size_t hdr_bytes = sizeof(rx->msg.hdr), got_bytes = rx->got_bytes;

	if (got_bytes < hdr_bytes) {
		*ret_want_bytes = hdr_bytes - got_bytes;
		return (char *)&rx->msg.hdr + got_bytes;
	}
	got_bytes -= hdr_bytes;
	*ret_want_bytes = rx->msg.hdr.size - got_bytes;
	return (char *)&rx->msg.payload + got_bytes;
}

/* All of the header, or all of the payload. */
static int rx_fill(struct vhu_rx *rx, int sock_fd, size_t until_bytes)
{
	while (rx->got_bytes < until_bytes) {
		size_t want_bytes;
		void *to = rx_next(rx, &want_bytes);
		ssize_t n = recv_some(&rx->msg, sock_fd, to, want_bytes);

		if (n < 0)
			return n == -EWOULDBLOCK ? -EAGAIN : (int)n;
		if (n == 0)
			return rx->got_bytes ? -ECONNRESET : -EPIPE;
		rx->got_bytes += (size_t)n;
	}
	return 0;
}

int vhu_rx_recv(struct vhu_rx *rx, int sock_fd, struct vhu_msg *ret_msg)
{
	int r;

	r = rx_fill(rx, sock_fd, sizeof(rx->msg.hdr));
	if (r == 0)
		r = vhu_check_header(&rx->msg.hdr);
	if (r == 0)
		r = rx_fill(rx, sock_fd, sizeof(rx->msg.hdr) + rx->msg.hdr.size);
	if (r < 0)
		return r;
	*ret_msg = rx->msg;
	vhu_rx_init(rx);
	return 0;
}

static void put_fds(struct msghdr *mh, union ctl *ctl, const struct vhu_msg *msg)
{
	size_t bytes = msg->fd_cnt * sizeof(int);
	struct cmsghdr *cmsg;

	if (!bytes)
		return;
	memset(ctl, 0, sizeof(*ctl));
	mh->msg_control = ctl->room;
	mh->msg_controllen = CMSG_SPACE(bytes);
	cmsg = CMSG_FIRSTHDR(mh);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(cmsg), msg->fds, bytes);
}

int vhu_send(int sock_fd, const struct vhu_msg *msg)
{
	union ctl ctl;
	struct iovec iov[2] = {
		{ .iov_base = (void *)&msg->hdr, .iov_len = sizeof(msg->hdr) },
		{ .iov_base = (void *)&msg->payload, .iov_len = msg->hdr.size },
	};
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	put_fds(&mh, &ctl, msg);
	do
		n = sendmsg(sock_fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	/* The kernel makes one buffer of so few bytes: either all fit or none. */
	return (size_t)n == sizeof(msg->hdr) + msg->hdr.size ? 0 : -EPIPE;
}
