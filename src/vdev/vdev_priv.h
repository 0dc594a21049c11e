/* SPDX-License-Identifier: MIT */
/*
 * Inside of a vdev: the mailboxes between the control thread and its queue
 * threads. Every field belongs to one thread, or is an atomic word, or is
 * handed over by one (named beside it).
 */
#ifndef VBLK_VDEV_PRIV_H
#define VBLK_VDEV_PRIV_H

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "vblk/loop/loop.h"
#include "vblk/vdev/vdev.h"

#include "vdev_poll.h"
#include "vdev_wake.h"
#include "vdev_watch.h"

/* The low bits of a mailbox word; the rest is a number that makes each word new. */
enum vdev_verb {
	VDEV_VERB_STOP,
	VDEV_VERB_RUN,
	VDEV_VERB_EXIT,
	VDEV_VERB_FINISH, /* as STOP, after what a predecessor left; of a RUN not obeyed so far, too
			   */
};
#define VDEV_VERB_BITS 2u
#define VDEV_VERB_MASK ((1u << VDEV_VERB_BITS) - 1u)

/* Means nothing, but a system call that the queue thread waits in ends with EINTR. */
#define VDEV_SIGNAL SIGURG

/* What a queue thread has to tell, bits of vdev_queue.reports. */
#define VDEV_REPORT_BROKEN 1u
#define VDEV_REPORT_FAILED 2u
#define VDEV_REPORT_STUCK  4u

/* What a queue thread does; its own affair. */
enum vdev_queue_state {
	VDEV_QUEUE_IDLE,
	VDEV_QUEUE_RUNNING,
	VDEV_QUEUE_DRAINING,
	VDEV_QUEUE_EXITING,
};

struct vdev_queue {
	/* Constant once vdev_new() has returned; any thread. */
	struct vdev *vdev;
	unsigned int idx;
	int kick_fd; /* eventfd: the driver and the control thread write it */
	pthread_t thread;
	bool thread_exists;
	sem_t ready; /* hands over setup_err, bq and thread_id */
	int setup_err;
	struct blk_queue *bq;
	pid_t thread_id;

	/* Control thread. */
	uint32_t posted; /* last word it stored into @mailbox */
	bool started;	 /* a RUN was posted and its STOP has not been acknowledged */
	bool told_stuck; /* what ops->queue_stuck() heard last */

	/* Control thread writes while the queue is idle, the queue thread uses after RUN. */
	struct vdev_ring ring;
	bool redoing; /* counts in vdev.redoing_cnt */

	/* Control thread stores (release: @ring), queue thread loads (acquire). */
	uint32_t mailbox VBLK_CACHE_ALIGNED;

	bool remind; /* release: ops->inject_irq() is to be called; the queue thread takes it */

	/* Queue thread stores, control thread loads. */
	uint32_t acked VBLK_CACHE_ALIGNED; /* release: the STOP word it has obeyed in full */
	unsigned int reports;		   /* release: VDEV_REPORT_*; control takes them away */
	int failed_err;			   /* relaxed, ordered by @reports */
	/* Relaxed; for vdev_queue_info() of any thread. */
	unsigned int seen_inflight_cnt;
	bool seen_draining;
	bool seen_stuck;
	unsigned int seen_fault;
	uint16_t seen_last_avail_idx;
	uint32_t seen_base;

	/* Queue thread. */
	struct loop loop VBLK_CACHE_ALIGNED;
	struct vdev_wake wake;
	struct vdev_watch watch;
	struct vdev_poll poll;
	struct memmap *map; /* owned reference; NULL until the first request */
	enum vdev_queue_state state;
	uint32_t obeyed;	 /* last word it took from @mailbox */
	bool quiet;		 /* takes nothing more until restarted */
	bool finishing;		 /* drains, but does again what a predecessor left */
	bool on_hold;		 /* takes nothing new until that is 0 */
	bool given_up;		 /* vdev.given_up was obeyed */
	bool is_stuck;		 /* at the last look, a request was older than stuck_ms */
	bool keeps_policy;	 /* that it inherited, until it has the driver's memory */
	bool is_batch;		 /* runs under SCHED_BATCH */
	unsigned int single_cnt; /* turns with one request, in a row */
	unsigned int late_cnt;	 /* turns to go without trying to finish I/O at once */
	uint64_t noted_kicks;	 /* of wake.kick_cnt, in the statistics already */
	uint64_t noted_enters;	 /* of loop.enter_cnt, likewise */
};

struct vdev {
	/* Constant; any thread. */
	struct bdev *bdev;
	const struct blk_params *blk;
	const struct vdev_transport_ops *ops;
	void *ctx;
	bool sched_batch;
	bool eager;
	enum vdev_poll_mode poll;
	bool keep_real_time;
	int fence_fd;
	unsigned int stuck_ms;
	struct stats_queue *stats; /* or NULL */
	unsigned int queue_cnt;
	int event_fd; /* queue threads write, control thread reads */

	/* Control thread. */
	enum vdev_state state;

	bool given_up; /* relaxed: the control thread sets it, then signals all queues */

	/*
	 * Queues whose predecessor's requests have not all ended. The control
	 * thread sets it before it posts RUN to any, queue threads count it down.
	 */
	unsigned int redoing_cnt VBLK_CACHE_ALIGNED;

	struct vdev_queue *queues[VDEV_QUEUES_MAX];
};

/* pthread start routine; @arg: struct vdev_queue. */
void *vdev_queue_main(void *arg);

/* Adds one to an eventfd; any thread. */
void vdev_signal(int event_fd);

#endif
