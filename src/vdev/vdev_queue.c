/* SPDX-License-Identifier: MIT */
/*
 * The queue thread. It sleeps, obeys its mailbox, and while RUNNING moves
 * requests between the driver's ring and the backend. Nothing here blocks on
 * the control thread.
 */
#include "vdev_priv.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "vblk/util/clock.h"
#include "vblk/util/math.h"

/* Stack that is touched before the first request, so that none faults for it. */
#define QUEUE_STACK_PREFAULT_BYTES (96u * 1024u)
#define QUEUE_LOOP_ENTRIES_MIN	   64u
#define QUEUE_LOOP_ENTRIES_MAX	   1024u
/* Turns with one request in a row until the thread takes it for depth 1. */
#define SINGLE_TURNS_MAX 64u
/* Laps of one turn, however busy the ring: others look at what a turn leaves behind. */
#define LAPS_MAX 64u
/* Turns that leave the submission to the sleep after one that did not finish. */
#define LATE_TURNS 32u

static __attribute__((noinline)) void queue_prefault_stack(void)
{
	volatile char room[QUEUE_STACK_PREFAULT_BYTES];
	size_t i;

	for (i = 0; i < sizeof(room); i += 1024)
		room[i] = 0;
}

static void queue_become(struct vdev_queue *q)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "q%u", q->idx);
	(void)pthread_setname_np(pthread_self(), name);
	queue_prefault_stack();
}

static void queue_choose_policy(struct vdev_queue *q)
{
	struct sched_param param = { .sched_priority = 0 };

	q->keeps_policy = false;
	q->is_batch = q->vdev->sched_batch;
	/* A wish: without it the thread is as right, only slower under load. */
	(void)sched_setscheduler(0, q->is_batch ? SCHED_BATCH : SCHED_OTHER, &param);
}

static int queue_setup(struct vdev_queue *q)
{
	unsigned int entries = MAX((unsigned int)q->vdev->blk->queue_size, QUEUE_LOOP_ENTRIES_MIN);
	int r;

	queue_become(q);
	q->thread_id = gettid();
	r = loop_init(&q->loop, MIN(entries, QUEUE_LOOP_ENTRIES_MAX));
	if (r < 0)
		return r;
	if (q->vdev->fence_fd >= 0) {
		r = loop_register_file(&q->loop, q->vdev->fence_fd);
		if (r < 0)
			return r;
	}
	vdev_wake_init(&q->wake, &q->loop, q->kick_fd);
	vdev_watch_init(&q->watch, &q->loop, q->vdev->stuck_ms / 2);
	vdev_poll_init(&q->poll, q->vdev->poll);
	r = blk_queue_new(q->vdev->blk, q->vdev->bdev, &q->loop, &q->bq);
	if (r == 0) {
		blk_queue_set_idx(q->bq, q->idx);
		blk_queue_set_eager(q->bq, q->vdev->eager);
	}
	if (r == 0 && q->vdev->stats)
		blk_queue_use_stats(q->bq, &q->vdev->stats[q->idx]);
	/* Inherited real time is a right to memory: kept until all that is needed is there. */
	q->keeps_policy = sched_getscheduler(0) == SCHED_RR;
	if (!q->keeps_policy)
		queue_choose_policy(q);
	return r;
}

static void queue_teardown(struct vdev_queue *q)
{
	vdev_watch_fini(&q->watch);
	vdev_wake_fini(&q->wake);
	blk_queue_free(q->bq);
	loop_fini(&q->loop);
}

/* Shows vdev_queue_info() where the queue is. */
static void queue_note(struct vdev_queue *q)
{
	struct stats_queue *stats = blk_queue_stats(q->bq);
	const struct vq *vq = blk_queue_vq(q->bq);

	stats_add(&stats->kicks, q->wake.kick_cnt - q->noted_kicks);
	q->noted_kicks = q->wake.kick_cnt;
	stats_add(&stats->uring_enters, q->loop.enter_cnt - q->noted_enters);
	q->noted_enters = q->loop.enter_cnt;
	__atomic_store_n(&q->seen_inflight_cnt, blk_queue_inflight_cnt(q->bq), __ATOMIC_RELAXED);
	__atomic_store_n(&q->seen_draining, q->state == VDEV_QUEUE_DRAINING, __ATOMIC_RELAXED);
	__atomic_store_n(&q->seen_fault, (unsigned int)vq_fault(vq), __ATOMIC_RELAXED);
	__atomic_store_n(&q->seen_last_avail_idx, vq_last_avail_idx(vq), __ATOMIC_RELAXED);
	__atomic_store_n(&q->seen_base, vq_base(vq), __ATOMIC_RELAXED);
}

