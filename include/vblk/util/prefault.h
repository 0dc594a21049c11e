/* SPDX-License-Identifier: MIT */
#ifndef VBLK_UTIL_PREFAULT_H
#define VBLK_UTIL_PREFAULT_H

#include <stddef.h>

/*
 * Gives every page of fresh memory to the process now; what is in it stays. A thread that would
 * fault on the data path waits for memory, which may wait for its disk (swap). NULL is fine.
 */
void prefault(void *base, size_t bytes);

#endif
