/* SPDX-License-Identifier: MIT */
/* A file in INI format as a list of lines that say something, in their order. */
#ifndef VBLKD_INI_FILE_H
#define VBLKD_INI_FILE_H

#include <stddef.h>

#include "vblk/util/compiler.h"

enum ini_kind {
	INI_SECTION, /* @name */
	INI_KEY,     /* @name, @value; stands in the section before it */
	INI_MISTAKE, /* @name: what is wrong, as a sentence begins after "FILE:LINE: " */
};

struct ini_line {
	unsigned int number;
	enum ini_kind kind;
	char *name;
	char *value;
};

struct ini_file {
	struct ini_line *lines;
	size_t cnt;
};

/**
 * ini_file_read() - read and take apart @path; lines that cannot be are INI_MISTAKE
 * Return: 0; -EISDIR and other -errno of reading; -EFBIG no configuration is that large.
 */
int ini_file_read(const char *path, struct ini_file *ret_file) VBLK_MUST_CHECK;
void ini_file_free(struct ini_file *file);

#endif
