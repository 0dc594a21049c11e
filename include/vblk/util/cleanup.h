/* SPDX-License-Identifier: MIT */
/*
 * Scope-bound resources, for locals of control code only (never in the data
 * path): _cleanup_free_, _cleanup_close_, and the steal functions that hand a
 * resource on.
 */
#ifndef VBLK_UTIL_CLEANUP_H
#define VBLK_UTIL_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

#define _cleanup_(fn)	 __attribute__((cleanup(fn)))
#define _cleanup_free_	 _cleanup_(cleanup_free_ptr)
#define _cleanup_close_	 _cleanup_(cleanup_close_fd)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)

/* Returns *@fd and leaves -1 behind, so that the cleanup does nothing. */
static inline int steal_fd(int *fd)
{
	int ret = *fd;

	*fd = -1;
	return ret;
}

/* Returns *@p and leaves NULL behind. */
#define steal_ptr(p)                             \
	({                                       \
		__typeof__(*(p)) steal_p = *(p); \
		*(p) = NULL;                     \
		steal_p;                         \
	})

#endif
