/* SPDX-License-Identifier: MIT */
#include "fake_bdev.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "vblk/util/compiler.h"
#include "vblk/util/iov.h"

#define CONTENT_BYTES_MAX (64ull << 20)
#define DISCARDED_BYTE	  0xdd

struct fake_queue;

/* One I/O from submission on; entries are never removed. */
struct fake_io {
	struct fake_bdev_record rec;
	struct bdev_io *io;
	struct fake_queue *queue;
	int result;
	bool ready; /* has its result, done is still to be called */
};

/*
 * A queue with a loop keeps one read of @event_fd in flight exactly while it
 * holds I/Os, so queue_free() finds an idle ring.
 */
struct fake_queue {
	struct bdev_queue bq;
	struct loop_op wake;
	int event_fd;
	uint64_t event_value;
	bool armed;
	unsigned int depth;
	unsigned int held_cnt;
	/*
	 * I/O numbers that have a result, [@depth], in the order of completion. Only the first
	 * @runnable_cnt may end; the others are FAKE_BDEV_ON_COMMIT and not committed yet.
	 */
	unsigned int *ready;
	unsigned int ready_cnt;
	unsigned int runnable_cnt;
};

struct fake_bdev {
	struct bdev bdev;
	pthread_mutex_t lock;
	pthread_cond_t submitted;
	uint8_t *content;
	uint64_t content_bytes;
	enum fake_bdev_mode mode;
	struct fake_io *ios;
	unsigned int io_cnt;
	unsigned int io_room;
	unsigned int held_cnt;
	unsigned int commit_cnt;
	unsigned int queue_cnt;
	unsigned int map_changed_cnt;
	const struct memmap *last_map;
	unsigned int fail_nr;
	int fail_result;
	int queue_new_result;
};

static void *need(void *p)
{
	if (!p)
		abort();
	return p;
}

static void require(bool ok)
{
	if (!ok)
		abort();
}

static struct fake_bdev *fake_of(struct bdev_queue *bq)
{
	return container_of(bq->bdev, struct fake_bdev, bdev);
}

static struct fake_queue *queue_of(struct bdev_queue *bq)
{
	return container_of(bq, struct fake_queue, bq);
}

static void content_apply(struct fake_bdev *fake, const struct bdev_io *io)
{
	struct iov_cursor cur = iov_cursor_init(io->iov, io->iov_cnt);
	uint8_t *at;

	/* Beyond the end it was made with there is none. */
	if (!fake->content || io->offset_bytes + io->len_bytes > fake->content_bytes)
		return;
	at = fake->content + io->offset_bytes;
	switch (io->op) {
	case BDEV_READ:
		iov_copy_in(&cur, at, io->len_bytes);
		break;
	case BDEV_WRITE:
		iov_copy_out(&cur, at, io->len_bytes);
		break;
	case BDEV_WRITE_ZEROES:
		memset(at, 0, io->len_bytes);
		break;
	case BDEV_DISCARD:
	case BDEV_SECURE_ERASE:
		memset(at, DISCARDED_BYTE, io->len_bytes);
		break;
	case BDEV_FLUSH:
		break;
	}
}

/* Calls done for number @nr; without the lock, since done may submit again. */
static void io_finish(struct fake_bdev *fake, unsigned int nr)
{
	struct bdev_io *io;
	int result;

	pthread_mutex_lock(&fake->lock);
	io = fake->ios[nr].io;
	result = fake->ios[nr].result;
	fake->ios[nr].io = NULL;
	fake->ios[nr].rec.done = true;
	fake->ios[nr].queue->held_cnt--;
	fake->held_cnt--;
	if (!result)
		content_apply(fake, io);
	pthread_mutex_unlock(&fake->lock);

	io->done(io, result);
}

/* Gives number @nr its result; lock held. */
static void io_make_ready(struct fake_bdev *fake, unsigned int nr, int result, bool runnable)
{
	struct fake_queue *q;
	struct fake_io *fio;
	unsigned int at;

	require(nr < fake->io_cnt);
	fio = &fake->ios[nr];
	require(fio->io && !fio->ready);
	fio->ready = true;
	fio->result = result;
	q = fio->queue;
	require(q->ready_cnt < q->depth);
	at = runnable ? q->runnable_cnt++ : q->ready_cnt;
	memmove(&q->ready[at + 1], &q->ready[at], (q->ready_cnt - at) * sizeof(*q->ready));
	q->ready[at] = nr;
	q->ready_cnt++;
}

