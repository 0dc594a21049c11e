/* SPDX-License-Identifier: MIT */
/*
 * "fault:RULES:BACKEND": a filter over any other backend that lets requests fail, wait,
 * hang or end in another order, as its rules say. For testing what is above: the rules
 * are decided with fixed memory, timers are those of the loop.
 *
 *   submit -> rules -> (wait) -> inner backend or an error -> (window) -> done
 */
#include "bdev_fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vblk/util/clock.h"
#include "vblk/util/iov.h"
#include "vblk/util/math.h"

struct fault_bdev {
	struct bdev base;
	struct bdev *inner;
	struct fault_rules rules;
	struct fault_counters *counters; /* shared mapping: outlives a worker */
	unsigned int queue_next;	 /* numbers the queues, for their random numbers */
};

/*
 * @io: the caller's; NULL = free
 * @inner: what the inner backend gets
 * @held_idx: nothing of this slot: an entry of the queue's list, see there
 * @part: the buffer of a short transfer that ends within the first one
 */
struct fault_slot {
	struct fault_queue *q;
	struct bdev_io *io;
	struct bdev_io inner;
	struct iovec part;
	struct fault_verdict verdict;
	struct loop_op timer;
	struct __kernel_timespec wait;
	int result;
	uint32_t held_idx;
};

/*
 * @busy_cnt: requests that will end by themselves: with the inner backend, or delayed
 * @held_cnt: those that have ended and wait for their turn in the window: slots[0 ...].held_idx
 *            are their indexes, in no order
 * @in_submit: the caller's commit() will follow
 */
struct fault_queue {
	struct bdev_queue base;
	struct fault_bdev *dev;
	struct bdev_queue *inner;
	struct loop *loop;
	uint64_t random;
	unsigned int busy_cnt;
	unsigned int held_cnt;
	bool in_submit;
	struct fault_slot slots[];
};

/* --- open --- */

static void fault_close(struct bdev *bdev)
{
	struct fault_bdev *dev = container_of(bdev, struct fault_bdev, base);

	bdev_close(dev->inner);
	if (dev->counters)
		(void)munmap(dev->counters, sizeof(*dev->counters));
	free(dev);
}

static int fault_split(const char *spec, struct fault_rules *ret_rules, const char **ret_inner,
		       char why[BDEV_WHY_MAX])
{
	const char *rules = spec + strlen("fault:");
	const char *colon = strchr(rules, ':');

	if (!colon)
		return bdev_why(why, -EINVAL,
				"'%s' names no backend behind its rules (fault:RULES:BACKEND)",
				spec);
	*ret_inner = colon + 1;
	return fault_rules_parse(rules, (size_t)(colon - rules), ret_rules, why);
}

int bdev_check_faults(const char *spec, char why[BDEV_WHY_MAX])
{
	struct fault_rules rules;
	int r = 0;

	while (r == 0 && !strncmp(spec, "fault:", strlen("fault:")))
		r = fault_split(spec, &rules, &spec, why);
	return r;
}

static int fault_setup(struct fault_bdev *dev, const struct bdev_params *params,
		       char why[BDEV_WHY_MAX])
{
	struct bdev_params inner_params = *params;
	void *counters;
	int r;

	r = fault_split(params->spec, &dev->rules, &inner_params.spec, why);
	if (r < 0)
		return r;
	counters = mmap(NULL, sizeof(*dev->counters), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counters == MAP_FAILED)
		return bdev_why(why, -ENOMEM, "'%s': out of memory", params->spec);
	dev->counters = counters;
	r = bdev_open(&inner_params, &dev->inner, why);
	if (r == 0)
		dev->base.limits = dev->inner->limits;
	return r;
}

static int fault_open(const struct bdev_params *params, struct bdev **ret_bdev,
		      char why[BDEV_WHY_MAX])
{
	struct fault_bdev *dev = calloc(1, sizeof(*dev));
	int r;

	if (!dev)
		return bdev_why(why, -ENOMEM, "'%s': out of memory", params->spec);
	dev->base.ops = &bdev_fault_ops;
	r = fault_setup(dev, params, why);
	if (r < 0) {
		fault_close(&dev->base);
		return r;
	}
	*ret_bdev = &dev->base;
	return 0;
}

