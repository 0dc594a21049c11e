/* SPDX-License-Identifier: MIT */
/*
 * OpenMetrics 1.0 (https://prometheus.io/docs/specs/om/open_metrics_spec/):
 * families one after the other, each announced, no sample twice, "# EOF".
 */
#include "metrics.h"

#include <inttypes.h>
#include <string.h>

#include "stats.h"

struct family {
	const char *name;
	const char *type;
	const char *unit; /* the name's last word, or NULL */
	const char *help;
};

static void begin(FILE *f, const struct family *family)
{
	fprintf(f, "# TYPE %s %s\n", family->name, family->type);
	if (family->unit)
		fprintf(f, "# UNIT %s %s\n", family->name, family->unit);
	fprintf(f, "# HELP %s %s\n", family->name, family->help);
}

static void print_label(FILE *f, const char *key, const char *value)
{
	fprintf(f, "%s=\"", key);
	for (; *value; value++) {
		if (*value == '\n')
			fputs("\\n", f);
		else if (*value == '"' || *value == '\\')
			fprintf(f, "\\%c", *value);
		else
			fputc(*value, f);
	}
	fputc('"', f);
}

/* NAME{device="...", the caller goes on. */
static void begin_sample(FILE *f, const char *name, const char *suffix, const char *device)
{
	fprintf(f, "%s%s{", name, suffix);
	print_label(f, "device", device);
}

static const char *text(const json_t *obj, const char *key)
{
	const char *value = json_string_value(json_object_get(obj, key));

	return value ? value : "";
}

static void print_up(FILE *f, const struct metrics_device *devices, size_t cnt)
{
	static const struct family up = { "vblkd_up", "gauge", NULL,
					  "Whether the daemon of the device answers." };
	static const struct family info = { "vblkd_device", "info", NULL, "What the device is." };
	static const char *const keys[] = { "backend", "serial", "state", "version" };

	begin(f, &up);
	for (size_t i = 0; i < cnt; i++) {
		begin_sample(f, up.name, "", devices[i].name);
		fprintf(f, "} %d\n", devices[i].stats != NULL);
	}
	begin(f, &info);
	for (size_t i = 0; i < cnt; i++) {
		begin_sample(f, info.name, "_info", devices[i].name);
		fputc(',', f);
		print_label(f, "node", devices[i].node);
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
			fputc(',', f);
			print_label(f, keys[k], text(devices[i].status, keys[k]));
		}
		fputs("} 1\n", f);
	}
}

/* Numbers of the status, one a device that has it; yes is 1. */
static const struct {
	struct family family;
	const char *key;
} of_status[] = {
	{ { "vblkd_size_bytes", "gauge", "bytes", "Capacity." }, "size_bytes" },
	{ { "vblkd_stuck_requests", "gauge", NULL,
	    "Requests that the backend has had for more than 5 seconds." },
	  "stuck" },
	{ { "vblkd_server_connected", "gauge", NULL,
	    "Whether the server of a vhost-user backend is there." },
	  "server_connected" },
	{ { "vblkd_restarts", "counter", NULL,
	    "How often the data path was started again after it had died." },
	  "restarts" },
	{ { "vblkd_upgrades", "counter", NULL, "How often the running program was replaced." },
	  "upgrades" },
};

static void print_status(FILE *f, const struct metrics_device *devices, size_t cnt)
{
	for (size_t k = 0; k < ARRAY_SIZE(of_status); k++) {
		const struct family *family = &of_status[k].family;

		begin(f, family);
		for (size_t i = 0; i < cnt; i++) {
			const json_t *value = json_object_get(devices[i].status, of_status[k].key);

			if (!json_is_integer(value) && !json_is_boolean(value))
				continue;
			begin_sample(f, family->name,
				     strcmp(family->type, "counter") != 0 ? "" : "_total",
				     devices[i].name);
			fprintf(f, "} %" JSON_INTEGER_FORMAT "\n",
				json_is_true(value) ? 1 : json_integer_value(value));
		}
	}
}

/* Numbers of each queue by operation. */
static const struct {
	struct family family;
	const char *key;
} of_operation[] = {
	{ { "vblkd_requests", "counter", NULL, "Requests ended by the backend." }, "requests" },
	{ { "vblkd_transferred_bytes", "counter", "bytes",
	    "Bytes of requests that ended without an error." },
	  "bytes" },
	{ { "vblkd_errors", "counter", NULL, "Requests that ended with an I/O error." }, "errors" },
};

/* Other numbers of each queue. */
static const struct {
	struct family family;
	const char *key;
} of_queue[] = {
	{ { "vblkd_serial_requests", "counter", NULL, "Requests for the serial number." },
	  "get_ids" },
	{ { "vblkd_refused_requests", "counter", NULL, "Malformed or refused requests." },
	  "other_requests" },
	{ { "vblkd_batches", "counter", NULL, "Completions shown to the driver together." },
	  "batches" },
	{ { "vblkd_interrupts", "counter", NULL, "Interrupts sent to the driver." }, "interrupts" },
	{ { "vblkd_kicks", "counter", NULL, "Wake-ups by the driver." }, "kicks" },
	{ { "vblkd_uring_enters", "counter", NULL, "System calls to io_uring." }, "uring_enters" },
	{ { "vblkd_inline_requests", "counter", NULL,
	    "Requests that ended while they were submitted." },
	  "inline_ends" },
	{ { "vblkd_recovered_requests", "counter", NULL,
	    "Requests done again after the data path had died." },
	  "recovered" },
	{ { "vblkd_inflight_requests", "gauge", NULL, "Requests held now." }, "inflight" },
	{ { "vblkd_inflight_requests_max", "gauge", NULL, "Most requests held at a time." },
	  "inflight_max" },
};