static void queue_report(struct vdev_queue *q, unsigned int report)
{
	queue_note(q);
	/* Pairs with the exchange in vdev_handle_events(): failed_err, seen_fault. */
	__atomic_fetch_or(&q->reports, report, __ATOMIC_RELEASE);
	vdev_signal(q->vdev->event_fd);
}

static void queue_quieten(struct vdev_queue *q)
{
	q->quiet = true;
	if (q->vdev->ops->queue_error)
		q->vdev->ops->queue_error(q->vdev->ctx, q->idx);
}

/* The queue cannot serve: @err is told once, and it stays quiet until restarted. */
static void queue_fail(struct vdev_queue *q, int err)
{
	queue_quieten(q);
	__atomic_store_n(&q->failed_err, err, __ATOMIC_RELAXED);
	queue_report(q, VDEV_REPORT_FAILED);
}

static void queue_break(struct vdev_queue *q)
{
	queue_quieten(q);
	queue_report(q, VDEV_REPORT_BROKEN);
}

static void queue_look_for_stuck(struct vdev_queue *q)
{
	uint64_t now_ns = clock_now_ns(), stuck_ns = q->vdev->stuck_ms * NSEC_PER_MSEC;
	unsigned int cnt;

	q->watch.due = false;
	/* 0 is before all of them, where the clock has only begun. */
	(void)blk_queue_oldest(q->bq, now_ns > stuck_ns ? now_ns - stuck_ns : 0, NULL, 0, &cnt);
	if (q->is_stuck == (cnt > 0))
		return;
	q->is_stuck = cnt > 0;
	__atomic_store_n(&q->seen_stuck, q->is_stuck, __ATOMIC_RELAXED);
	queue_report(q, VDEV_REPORT_STUCK);
}

/* While requests are in flight, now and then looks whether they move. */
static void queue_watch(struct vdev_queue *q)
{
	bool inflight = blk_queue_inflight_cnt(q->bq) > 0;

	if (q->watch.due || (q->is_stuck && !inflight))
		queue_look_for_stuck(q);
	if (inflight)
		vdev_watch_arm(&q->watch);
}

static void queue_publish(struct vdev_queue *q)
{
	if (blk_queue_publish(q->bq))
		q->vdev->ops->inject_irq(q->vdev->ctx, q->idx);
}

/*
 * SCHED_BATCH lets a submitter that is not alone on its CPU fill a batch,
 * instead of preempting it at every kick: half as fast again at depth. One
 * request at a time has no batch to fill and is slower by a switch, so the
 * policy follows the depth that is seen: @most_cnt is the most that were in the
 * ring at once in this turn, which may have had many, one after the other.
 */
static void queue_adapt(struct vdev_queue *q, unsigned int most_cnt)
{
	struct sched_param param = { .sched_priority = 0 };
	bool single = most_cnt <= 1 && blk_queue_inflight_cnt(q->bq) <= 1;

	if (!q->vdev->sched_batch || !most_cnt || q->keeps_policy)
		return;
	q->single_cnt = single ? q->single_cnt + 1 : 0;
	if (q->is_batch != (q->single_cnt < SINGLE_TURNS_MAX)) {
		q->is_batch = !q->is_batch;
		/* What somebody gave us meanwhile is theirs to take. */
		if (sched_getscheduler(0) != SCHED_RR)
			(void)sched_setscheduler(0, q->is_batch ? SCHED_BATCH : SCHED_OTHER,
						 &param);
	}
}

