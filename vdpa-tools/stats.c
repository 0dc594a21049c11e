/* SPDX-License-Identifier: MIT */
#include "stats.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "vblk/control/paths.h"
#include "vblk/control/varlink.h"
#include "vblk/util/math.h"

#define ANSWER_TIMEOUT_MS 1000

const char *const stats_op_names[STATS_OP_CNT] = {
	"read", "write", "flush", "discard", "write-zeroes", "secure-erase",
};

int stats_ask(const char *name, json_t **ret_stats)
{
	char path[PATH_MAX], error[128] = "";
	json_t *reply = NULL, *stats;
	int r;

	r = vblkd_run_path(name, "control", path, sizeof(path));
	if (r == 0)
		r = varlink_call(path, VBLKD_INTERFACE ".GetStats", NULL, ANSWER_TIMEOUT_MS, &reply,
				 error);
	if (r < 0)
		return r;
	stats = json_object_get(reply, "stats");
	if (error[0])
		r = strstr(error, "MethodNotFound") ? -EOPNOTSUPP : -EBADMSG;
	else if (!json_is_object(stats))
		r = -EBADMSG;
	else
		*ret_stats = json_incref(stats);
	json_decref(reply);
	return r;
}

static uint64_t number(const json_t *obj, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(obj, key));

	return value > 0 ? (uint64_t)value : 0;
}

static void read_operations(const json_t *obj, uint64_t ret_values[STATS_OP_CNT])
{
	for (int op = 0; op < STATS_OP_CNT; op++)
		ret_values[op] = number(obj, stats_op_names[op]);
}

void stats_read_counters(const json_t *counters, struct stats_queue *ret_stats)
{
	memset(ret_stats, 0, sizeof(*ret_stats));
	read_operations(json_object_get(counters, "requests"), ret_stats->requests);
	read_operations(json_object_get(counters, "bytes"), ret_stats->bytes);
	read_operations(json_object_get(counters, "errors"), ret_stats->errors);
	read_operations(json_object_get(counters, "latency_sum_ns"), ret_stats->latency_sum_ns);
	ret_stats->get_ids = number(counters, "get_ids");
	ret_stats->other_requests = number(counters, "other_requests");
	ret_stats->batches = number(counters, "batches");
	ret_stats->interrupts = number(counters, "interrupts");
	ret_stats->kicks = number(counters, "kicks");
	ret_stats->uring_enters = number(counters, "uring_enters");
	ret_stats->inline_ends = number(counters, "inline_ends");
	ret_stats->recovered = number(counters, "recovered");
	ret_stats->inflight_max = number(counters, "inflight_max");
}

static void read_buckets(const json_t *list, uint64_t ret_latency[STATS_BUCKET_CNT])
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *bucket = json_array_get(list, i);
		uint64_t below_ns = number(bucket, "below_ns");

		/* No limit comes as null, hence 0, hence as the longest there is. */
		ret_latency[stats_bucket(below_ns - 1)] += number(bucket, "count");
	}
}

void stats_read(const json_t *stats, struct stats_queue *ret_stats)
{
	const json_t *latency = json_object_get(stats, "latency");

	stats_read_counters(json_object_get(stats, "total"), ret_stats);
	for (int op = 0; op < STATS_OP_CNT; op++)
		read_buckets(json_object_get(latency, stats_op_names[op]), ret_stats->latency[op]);
}

bool stats_subtract(struct stats_queue *stats, const struct stats_queue *before)
{
	const size_t cnt = sizeof(*stats) / sizeof(uint64_t);
	const uint64_t *from = (const uint64_t *)before;
	uint64_t inflight_max = stats->inflight_max;
	uint64_t *to = (uint64_t *)stats;

	for (size_t i = 0; i < cnt; i++)
		if (to[i] < from[i])
			return false;
	for (size_t i = 0; i < cnt; i++)
		to[i] -= from[i];
	stats->inflight_max = inflight_max;
	return true;
}

