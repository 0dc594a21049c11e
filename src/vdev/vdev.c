/* SPDX-License-Identifier: MIT */
#include "vblk/vdev/vdev.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vblk/util/thread.h"
#include "vdev_priv.h"

#define QUEUE_STACK_BYTES (256u * 1024u)

void vdev_signal(int event_fd)
{
	uint64_t one = 1;
	ssize_t n;

	/* Fails only when the counter is full, and then it is readable anyway. */
	n = write(event_fd, &one, sizeof(one));
	(void)n;
}

static void vdev_post(struct vdev_queue *q, enum vdev_verb verb)
{
	q->posted = (((q->posted >> VDEV_VERB_BITS) + 1) << VDEV_VERB_BITS) | verb;
	/* Pairs with queue_obey(): the thread sees q->ring. */
	__atomic_store_n(&q->mailbox, q->posted, __ATOMIC_RELEASE);
	vdev_signal(q->kick_fd);
}

static void on_signal(int sig VBLK_UNUSED)
{
}

/* Without SA_RESTART: that calls are interrupted is all it is for. */
static void vdev_catch_signal(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigemptyset(&action.sa_mask);
	(void)sigaction(VDEV_SIGNAL, &action, NULL);
}

static int vdev_thread_new(struct vdev_queue *q)
{
	int r = thread_start(&q->thread, QUEUE_STACK_BYTES, vdev_queue_main, q);

	if (r < 0)
		return r;
	q->thread_exists = true;
	return 0;
}

static int vdev_thread_wait(struct vdev_queue *q)
{
	while (sem_wait(&q->ready) < 0)
		;
	return q->setup_err;
}

static void vdev_queue_exit(struct vdev_queue *q)
{
	if (q && q->thread_exists)
		vdev_post(q, VDEV_VERB_EXIT);
}

static void vdev_queue_free(struct vdev_queue *q)
{
	if (!q)
		return;
	if (q->thread_exists)
		(void)pthread_join(q->thread, NULL);
	if (q->kick_fd >= 0)
		(void)close(q->kick_fd);
	sem_destroy(&q->ready);
	free(q);
}

static int vdev_queue_new(struct vdev *vdev, unsigned int idx)
{
	struct vdev_queue *q;

	q = aligned_alloc(_Alignof(struct vdev_queue), sizeof(*q));
	if (!q)
		return -ENOMEM;
	memset(q, 0, sizeof(*q));
	q->vdev = vdev;
	q->idx = idx;
	(void)sem_init(&q->ready, 0, 0);
	/* vdev_free() takes it from here, whatever is missing. */
	vdev->queues[idx] = q;
	q->kick_fd = eventfd(0, EFD_CLOEXEC);
	if (q->kick_fd < 0)
		return -errno;
	return vdev_thread_new(q);
}

int vdev_new(const struct vdev_params *params, struct vdev **ret_vdev)
{
	struct vdev *vdev;
	unsigned int i;
	int r;

	if (!params->blk->queue_cnt || params->blk->queue_cnt > VDEV_QUEUES_MAX)
		return -EINVAL;
	vdev = calloc(1, sizeof(*vdev));
	if (!vdev)
		return -ENOMEM;
	vdev->bdev = params->bdev;
	vdev->blk = params->blk;
	vdev->ops = params->ops;
	vdev->ctx = params->ctx;
	/*
	 * Who looks all the time is not woken by kicks, and what the kernel runs for it (io-wq) has
	 * its policy: with SCHED_BATCH that would wait for a whole slice of the thread that spins.
	 */
	vdev->sched_batch =
		params->sched_batch && !(params->poll == VDEV_POLL_ON && vdev_can_poll());
	vdev->eager = params->eager && vdev_can_poll();
	vdev->poll = params->poll;
	vdev->keep_real_time = params->keep_real_time;
	vdev->fence_fd = params->fence_fd;
	vdev->stuck_ms = params->stuck_ms;
	vdev->stats = params->stats;
	vdev->queue_cnt = params->blk->queue_cnt;
	vdev_catch_signal();
	vdev->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = vdev->event_fd < 0 ? -errno : 0;
	for (i = 0; r == 0 && i < vdev->queue_cnt; i++)
		r = vdev_queue_new(vdev, i);
	/* They set themselves up side by side: I/O may be waiting. */
	for (i = 0; r == 0 && i < vdev->queue_cnt; i++)
		r = vdev_thread_wait(vdev->queues[i]);
	if (r < 0) {
		vdev_free(vdev);
		return r;
	}
	*ret_vdev = vdev;
	return 0;
}

void vdev_free(struct vdev *vdev)
{
	unsigned int i;

	if (!vdev)
		return;
	assert(vdev->state == VDEV_STOPPED && !vdev->given_up);
	for (i = 0; i < vdev->queue_cnt; i++) {
		assert(!vdev->queues[i] || !vdev->queues[i]->started);
		vdev_queue_exit(vdev->queues[i]);
	}
	for (i = 0; i < vdev->queue_cnt; i++)
		vdev_queue_free(vdev->queues[i]);
	if (vdev->event_fd >= 0)
		(void)close(vdev->event_fd);
	free(vdev);
}

