/* SPDX-License-Identifier: MIT */
/* What list and show print on stdout. */
#ifndef VBLKCTL_OUT_H
#define VBLKCTL_OUT_H

#include <stddef.h>
#include <stdio.h>

#include "device.h"

/* @cells[@row_cnt * @col_cnt]: columns as wide as their widest cell, the last one not padded.
 * "" is shown as "-"; characters that are not printable as '?'. */
void out_table(FILE *f, const char *const *cells, size_t row_cnt, size_t col_cnt);

void out_text_list(FILE *f, const struct device *devices, size_t cnt);
/* @users: who uses the disk, or "" */
void out_text_show(FILE *f, const struct device *device, const char *users);

/* Return: an owned object: the status as show and list give it; NULL without memory. */
json_t *out_json_device(const struct device *device);
/* @value: taken. Return: 0; -ENOMEM; -EIO. */
int out_json(FILE *f, json_t *value) VBLK_MUST_CHECK;

#endif
