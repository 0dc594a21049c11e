/* SPDX-License-Identifier: MIT */
#ifndef VBLK_UTIL_PREFAULT_H
#define VBLK_UTIL_PREFAULT_H

#include <stddef.h>

/*
 * Gives every page of fresh memory to the process now. A thread that would fault on the data path
 * waits for memory, which may wait for its disk (swap). NULL is fine.
 */
static inline void prefault(void *base, size_t bytes)
{
	volatile char *p = base;

	for (size_t at = 0; p && at < bytes; at += 4096) {
		char byte = p[at];

		p[at] = byte;
	}
}

#endif