static int fault_resize(struct bdev *bdev, uint64_t want_bytes, uint64_t *ret_size_bytes)
{
	struct bdev *inner = container_of(bdev, struct fault_bdev, base)->inner;

	/* Only ours has been kept up to date; "null" answers with its own. */
	bdev_limits_set_capacity(&inner->limits, bdev_limits_capacity(&bdev->limits));
	return inner->ops->resize(inner, want_bytes, ret_size_bytes);
}

static int fault_news_fd(const struct bdev *bdev)
{
	return bdev_news_fd(container_of(bdev, const struct fault_bdev, base)->inner);
}

static uint64_t fault_size_told(struct bdev *bdev)
{
	return bdev_size_told(container_of(bdev, struct fault_bdev, base)->inner);
}

static int fault_server(const struct bdev *bdev, char why[BDEV_WHY_MAX])
{
	return bdev_server(container_of(bdev, const struct fault_bdev, base)->inner, why);
}

/* --- ends --- */

static void slot_end(struct fault_slot *slot)
{
	struct bdev_io *io = slot->io;

	/* First: the caller may submit the same io again from within done(). */
	slot->io = NULL;
	io->done(io, slot->result);
}

static void end_one_of_held(struct fault_queue *q)
{
	uint32_t at = (uint32_t)(fault_random(&q->random) % q->held_cnt);
	uint32_t idx = q->slots[at].held_idx;

	q->slots[at].held_idx = q->slots[--q->held_cnt].held_idx;
	slot_end(&q->slots[idx]);
}

/*
 * A full window lets one go; and all go when no other will come to fill it. One that hangs is
 * not waited for.
 */
static void end_held(struct fault_queue *q)
{
	while (q->held_cnt &&
	       (!q->busy_cnt || q->held_cnt >= q->slots[q->slots[0].held_idx].verdict.window))
		end_one_of_held(q);
}

static void slot_finish(struct fault_slot *slot, int result)
{
	struct fault_queue *q = slot->q;

	q->busy_cnt--;
	slot->result = result;
	if (!slot->verdict.window) {
		slot_end(slot);
	} else {
		q->slots[q->held_cnt++].held_idx = (uint32_t)(slot - q->slots);
	}
	/* Within submit() more may come at once: its commit() looks again. */
	if (!q->in_submit)
		end_held(q);
}

static void inner_done(struct bdev_io *inner, int result)
{
	struct fault_slot *slot = container_of(inner, struct fault_slot, inner);

	if (slot->verdict.is_short)
		result = slot->verdict.error;
	slot_finish(slot, result);
}

/* --- beginnings --- */

/* Cuts @inner to some of its blocks. False: to nothing. */
static bool cut_short(struct fault_slot *slot)
{
	struct bdev_io *inner = &slot->inner;
	uint64_t block = slot->q->dev->base.limits.logical_block_bytes;
	uint64_t want = align_down(fault_random(&slot->q->random) % inner->len_bytes, block);
	uint64_t whole_bytes = 0;
	unsigned int cnt = 0;

	if (want && inner->iov[0].iov_len >= want) {
		slot->part = (struct iovec){ inner->iov[0].iov_base, want };
		inner->iov = &slot->part;
		inner->iov_cnt = 1;
		inner->len_bytes = want;
		return true;
	}
	/* Whole buffers, as far as they make whole blocks. */
	inner->len_bytes = 0;
	for (unsigned int i = 0; whole_bytes < want && i < slot->io->iov_cnt; i++) {
		whole_bytes += inner->iov[i].iov_len;
		if (whole_bytes > want || !is_aligned(whole_bytes, block))
			continue;
		inner->len_bytes = whole_bytes;
		cnt = i + 1;
	}
	inner->iov_cnt = cnt;
	return cnt > 0;
}

/* The wait is over, or there was none. */
static void slot_go(struct fault_slot *slot)
{
	slot->inner = *slot->io;
	slot->inner.done = inner_done;
	if (slot->verdict.error && (!slot->verdict.is_short || !cut_short(slot)))
		slot_finish(slot, slot->verdict.error);
	else
		/* Checked by our own bdev_submit(), against a capacity that may have grown since.
		 */
		slot->q->inner->bdev->ops->submit(slot->q->inner, &slot->inner);
}

