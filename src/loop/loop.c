/* SPDX-License-Identifier: MIT */
#include "vblk/loop/loop.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vblk/util/math.h"

#define CQ_SIZE_FACTOR 4u

/* Best first. Each set is what one kernel generation brought (6.1, 5.19, 5.18, older). */
static const unsigned int setup_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_SUBMIT_ALL,
	0,
};

/*
 * All that this product does with a ring. Filters of system calls do not see what a ring is
 * asked for, and it can open files and sockets, too; so each is held to this list.
 */
static const uint8_t ring_ops[] = {
	IORING_OP_NOP,
	IORING_OP_READV,
	IORING_OP_WRITEV,
	IORING_OP_READ,
	IORING_OP_WRITE,
	IORING_OP_READ_FIXED,
	IORING_OP_WRITE_FIXED,
	IORING_OP_FSYNC,
	IORING_OP_FALLOCATE,
	IORING_OP_POLL_ADD,
	IORING_OP_POLL_REMOVE,
	IORING_OP_TIMEOUT,
	IORING_OP_TIMEOUT_REMOVE,
	IORING_OP_ASYNC_CANCEL,
};

static const uint8_t ring_registrations[] = {
	IORING_REGISTER_PROBE,	    IORING_REGISTER_FILES_UPDATE, IORING_UNREGISTER_FILES,
	IORING_REGISTER_BUFFERS,    IORING_UNREGISTER_BUFFERS,	  IORING_REGISTER_RING_FDS,
	IORING_UNREGISTER_RING_FDS,
};

#define RING_SQE_FLAGS                                                                         \
	(IOSQE_FIXED_FILE | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN | IOSQE_ASYNC | \
	 IOSQE_CQE_SKIP_SUCCESS)

/* liburing 2.3 declares functions for what follows, but its shared object has none. */
static int ring_register(struct loop *loop, unsigned int opcode, void *arg, unsigned int cnt)
{
	long r = syscall(SYS_io_uring_register, loop->ring.ring_fd, opcode, arg, cnt);

	return r < 0 ? -errno : 0;
}

