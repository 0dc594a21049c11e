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
	OPTION_OF_DISK,	  /* the same, but without a meaning for a socket */
	OPTION_OF_SOCKET, /* the same, but without a meaning for a disk of this host */
	OPTION_NO_KEY,	  /* only on the command line */
	OPTION_KEY_ONLY,  /* only in a file: the command line has an argument for it */
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

/* As @row->set, and notes that it was given. */
int option_set(struct vblkd_config *config, const struct option_row *row, const char *value);

/**
 * option_check_door() - was anything given that has no meaning for a disk as it is to be?
 * Return: 0; -EINVAL with the sentence to tell in @why.
 */
int option_check_door(const struct vblkd_config *config, char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

#endif