static void slot_waited(struct loop_op *op, int res VBLK_UNUSED, uint32_t flags VBLK_UNUSED)
{
	struct fault_slot *slot = container_of(op, struct fault_slot, timer);
	struct fault_queue *q = slot->q;

	if (slot->verdict.hangs)
		q->busy_cnt++;
	slot_go(slot);
	/* The caller does not know that something was submitted. */
	bdev_commit(q->inner);
}

static void slot_wait(struct fault_slot *slot)
{
	uint64_t ns = slot->verdict.wait_ns;
	struct io_uring_sqe *sqe = loop_get_sqe(slot->q->loop);

	slot->wait.tv_sec = (long long)(ns / NSEC_PER_SEC);
	slot->wait.tv_nsec = (long long)(ns % NSEC_PER_SEC);
	io_uring_prep_timeout(sqe, &slot->wait, 0, 0);
	loop_sqe_bind(sqe, &slot->timer);
}

static void fault_submit(struct bdev_queue *bq, struct bdev_io *io)
{
	struct fault_queue *q = container_of(bq, struct fault_queue, base);
	struct fault_slot *slot = &q->slots[io->slot_idx];
	bool was_in_submit;

	slot->io = io;
	slot->verdict = fault_judge(&q->dev->rules, q->dev->counters, &q->random, io);
	if (!slot->verdict.hangs)
		q->busy_cnt++;
	if (slot->verdict.wait_ns) {
		slot_wait(slot);
		return;
	}
	/* Held for ever: its buffers stay borrowed, as with a backend that is gone. */
	if (slot->verdict.hangs)
		return;
	/* It may end at once, and its end may submit the next one. */
	was_in_submit = q->in_submit;
	q->in_submit = true;
	slot_go(slot);
	q->in_submit = was_in_submit;
}

static void fault_commit(struct bdev_queue *bq)
{
	struct fault_queue *q = container_of(bq, struct fault_queue, base);

	bdev_commit(q->inner);
	end_held(q);
}

/* --- queue --- */

static void fault_queue_free(struct bdev_queue *bq)
{
	struct fault_queue *q = container_of(bq, struct fault_queue, base);

	bdev_queue_free(q->inner);
	free(q);
}

static int fault_queue_new(struct bdev *bdev, struct loop *loop, unsigned int depth,
			   struct bdev_queue **ret_bq)
{
	struct fault_queue *q = calloc(1, sizeof(*q) + depth * sizeof(q->slots[0]));
	unsigned int nr;
	int r;

	if (!q)
		return -ENOMEM;
	q->dev = container_of(bdev, struct fault_bdev, base);
	q->loop = loop;
	for (unsigned int i = 0; i < depth; i++) {
		q->slots[i].q = q;
		q->slots[i].timer.complete = slot_waited;
	}
	nr = __atomic_fetch_add(&q->dev->queue_next, 1, __ATOMIC_RELAXED);
	/* Odd, hence never 0, and different for each queue. */
	q->random = (q->dev->rules.seed + 1) * 0x9e3779b97f4a7c15ull + 2ull * nr + 1;
	q->random |= 1;
	r = bdev_queue_new(q->dev->inner, loop, depth, &q->inner);
	if (r < 0) {
		fault_queue_free(&q->base);
		return r;
	}
	*ret_bq = &q->base;
	return 0;
}

static void fault_map_changed(struct bdev_queue *bq, const struct memmap *map)
{
	bdev_map_changed(container_of(bq, struct fault_queue, base)->inner, map);
}

const struct bdev_ops bdev_fault_ops = {
	.name = "fault",
	.open = fault_open,
	.close = fault_close,
	.resize = fault_resize,
	.news_fd = fault_news_fd,
	.size_told = fault_size_told,
	.server = fault_server,
	.queue_new = fault_queue_new,
	.queue_free = fault_queue_free,
	.map_changed = fault_map_changed,
	.submit = fault_submit,
	.commit = fault_commit,
};
