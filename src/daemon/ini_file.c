/* SPDX-License-Identifier: MIT */
/*
 * libini_config takes the text apart. It knows the line of each key and of each
 * mistake, but gives no keys at all when there is a mistake, and no lines of
 * sections: so lines with a mistake are blanked and the rest is read again, and
 * sections are looked for in the text. A key before all sections it forgets, so
 * a line with a section is put in front, which is line 0 to everybody else.
 */
#include "ini_file.h"

#include <errno.h>
#include <fcntl.h>
#include <ini_configobj.h>
#include <ini_valueobj.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"

#define FILE_BYTES_MAX (1 << 20)
#define FIRST_LINE     "[-]\n"
#define UTF8_MARK      "\xef\xbb\xbf"
#define PARSE_RULES    (INI_PARSE_NOWRAP | INI_PARSE_NO_C_COMMENTS)
/* What comes twice is for the caller to tell, with both lines. */
#define COLLISION_RULES (INI_MV1S_ALLOW | INI_MV2S_ALLOW | INI_MS_MERGE)

struct text {
	char *buf;
	size_t len;
};

/* Some editors begin a file with the mark of UTF-8. */
static void skip_mark(char *start, size_t *len)
{
	size_t mark_len = strlen(UTF8_MARK);

	if (strncmp(start, UTF8_MARK, mark_len) != 0)
		return;
	memmove(start, start + mark_len, *len - strlen(FIRST_LINE) - mark_len + 1);
	*len -= mark_len;
}

static int read_text(const char *path, struct text *ret_text)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_free_ char *buf = NULL;
	size_t len = strlen(FIRST_LINE);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	buf = malloc(FILE_BYTES_MAX + 1);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, FIRST_LINE, len);
	for (;;) {
		ssize_t n = read(fd, buf + len, FILE_BYTES_MAX + 1 - len);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > FILE_BYTES_MAX)
			return -EFBIG;
	}
	buf[len] = '\0';
	skip_mark(buf + strlen(FIRST_LINE), &len);
	ret_text->buf = steal_ptr(&buf);
	ret_text->len = len;
	return 0;
}

/* ---- the list ---- */