/*
 * Some devices finish I/O within its submission. Then one system call submits
 * and completes, and the sleep that follows need not be in the ring; where it
 * turns out otherwise the submission is left to the sleep for a while.
 */
static void queue_try_finish(struct vdev_queue *q)
{
	unsigned int inflight_cnt = blk_queue_inflight_cnt(q->bq);

	if (!inflight_cnt)
		return;
	if (q->late_cnt) {
		q->late_cnt--;
		return;
	}
	(void)loop_poll(&q->loop);
	queue_publish(q);
	if (blk_queue_inflight_cnt(q->bq) * 2 > inflight_cnt)
		q->late_cnt = LATE_TURNS;
}

static bool queue_must_give_up(const struct vdev_queue *q)
{
	return !q->given_up && __atomic_load_n(&q->vdev->given_up, __ATOMIC_RELAXED);
}

static bool queue_has_mail(const struct vdev_queue *q)
{
	return __atomic_load_n(&q->mailbox, __ATOMIC_RELAXED) != q->obeyed ||
	       __atomic_load_n(&q->remind, __ATOMIC_RELAXED) || queue_must_give_up(q);
}

/* Would popping bring something? A ring that is gone looks empty; popping tells. */
static bool queue_has_more(const struct vdev_queue *q)
{
	const struct vq *vq = blk_queue_vq(q->bq);

	return vq_has_available(vq) || vq_redo_cnt(vq) || vq_memory_is_gone(vq);
}

/*
 * Is there a request, seen without popping one? Kicks are enabled before the
 * look, so that none is missed when the answer is no.
 */
static bool queue_has_request(struct vdev_queue *q)
{
	/* Without a map the virtqueue may say no. */
	return vq_kick_enable(blk_queue_vq(q->bq)) || queue_has_more(q);
}

/*
 * Gets the driver's memory, but only once a request is there: a transport may
 * have nothing to map before (VDUSE's bounce area appears with the first one).
 * Returns true when requests can be taken.
 */
static bool queue_has_map(struct vdev_queue *q)
{
	int r;

	if (q->map)
		return true;
	if (!queue_has_request(q))
		return false;
	r = q->vdev->ops->map_get(q->vdev->ctx, &q->map);
	if (r < 0) {
		q->map = NULL;
		queue_fail(q, r);
		return false;
	}
	blk_queue_set_map(q->bq, q->map);
	if (q->keeps_policy && !q->vdev->keep_real_time)
		queue_choose_policy(q);
	return true;
}

/*
 * The requests that a predecessor left may have been executed already, in
 * any queue, and their effect may have been read. They end before anything
 * new begins, on all queues, so that a write that is done again can only meet
 * what was in flight together with it, and never undo a newer one.
 */
static void queue_begin_redo(struct vdev_queue *q)
{
	q->on_hold = __atomic_load_n(&q->vdev->redoing_cnt, __ATOMIC_RELAXED) > 0;
	blk_queue_hold(q->bq, q->on_hold);
}

static void queue_end_redo(struct vdev_queue *q)
{
	struct vdev *vdev = q->vdev;
	unsigned int i;

	if (!q->redoing)
		return;
	q->redoing = false;
	/* Pairs with queue_check_hold(): what was done again is before what is new. */
	if (__atomic_sub_fetch(&vdev->redoing_cnt, 1, __ATOMIC_ACQ_REL))
		return;
	for (i = 0; i < vdev->queue_cnt; i++)
		vdev_signal(vdev->queues[i]->kick_fd);
}

static void queue_check_redo(struct vdev_queue *q)
{
	bool all_taken = q->quiet || !vq_redo_cnt(blk_queue_vq(q->bq));

	if (all_taken && !blk_queue_inflight_cnt(q->bq))
		queue_end_redo(q);
}

static void queue_check_hold(struct vdev_queue *q)
{
	if (__atomic_load_n(&q->vdev->redoing_cnt, __ATOMIC_ACQUIRE))
		return;
	q->on_hold = false;
	blk_queue_hold(q->bq, false);
}

static bool queue_has_news(void *arg)
{
	struct vdev_queue *q = arg;

	return vq_has_available(blk_queue_vq(q->bq)) || loop_has_work(&q->loop) ||
	       queue_has_mail(q);
}