uint64_t stats_percentile_ns(const uint64_t latency[STATS_BUCKET_CNT], unsigned int percent)
{
	uint64_t total = 0, seen = 0, wanted;
	unsigned int i;

	for (i = 0; i < STATS_BUCKET_CNT; i++)
		total += latency[i];
	if (!total)
		return 0;
	/* Rounded up: of 10 requests, 99 % are all 10. */
	wanted = total - total / 100 * (100 - percent) - total % 100 * (100 - percent) / 100;
	for (i = 0; i + 1 < STATS_BUCKET_CNT; i++) {
		seen += latency[i];
		if (seen >= wanted)
			return stats_bucket_limit_ns(i);
	}
	return 1ull << STATS_BUCKET_LAST_LOG2;
}

/* @units: one character for each factor of 1000. */
static const char *format(double value, const char *units, char buf[STATS_NUMBER_MAX])
{
	if (!(value > 0)) {
		(void)snprintf(buf, STATS_NUMBER_MAX, "-");
		return buf;
	}
	while (value >= 999.5 && units[1]) {
		value /= 1000;
		units++;
	}
	(void)snprintf(buf, STATS_NUMBER_MAX, "%.*f%.*s", value < 99.95 && *units != ' ' ? 1 : 0,
		       MIN(value, 9999.0), *units != ' ', units);
	return buf;
}

const char *stats_format_rate(double per_second, char buf[STATS_NUMBER_MAX])
{
	/* Few a second are some, not none. */
	return format(per_second > 0 && per_second < 1 ? 1 : per_second, " kMG", buf);
}

const char *stats_format_ns(double ns, char buf[STATS_NUMBER_MAX])
{
	return format(ns, "nums", buf);
}

#define MIB 1048576.0

static const char *const columns[] = { "r/s",	"w/s",	 "rMiB/s", "wMiB/s", "r_avg",
				       "r_p99", "w_avg", "w_p99",  "depth",  "batch" };

void stats_print_head(FILE *f)
{
	fprintf(f, "%-14s", "NAME");
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		fprintf(f, " %*s", i == 2 || i == 3 ? 6 : 5, columns[i]);
	fputc('\n', f);
}

static void print_latency(FILE *f, const struct stats_queue *stats, int op)
{
	char buf[STATS_NUMBER_MAX];
	double cnt = (double)stats->requests[op];

	fprintf(f, " %5s",
		stats_format_ns(cnt > 0 ? (double)stats->latency_sum_ns[op] / cnt : 0, buf));
	fprintf(f, " %5s",
		stats_format_ns((double)stats_percentile_ns(stats->latency[op], 99), buf));
}

/* Requests that were there on average: the time they were there together, by Little's law. */
static double depth(const struct stats_queue *stats, double seconds)
{
	double sum_ns = 0;

	for (int op = 0; op < STATS_OP_CNT; op++)
		sum_ns += (double)stats->latency_sum_ns[op];
	return sum_ns / 1e9 / seconds;
}

static double batch_size(const struct stats_queue *stats)
{
	uint64_t cnt = stats->get_ids + stats->other_requests;

	for (int op = 0; op < STATS_OP_CNT; op++)
		cnt += stats->requests[op];
	return stats->batches ? (double)cnt / (double)stats->batches : 0;
}

void stats_print_row(FILE *f, const char *name, const struct stats_queue *stats, double seconds)
{
	char buf[STATS_NUMBER_MAX];

	if (!stats || !(seconds > 0)) {
		fprintf(f, "%-14.63s does not answer\n", name);
		return;
	}
	/* A long name takes a line of its own. */
	fprintf(f, strlen(name) > 14 ? "%s\n%14s" : "%-14s%s", name, "");
	for (int op = STATS_READ; op <= STATS_WRITE; op++)
		fprintf(f, " %5s", stats_format_rate((double)stats->requests[op] / seconds, buf));
	for (int op = STATS_READ; op <= STATS_WRITE; op++) {
		double mib = (double)stats->bytes[op] / MIB / seconds;

		fprintf(f, " %6.*f", mib < 999 ? 1 : 0, MIN(mib, 999999.0));
	}
	print_latency(f, stats, STATS_READ);
	print_latency(f, stats, STATS_WRITE);
	fprintf(f, " %5.1f %5.1f\n", MIN(depth(stats, seconds), 9999.9),
		MIN(batch_size(stats), 9999.9));
}