static bool queue_take_ready(struct fake_bdev *fake, struct fake_queue *q, unsigned int *ret_nr)
{
	bool found = false;

	pthread_mutex_lock(&fake->lock);
	if (q->runnable_cnt) {
		*ret_nr = q->ready[0];
		q->ready_cnt--;
		q->runnable_cnt--;
		memmove(q->ready, q->ready + 1, q->ready_cnt * sizeof(*q->ready));
		found = true;
	}
	pthread_mutex_unlock(&fake->lock);
	return found;
}

static void queue_run_ready(struct fake_bdev *fake, struct fake_queue *q)
{
	unsigned int nr;

	while (queue_take_ready(fake, q, &nr))
		io_finish(fake, nr);
}

/* Queue thread: wait in the loop for fake_bdev_complete(). */
static void queue_arm(struct fake_bdev *fake, struct fake_queue *q)
{
	struct io_uring_sqe *sqe;
	bool wanted;

	pthread_mutex_lock(&fake->lock);
	wanted = q->held_cnt > 0;
	pthread_mutex_unlock(&fake->lock);
	if (!q->bq.loop || q->armed || !wanted)
		return;

	sqe = loop_get_sqe(q->bq.loop);
	io_uring_prep_read(sqe, q->event_fd, &q->event_value, sizeof(q->event_value), 0);
	loop_sqe_bind(sqe, &q->wake);
	q->armed = true;
}

static void queue_woken(struct loop_op *op, int res, uint32_t cqe_flags)
{
	struct fake_queue *q = container_of(op, struct fake_queue, wake);

	(void)res;
	(void)cqe_flags;
	q->armed = false;
	queue_run_ready(fake_of(&q->bq), q);
	queue_arm(fake_of(&q->bq), q);
}

/* Any thread, after results were made ready. */
static void queue_wake(struct fake_bdev *fake, struct fake_queue *q)
{
	uint64_t one = 1;

	if (!q->bq.loop)
		queue_run_ready(fake, q);
	else
		require(write(q->event_fd, &one, sizeof(one)) == sizeof(one));
}

static int fake_open(const struct bdev_params *params, struct bdev **ret_bdev,
		     char why[BDEV_WHY_MAX])
{
	(void)params;
	(void)ret_bdev;
	why[0] = '\0';
	return -EOPNOTSUPP;
}

static void fake_close(struct bdev *bdev)
{
	if (bdev)
		fake_bdev_free(container_of(bdev, struct fake_bdev, bdev));
}

static int fake_resize(struct bdev *bdev, uint64_t want_bytes, uint64_t *ret_size_bytes)
{
	(void)want_bytes;
	*ret_size_bytes = bdev_limits_capacity(&bdev->limits);
	return 0;
}

static int fake_queue_new(struct bdev *bdev, struct loop *loop, unsigned int depth,
			  struct bdev_queue **ret_bq)
{
	struct fake_bdev *fake = container_of(bdev, struct fake_bdev, bdev);
	struct fake_queue *q;
	int r;

	pthread_mutex_lock(&fake->lock);
	r = fake->queue_new_result;
	if (!r)
		fake->queue_cnt++;
	pthread_mutex_unlock(&fake->lock);
	if (r)
		return r;

	q = need(calloc(1, sizeof(*q)));
	q->ready = need(calloc(depth, sizeof(*q->ready)));
	q->depth = depth;
	q->bq.bdev = bdev;
	q->bq.loop = loop;
	q->wake.complete = queue_woken;
	q->event_fd = eventfd(0, EFD_CLOEXEC);
	require(q->event_fd >= 0);
	*ret_bq = &q->bq;
	return 0;
}

static void fake_queue_free(struct bdev_queue *bq)
{
	struct fake_bdev *fake;
	struct fake_queue *q;

	if (!bq)
		return;
	fake = fake_of(bq);
	q = queue_of(bq);
	require(!q->held_cnt && !q->armed);
	pthread_mutex_lock(&fake->lock);
	fake->queue_cnt--;
	pthread_mutex_unlock(&fake->lock);
	(void)close(q->event_fd);
	free(q->ready);
	free(q);
}

