/* SPDX-License-Identifier: MIT */
#include "bdev_offload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HELPER_STACK_BYTES (256u << 10)

/* Free-running indexes; one thread writes @tail, the other @head. */
struct job_ring {
	struct offload_job **jobs;
	unsigned int mask;
	unsigned int head VBLK_CACHE_ALIGNED;
	unsigned int tail VBLK_CACHE_ALIGNED;
};

struct offload {
	struct loop *loop;
	const struct offload_sys *sys;
	int fd;
	int todo_efd, done_efd;
	bool thread_started;
	bool stop; /* atomic */
	pthread_t thread;
	struct job_ring todo, done;
	/* of the loop's thread */
	struct loop_op done_op;
	eventfd_t done_value;
	unsigned int job_cnt;
	bool armed;
};

static int ring_init(struct job_ring *ring, unsigned int depth)
{
	unsigned int size = 1;

	while (size < depth)
		size <<= 1;
	ring->jobs = calloc(size, sizeof(struct offload_job *));
	ring->mask = size - 1;
	return ring->jobs ? 0 : -ENOMEM;
}

/* Room is certain: there are never more jobs than entries. */
static void ring_push(struct job_ring *ring, struct offload_job *job)
{
	unsigned int tail = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);

	ring->jobs[tail & ring->mask] = job;
	/* Pairs with the acquire in ring_pop(): the job is complete. */
	__atomic_store_n(&ring->tail, tail + 1, __ATOMIC_RELEASE);
}

static struct offload_job *ring_pop(struct job_ring *ring)
{
	unsigned int head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
	struct offload_job *job;

	if (head == __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE))
		return NULL;
	job = ring->jobs[head & ring->mask];
	__atomic_store_n(&ring->head, head + 1, __ATOMIC_RELEASE);
	return job;
}

static int kernel_ioctl(int fd, unsigned long req, uint64_t range[2])
{
	return ioctl(fd, req, range) < 0 ? -errno : 0;
}

const struct offload_sys offload_sys_kernel = { .ioctl = kernel_ioctl };

static void *helper_main(void *arg)
{
	struct offload *off = arg;
	struct offload_job *job;
	eventfd_t v;

	while (!__atomic_load_n(&off->stop, __ATOMIC_ACQUIRE)) {
		/* An error here (EINTR at most) only means looking once for nothing. */
		(void)eventfd_read(off->todo_efd, &v);
		while ((job = ring_pop(&off->todo))) {
			job->result = off->sys->ioctl(off->fd, job->req, job->range);
			ring_push(&off->done, job);
			(void)eventfd_write(off->done_efd, 1);
		}
	}
	return NULL;
}

static void arm(struct offload *off)
{
	struct io_uring_sqe *sqe = loop_get_sqe(off->loop);

	io_uring_prep_read(sqe, off->done_efd, &off->done_value, sizeof(off->done_value), 0);
	loop_sqe_bind(sqe, &off->done_op);
	off->armed = true;
}

static void results_came(struct loop_op *op, int res VBLK_UNUSED, uint32_t flags VBLK_UNUSED)
{
	struct offload *off = container_of(op, struct offload, done_op);
	struct offload_job *job;

	off->armed = false;
	while ((job = ring_pop(&off->done))) {
		off->job_cnt--;
		job->done(job, job->result);
	}
	/* done() may have submitted, which armed it already. */
	if (off->job_cnt && !off->armed)
		arm(off);
}

static int start_thread(struct offload *off)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	r = pthread_attr_init(&attr);
	if (r)
		return -r;
	(void)pthread_attr_setstacksize(&attr, HELPER_STACK_BYTES);
	/* Signals are for the threads that expect them. */
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&off->thread, &attr, helper_main, off);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	off->thread_started = !r;
	return -r;
}

static int offload_setup(struct offload *off, unsigned int depth)
{
	if (ring_init(&off->todo, depth) < 0 || ring_init(&off->done, depth) < 0)
		return -ENOMEM;
	off->todo_efd = eventfd(0, EFD_CLOEXEC);
	if (off->todo_efd < 0)
		return -errno;
	off->done_efd = eventfd(0, EFD_CLOEXEC);
	if (off->done_efd < 0)
		return -errno;
	return start_thread(off);
}

int offload_new(struct loop *loop, int fd, unsigned int depth, const struct offload_sys *sys,
		struct offload **ret_off)
{
	struct offload *off = aligned_alloc(_Alignof(struct offload), sizeof(*off));
	int r;

	if (!off)
		return -ENOMEM;
	*off = (struct offload){ .loop = loop,
				 .sys = sys,
				 .fd = fd,
				 .todo_efd = -1,
				 .done_efd = -1,
				 .done_op = { results_came } };
	r = offload_setup(off, depth);
	if (r < 0) {
		offload_free(off);
		return r;
	}
	*ret_off = off;
	return 0;
}

void offload_free(struct offload *off)
{
	if (!off)
		return;
	if (off->thread_started) {
		__atomic_store_n(&off->stop, true, __ATOMIC_RELEASE);
		(void)eventfd_write(off->todo_efd, 1);
		(void)pthread_join(off->thread, NULL);
	}
	if (off->todo_efd >= 0)
		(void)close(off->todo_efd);
	if (off->done_efd >= 0)
		(void)close(off->done_efd);
	free(off->todo.jobs);
	free(off->done.jobs);
	free(off);
}

void offload_submit(struct offload *off, struct offload_job *job)
{
	off->job_cnt++;
	if (!off->armed)
		arm(off);
	ring_push(&off->todo, job);
	(void)eventfd_write(off->todo_efd, 1);
}