typedef void sample_fn(FILE *f, const struct family *family, const char *key, const char *device,
		       size_t queue_idx, const json_t *queue);

static void begin_queue(FILE *f, const struct family *family, const char *device, size_t queue_idx)
{
	begin_sample(f, family->name, strcmp(family->type, "counter") != 0 ? "" : "_total", device);
	fprintf(f, ",queue=\"%zu\"", queue_idx);
}

static void sample_operations(FILE *f, const struct family *family, const char *key,
			      const char *device, size_t queue_idx, const json_t *queue)
{
	const json_t *values = json_object_get(queue, key);

	/* Also what never happened: a series that is there from the start has a rate. */
	for (int op = 0; op < STATS_OP_CNT; op++) {
		begin_queue(f, family, device, queue_idx);
		fprintf(f, ",operation=\"%s\"} %" JSON_INTEGER_FORMAT "\n", stats_op_names[op],
			json_integer_value(json_object_get(values, stats_op_names[op])));
	}
}

static void sample_number(FILE *f, const struct family *family, const char *key, const char *device,
			  size_t queue_idx, const json_t *queue)
{
	begin_queue(f, family, device, queue_idx);
	fprintf(f, "} %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(queue, key)));
}

static void print_queues(FILE *f, const struct family *family, const char *key,
			 const struct metrics_device *devices, size_t cnt, sample_fn *sample)
{
	begin(f, family);
	for (size_t i = 0; i < cnt; i++) {
		const json_t *queues = json_object_get(devices[i].stats, "per_queue");

		for (size_t q = 0; q < json_array_size(queues); q++)
			sample(f, family, key, devices[i].name, q, json_array_get(queues, q));
	}
}

static void begin_latency(FILE *f, const struct family *family, const char *suffix,
			  const char *device, int op)
{
	begin_sample(f, family->name, suffix, device);
	fprintf(f, ",operation=\"%s\"", stats_op_names[op]);
}

/*
 * Powers of two only, and always the same ones: whoever adds up devices or compares times needs
 * equal limits.
 */
static void print_latency(FILE *f, const struct family *family, const char *device,
			  const struct stats_queue *stats, int op)
{
	uint64_t seen = 0;
	unsigned int i = 0;

	for (unsigned int log2 = STATS_BUCKET_FIRST_LOG2; log2 <= STATS_BUCKET_LAST_LOG2; log2++) {
		for (; i + 1 < STATS_BUCKET_CNT && stats_bucket_limit_ns(i) <= 1ull << log2; i++)
			seen += stats->latency[op][i];
		begin_latency(f, family, "_bucket", device, op);
		fprintf(f, ",le=\"%.9g\"} %" PRIu64 "\n", (double)(1ull << log2) / 1e9, seen);
	}
	seen += stats->latency[op][STATS_BUCKET_CNT - 1];
	begin_latency(f, family, "_bucket", device, op);
	fprintf(f, ",le=\"+Inf\"} %" PRIu64 "\n", seen);
	begin_latency(f, family, "_count", device, op);
	fprintf(f, "} %" PRIu64 "\n", seen);
	begin_latency(f, family, "_sum", device, op);
	fprintf(f, "} %.9f\n", (double)stats->latency_sum_ns[op] / 1e9);
}

static void print_latencies(FILE *f, const struct metrics_device *devices, size_t cnt)
{
	static const struct family family = {
		"vblkd_request_duration_seconds", "histogram", "seconds",
		"From taking a request off the ring to showing its end to the driver."
	};
	struct stats_queue stats;

	begin(f, &family);
	for (size_t i = 0; i < cnt; i++) {
		if (!devices[i].stats)
			continue;
		memset(&stats, 0, sizeof(stats));
		stats_read(devices[i].stats, &stats);
		for (int op = 0; op < STATS_OP_CNT; op++)
			print_latency(f, &family, devices[i].name, &stats, op);
	}
}

void metrics_print(FILE *f, const struct metrics_device *devices, size_t cnt)
{
	print_up(f, devices, cnt);
	print_status(f, devices, cnt);
	for (size_t k = 0; k < ARRAY_SIZE(of_operation); k++)
		print_queues(f, &of_operation[k].family, of_operation[k].key, devices, cnt,
			     sample_operations);
	for (size_t k = 0; k < ARRAY_SIZE(of_queue); k++)
		print_queues(f, &of_queue[k].family, of_queue[k].key, devices, cnt, sample_number);
	print_latencies(f, devices, cnt);
	fputs("# EOF\n", f);
}
