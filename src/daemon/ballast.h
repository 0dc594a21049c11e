/* SPDX-License-Identifier: MIT */
/*
 * Memory that is held while there is some, and let go when there must be some: for the successor
 * of a worker that died while others wait for memory which only that successor can get free.
 * What the kernel keeps back for such a moment may be gone before it comes.
 *
 * Context: one thread; nothing blocks.
 */
#ifndef VBLKD_BALLAST_H
#define VBLKD_BALLAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

/**
 * struct ballast - memory of this process alone: a child has nothing of it
 * @addr: NULL: there is none, and all functions do nothing
 * @held_bytes: the first of @len
 */
struct ballast {
	void *addr;
	size_t len;
	size_t held_bytes;
};

/* Holds nothing at first. Return: 0 or -errno, @ret_ballast is usable all the same. */
int ballast_init(struct ballast *ret_ballast, size_t len) VBLK_MUST_CHECK;
void ballast_fini(struct ballast *ballast);

/* Takes what is missing, while more than @floor_bytes are free. Return: it is whole. */
bool ballast_fill(struct ballast *ballast, uint64_t floor_bytes);
void ballast_drop(struct ballast *ballast);

#endif
