/* SPDX-License-Identifier: MIT */
/*
 * Shared memory of a driver can go away under us: touching a page that its file
 * no longer has raises SIGBUS. In guarded memory that is an event, not the end
 * of the process: the page is replaced by a private one of zeroes and the
 * thread's count of hits grows. Who reads such memory compares the count before
 * and after, and does not act on what was read in between.
 *
 * The kernel needs no guard: system calls end with -EFAULT.
 */
#ifndef VBLK_MEM_MEMGUARD_H
#define VBLK_MEM_MEMGUARD_H

#include <stdbool.h>
#include <stddef.h>

#include "vblk/util/compiler.h"

/*
 * For the whole process; SIGBUS must not be blocked in threads that touch guarded
 * memory. Memory that is not guarded, and hardware errors, end the process as ever.
 */
void memguard_install(void);

/* @base is page aligned. Any thread. Return: 0; -ENOMEM more ranges than can be kept. */
int memguard_add(void *base, size_t bytes) VBLK_MUST_CHECK;
/* Before it is unmapped, and when no other thread touches it any more. */
void memguard_remove(void *base);

/* How often the calling thread touched guarded memory that was gone. */
unsigned int memguard_hits(void);
/* It was found gone by other means than touching it, which counts as much. */
void memguard_count_hit(void);

#endif
