/* SPDX-License-Identifier: MIT */
#include "vdev_wake.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "vblk/util/clock.h"

/* The ring itself failed: go on trying, without eating the CPU. */
static void wake_backoff(void)
{
	struct timespec ts = { .tv_nsec = (long)NSEC_PER_MSEC };

	(void)nanosleep(&ts, NULL);
}

/* Empties an eventfd without ever blocking. */
static void wake_consume(int fd)
{
	uint64_t cnt;
	struct iovec iov = { .iov_base = &cnt, .iov_len = sizeof(cnt) };

	(void)preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
}

static void wake_poll_done(struct loop_op *op, int res, uint32_t cqe_flags)
{
	struct vdev_wake_src *src = container_of(op, struct vdev_wake_src, op);
	struct vdev_wake *wake = src->wake;

	wake->kick_cnt += res > 0;
	/* Hung up: a new poll would end at once, and so on for ever. */
	if (res > 0 && (res & (POLLERR | POLLHUP | POLLNVAL)))
		src->dead = true;
	if (cqe_flags & IORING_CQE_F_MORE)
		return;
	src->armed = false;
	if (res == -ECANCELED || src->dead)
		return;
	if (res == -EINVAL && wake->multishot)
		wake->multishot = false;
	else if (res < 0)
		src->dead = true;
	else
		/*
		 * The next poll looks at the counter first and would fire at once,
		 * for ever. A kick that this read swallows is not lost: the caller
		 * looks at the ring after waking.
		 */
		wake_consume(src->fd);
}

static void wake_cancel_done(struct loop_op *op, int res, uint32_t cqe_flags)
{
	struct vdev_wake *wake = container_of(op, struct vdev_wake, cancel_op);

	(void)res;
	(void)cqe_flags;
	wake->cancel_cnt--;
}

static void wake_src_init(struct vdev_wake *wake, struct vdev_wake_src *src, int fd, bool foreign)
{
	*src = (struct vdev_wake_src){
		.op.complete = wake_poll_done,
		.wake = wake,
		.fd = fd,
		.foreign = foreign,
	};
}

void vdev_wake_init(struct vdev_wake *wake, struct loop *loop, int own_fd)
{
	*wake = (struct vdev_wake){
		.loop = loop,
		.cancel_op.complete = wake_cancel_done,
		.multishot = true,
	};
	wake_src_init(wake, &wake->own, own_fd, false);
	wake_src_init(wake, &wake->kick, -1, true);
}

static void wake_arm(struct vdev_wake *wake, struct vdev_wake_src *src)
{
	struct io_uring_sqe *sqe;

	if (src->fd < 0 || src->armed || src->dead)
		return;
	sqe = loop_get_sqe(wake->loop);
	if (wake->multishot)
		io_uring_prep_poll_multishot(sqe, src->fd, POLLIN);
	else
		io_uring_prep_poll_add(sqe, src->fd, POLLIN);
	loop_sqe_bind(sqe, &src->op);
	src->armed = true;
}

/* Ends the poll and waits for that; the op may then be reused and the fd closed. */
static void wake_disarm(struct vdev_wake *wake, struct vdev_wake_src *src)
{
	struct io_uring_sqe *sqe;

	if (!src->armed)
		return;
	sqe = loop_get_sqe(wake->loop);
	io_uring_prep_cancel(sqe, &src->op, 0);
	loop_sqe_bind(sqe, &wake->cancel_op);
	wake->cancel_cnt++;
	while (src->armed || wake->cancel_cnt)
		if (loop_wait(wake->loop) < 0)
			wake_backoff();
}

void vdev_wake_fini(struct vdev_wake *wake)
{
	if (!wake->loop)
		return;
	wake_disarm(wake, &wake->own);
	wake_disarm(wake, &wake->kick);
}

void vdev_wake_set_kick(struct vdev_wake *wake, int fd)
{
	wake_disarm(wake, &wake->kick);
	wake_src_init(wake, &wake->kick, fd, true);
}

/* Blocks in read(); the descriptor was given away, so its flags may have changed. */
static void wake_sleep_in_read(struct vdev_wake *wake)
{
	struct pollfd pfd = { .fd = wake->own.fd, .events = POLLIN };
	uint64_t cnt;

	if (read(wake->own.fd, &cnt, sizeof(cnt)) == (ssize_t)sizeof(cnt)) {
		wake->kick_cnt++;
		return;
	}
	if (errno == EINTR)
		return;
	if (errno != EAGAIN) {
		wake_backoff();
		return;
	}
	(void)ppoll(&pfd, 1, NULL, NULL);
	wake_consume(wake->own.fd);
}

static void wake_sleep_in_ring(struct vdev_wake *wake)
{
	wake_arm(wake, &wake->own);
	wake_arm(wake, &wake->kick);
	if (loop_wait(wake->loop) < 0)
		wake_backoff();
}

void vdev_wake_sleep(struct vdev_wake *wake, bool inflight)
{
	if (inflight || (wake->kick.fd >= 0 && !wake->kick.dead)) {
		wake->in_ring = true;
		wake->idle_cnt = 0;
	} else if (wake->in_ring && (++wake->idle_cnt > VDEV_WAKE_IDLE_MAX || wake->own.dead)) {
		wake_disarm(wake, &wake->own);
		wake_disarm(wake, &wake->kick);
		wake->in_ring = false;
		/*
		 * A kick may have completed the poll while it was being cancelled;
		 * the eventfd still counts it, so read() returns at once. In one-shot
		 * mode it may have been consumed: look at the ring first.
		 */
		return;
	}
	if (wake->in_ring)
		wake_sleep_in_ring(wake);
	else
		wake_sleep_in_read(wake);
}