/*
 * Spins for the next request or completion, kicks still suppressed. True: there is something
 * to look at. False: enable kicks, look once more, sleep.
 */
static bool queue_poll(struct vdev_queue *q)
{
	/* On hold what is in the ring is no news. */
	if (q->on_hold || !vdev_poll_wants(&q->poll))
		return false;
	/* Nobody else hands over what the turn has prepared. */
	if (loop_poll(&q->loop) > 0)
		return true;
	if (!vdev_poll_spin(&q->poll, blk_queue_inflight_cnt(q->bq) > 0, queue_has_news, q))
		return false;
	(void)loop_poll(&q->loop);
	return true;
}

/*
 * One turn: all that the ring and the backend offer right now.
 * Returns true when there may be more, false when it is right to sleep (kicks
 * are then enabled and the ring was looked at afterwards).
 */
static bool queue_serve(struct vdev_queue *q)
{
	struct vq *vq = blk_queue_vq(q->bq);
	unsigned int most_cnt = 0, lap_cnt = 0;
	int taken;

	queue_publish(q);
	if (q->on_hold)
		queue_check_hold(q);
	if (q->quiet || !queue_has_map(q))
		return false;
	vq_kick_suppress(vq);
	for (;;) {
		taken = blk_queue_take(q->bq);
		queue_publish(q);
		if (taken <= 0)
			break;
		most_cnt = MAX(most_cnt, (unsigned int)taken);
		if (!queue_has_more(q))
			break;
		if (queue_has_mail(q) || ++lap_cnt == LAPS_MAX) {
			queue_adapt(q, most_cnt);
			return true;
		}
		/*
		 * The first lap leaves completions to the sleep that follows, which
		 * saves a system call a request at depth 1. Later laps show a busy
		 * ring, whose older requests must not wait for it to run dry. What
		 * ends here is published by the lap that follows.
		 */
		if (lap_cnt > 1 && blk_queue_inflight_cnt(q->bq))
			(void)loop_poll(&q->loop);
	}
	if (taken < 0) {
		queue_break(q);
		return false;
	}
	queue_adapt(q, most_cnt);
	if (most_cnt)
		queue_try_finish(q);
	if (queue_poll(q))
		return true;
	/* On hold it is woken when that ends, and looks at the ring then. */
	return vq_kick_enable(vq) && !q->on_hold;
}

static void queue_start(struct vdev_queue *q)
{
	int r;

	q->quiet = false;
	q->state = VDEV_QUEUE_RUNNING;
	queue_begin_redo(q);
	r = vq_start(blk_queue_vq(q->bq), &q->ring.vq);
	if (r < 0) {
		queue_fail(q, r == -EFAULT ? r : -EUCLEAN);
		return;
	}
	vdev_wake_set_kick(&q->wake, q->ring.kick_fd);
	queue_note(q);
}

/* Everything of the driver's is let go before the control thread hears of it. */
static void queue_finish(struct vdev_queue *q)
{
	struct vq *vq = blk_queue_vq(q->bq);

	q->state = VDEV_QUEUE_IDLE;
	/* What is left is done again after the next start; the others go on waiting for it. */
	if (q->quiet || (vq_is_started(vq) && !vq_redo_cnt(vq)))
		queue_end_redo(q);
	q->quiet = false;
	queue_note(q);
	vdev_wake_set_kick(&q->wake, -1);
	if (vq_is_started(vq))
		vq_stop(vq);
	/* A backend that was given up may still write there: it must stay what it is. */
	if (q->map && !q->given_up) {
		blk_queue_set_map(q->bq, NULL);
		memmap_unref(q->map);
		q->map = NULL;
	}
	/* Pairs with vdev_handle_events(): rings and map are the transport's again. */
	__atomic_store_n(&q->acked, q->obeyed, __ATOMIC_RELEASE);
	vdev_signal(q->vdev->event_fd);
}

