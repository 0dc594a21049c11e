/* SPDX-License-Identifier: MIT */
#include "config_file.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "ini_file.h"
#include "option_table.h"
#include "vblk/util/math.h"
#include "vblk/util/suggest.h"

#define KEYS_MAX 64

static const struct option_row *find_key(const char *name)
{
	for (size_t i = 0; i < option_row_cnt; i++)
		if (option_rows[i].place != OPTION_NO_KEY && !strcmp(option_rows[i].name, name))
			return &option_rows[i];
	return NULL;
}

static void tell_unknown_key(const char *path, const struct ini_line *line)
{
	const char *keys[KEYS_MAX], *meant = NULL;
	size_t cnt = 0;

	for (size_t i = 0; i < option_row_cnt && cnt < KEYS_MAX; i++) {
		if (option_rows[i].place == OPTION_NO_KEY)
			continue;
		keys[cnt++] = option_rows[i].name;
		/* Capitals, and "read_only". */
		if (!strcasecmp(option_rows[i].name, line->name))
			meant = option_rows[i].name;
	}
	if (!meant)
		meant = suggest_word(line->name, keys, cnt);
	if (meant)
		log_error("%s:%u: there is no key '%s': is '%s' meant?", path, line->number,
			  line->name, meant);
	else
		log_error("%s:%u: there is no key '%s' (vblkd.conf(5) lists all)", path,
			  line->number, line->name);
}

/* Return: the line of the same key before @lines[@i], 0 = none. */
static unsigned int told_before(const struct ini_line *lines, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (lines[k].kind == INI_KEY && !strcmp(lines[k].name, lines[i].name))
			return lines[k].number;
	return 0;
}

/* Return: 0; -EINVAL after a message. */
static int take_key(const char *path, const struct ini_line *lines, size_t i,
		    struct vblkd_config *config)
{
	const struct ini_line *line = &lines[i];
	const struct option_row *row = find_key(line->name);
	unsigned int before = told_before(lines, i);

	if (!row) {
		tell_unknown_key(path, line);
		return -EINVAL;
	}
	if (before) {
		log_error("%s:%u: '%s' stands in line %u already", path, line->number, line->name,
			  before);
		return -EINVAL;
	}
	if (option_set(config, row, line->value) < 0) {
		log_error("%s:%u: %s '%s' does not fit: it takes %s", path, line->number,
			  line->name, line->value, row->wants);
		return -EINVAL;
	}
	return 0;
}

static int take_section(const char *path, const struct ini_line *line)
{
	if (!strcmp(line->name, CONFIG_FILE_SECTION))
		return 0;
	log_error("%s:%u: there is no section [%s], only [" CONFIG_FILE_SECTION "]", path,
		  line->number, line->name);
	return -EINVAL;
}

static int take_lines(const char *path, const struct ini_file *file, struct vblkd_config *config)
{
	enum {
		BEFORE,
		INSIDE,
		ELSEWHERE
	} place = BEFORE;
	int r = 0;

	for (size_t i = 0; i < file->cnt; i++) {
		const struct ini_line *line = &file->lines[i];

		if (line->kind == INI_MISTAKE) {
			log_error("%s:%u: %s", path, line->number, line->name);
			r = -EINVAL;
		} else if (line->kind == INI_SECTION) {
			place = INSIDE;
			if (take_section(path, line) < 0) {
				place = ELSEWHERE;
				r = -EINVAL;
			}
		} else if (place == BEFORE) {
			log_error("%s:%u: '%s' must stand below a line [" CONFIG_FILE_SECTION "]",
				  path, line->number, line->name);
			r = -EINVAL;
		} else if (place == INSIDE && take_key(path, file->lines, i, config) < 0) {
			r = -EINVAL;
		}
	}
	return r;
}

int config_file_read(const char *path, struct vblkd_config *config)
{
	struct ini_file file;
	int r;

	r = ini_file_read(path, &file);
	if (r < 0)
		return log_errno(r, "cannot read the configuration file '%s'", path);
	config->in_file = true;
	r = take_lines(path, &file, config);
	config->in_file = false;
	ini_file_free(&file);
	return r;
}

int config_file_check(const char *path)
{
	char why[BDEV_WHY_MAX] = "";
	struct vblkd_config config;
	int r;

	config_init(&config);
	config.config_file = path;
	r = config_file_read(path, &config);
	if (r == 0)
		r = config_finish(&config, NULL, why);
	if (r == 0)
		r = option_check_door(&config, why);
	/* What is missing is missing in no line. */
	if (why[0])
		log_error("%s:1: %s", path, why);
	config_fini(&config);
	return r;
}
