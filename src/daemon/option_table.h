/* SPDX-License-Identifier: MIT */
/*
 * What can be set of a device: one table for the command line, configuration
 * files and --help, so that none of them can know more than the others.
 */
#ifndef VBLKD_OPTION_TABLE_H
#define VBLKD_OPTION_TABLE_H

#include <stddef.h>

#include "config.h"

/* Hidden: how a running daemon starts the program that is to take over from it. */
#define HANDOVER_OPTION	      "handover"
#define HANDOVER_CHECK_OPTION "handover-check"

enum option_place {
	OPTION_EVERYWHERE,
	OPTION_NO_KEY,	 /* only on the command line */
	OPTION_KEY_ONLY, /* only in a file: the command line has an argument for it */
};

/**
 * struct option_row - one option; the only place that knows it
 * @arg: what --help calls its value, NULL for a flag
 * @set: checks @value and stores it; NULL is a flag without a value. Returns 0 or -errno
 * @wants: what a good value is, for the message about a bad one; NULL: a flag that takes none
 * @help: NULL keeps it out of --help
 */
struct option_row {
	const char *name;
	enum option_place place;
	const char *arg;
	int (*set)(struct vblkd_config *config, const char *value);
	const char *wants;
	const char *help;
};

extern const struct option_row option_rows[];
extern const size_t option_row_cnt;

#endif
