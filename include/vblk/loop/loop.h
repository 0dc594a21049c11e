/* SPDX-License-Identifier: MIT */
/*
 * One io_uring with callbacks, owned by one thread. Whoever holds a struct
 * loop_op is told the result of its request through op->complete.
 *
 * Context: every function here runs in the thread that called loop_init();
 * the ring is set up for a single issuer.
 */
#ifndef VBLK_LOOP_LOOP_H
#define VBLK_LOOP_LOOP_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

#define LOOP_FILES_MAX 8u

struct loop;

/**
 * struct loop_op - one request of the ring; embed it, do not copy it in flight
 * @complete: gets cqe->res and cqe->flags. May prepare and complete other
 *            requests. For a multishot request it runs once a completion, the
 *            last one without IORING_CQE_F_MORE.
 */
struct loop_op {
	void (*complete)(struct loop_op *op, int res, uint32_t cqe_flags);
};

/* A completion taken off the ring and not yet run. */
struct loop_event {
	struct loop_op *op;
	int res;
	uint32_t cqe_flags;
};

struct loop {
	struct io_uring ring;
	bool initialised;
	/* CQEs can be posted only inside io_uring_enter (DEFER_TASKRUN). */
	bool deferred_taskrun;
	/* Registered files: one bit a place that is taken; no table, no place free. */
	uint32_t file_mask;
	/* system calls made, for statistics */
	uint64_t enter_cnt;
	/*
	 * Completions that had to make room in the completion queue while
	 * loop_get_sqe() could not run them: a ring buffer, run first.
	 */
	struct loop_event *stash;
	unsigned int stash_size, stash_first_idx, stash_cnt;
};

/**
 * loop_init() - create the ring
 * @entries: submission queue size; the completion queue has four times as many
 *
 * The ring takes the few operations that the product uses and no others.
 * Takes the fastest set-up flags that the kernel has (SINGLE_ISSUER and
 * DEFER_TASKRUN, else COOP_TASKRUN, else none) and registers the ring's own
 * descriptor where that works.
 *
 * Return: 0; -ENOSYS or -EPERM when the system forbids io_uring; -ENOMEM
 *         (RLIMIT_MEMLOCK on old kernels); other -errno of io_uring_setup(2).
 */
int loop_init(struct loop *loop, unsigned int entries) VBLK_MUST_CHECK;
/* Nothing may be in flight. Copes with a zeroed or half-initialised loop. */
void loop_fini(struct loop *loop);

/**
 * loop_register_file() - make @fd known to the ring
 *
 * The index it returns may be used in place of the descriptor with
 * IOSQE_FIXED_FILE, which saves work a request. The ring keeps the file open
 * until all its requests have ended, also after the process was killed.
 *
 * Return: index >= 0; -ENOSPC the table (LOOP_FILES_MAX) is full; -EOPNOTSUPP the
 *         kernel has no such table.
 */
int loop_register_file(struct loop *loop, int fd) VBLK_MUST_CHECK;
/* No request may use it any more. @idx < 0 is a no-op. */
void loop_unregister_file(struct loop *loop, int idx);

/**
 * loop_get_sqe() - an empty submission entry whose result goes to @op
 *
 * Never NULL: when the queue is full it is submitted first. Fill it with an
 * io_uring_prep_*() function and do not touch user_data: call loop_sqe_bind()
 * after the prep function (older liburing clears user_data in prep).
 */
struct io_uring_sqe *loop_get_sqe(struct loop *loop);

static inline void loop_sqe_bind(struct io_uring_sqe *sqe, struct loop_op *op)
{
	io_uring_sqe_set_data(sqe, op);
}

/**
 * loop_submit() - hand prepared entries to the kernel; does not wait
 *
 * What the kernel does not take now for want of memory or of room for
 * completions stays prepared and goes with the next call of this, loop_wait()
 * or loop_poll().
 *
 * Return: 0; other -errno of io_uring_enter(2): the ring is unusable.
 */
int loop_submit(struct loop *loop);

/**
 * loop_wait() - submit, wait for at least one completion, run all that came
 * Runs what was there when the wait ended; what completions of these requests
 * bring in the meantime waits for the next call, so that a caller always comes
 * back to its own work.
 *
 * Return: number of completions run; 0 when a signal interrupted or the kernel
 *         was short of memory: call again; -errno.
 */
int loop_wait(struct loop *loop);

/**
 * loop_poll() - submit, run the completions that are there; does not wait
 * Return: number of completions run; -errno.
 */
int loop_poll(struct loop *loop);

/* Would loop_poll() find a completion? Costs no system call. */
bool loop_has_work(const struct loop *loop);

#endif
