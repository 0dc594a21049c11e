/* SPDX-License-Identifier: MIT */
#include "lin_io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lin_data.h"
#include "lin_gaps.h"
#include "lin_history.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"

#define THREADS_MAX 64u
/* Of one thread in one epoch; what bounds the memory. */
#define LOG_MAX 4096u
/* Blocks of one I/O. */
#define SPAN_MAX  4u
#define VALUE_MAX (LIN_VALUES - 1u)
#define PROBE_NS  (200000ull)
/* What is shown of a history that is wrong. */
#define SHOWN_MAX 60u

struct entry {
	uint64_t start_ns;
	uint64_t end_ns;
	uint16_t block;
	uint16_t thread;
	bool is_write;
	uint8_t values[LIN_REGS_MAX];
};

struct worker {
	pthread_t thread;
	unsigned int idx;
	unsigned int seed;
	uint8_t *buf;
	unsigned int log_cnt;
	struct entry *log;
};

static const struct lin_load *load;
static int fd = -1;
static uint8_t run;
static struct worker workers[THREADS_MAX];
/* One more, for the blocks' first and last state; it has no thread of its own. */
static struct worker leader;
static pthread_t probe_thread;
static pthread_barrier_t barrier;
static atomic_bool stop_wanted;
static atomic_bool epoch_over;
static bool is_over;
static uint32_t epoch;
static uint64_t epoch_end_ns;
/* Values given out, for each block. */
static atomic_uint issued[LIN_BLOCKS_MAX];
static pthread_mutex_t writing[LIN_BLOCKS_MAX];
static uint64_t read_cnt, write_cnt;

void lin_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("lincheck: ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
	_exit(EXIT_FAILURE);
}

/* ---- one I/O ---- */

static struct lin_place place_of(uint32_t block)
{
	return (struct lin_place){ .epoch = epoch, .block = block, .run = run };
}

static void add_entry(struct worker *worker, const struct entry *entry)
{
	worker->log[worker->log_cnt] = *entry;
	worker->log[worker->log_cnt++].thread = (uint16_t)worker->idx;
}

/* Return: when it was submitted and completed. */
static struct entry transfer(void *buf, uint32_t block, unsigned int span, bool is_write)
{
	struct entry entry = { .block = (uint16_t)block, .is_write = is_write };
	size_t bytes = (size_t)span * load->block_bytes;
	off_t at = (off_t)(load->offset_bytes + (uint64_t)block * load->block_bytes);
	ssize_t done;

	entry.start_ns = clock_now_ns();
	done = is_write ? pwrite(fd, buf, bytes, at) : pread(fd, buf, bytes, at);
	if (done != (ssize_t)bytes)
		lin_fail("%s of block %u failed: %s", is_write ? "write" : "read", block,
			 done < 0 ? strerror(errno) : "short");
	entry.end_ns = clock_now_ns();
	lin_gap_io(entry.start_ns, entry.end_ns);
	return entry;
}

static void do_read(struct worker *worker, uint32_t block, unsigned int span)
{
	struct entry entry = transfer(worker->buf, block, span, false);
	char why[256];

	for (unsigned int i = 0; i < span; i++) {
		struct lin_place place = place_of(block + i);
		unsigned int given_out = atomic_load(&issued[block + i]);

		if (lin_read(worker->buf + (size_t)i * load->block_bytes, load->block_bytes, &place,
			     (uint8_t)MIN(given_out, VALUE_MAX), entry.values, why) < 0)
			lin_fail("%s; read from %llu to %llu ns", why,
				 (unsigned long long)entry.start_ns,
				 (unsigned long long)entry.end_ns);
		entry.block = (uint16_t)(block + i);
		add_entry(worker, &entry);
	}
}

