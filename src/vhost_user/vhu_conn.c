/* SPDX-License-Identifier: MIT */
/* The socket: clients come, one at a time, and go. */
#include "vhu_priv.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"

/* Before others have their turn. */
#define MSGS_A_TURN 32u

enum source {
	SOURCE_QUEUES,
	SOURCE_LISTEN,
	SOURCE_CONN,
	SOURCE_BACKEND,
	SOURCE_CNT,
};

/* @events: 0 to hear of its end only. */
static int watch(const struct vhu_dev *dev, int op, int fd, enum source source, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.u32 = source };

	return epoll_ctl(dev->epoll_fd, op, fd, &ev) < 0 ? -errno : 0;
}

int vhu_conn_init(struct vhu_dev *dev)
{
	int r;

	dev->listen_name_bytes = sizeof(dev->listen_name);
	if (getsockname(dev->listen_fd, (struct sockaddr *)&dev->listen_name,
			&dev->listen_name_bytes) < 0)
		return -errno;
	dev->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (dev->epoll_fd < 0)
		return -errno;
	r = watch(dev, EPOLL_CTL_ADD, vdev_event_fd(dev->vdev), SOURCE_QUEUES, EPOLLIN);
	if (r == 0)
		r = watch(dev, EPOLL_CTL_ADD, dev->listen_fd, SOURCE_LISTEN, 0);
	return r;
}

/* Others are refused while one is served; while the last one's requests end they wait. */
static bool accepts(const struct vhu_dev *dev)
{
	return !dev->listen_ns && !dev->retiring && !dev->given_up &&
	       (dev->phase == VHU_PHASE_FREE || dev->phase == VHU_PHASE_SERVING);
}

void vhu_conn_watch(struct vhu_dev *dev)
{
	bool reads = !dev->waiting && !dev->retiring;

	(void)watch(dev, EPOLL_CTL_MOD, dev->listen_fd, SOURCE_LISTEN, accepts(dev) ? EPOLLIN : 0);
	if (dev->conn_fd >= 0)
		(void)watch(dev, EPOLL_CTL_MOD, dev->conn_fd, SOURCE_CONN, reads ? EPOLLIN : 0);
}

void vhu_backend_fd_set(struct vhu_dev *dev, int fd)
{
	if (dev->backend_fd >= 0) {
		(void)watch(dev, EPOLL_CTL_DEL, dev->backend_fd, SOURCE_BACKEND, 0);
		(void)close(steal_fd(&dev->backend_fd));
	}
	if (fd >= 0 && watch(dev, EPOLL_CTL_ADD, fd, SOURCE_BACKEND, EPOLLIN) < 0)
		(void)close(steal_fd(&fd));
	dev->backend_fd = fd;
}

/*
 * It is never asked for a reply there. Descriptors in a message that nobody reads would be kept
 * open, among them perhaps the other end of the connection.
 */
