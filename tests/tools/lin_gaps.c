/* SPDX-License-Identifier: MIT */
#include "lin_gaps.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vblk/util/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t begin_ns;
static uint64_t from_ns;
static uint64_t first_end_ns;
static uint64_t slowest_ns;
static uint32_t gaps_us[LIN_GAPS_MAX];
static unsigned int gap_cnt;

void lin_gap_begin(void)
{
	pthread_mutex_lock(&lock);
	begin_ns = clock_now_ns();
	from_ns = begin_ns;
	first_end_ns = 0;
	pthread_mutex_unlock(&lock);
}

void lin_gap_submitted_from_now(void)
{
	pthread_mutex_lock(&lock);
	from_ns = clock_now_ns();
	first_end_ns = 0;
	pthread_mutex_unlock(&lock);
}

void lin_gap_io(uint64_t start_ns, uint64_t end_ns)
{
	pthread_mutex_lock(&lock);
	if (end_ns - start_ns > slowest_ns)
		slowest_ns = end_ns - start_ns;
	if (start_ns > from_ns && !first_end_ns)
		first_end_ns = end_ns;
	pthread_mutex_unlock(&lock);
}

static bool has_ended(void)
{
	bool ended;

	pthread_mutex_lock(&lock);
	ended = first_end_ns != 0;
	pthread_mutex_unlock(&lock);
	return ended;
}

bool lin_gap_wait(unsigned int patience_ms)
{
	const struct timespec step = { .tv_nsec = NSEC_PER_MSEC };
	uint64_t until_ns = clock_now_ns() + patience_ms * NSEC_PER_MSEC;

	while (!has_ended()) {
		if (clock_now_ns() > until_ns)
			return false;
		nanosleep(&step, NULL);
	}
	return true;
}

void lin_gap_count(void)
{
	if (gap_cnt < LIN_GAPS_MAX)
		gaps_us[gap_cnt++] = (uint32_t)((first_end_ns - begin_ns) / 1000);
}

unsigned int lin_gap_cnt(void)
{
	return gap_cnt;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double rank_ms(unsigned int percent)
{
	unsigned int rank = (gap_cnt * percent + 99) / 100;

	return gaps_us[rank ? rank - 1 : 0] / 1000.0;
}

int lin_gap_report(const char *path)
{
	FILE *out;

	if (!gap_cnt)
		return 0;
	if (path) {
		out = fopen(path, "ae");
		if (!out)
			return -errno;
		for (unsigned int i = 0; i < gap_cnt; i++)
			fprintf(out, "%u\n", gaps_us[i]);
		if (fclose(out))
			return -errno;
	}
	qsort(gaps_us, gap_cnt, sizeof(gaps_us[0]), compare);
	printf("gaps of %u: min %.1f, median %.1f, p99 %.1f, max %.1f ms\n", gap_cnt, rank_ms(0),
	       rank_ms(50), rank_ms(99), rank_ms(100));
	return 0;
}

unsigned int lin_gap_slowest_ms(void)
{
	return (unsigned int)(slowest_ns / NSEC_PER_MSEC);
}