/* Return: 0 or -ENOMEM. @value may be NULL. */
static int add(struct ini_file *file, unsigned int number, enum ini_kind kind, const char *name,
	       const char *value)
{
	struct ini_line line = { .number = number, .kind = kind };
	struct ini_line *grown;

	grown = reallocarray(file->lines, file->cnt + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	file->lines = grown;
	line.name = strdup(name);
	line.value = value ? strdup(value) : NULL;
	if (!line.name || (value && !line.value)) {
		free(line.name);
		free(line.value);
		return -ENOMEM;
	}
	file->lines[file->cnt++] = line;
	return 0;
}

static int compare_lines(const void *a, const void *b)
{
	const struct ini_line *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

void ini_file_free(struct ini_file *file)
{
	for (size_t i = 0; i < file->cnt; i++) {
		free(file->lines[i].name);
		free(file->lines[i].value);
	}
	free(file->lines);
	*file = (struct ini_file){ 0 };
}

/* ---- lines of the text ---- */

/* A line without its end. Return: its length; -ENOENT. */
static ssize_t find_line(const struct text *text, unsigned int number, char **ret_start)
{
	char *start = text->buf, *end = text->buf + text->len;

	for (unsigned int i = 0; start < end; i++) {
		char *stop = memchr(start, '\n', (size_t)(end - start));

		if (!stop)
			stop = end;
		if (i == number) {
			*ret_start = start;
			return stop - start;
		}
		start = stop + 1;
	}
	return -ENOENT;
}

static void blank_line(const struct text *text, unsigned int number)
{
	char *start;
	ssize_t len = find_line(text, number, &start);

	if (len > 0)
		memset(start, ' ', (size_t)len);
}

/* libini_config refuses a file with a bad line as a whole, and does not say which it is. */
static bool is_text(const char *start, size_t len)
{
	json_t *text = memchr(start, '\0', len) ? NULL : json_stringn(start, len);

	json_decref(text);
	return text != NULL;
}

static int take_out_binary(const struct text *text, struct ini_file *file)
{
	char *start;
	ssize_t len;
	int r = 0;

	for (unsigned int i = 1; r == 0 && (len = find_line(text, i, &start)) >= 0; i++) {
		if (is_text(start, (size_t)len))
			continue;
		r = add(file, i, INI_MISTAKE, "this is no text (UTF-8)", NULL);
		memset(start, ' ', (size_t)len);
	}
	return r;
}

/* "[name]", as the library takes it. */
static int take_sections(const struct text *text, struct ini_file *file)
{
	char *start;
	ssize_t len;
	int r = 0;

	for (unsigned int i = 1; r == 0 && (len = find_line(text, i, &start)) >= 0; i++) {
		char *close = len > 0 && *start == '[' ? memchr(start, ']', (size_t)len) : NULL;
		_cleanup_free_ char *name = NULL;

		if (!close)
			continue;
		name = strndup(start + 1, (size_t)(close - start - 1));
		r = name ? add(file, i, INI_SECTION, name, NULL) : -ENOMEM;
	}
	return r;
}

/* ---- the library ---- */

/* "Error (5) on line 4: Equal sign is missing." */
static int take_mistake(const struct text *text, const char *error, struct ini_file *file)
{
	unsigned int code = 0, number = 0;
	const char *what;

	if (sscanf(error, "%*s (%u) on line %u:", &code, &number) != 2 || number < 2)
		return add(file, 1, INI_MISTAKE, error, NULL);
	number--;
	switch (code) {
	case ERR_NOEQUAL:
		what = "this is neither KEY = VALUE nor [SECTION]";
		break;
	case ERR_NOCLOSESEC:
		what = "the ']' of the section is missing";
		break;
	case ERR_NOSECTION:
		what = "the name of the section is missing";
		break;
	case ERR_NOKEY:
		what = "there is no key before the '='";
		break;
	default:
		what = strchr(error, ':') + 1;
		what += strspn(what, " ");
	}
	blank_line(text, number);
	return add(file, number, INI_MISTAKE, what, NULL);
}

static int take_mistakes(const struct text *text, struct ini_cfgobj *obj, struct ini_file *file)
{
	char **errors = NULL;
	int r = 0;

	if (ini_config_get_errors(obj, &errors) != 0)
		return -ENOMEM;
	for (char **error = errors; r == 0 && *error; error++)
		r = take_mistake(text, *error, file);
	ini_config_free_errors(errors);
	return r;
}

/* Every value of @key; the list of keys names one that comes twice twice. */
static int take_values(struct ini_cfgobj *obj, const char *section, const char *key,
		       struct ini_file *file)
{
	int mode = INI_GET_FIRST_VALUE, error, r = 0;
	struct value_obj *value;

	while (r == 0 && ini_get_config_valueobj(section, key, obj, mode, &value) == 0 && value) {
		uint32_t number = 0;
		const char *text = ini_get_const_string_config_value(value, &error);

		if (value_get_line(value, &number) != 0 || !text)
			return -EINVAL;
		r = add(file, number - 1, INI_KEY, key, text);
		mode = INI_GET_NEXT_VALUE;
	}
	return r;
}

static bool comes_before(char **keys, int i)
{
	for (int k = 0; k < i; k++)
		if (strcasecmp(keys[k], keys[i]) == 0)
			return true;
	return false;
}

static int take_keys(struct ini_cfgobj *obj, const char *section, struct ini_file *file)
{
	int cnt = 0, error = 0, r = 0;
	char **keys = ini_get_attribute_list(obj, section, &cnt, &error);

	if (!keys)
		return error ? -error : 0;
	for (int i = 0; r == 0 && i < cnt; i++)
		if (!comes_before(keys, i))
			r = take_values(obj, section, keys[i], file);
	ini_free_attribute_list(keys);
	return r;
}

static int take_all(struct ini_cfgobj *obj, struct ini_file *file)
{
	int cnt = 0, error = 0, r = 0;
	char **sections = ini_get_section_list(obj, &cnt, &error);

	if (!sections)
		return error ? -error : 0;
	for (int i = 0; r == 0 && i < cnt; i++)
		r = take_keys(obj, sections[i], file);
	ini_free_section_list(sections);
	return r;
}

/* Return: 1 with mistakes taken out, so that it is worth another try; 0; -errno. */
static int parse_once(const struct text *text, struct ini_file *file)
{
	struct ini_cfgfile *source = NULL;
	struct ini_cfgobj *obj = NULL;
	size_t before = file->cnt;
	int r;

	r = -ini_config_create(&obj);
	if (r == 0)
		r = -ini_config_file_from_mem(text->buf, (uint32_t)text->len, &source);
	if (r == 0)
		r = -ini_config_parse(source, INI_STOP_ON_NONE, COLLISION_RULES, PARSE_RULES, obj);
	if (r == 0)
		r = take_all(obj, file);
	else if (source && ini_config_error_count(obj))
		r = take_mistakes(text, obj, file) < 0 ? -ENOMEM : 1;
	if (r == 1 && file->cnt == before)
		r = -EINVAL;
	if (source)
		ini_config_file_destroy(source);
	if (obj)
		ini_config_destroy(obj);
	return r;
}

int ini_file_read(const char *path, struct ini_file *ret_file)
{
	struct ini_file file = { 0 };
	struct text text = { 0 };
	int r;

	r = read_text(path, &text);
	if (r < 0)
		return r;
	r = take_out_binary(&text, &file);
	/* Each line is blanked once at most, but a file of garbage need not be told all. */
	for (int tries = 0; r == 0 && tries < 8; tries++) {
		int again = parse_once(&text, &file);

		if (again < 0)
			r = again;
		if (again != 1)
			break;
	}
	if (r == 0)
		r = take_sections(&text, &file);
	free(text.buf);
	if (r < 0) {
		ini_file_free(&file);
		return r;
	}
	if (file.cnt)
		qsort(file.lines, file.cnt, sizeof(*file.lines), compare_lines);
	*ret_file = file;
	return 0;
}