/* The last step of the set-up; the ring takes no requests before. */
static int ring_restrict(struct loop *loop)
{
	struct io_uring_restriction
		rules[ARRAY_SIZE(ring_ops) + ARRAY_SIZE(ring_registrations) + 1] = { 0 };
	unsigned int cnt = 0;
	int r;

	for (unsigned int i = 0; i < ARRAY_SIZE(ring_ops); i++) {
		rules[cnt].opcode = IORING_RESTRICTION_SQE_OP;
		rules[cnt++].sqe_op = ring_ops[i];
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(ring_registrations); i++) {
		rules[cnt].opcode = IORING_RESTRICTION_REGISTER_OP;
		rules[cnt++].register_op = ring_registrations[i];
	}
	rules[cnt].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[cnt++].sqe_flags = RING_SQE_FLAGS;
	r = ring_register(loop, IORING_REGISTER_RESTRICTIONS, rules, cnt);
	return r < 0 ? r : ring_register(loop, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int ring_setup(struct loop *loop, unsigned int entries)
{
	int r = -EINVAL;

	/* Unknown flags give EINVAL; every other error would only come again. */
	for (unsigned int i = 0; i < ARRAY_SIZE(setup_flags) && r == -EINVAL; i++) {
		struct io_uring_params p = {
			.flags = setup_flags[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
				 IORING_SETUP_R_DISABLED,
			.cq_entries = entries * CQ_SIZE_FACTOR,
		};

		r = io_uring_queue_init_params(entries, &loop->ring, &p);
		if (r == 0)
			loop->deferred_taskrun = p.flags & IORING_SETUP_DEFER_TASKRUN;
	}
	return r;
}

#define NO_FILE_TABLE UINT32_MAX

static void make_file_table(struct loop *loop)
{
	loop->file_mask = NO_FILE_TABLE;
	if (io_uring_register_files_sparse(&loop->ring, LOOP_FILES_MAX) == 0)
		loop->file_mask = 0;
}

int loop_register_file(struct loop *loop, int fd)
{
	int idx, r;

	if (loop->file_mask == NO_FILE_TABLE)
		return -EOPNOTSUPP;
	idx = __builtin_ctz(~loop->file_mask);
	if ((unsigned int)idx >= LOOP_FILES_MAX)
		return -ENOSPC;
	r = io_uring_register_files_update(&loop->ring, (unsigned int)idx, &fd, 1);
	if (r < 0)
		return r;
	loop->file_mask |= 1u << idx;
	return idx;
}

void loop_unregister_file(struct loop *loop, int idx)
{
	int none = -1;

	if (idx < 0 || io_uring_register_files_update(&loop->ring, (unsigned int)idx, &none, 1) < 0)
		return;
	loop->file_mask &= ~(1u << idx);
}

int loop_init(struct loop *loop, unsigned int entries)
{
	int r;

	memset(loop, 0, sizeof(*loop));
	r = ring_setup(loop, entries);
	if (r < 0)
		return r;
	loop->initialised = true;

	loop->stash_size = *loop->ring.cq.kring_entries;
	loop->stash = calloc(loop->stash_size, sizeof(*loop->stash));
	if (!loop->stash) {
		loop_fini(loop);
		return -ENOMEM;
	}
	make_file_table(loop);
	r = ring_restrict(loop);
	if (r < 0) {
		loop_fini(loop);
		return r;
	}
	/* Saves a descriptor look-up per system call; nothing is lost without. */
	(void)io_uring_register_ring_fd(&loop->ring);
	return 0;
}

void loop_fini(struct loop *loop)
{
	if (!loop->initialised)
		return;
	/* The ring itself goes later, in the background: files must not wait for that. */
	if (loop->file_mask != NO_FILE_TABLE)
		(void)io_uring_unregister_files(&loop->ring);
	io_uring_queue_exit(&loop->ring);
	free(loop->stash);
	memset(loop, 0, sizeof(*loop));
}

/* Errors that pass: the entries stay in the submission queue. */
static bool error_is_transient(int r)
{
	return r == -EINTR || r == -EAGAIN || r == -EBUSY;
}

/* True when the kernel holds completions back until it is entered. */
static bool kernel_has_work(const struct loop *loop)
{
	unsigned int flags = __atomic_load_n(loop->ring.sq.kflags, __ATOMIC_RELAXED);

	return flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

bool loop_has_work(const struct loop *loop)
{
	return loop->stash_cnt || io_uring_cq_ready(&loop->ring) || kernel_has_work(loop);
}

static void run_event(struct loop_event ev)
{
	/* Requests whose result nobody wants carry no op. */
	if (ev.op)
		ev.op->complete(ev.op, ev.res, ev.cqe_flags);
}

/* Takes one completion off the ring, so that its room is free before it runs. */
static bool pop_cqe(struct loop *loop, struct loop_event *ret_ev)
{
	struct io_uring_cqe *cqe = NULL;
	unsigned int head;

	io_uring_for_each_cqe(&loop->ring, head, cqe) break;
	if (!cqe)
		return false;
	*ret_ev = (struct loop_event){ io_uring_cqe_get_data(cqe), cqe->res, cqe->flags };
	io_uring_cq_advance(&loop->ring, 1);
	return true;
}

static bool pop_stash(struct loop *loop, struct loop_event *ret_ev)
{
	if (!loop->stash_cnt)
		return false;
	*ret_ev = loop->stash[loop->stash_first_idx];
	loop->stash_first_idx = (loop->stash_first_idx + 1) % loop->stash_size;
	loop->stash_cnt--;
	return true;
}

/*
 * Runs what is there now and no more: completions that start requests which
 * complete at once would otherwise keep us here for ever.
 */
static int dispatch(struct loop *loop)
{
	unsigned int budget = loop->stash_cnt + io_uring_cq_ready(&loop->ring);
	struct loop_event ev;
	unsigned int cnt = 0;

	while (cnt < budget && (pop_stash(loop, &ev) || pop_cqe(loop, &ev))) {
		cnt++;
		run_event(ev);
	}
	return (int)cnt;
}

/*
 * The kernel refuses entries while completions overflow (EBUSY). The caller is
 * in the middle of something, so nothing may run now: set completions aside.
 */
static void stash_completions(struct loop *loop)
{
	struct loop_event ev;

	while (loop->stash_cnt < loop->stash_size && pop_cqe(loop, &ev)) {
		unsigned int idx = (loop->stash_first_idx + loop->stash_cnt) % loop->stash_size;

		loop->stash[idx] = ev;
		loop->stash_cnt++;
	}
}

int loop_submit(struct loop *loop)
{
	int r;

	/* A bad entry ends a submission on kernels without SUBMIT_ALL; go on behind it. */
	while (io_uring_sq_ready(&loop->ring)) {
		loop->enter_cnt++;
		r = io_uring_submit(&loop->ring);
		if (r < 0)
			return error_is_transient(r) ? 0 : r;
		if (r == 0)
			return 0;
	}
	return 0;
}

/* The queue is full: there is no way on but to get entries out. */
static void make_sq_room(struct loop *loop)
{
	int r;

	loop->enter_cnt++;
	r = io_uring_submit(&loop->ring);
	if (r > 0)
		return;
	/*
	 * Out of kernel memory or of room for completions. Take completions, let
	 * the kernel post more, and give the CPU to whoever frees memory.
	 */
	stash_completions(loop);
	loop->enter_cnt++;
	(void)io_uring_get_events(&loop->ring);
	(void)sched_yield();
}

struct io_uring_sqe *loop_get_sqe(struct loop *loop)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&loop->ring)))
		make_sq_room(loop);
	return sqe;
}

int loop_wait(struct loop *loop)
{
	int r = 0;

	/* Stashed completions are due already: submit, do not sleep. */
	if (loop->stash_cnt)
		return loop_poll(loop);

	loop->enter_cnt++;
	r = io_uring_submit_and_wait(&loop->ring, 1);
	if (r < 0 && !error_is_transient(r))
		return r;
	if (r == -EAGAIN || r == -EBUSY)
		return loop_poll(loop);
	return dispatch(loop);
}

int loop_poll(struct loop *loop)
{
	int r = 0;

	if (io_uring_sq_ready(&loop->ring)) {
		loop->enter_cnt++;
		r = io_uring_submit_and_get_events(&loop->ring);
	}
	/* A refused submission does not reach the part that posts completions. */
	if (kernel_has_work(loop)) {
		loop->enter_cnt++;
		(void)io_uring_get_events(&loop->ring);
	}
	if (r < 0 && !error_is_transient(r))
		return r;
	return dispatch(loop);
}