static bool vdev_has_started_queue(const struct vdev *vdev)
{
	unsigned int i;

	for (i = 0; i < vdev->queue_cnt; i++)
		if (vdev->queues[i]->started)
			return true;
	return false;
}

int vdev_start(struct vdev *vdev, const struct vdev_ring *rings)
{
	unsigned int i;

	if (vdev->given_up)
		return -ESHUTDOWN;
	if (vdev->state != VDEV_STOPPED || vdev_has_started_queue(vdev))
		return -EBUSY;
	vdev_forget_redo(vdev);
	for (i = 0; i < vdev->queue_cnt; i++)
		if (rings[i].enabled && rings[i].vq.recover)
			vdev_expect_redo(vdev, i);
	for (i = 0; i < vdev->queue_cnt; i++) {
		struct vdev_queue *q = vdev->queues[i];

		if (!rings[i].enabled)
			continue;
		q->ring = rings[i];
		q->started = true;
		vdev_post(q, VDEV_VERB_RUN);
	}
	vdev->state = VDEV_RUNNING;
	return 0;
}

void vdev_stop(struct vdev *vdev)
{
	unsigned int i;

	if (vdev->state != VDEV_RUNNING)
		return;
	for (i = 0; i < vdev->queue_cnt; i++)
		if (vdev->queues[i]->started)
			vdev_post(vdev->queues[i], VDEV_VERB_STOP);
	vdev->state = VDEV_DRAINING;
	/* Without a started queue nobody else would make it readable. */
	vdev_signal(vdev->event_fd);
}

int vdev_queue_start(struct vdev *vdev, unsigned int idx, const struct vdev_ring *ring)
{
	struct vdev_queue *q = vdev->queues[idx];

	if (vdev->given_up)
		return -ESHUTDOWN;
	if (vdev->state != VDEV_STOPPED || q->started)
		return -EBUSY;
	q->ring = *ring;
	q->started = true;
	vdev_post(q, VDEV_VERB_RUN);
	return 0;
}

void vdev_queue_stop(struct vdev *vdev, unsigned int idx, enum vdev_stop how)
{
	struct vdev_queue *q = vdev->queues[idx];

	if (!q->started || (q->posted & VDEV_VERB_MASK) != VDEV_VERB_RUN)
		return;
	vdev_post(q, how == VDEV_STOP_REDONE ? VDEV_VERB_FINISH : VDEV_VERB_STOP);
}

bool vdev_queue_is_idle(const struct vdev *vdev, unsigned int idx)
{
	return !vdev->queues[idx]->started;
}

void vdev_expect_redo(struct vdev *vdev, unsigned int idx)
{
	struct vdev_queue *q = vdev->queues[idx];

	if (q->redoing)
		return;
	q->redoing = true;
	/* Relaxed: each queue sees it with its RUN. */
	__atomic_fetch_add(&vdev->redoing_cnt, 1, __ATOMIC_RELAXED);
}

void vdev_forget_redo(struct vdev *vdev)
{
	unsigned int i;

	for (i = 0; i < vdev->queue_cnt; i++)
		vdev->queues[i]->redoing = false;
	__atomic_store_n(&vdev->redoing_cnt, 0, __ATOMIC_RELAXED);
}

bool vdev_queue_is_expected(const struct vdev *vdev, unsigned int idx)
{
	return vdev_queue_is_idle(vdev, idx) && vdev->queues[idx]->redoing;
}

void vdev_queue_interrupt(struct vdev *vdev, unsigned int idx)
{
	(void)pthread_kill(vdev->queues[idx]->thread, VDEV_SIGNAL);
}

void vdev_queue_remind(struct vdev *vdev, unsigned int idx)
{
	struct vdev_queue *q = vdev->queues[idx];

	/* Pairs with queue_remind(): what the transport did before is seen there. */
	__atomic_store_n(&q->remind, true, __ATOMIC_RELEASE);
	vdev_signal(q->kick_fd);
}

void vdev_set_write_through(struct vdev *vdev, bool on)
{
	unsigned int i;

	for (i = 0; i < vdev->queue_cnt; i++)
		blk_queue_set_write_through(vdev->queues[i]->bq, on);
}

void vdev_give_up(struct vdev *vdev)
{
	unsigned int i;

	__atomic_store_n(&vdev->given_up, true, __ATOMIC_RELAXED);
	for (i = 0; i < vdev->queue_cnt; i++)
		vdev_signal(vdev->queues[i]->kick_fd);
}

enum vdev_state vdev_state(const struct vdev *vdev)
{
	return vdev->state;
}