static void write_blocks(struct worker *worker, uint32_t block, unsigned int span)
{
	uint8_t values[SPAN_MAX];
	struct entry entry;

	for (unsigned int i = 0; i < span; i++) {
		struct lin_place place = place_of(block + i);
		unsigned int value = atomic_fetch_add(&issued[block + i], 1) + 1;

		if (value > VALUE_MAX) {
			atomic_store(&epoch_over, true);
			return;
		}
		values[i] = (uint8_t)value;
		lin_fill(worker->buf + (size_t)i * load->block_bytes, load->block_bytes, &place,
			 values[i]);
	}
	entry = transfer(worker->buf, block, span, true);
	for (unsigned int i = 0; i < span; i++) {
		entry.block = (uint16_t)(block + i);
		memset(entry.values, values[i], sizeof(entry.values));
		add_entry(worker, &entry);
	}
}

static void do_write(struct worker *worker, uint32_t block, unsigned int span)
{
	/* Everybody locks upwards. */
	for (unsigned int i = 0; i < span && !load->overlap; i++)
		pthread_mutex_lock(&writing[block + i]);
	write_blocks(worker, block, span);
	for (unsigned int i = 0; i < span && !load->overlap; i++)
		pthread_mutex_unlock(&writing[block + i]);
}

static void do_io(struct worker *worker)
{
	uint32_t block = (uint32_t)rand_r(&worker->seed) % load->block_cnt;
	unsigned int span = 1 + (unsigned int)rand_r(&worker->seed) % SPAN_MAX;
	unsigned int dice = (unsigned int)rand_r(&worker->seed) % 100;

	span = MIN(span, load->block_cnt - block);
	if (dice < load->write_percent)
		do_write(worker, block, span);
	else
		do_read(worker, block, span);
}

/* ---- the check ---- */

