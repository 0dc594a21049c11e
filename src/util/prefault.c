/* SPDX-License-Identifier: MIT */
#include "vblk/util/prefault.h"

#include <stdbool.h>
#include <stdint.h>

#define PAGE_BYTES 4096u

/*
 * Each page is written first: read first it would be the page of zeroes, and a second fault would
 * tell all other CPUs that run a thread of ours that it is another one now; with many threads that
 * took minutes. Fresh memory is zero, and where it is not the page is there already.
 *
 * Not MADV_POPULATE_WRITE: where memory was short, with swap on the disk that waits for this very
 * thread, workers did not come up any more.
 */
void prefault(void *base, size_t bytes)
{
	char *p = base;
	size_t at = 0;

	while (p && at < bytes) {
		char zero = 0;

		(void)__atomic_compare_exchange_n(&p[at], &zero, 0, false, __ATOMIC_RELAXED,
						  __ATOMIC_RELAXED);
		at += PAGE_BYTES - (uintptr_t)(p + at) % PAGE_BYTES;
	}
}