int vdev_event_fd(const struct vdev *vdev)
{
	return vdev->event_fd;
}

/* It may have come and gone since the last time: only changes are told. */
static void vdev_hear_stuck(struct vdev *vdev, struct vdev_queue *q)
{
	bool is_stuck = __atomic_load_n(&q->seen_stuck, __ATOMIC_RELAXED);

	if (is_stuck == q->told_stuck)
		return;
	q->told_stuck = is_stuck;
	vdev->ops->queue_stuck(vdev->ctx, q->idx, is_stuck);
}

static void vdev_hear_queue(struct vdev *vdev, struct vdev_queue *q)
{
	/* Pairs with queue_report(). */
	unsigned int reports = __atomic_exchange_n(&q->reports, 0, __ATOMIC_ACQUIRE);

	if (reports & VDEV_REPORT_BROKEN)
		vdev->ops->queue_broken(vdev->ctx, q->idx,
					(enum vq_fault)__atomic_load_n(&q->seen_fault,
								       __ATOMIC_RELAXED));
	if (reports & VDEV_REPORT_FAILED)
		vdev->ops->queue_failed(vdev->ctx, q->idx,
					__atomic_load_n(&q->failed_err, __ATOMIC_RELAXED));
	if (reports & VDEV_REPORT_STUCK)
		vdev_hear_stuck(vdev, q);
}

/* It was told to stop and has: all of the driver's is let go. */
static bool vdev_queue_has_stopped(const struct vdev_queue *q)
{
	/* Pairs with queue_finish(). */
	return q->started && __atomic_load_n(&q->acked, __ATOMIC_ACQUIRE) == q->posted;
}

static bool vdev_is_drained(struct vdev *vdev)
{
	unsigned int i;

	for (i = 0; i < vdev->queue_cnt; i++)
		if (vdev->queues[i]->started && !vdev_queue_has_stopped(vdev->queues[i]))
			return false;
	return true;
}

static void vdev_tell_stopped_queues(struct vdev *vdev)
{
	unsigned int i;

	for (i = 0; i < vdev->queue_cnt; i++) {
		struct vdev_queue *q = vdev->queues[i];

		if (!vdev_queue_has_stopped(q))
			continue;
		/* What it said before that is not to be taken for news of its next run. */
		vdev_hear_queue(vdev, q);
		q->started = false;
		vdev->ops->queue_stopped(vdev->ctx, i);
	}
}

void vdev_handle_events(struct vdev *vdev)
{
	uint64_t cnt;
	unsigned int i;
	ssize_t n;

	/* First: what is signalled from here on makes it readable again. */
	n = read(vdev->event_fd, &cnt, sizeof(cnt));
	(void)n;
	for (i = 0; i < vdev->queue_cnt; i++)
		vdev_hear_queue(vdev, vdev->queues[i]);
	if (vdev->state == VDEV_STOPPED)
		vdev_tell_stopped_queues(vdev);
	if (vdev->state != VDEV_DRAINING || !vdev_is_drained(vdev))
		return;
	for (i = 0; i < vdev->queue_cnt; i++)
		vdev->queues[i]->started = false;
	vdev->state = VDEV_STOPPED;
	vdev->ops->stopped(vdev->ctx);
}

int vdev_kick_fd(const struct vdev *vdev, unsigned int idx)
{
	return vdev->queues[idx]->kick_fd;
}

void vdev_queue_info(const struct vdev *vdev, unsigned int idx, struct vdev_queue_info *ret_info)
{
	const struct vdev_queue *q = vdev->queues[idx];

	*ret_info = (struct vdev_queue_info){
		.inflight_cnt = __atomic_load_n(&q->seen_inflight_cnt, __ATOMIC_RELAXED),
		.draining = __atomic_load_n(&q->seen_draining, __ATOMIC_RELAXED),
		.fault = (enum vq_fault)__atomic_load_n(&q->seen_fault, __ATOMIC_RELAXED),
		.last_avail_idx = __atomic_load_n(&q->seen_last_avail_idx, __ATOMIC_RELAXED),
		.base = __atomic_load_n(&q->seen_base, __ATOMIC_RELAXED),
		.thread_id = q->thread_id,
	};
	stats_copy(blk_queue_stats(q->bq), &ret_info->stats);
}

unsigned int vdev_queue_oldest(const struct vdev *vdev, unsigned int idx, uint64_t before_ns,
			       struct blk_held *ret_held, unsigned int max,
			       unsigned int *ret_total_cnt)
{
	const struct vdev_queue *q = vdev->queues[idx];

	*ret_total_cnt = 0;
	if (!__atomic_load_n(&q->seen_inflight_cnt, __ATOMIC_RELAXED))
		return 0;
	return blk_queue_oldest(q->bq, before_ns, ret_held, max, ret_total_cnt);
}

unsigned int vdev_queue_cnt(const struct vdev *vdev)
{
	return vdev->queue_cnt;
}
