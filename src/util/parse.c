/* SPDX-License-Identifier: MIT */
#include "vblk/util/parse.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SERIAL_MAX 20

/*
 * Digits only; *@ret_end is the first character after them, also with -ERANGE:
 * "not a number" is a better answer than "too large" when text follows.
 */
static int parse_digits(const char *text, uint64_t *ret_value, const char **ret_end)
{
	bool too_large = false;
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++)
		too_large = too_large || __builtin_mul_overflow(value, 10u, &value) ||
			    __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value);
	if (p == text)
		return -EINVAL;
	*ret_end = p;
	if (too_large)
		return -ERANGE;
	*ret_value = value;
	return 0;
}

int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	const char *end;
	uint64_t value;
	int r;

	r = parse_digits(text, &value, &end);
	if (r == -EINVAL || *end)
		return -EINVAL;
	if (r < 0)
		return r;
	if (value < min || value > max)
		return -ERANGE;
	*ret_value = value;
	return 0;
}

static int unit_shift(char unit)
{
	switch (toupper((unsigned char)unit)) {
	case 'K':
		return 10;
	case 'M':
		return 20;
	case 'G':
		return 30;
	case 'T':
		return 40;
	}
	return -EINVAL;
}

int parse_size_bytes(const char *text, uint64_t *ret_bytes)
{
	const char *end;
	uint64_t value;
	int r, shift = 0;

	r = parse_digits(text, &value, &end);
	if (r == -EINVAL)
		return r;
	if (*end) {
		shift = unit_shift(*end);
		if (shift < 0 || end[1])
			return -EINVAL;
	}
	if (r < 0)
		return r;
	if (value > ((uint64_t)INT64_MAX >> shift))
		return -ERANGE;
	*ret_bytes = value << shift;
	return 0;
}

int parse_on_off(const char *text, bool *ret_on)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return -EINVAL;
	*ret_on = text[1] == 'n';
	return 0;
}

static bool is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_';
}

/* Names of files that stand in the same directories as the device's own. */
static bool is_reserved_name(const char *name)
{
	static const char *const reserved[] = {
		"control",     "power",	 "uevent",	    "subsystem", "dev",
		"bind",	       "unbind", "module",	    "new_id",	 "msg_timeout",
		"bounce_size", "driver", "driver_override", "autoprobe",
	};

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		if (!strcmp(name, reserved[i]))
			return true;
	return !strncmp(name, "vq", 2) && name[2] &&
	       name[2 + strspn(name + 2, "0123456789")] == '\0';
}

int parse_device_name(const char *name)
{
	size_t len = strlen(name);

	if (!len || !is_word_char(name[0]) || is_reserved_name(name))
		return -EINVAL;
	if (len > DEVICE_NAME_MAX)
		return -ENAMETOOLONG;
	for (const char *p = name; *p; p++)
		if (!is_word_char(*p) && *p != '.' && *p != '-')
			return -EINVAL;
	return 0;
}

int parse_serial(const char *serial)
{
	size_t len = strlen(serial);

	if (len > SERIAL_MAX)
		return -ENAMETOOLONG;
	if (!len)
		return -EINVAL;
	for (const char *p = serial; *p; p++)
		if (!is_word_char(*p) && *p != '-')
			return -EINVAL;
	return 0;
}

const char *format_size_bytes(uint64_t bytes, char buf[FORMAT_SIZE_MAX])
{
	static const char units[] = "BKMGTPE";
	unsigned int unit = 0;
	uint64_t whole = bytes, rest = 0;

	while (whole >= 1024) {
		rest = whole % 1024;
		whole /= 1024;
		unit++;
	}
	rest = rest * 10 / 1024;
	if (rest && whole < 100)
		snprintf(buf, FORMAT_SIZE_MAX, "%" PRIu64 ".%" PRIu64 "%c", whole, rest,
			 units[unit]);
	else
		snprintf(buf, FORMAT_SIZE_MAX, "%" PRIu64 "%c", whole, units[unit]);
	return buf;
}