static void fake_map_changed(struct bdev_queue *bq, const struct memmap *map)
{
	struct fake_bdev *fake = fake_of(bq);

	pthread_mutex_lock(&fake->lock);
	require(!queue_of(bq)->held_cnt);
	fake->map_changed_cnt++;
	fake->last_map = map;
	pthread_mutex_unlock(&fake->lock);
}

/* Adds @io to the record and returns its number; lock held. */
static unsigned int io_record(struct fake_bdev *fake, struct fake_queue *q, struct bdev_io *io)
{
	if (fake->io_cnt == fake->io_room) {
		fake->io_room = fake->io_room ? 2 * fake->io_room : 64;
		fake->ios = need(realloc(fake->ios, fake->io_room * sizeof(*fake->ios)));
	}
	fake->ios[fake->io_cnt] = (struct fake_io){
		.rec = {
			.op = io->op,
			.flags = io->flags,
			.slot_idx = io->slot_idx,
			.iov_cnt = io->iov_cnt,
			.offset_bytes = io->offset_bytes,
			.len_bytes = io->len_bytes,
		},
		.io = io,
		.queue = q,
	};
	q->held_cnt++;
	require(io->slot_idx < q->depth && q->held_cnt <= q->depth);
	fake->held_cnt++;
	pthread_cond_broadcast(&fake->submitted);
	return fake->io_cnt++;
}

static void fake_submit(struct bdev_queue *bq, struct bdev_io *io)
{
	struct fake_bdev *fake = fake_of(bq);
	struct fake_queue *q = queue_of(bq);
	enum fake_bdev_mode mode;
	unsigned int nr;
	int result;

	pthread_mutex_lock(&fake->lock);
	nr = io_record(fake, q, io);
	mode = fake->mode;
	result = nr == fake->fail_nr ? fake->fail_result : 0;
	if (mode == FAKE_BDEV_SYNC)
		fake->ios[nr].result = result;
	else if (mode == FAKE_BDEV_ON_COMMIT)
		io_make_ready(fake, nr, result, false);
	pthread_mutex_unlock(&fake->lock);

	if (mode == FAKE_BDEV_SYNC)
		io_finish(fake, nr);
}

static void fake_commit(struct bdev_queue *bq)
{
	struct fake_bdev *fake = fake_of(bq);
	struct fake_queue *q = queue_of(bq);
	bool any_ready;

	pthread_mutex_lock(&fake->lock);
	fake->commit_cnt++;
	q->runnable_cnt = q->ready_cnt;
	any_ready = q->runnable_cnt > 0;
	pthread_mutex_unlock(&fake->lock);

	queue_arm(fake, q);
	if (any_ready)
		queue_wake(fake, q);
}

static const struct bdev_ops fake_ops = {
	.name = "fake",
	.open = fake_open,
	.close = fake_close,
	.resize = fake_resize,
	.queue_new = fake_queue_new,
	.queue_free = fake_queue_free,
	.map_changed = fake_map_changed,
	.submit = fake_submit,
	.commit = fake_commit,
};

struct bdev_limits fake_bdev_default_limits(void)
{
	return (struct bdev_limits){
		.capacity_bytes = 1 << 20,
		.logical_block_bytes = 512,
		.physical_block_bytes = 4096,
		.buf_align_bytes = 1,
		.max_discard_bytes = 1 << 20,
		.discard_align_bytes = 4096,
		.max_write_zeroes_bytes = 1 << 20,
		.write_zeroes_may_unmap = true,
		.max_secure_erase_bytes = 1 << 20,
		.volatile_cache = true,
	};
}

struct fake_bdev *fake_bdev_new(const struct bdev_limits *limits)
{
	struct fake_bdev *fake = need(calloc(1, sizeof(*fake)));
	pthread_condattr_t attr;

	fake->bdev.ops = &fake_ops;
	fake->bdev.limits = limits ? *limits : fake_bdev_default_limits();
	fake->fail_nr = UINT32_MAX;
	fake->content_bytes = fake->bdev.limits.capacity_bytes;
	if (fake->content_bytes <= CONTENT_BYTES_MAX)
		fake->content = need(calloc(1, fake->content_bytes));
	pthread_mutex_init(&fake->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&fake->submitted, &attr);
	pthread_condattr_destroy(&attr);
	return fake;
}