/* What a predecessor left, and nothing else. Returns true when there may be more. */
static bool queue_take_redo(struct vdev_queue *q)
{
	int taken = 0;

	if (!q->quiet && vq_redo_cnt(blk_queue_vq(q->bq)) && queue_has_map(q)) {
		blk_queue_hold(q->bq, true);
		taken = blk_queue_take(q->bq);
		if (taken < 0)
			queue_break(q);
	}
	q->finishing = taken > 0;
	return q->finishing;
}

/* One turn of the way to a stop. Returns true when there may be more to take. */
static bool queue_drain(struct vdev_queue *q)
{
	bool more = q->finishing && queue_take_redo(q);

	/* Also what completes now: the driver may be waiting for it. */
	queue_publish(q);
	queue_note(q);
	if (!more && !blk_queue_inflight_cnt(q->bq))
		queue_finish(q);
	return more;
}

static void queue_obey(struct vdev_queue *q)
{
	/* Pairs with vdev_post(): q->ring is visible. */
	uint32_t word = __atomic_load_n(&q->mailbox, __ATOMIC_ACQUIRE);

	if (word == q->obeyed)
		return;
	q->obeyed = word;
	switch ((enum vdev_verb)(word & VDEV_VERB_MASK)) {
	case VDEV_VERB_RUN:
		queue_start(q);
		break;
	case VDEV_VERB_STOP:
	case VDEV_VERB_FINISH:
		/* It has overtaken a RUN: where the ring stands is told all the same. */
		if (q->state == VDEV_QUEUE_IDLE)
			queue_start(q);
		q->state = VDEV_QUEUE_DRAINING;
		q->finishing = (word & VDEV_VERB_MASK) == VDEV_VERB_FINISH;
		break;
	case VDEV_VERB_EXIT:
		q->state = VDEV_QUEUE_EXITING;
		break;
	}
}

/* Pairs with vdev_queue_remind(). */
static void queue_remind(struct vdev_queue *q)
{
	if (!__atomic_load_n(&q->remind, __ATOMIC_RELAXED))
		return;
	if (__atomic_exchange_n(&q->remind, false, __ATOMIC_ACQUIRE) &&
	    q->state == VDEV_QUEUE_RUNNING)
		q->vdev->ops->inject_irq(q->vdev->ctx, q->idx);
}

static void queue_look_for_give_up(struct vdev_queue *q)
{
	if (!queue_must_give_up(q))
		return;
	q->given_up = true;
	blk_queue_give_up(q->bq);
}

static void queue_sleep(struct vdev_queue *q)
{
	uint64_t begun_ns = vdev_poll_sleep_begin(&q->poll);

	vdev_wake_sleep(&q->wake, blk_queue_inflight_cnt(q->bq) > 0);
	vdev_poll_sleep_end(&q->poll, begun_ns);
}

static void queue_run(struct vdev_queue *q)
{
	while (q->state != VDEV_QUEUE_EXITING) {
		bool sleep = true;

		queue_look_for_give_up(q);
		queue_remind(q);
		switch (q->state) {
		case VDEV_QUEUE_RUNNING:
			sleep = !queue_serve(q);
			if (q->redoing)
				queue_check_redo(q);
			queue_note(q);
			break;
		case VDEV_QUEUE_DRAINING:
			sleep = !queue_drain(q);
			break;
		case VDEV_QUEUE_IDLE:
		case VDEV_QUEUE_EXITING:
			break;
		}
		queue_watch(q);
		/*
		 * A word posted after this look wakes the sleep: the eventfd counts it. Of one
		 * posted before it the wake-up may have been taken in already, see loop_poll().
		 */
		if (sleep && !queue_has_mail(q))
			queue_sleep(q);
		queue_obey(q);
	}
}

/* thread_start() blocks all signals; this one calls the thread back. */
static void queue_accept_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, VDEV_SIGNAL);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void *vdev_queue_main(void *arg)
{
	struct vdev_queue *q = arg;

	queue_accept_signal();
	q->setup_err = queue_setup(q);
	(void)sem_post(&q->ready);
	/*
	 * After a failure vdev_new() reads setup_err and joins; teardown touches
	 * nothing that it reads.
	 */
	if (!q->setup_err)
		queue_run(q);
	queue_teardown(q);
	return NULL;
}
