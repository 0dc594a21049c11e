/* SPDX-License-Identifier: MIT */
#include "out.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/util/math.h"

#define LIST_COLUMNS 7
#define NUMBER_MAX   24

static const char *shown(const char *cell)
{
	return cell[0] ? cell : "-";
}

/* Bytes above ASCII pass: names of files are UTF-8. */
static void print_clean(FILE *f, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, f);
}

void out_table(FILE *f, const char *const *cells, size_t row_cnt, size_t col_cnt)
{
	for (size_t row = 0; row < row_cnt; row++) {
		for (size_t col = 0; col < col_cnt; col++) {
			const char *cell = shown(cells[row * col_cnt + col]);
			size_t width = 0;

			print_clean(f, cell);
			if (col + 1 == col_cnt)
				break;
			for (size_t r = 0; r < row_cnt; r++)
				width = MAX(width, strlen(shown(cells[r * col_cnt + col])));
			fprintf(f, "%*s", (int)(width - strlen(cell)) + 2, "");
		}
		fputc('\n', f);
	}
}

/* Storage behind the cells of one row. */
struct row_text {
	char size[FORMAT_SIZE_MAX];
	char queues[NUMBER_MAX];
	char pid[NUMBER_MAX];
};

static void fill_row(const struct device *device, struct row_text *text, const char **cells)
{
	json_int_t size_bytes = device_int(device, "size_bytes");
	json_int_t queues = device_int(device, "queues");
	json_int_t pid = device_int(device, "pid");
	bool alive = device->condition == DEVICE_ANSWERS || device->condition == DEVICE_SILENT;

	if (size_bytes > 0)
		format_size_bytes((uint64_t)size_bytes, text->size);
	if (queues > 0)
		snprintf(text->queues, sizeof(text->queues), "%" JSON_INTEGER_FORMAT, queues);
	if (pid > 0 && alive)
		snprintf(text->pid, sizeof(text->pid), "%" JSON_INTEGER_FORMAT, pid);
	cells[0] = device->name;
	cells[1] = device->served ? device_string(device, "socket") : device->node;
	cells[2] = text->size;
	cells[3] = text->queues;
	cells[4] = device_state(device);
	cells[5] = text->pid;
	cells[6] = device_string(device, "backend");
}

void out_text_list(FILE *f, const struct device *devices, size_t cnt)
{
	static const char *const head[LIST_COLUMNS] = { "NAME",	 "NODE", "SIZE",   "QUEUES",
							"STATE", "PID",	 "BACKEND" };
	const char **cells = calloc((cnt + 1) * LIST_COLUMNS, sizeof(*cells));
	struct row_text *text = calloc(cnt + 1, sizeof(*text));

	if (cells && text) {
		memcpy(cells, head, sizeof(head));
		for (size_t i = 0; i < cnt; i++)
			fill_row(&devices[i], &text[i], cells + (i + 1) * LIST_COLUMNS);
		out_table(f, cells, cnt + 1, LIST_COLUMNS);
	}
	free(text);
	free(cells);
}

/* The fields of show, in order; "" begins a new group. */
static const char *const fields[] = {
	"name",
	"state",
	"node",
	"socket",
	"connected",
	"client_pid",
	"client_uid",
	"users",
	"serial",
	"read_only",
	"",
	"backend",
	"backend_type",
	"server_connected",
	"server_error",
	"size_bytes",
	"logical_block_bytes",
	"physical_block_bytes",
	"cache",
	"direct",
	"discard",
	"direct_rings",
	"",
	"queues",
	"queue_size",
	"poll",
	"features",
	"protocol_features",
	"driver_status",
	"queues_running",
	"memory_bytes",
	"write_through",
	"clients",
	"umem",
	"data_mapped",
	"rings",
	"broken",
	"draining",
	"inflight",
	"stuck",
	"msg_timeout_s",
	"",
	"pid",
	"worker_pid",
	"version",
	"restarts",
	"upgrades",
	"started_at",
};