static int by_start(const void *a, const void *b)
{
	const struct entry *x = *(const struct entry *const *)a;
	const struct entry *y = *(const struct entry *const *)b;

	return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

static void show_history(const struct entry **entries, size_t cnt, unsigned int reg,
			 const struct lin_result *result)
{
	unsigned int shown = 0;

	qsort(entries, cnt, sizeof(entries[0]), by_start);
	for (size_t i = 0; i < cnt && shown < SHOWN_MAX; i++) {
		uint8_t value = entries[i]->values[reg];

		if (value != result->value && value != result->other)
			continue;
		shown++;
		printf("\t%s %3u by thread %u from %llu to %llu ns\n",
		       entries[i]->is_write ? "write" : "read ", value, entries[i]->thread,
		       (unsigned long long)entries[i]->start_ns,
		       (unsigned long long)entries[i]->end_ns);
	}
}

/* @entries: all of @block */
static void check_block(uint32_t block, const struct entry **entries, size_t cnt,
			struct lin_op *ops)
{
	for (unsigned int reg = 0; reg < lin_regs(load->block_bytes); reg++) {
		struct lin_result result;

		for (size_t i = 0; i < cnt; i++)
			ops[i] = (struct lin_op){ entries[i]->start_ns, entries[i]->end_ns,
						  entries[i]->values[reg], entries[i]->is_write };
		result = lin_check(ops, cnt);
		if (result.verdict == LIN_OK)
			continue;
		show_history(entries, cnt, reg, &result);
		lin_fail("block %u, sector %u, %s word, epoch %u: %s (value %u, and %u)", block,
			 reg / 2, reg % 2 ? "last" : "first", epoch,
			 lin_verdict_str(result.verdict), result.value, result.other);
	}
}

static size_t collect(const struct worker *worker, uint32_t block, const struct entry **entries,
		      size_t cnt)
{
	for (unsigned int i = 0; i < worker->log_cnt; i++)
		if (worker->log[i].block == block)
			entries[cnt++] = &worker->log[i];
	return cnt;
}

static void check_epoch(void)
{
	static const struct entry *entries[THREADS_MAX * LOG_MAX];
	static struct lin_op ops[THREADS_MAX * LOG_MAX];

	/* Nobody writes now: what these reads see is the last word. */
	for (uint32_t block = 0; block < load->block_cnt; block++)
		do_read(&leader, block, 1);
	for (uint32_t block = 0; block < load->block_cnt; block++) {
		size_t cnt = collect(&leader, block, entries, 0);

		for (unsigned int i = 0; i < load->thread_cnt; i++)
			cnt = collect(&workers[i], block, entries, cnt);
		for (size_t i = 0; i < cnt; i++) {
			write_cnt += entries[i]->is_write;
			read_cnt += !entries[i]->is_write;
		}
		check_block(block, entries, cnt, ops);
	}
}

/* Nobody else does I/O to the blocks. */
static void begin_epoch(void)
{
	epoch++;
	leader.log_cnt = 0;
	for (unsigned int i = 0; i < load->thread_cnt; i++)
		workers[i].log_cnt = 0;
	for (uint32_t block = 0; block < load->block_cnt; block++) {
		atomic_store(&issued[block], 0);
		do_write(&leader, block, 1);
	}
	epoch_end_ns = clock_now_ns() + load->epoch_ms * NSEC_PER_MSEC;
	atomic_store(&epoch_over, false);
}

/* ---- threads ---- */

static void *work(void *arg)
{
	struct worker *worker = arg;

	for (;;) {
		while (!atomic_load(&epoch_over) && !atomic_load(&stop_wanted) &&
		       worker->log_cnt + SPAN_MAX <= LOG_MAX && clock_now_ns() < epoch_end_ns)
			do_io(worker);
		atomic_store(&epoch_over, true);
		pthread_barrier_wait(&barrier);
		if (worker->idx == 0) {
			check_epoch();
			is_over = atomic_load(&stop_wanted);
			if (!is_over)
				begin_epoch();
		}
		pthread_barrier_wait(&barrier);
		if (is_over)
			return NULL;
	}
}

/* Gaps are measured also while the others wait for each other and for the check. */
static void *probe(void *arg)
{
	const struct timespec step = { .tv_nsec = PROBE_NS };

	while (!atomic_load(&stop_wanted)) {
		(void)transfer(arg, load->block_cnt, 1, false);
		nanosleep(&step, NULL);
	}
	free(arg);
	return NULL;
}

static int worker_init(struct worker *worker, unsigned int idx)
{
	void *buf;

	worker->idx = idx;
	worker->seed = idx * 7919u + run;
	worker->log = calloc(LOG_MAX, sizeof(*worker->log));
	if (!worker->log || posix_memalign(&buf, LIN_BLOCK_MAX, SPAN_MAX * LIN_BLOCK_MAX))
		return -ENOMEM;
	worker->buf = buf;
	return 0;
}

int lin_load_start(const struct lin_load *new_load)
{
	void *probe_buf;
	int r;

	if (new_load->thread_cnt > THREADS_MAX || new_load->block_cnt > LIN_BLOCKS_MAX)
		return -EINVAL;
	load = new_load;
	run = (uint8_t)(clock_now_ns() >> 10);
	fd = open(load->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (posix_memalign(&probe_buf, LIN_BLOCK_MAX, LIN_BLOCK_MAX))
		return -ENOMEM;
	for (unsigned int i = 0; i < LIN_BLOCKS_MAX; i++)
		(void)pthread_mutex_init(&writing[i], NULL);
	r = worker_init(&leader, load->thread_cnt);
	for (unsigned int i = 0; i < load->thread_cnt && r == 0; i++)
		r = worker_init(&workers[i], i);
	if (r < 0)
		return r;
	begin_epoch();
	r = pthread_barrier_init(&barrier, NULL, load->thread_cnt);
	for (unsigned int i = 0; i < load->thread_cnt && r == 0; i++)
		r = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	if (r == 0)
		r = pthread_create(&probe_thread, NULL, probe, probe_buf);
	return -r;
}

void lin_load_end(void)
{
	atomic_store(&stop_wanted, true);
	for (unsigned int i = 0; i < load->thread_cnt; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_join(probe_thread, NULL);
	printf("linearizable: %llu reads and %llu writes of %u blocks in %u epochs; slowest I/O %u ms\n",
	       (unsigned long long)read_cnt, (unsigned long long)write_cnt, load->block_cnt, epoch,
	       lin_gap_slowest_ms());
}