void fake_bdev_free(struct fake_bdev *fake)
{
	if (!fake)
		return;
	require(!fake->queue_cnt);
	pthread_cond_destroy(&fake->submitted);
	pthread_mutex_destroy(&fake->lock);
	free(fake->content);
	free(fake->ios);
	free(fake);
}

struct bdev *fake_bdev_get(struct fake_bdev *fake)
{
	return &fake->bdev;
}

uint8_t *fake_bdev_content(struct fake_bdev *fake)
{
	return fake->content;
}

void fake_bdev_set_mode(struct fake_bdev *fake, enum fake_bdev_mode mode)
{
	pthread_mutex_lock(&fake->lock);
	fake->mode = mode;
	pthread_mutex_unlock(&fake->lock);
}

void fake_bdev_fail_at(struct fake_bdev *fake, unsigned int nr, int result)
{
	pthread_mutex_lock(&fake->lock);
	fake->fail_nr = nr;
	fake->fail_result = result;
	pthread_mutex_unlock(&fake->lock);
}

void fake_bdev_fail_queue_new(struct fake_bdev *fake, int result)
{
	pthread_mutex_lock(&fake->lock);
	fake->queue_new_result = result;
	pthread_mutex_unlock(&fake->lock);
}

void fake_bdev_complete(struct fake_bdev *fake, unsigned int nr, int result)
{
	struct fake_queue *q;

	pthread_mutex_lock(&fake->lock);
	io_make_ready(fake, nr, result, true);
	q = fake->ios[nr].queue;
	pthread_mutex_unlock(&fake->lock);
	queue_wake(fake, q);
}

unsigned int fake_bdev_complete_all(struct fake_bdev *fake, int result)
{
	unsigned int done_cnt = 0, end = fake_bdev_submitted_cnt(fake);

	for (unsigned int nr = 0; nr < end; nr++) {
		bool held;

		pthread_mutex_lock(&fake->lock);
		held = fake->ios[nr].io && !fake->ios[nr].ready;
		pthread_mutex_unlock(&fake->lock);
		if (!held)
			continue;
		fake_bdev_complete(fake, nr, result);
		done_cnt++;
	}
	return done_cnt;
}

/* Reads one counter under the lock. */
static unsigned int counter(struct fake_bdev *fake, const unsigned int *field)
{
	unsigned int v;

	pthread_mutex_lock(&fake->lock);
	v = *field;
	pthread_mutex_unlock(&fake->lock);
	return v;
}

unsigned int fake_bdev_submitted_cnt(struct fake_bdev *fake)
{
	return counter(fake, &fake->io_cnt);
}

unsigned int fake_bdev_held_cnt(struct fake_bdev *fake)
{
	return counter(fake, &fake->held_cnt);
}

unsigned int fake_bdev_commit_cnt(struct fake_bdev *fake)
{
	return counter(fake, &fake->commit_cnt);
}

unsigned int fake_bdev_queue_cnt(struct fake_bdev *fake)
{
	return counter(fake, &fake->queue_cnt);
}

unsigned int fake_bdev_map_changed_cnt(struct fake_bdev *fake)
{
	return counter(fake, &fake->map_changed_cnt);
}

const struct memmap *fake_bdev_last_map(struct fake_bdev *fake)
{
	const struct memmap *map;

	pthread_mutex_lock(&fake->lock);
	map = fake->last_map;
	pthread_mutex_unlock(&fake->lock);
	return map;
}

struct fake_bdev_record fake_bdev_record(struct fake_bdev *fake, unsigned int nr)
{
	struct fake_bdev_record rec;

	pthread_mutex_lock(&fake->lock);
	require(nr < fake->io_cnt);
	rec = fake->ios[nr].rec;
	pthread_mutex_unlock(&fake->lock);
	return rec;
}

bool fake_bdev_wait_submitted(struct fake_bdev *fake, unsigned int cnt, unsigned int timeout_ms)
{
	struct timespec until;
	bool reached;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}

	pthread_mutex_lock(&fake->lock);
	while (fake->io_cnt < cnt && !r)
		r = pthread_cond_timedwait(&fake->submitted, &fake->lock, &until);
	reached = fake->io_cnt >= cnt;
	pthread_mutex_unlock(&fake->lock);
	return reached;
}
