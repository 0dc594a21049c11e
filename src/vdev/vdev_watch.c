/* SPDX-License-Identifier: MIT */
#include "vdev_watch.h"

#include "vblk/util/clock.h"

static void watch_went_off(struct loop_op *op, int res VBLK_UNUSED, uint32_t cqe_flags VBLK_UNUSED)
{
	struct vdev_watch *watch = container_of(op, struct vdev_watch, op);

	watch->armed = false;
	watch->due = true;
}

static void watch_cancelled(struct loop_op *op, int res VBLK_UNUSED, uint32_t cqe_flags VBLK_UNUSED)
{
	container_of(op, struct vdev_watch, cancel_op)->cancelling = false;
}

void vdev_watch_init(struct vdev_watch *watch, struct loop *loop, unsigned int period_ms)
{
	*watch = (struct vdev_watch){
		.loop = loop,
		.op.complete = watch_went_off,
		.cancel_op.complete = watch_cancelled,
		.period = { .tv_sec = period_ms / MSEC_PER_SEC,
			    .tv_nsec = (long long)(period_ms % MSEC_PER_SEC * NSEC_PER_MSEC) },
	};
}

void vdev_watch_arm_slow(struct vdev_watch *watch)
{
	struct io_uring_sqe *sqe;

	if (!watch->period.tv_sec && !watch->period.tv_nsec)
		return;
	sqe = loop_get_sqe(watch->loop);
	io_uring_prep_timeout(sqe, &watch->period, 0, 0);
	loop_sqe_bind(sqe, &watch->op);
	watch->armed = true;
}

void vdev_watch_fini(struct vdev_watch *watch)
{
	struct io_uring_sqe *sqe;

	if (!watch->loop || !watch->armed)
		return;
	sqe = loop_get_sqe(watch->loop);
	io_uring_prep_cancel(sqe, &watch->op, 0);
	loop_sqe_bind(sqe, &watch->cancel_op);
	watch->cancelling = true;
	/* An error here is one of the ring itself, which ends all its requests. */
	while (watch->armed || watch->cancelling)
		if (loop_wait(watch->loop) < 0)
			return;
}
