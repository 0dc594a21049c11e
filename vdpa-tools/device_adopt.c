/* SPDX-License-Identifier: MIT */
/* How an orphan gets a daemon again. */
#include "device.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vblk/util/log.h"

struct text {
	char *buf;
	size_t len;
	size_t used;
};

static void add(struct text *text, const char *fmt, ...) VBLK_PRINTF(2, 3);

static void add(struct text *text, const char *fmt, ...)
{
	size_t room = text->len - text->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text->buf + text->used, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		text->used += (size_t)n < room ? (size_t)n : room - 1;
}

/* One word of a shell command. */
static void add_word(struct text *text, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_./:=@%+,-";

	if (word[0] && !word[strspn(word, plain)]) {
		add(text, "%s", word);
		return;
	}
	add(text, "'");
	for (; *word; word++)
		add(text, *word == '\'' ? "'\\''" : "%c", *word);
	add(text, "'");
}

static void add_int(struct text *text, const struct device *device, const char *option,
		    const char *key)
{
	json_int_t value = device_int(device, key);

	if (value > 0)
		add(text, " %s=%" JSON_INTEGER_FORMAT, option, value);
}

static void add_string(struct text *text, const struct device *device, const char *option,
		       const char *key)
{
	const char *value = device_string(device, key);

	if (value[0]) {
		add(text, " %s=", option);
		add_word(text, value);
	}
}

static bool is_true(const struct device *device, const char *key)
{
	return json_is_true(json_object_get(device->status, key));
}

const char *device_adopt_command(const struct device *device, char *buf, size_t len)
{
	struct text text = { buf, len, 0 };
	const char *backend = device_string(device, "backend");

	add(&text, "vblkctl attach --name=%s", device->name);
	add_string(&text, device, "--serial", "serial");
	add_int(&text, device, "--queues", "queues");
	add_int(&text, device, "--queue-size", "queue_size");
	add_int(&text, device, "--block-size", "logical_block_bytes");
	add_int(&text, device, "--physical-block-size", "physical_block_bytes");
	add_string(&text, device, "--cache", "cache");
	add_string(&text, device, "--user", "user");
	add_string(&text, device, "--poll", "poll");
	if (is_true(device, "read_only"))
		add(&text, " --read-only");
	if (is_true(device, "direct"))
		add(&text, " --direct");
	/* With --direct-rings it is what the server says. */
	if (is_true(device, "direct_rings"))
		add(&text, " --direct-rings");
	else if (json_is_false(json_object_get(device->status, "discard")))
		add(&text, " --discard=off");
	add(&text, " ");
	if (backend[0])
		add_word(&text, backend);
	else
		add(&text, "BACKEND");
	return buf;
}

void device_explain_orphan(const struct device *device)
{
	char command[1024];

	log_error(
		"'%s' is an orphan: its daemon is gone, and I/O on %s waits. To take it over with "
		"that I/O: %s",
		device->name, device->node[0] ? device->node : "it",
		device_adopt_command(device, command, sizeof(command)));
}