static void print_value(FILE *f, const char *key, const json_t *value)
{
	char size[FORMAT_SIZE_MAX];
	json_int_t number = json_integer_value(value);

	fprintf(f, "%s: ", key);
	if (json_is_string(value))
		print_clean(f, shown(json_string_value(value)));
	else if (json_is_boolean(value))
		fputs(json_is_true(value) ? "yes" : "no", f);
	else if (json_is_integer(value))
		fprintf(f, "%" JSON_INTEGER_FORMAT, number);
	if (!strcmp(key, "size_bytes") && number > 0)
		fprintf(f, " (%s)", format_size_bytes((uint64_t)number, size));
	fputc('\n', f);
}

static void print_counters(FILE *f, const char *title, json_t *counters)
{
	bool any = false;

	for (void *it = json_object_iter(counters); it; it = json_object_iter_next(counters, it)) {
		json_int_t count = json_integer_value(json_object_iter_value(it));

		if (count <= 0)
			continue;
		fprintf(f, "%s %s %" JSON_INTEGER_FORMAT, any ? "," : title,
			json_object_iter_key(it), count);
		any = true;
	}
	if (any)
		fputs(";", f);
}

static void print_queue(FILE *f, size_t idx, const json_t *queue)
{
	const char *fault = json_string_value(json_object_get(queue, "fault"));

	fprintf(f, "queue_%zu:", idx);
	print_counters(f, " requests", json_object_get(queue, "requests"));
	print_counters(f, " bytes", json_object_get(queue, "bytes"));
	print_counters(f, " errors", json_object_get(queue, "errors"));
	fprintf(f, " inflight %" JSON_INTEGER_FORMAT,
		json_integer_value(json_object_get(queue, "inflight")));
	if (fault && fault[0])
		fprintf(f, "; stands still: %s", fault);
	fputc('\n', f);
}

static void print_stuck(FILE *f, const json_t *req)
{
	char len[FORMAT_SIZE_MAX];
	json_int_t len_bytes = json_integer_value(json_object_get(req, "length_bytes"));
	json_int_t age_ms = json_integer_value(json_object_get(req, "age_ms"));
	const char *op = json_string_value(json_object_get(req, "operation"));
	const char *since = json_string_value(json_object_get(req, "since"));

	fprintf(f, "stuck_request: queue %" JSON_INTEGER_FORMAT ", ",
		json_integer_value(json_object_get(req, "queue")));
	print_clean(f, op ? op : "");
	if (len_bytes > 0)
		fprintf(f, " of %" JSON_INTEGER_FORMAT " bytes (%s) at %" JSON_INTEGER_FORMAT,
			len_bytes, format_size_bytes((uint64_t)len_bytes, len),
			json_integer_value(json_object_get(req, "offset_bytes")));
	fprintf(f, ", for %" JSON_INTEGER_FORMAT ".%" JSON_INTEGER_FORMAT " s, since ",
		age_ms / 1000, age_ms % 1000 / 100);
	print_clean(f, since ? since : "");
	fputc('\n', f);
}

static void print_stuck_requests(FILE *f, const json_t *requests)
{
	if (json_array_size(requests))
		fputc('\n', f);
	for (size_t i = 0; i < json_array_size(requests); i++)
		print_stuck(f, json_array_get(requests, i));
}

void out_text_show(FILE *f, const struct device *device, const char *users)
{
	json_t *obj = out_json_device(device), *queues;

	if (!obj || json_object_set_new(obj, "users", json_string(users)) < 0) {
		json_decref(obj);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const json_t *value = json_object_get(obj, fields[i]);

		if (!fields[i][0])
			fputc('\n', f);
		else if (value)
			print_value(f, fields[i], value);
	}
	print_stuck_requests(f, json_object_get(obj, "stuck_requests"));
	queues = json_object_get(obj, "per_queue");
	if (json_array_size(queues))
		fputc('\n', f);
	for (size_t i = 0; i < json_array_size(queues); i++)
		print_queue(f, i, json_array_get(queues, i));
	json_decref(obj);
}