static void backend_handle_event(struct vhu_dev *dev)
{
	char byte;
	struct iovec iov = { &byte, sizeof(byte) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n = recvmsg(dev->backend_fd, &mh, MSG_DONTWAIT | MSG_PEEK);

	if (n > 0)
		vhu_conn_close(dev, vhu_complain(dev, -EPROTO,
						 "a message where only the server has a say"));
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		vhu_backend_fd_set(dev, -1);
}

static void conn_begin(struct vhu_dev *dev, int fd)
{
	struct ucred cred = { .pid = 0, .uid = (uid_t)-1 };
	socklen_t len = sizeof(cred);

	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	dev->conn_fd = fd;
	dev->client_pid = cred.pid;
	dev->client_uid = cred.uid;
	dev->client_cnt++;
	dev->phase = VHU_PHASE_SERVING;
	dev->why[0] = '\0';
	dev->write_back = true;
	dev->event(dev->ctx, VHU_DEV_EVENT_CONNECTED, 0);
}

static void conn_accept(struct vhu_dev *dev)
{
	_cleanup_close_ int fd = accept4(dev->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = fd < 0 ? -errno : 0;

	/* Gone again, or another process that has the socket open was faster. */
	if (r == -EAGAIN || r == -EINTR || r == -ECONNABORTED)
		return;
	if (r == 0 && dev->phase != VHU_PHASE_FREE) {
		dev->event(dev->ctx, VHU_DEV_EVENT_REFUSED, 0);
		return;
	}
	if (r == 0)
		r = watch(dev, EPOLL_CTL_ADD, fd, SOURCE_CONN, EPOLLIN);
	if (r < 0) {
		dev->listen_ns = clock_now_ns() + VHU_LISTEN_MS * NSEC_PER_MSEC;
		dev->event(dev->ctx, VHU_DEV_EVENT_ACCEPT, r);
		return;
	}
	conn_begin(dev, steal_fd(&fd));
}

static void conn_lost(struct vhu_dev *dev, int err)
{
	if (err == -EPIPE || (err == -ECONNRESET && !dev->rx.got_bytes))
		vhu_conn_close(dev, 0);
	else if (err == -ECONNRESET)
		vhu_conn_close(dev, vhu_complain(dev, err, "closed within a message"));
	else
		vhu_conn_close(dev, vhu_complain(dev, err, "malformed message"));
}

static void conn_read(struct vhu_dev *dev)
{
	for (unsigned int i = 0; i < MSGS_A_TURN; i++) {
		int r;

		if (dev->phase != VHU_PHASE_SERVING || dev->waiting || dev->retiring)
			return;
		r = vhu_rx_recv(&dev->rx, dev->conn_fd, &dev->msg);
		if (r == -EAGAIN) {
			if (dev->rx.got_bytes && !dev->message_ns)
				dev->message_ns = clock_now_ns() + VHU_MESSAGE_MS * NSEC_PER_MSEC;
			return;
		}
		dev->message_ns = 0;
		if (r < 0)
			conn_lost(dev, r);
		else
			vhu_msg_handle(dev);
	}
}

/* Its descriptors may be what keeps the connection open, so that its end would not be seen. */
void vhu_conn_is_late(struct vhu_dev *dev)
{
	vhu_conn_close(dev, vhu_complain(dev, -ETIMEDOUT, "a message came in part only"));
}

static void conn_handle_events(struct vhu_dev *dev, uint32_t events)
{
	/* Closed for good while nothing is read: what it had to say is for nobody. */
	if ((dev->waiting || dev->retiring) && events & (EPOLLHUP | EPOLLERR))
		vhu_conn_close(dev, 0);
	else
		conn_read(dev);
}

void vhu_conn_handle(struct vhu_dev *dev)
{
	struct epoll_event events[SOURCE_CNT];
	int cnt = epoll_wait(dev->epoll_fd, events, SOURCE_CNT, 0);

	for (int i = 0; i < cnt; i++) {
		switch ((enum source)events[i].data.u32) {
		case SOURCE_QUEUES:
			vdev_handle_events(dev->vdev);
			break;
		case SOURCE_LISTEN:
			if (accepts(dev))
				conn_accept(dev);
			break;
		case SOURCE_CONN:
			/* It may have been closed for what another source said. */
			if (dev->phase == VHU_PHASE_SERVING)
				conn_handle_events(dev, events[i].events);
			break;
		case SOURCE_BACKEND:
			if (dev->backend_fd >= 0)
				backend_handle_event(dev);
			break;
		case SOURCE_CNT:
			break;
		}
	}
	vhu_conn_watch(dev);
}

void vhu_conn_close(struct vhu_dev *dev, int err)
{
	if (dev->phase != VHU_PHASE_SERVING)
		return;
	dev->phase = VHU_PHASE_CLOSING;
	/* Its file may be open elsewhere, so that a close would leave it in the epoll. */
	(void)watch(dev, EPOLL_CTL_DEL, dev->conn_fd, SOURCE_CONN, 0);
	(void)close(steal_fd(&dev->conn_fd));
	vhu_backend_fd_set(dev, -1);
	vhu_rx_fini(&dev->rx);
	vhu_msg_close_fds(&dev->msg);
	dev->waiting = false;
	dev->owed_ns = 0;
	dev->missing_ns = 0;
	dev->message_ns = 0;
	if (!err)
		dev->why[0] = '\0';
	vhu_rings_stop(dev, VDEV_STOP_NOW);
	dev->event(dev->ctx, VHU_DEV_EVENT_DISCONNECTED, err);
	vhu_conn_settle(dev);
}

static void conn_forget(struct vhu_dev *dev)
{
	vhu_rings_reset(dev);
	vhu_mem_drop(&dev->mem);
	dev->features = 0;
	dev->protocol_features = 0;
	dev->status = 0;
	dev->ran = false;
	dev->wce_known = false;
	dev->wce_told = false;
	dev->config_known = false;
	dev->client_pid = 0;
	dev->client_uid = 0;
	vhu_cache_apply(dev);
}

void vhu_conn_settle(struct vhu_dev *dev)
{
	if (!vhu_rings_are_idle(dev))
		return;
	if (dev->phase == VHU_PHASE_SERVING && dev->retiring) {
		vhu_conn_close(dev, 0);
		return;
	}
	if (dev->phase != VHU_PHASE_CLOSING)
		return;
	conn_forget(dev);
	dev->phase = dev->retiring || dev->given_up ? VHU_PHASE_CLOSED : VHU_PHASE_FREE;
	dev->event(dev->ctx, VHU_DEV_EVENT_FREE, 0);
}
