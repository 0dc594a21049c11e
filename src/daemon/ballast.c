/* SPDX-License-Identifier: MIT */
#include "ballast.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "vblk/util/math.h"

#ifndef MADV_DONTNEED_LOCKED /* Linux 5.18, glibc 2.36 */
#define MADV_DONTNEED_LOCKED 24
#endif

/* Taken between two looks at what is free. */
#define STEP_BYTES 65536u

/*
 * What is mapped after mlockall() is filled at once, and so is what is made writable: only where
 * nothing may be read is nothing to be filled.
 */
static int reserve(struct ballast *ballast, size_t len)
{
	void *addr = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (addr == MAP_FAILED)
		return -errno;
	ballast->addr = addr;
	ballast->len = len;
	if (munlock(addr, len) < 0 || mprotect(addr, len, PROT_READ | PROT_WRITE) < 0 ||
	    mlock2(addr, len, MLOCK_ONFAULT) < 0 || madvise(addr, len, MADV_DONTFORK) < 0)
		return -errno;
	/* A huge page would come as a whole, whatever the floor. Not all kernels have them. */
	(void)madvise(addr, len, MADV_NOHUGEPAGE);
	return 0;
}

int ballast_init(struct ballast *ret_ballast, size_t len)
{
	int r;

	*ret_ballast = (struct ballast){ .addr = NULL };
	r = reserve(ret_ballast, len);
	if (r < 0)
		ballast_fini(ret_ballast);
	return r;
}

void ballast_fini(struct ballast *ballast)
{
	if (ballast->addr)
		(void)munmap(ballast->addr, ballast->len);
	*ballast = (struct ballast){ .addr = NULL };
}

static uint64_t free_bytes(void)
{
	struct sysinfo info;

	return sysinfo(&info) < 0 ? 0 : (uint64_t)info.freeram * info.mem_unit;
}

bool ballast_fill(struct ballast *ballast, uint64_t floor_bytes)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

	while (ballast->held_bytes < ballast->len && free_bytes() > floor_bytes) {
		size_t end = MIN(ballast->held_bytes + STEP_BYTES, ballast->len);

		for (; ballast->held_bytes < end; ballast->held_bytes += page_bytes)
			((volatile char *)ballast->addr)[ballast->held_bytes] = 1;
	}
	return ballast->held_bytes >= ballast->len;
}

void ballast_drop(struct ballast *ballast)
{
	if (ballast->held_bytes)
		(void)madvise(ballast->addr, ballast->held_bytes, MADV_DONTNEED_LOCKED);
	ballast->held_bytes = 0;
}
