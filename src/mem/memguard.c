/* SPDX-License-Identifier: MIT */
#include "vblk/mem/memguard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vblk/util/math.h"

/* A map of MEMMAP_REGIONS_MAX regions, three parts of each ring, and room. */
#define RANGES_MAX 2048u

/*
 * The handler walks the table without a lock. The range it looks for holds the
 * address that the very thread is touching, so that entry does not change.
 */
static struct {
	uintptr_t first; /* 0: free; release after @end */
	uintptr_t end;
} ranges[RANGES_MAX];

static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t page_bytes;

static __thread volatile unsigned int hit_cnt;

static bool is_guarded(uintptr_t addr, uintptr_t *ret_first, uintptr_t *ret_end)
{
	for (unsigned int i = 0; i < RANGES_MAX; i++) {
		uintptr_t first = __atomic_load_n(&ranges[i].first, __ATOMIC_ACQUIRE);
		uintptr_t end = __atomic_load_n(&ranges[i].end, __ATOMIC_RELAXED);

		if (!first || addr < first || addr >= end)
			continue;
		*ret_first = align_down(first, page_bytes);
		*ret_end = align_up(end, page_bytes);
		return true;
	}
	return false;
}

/*
 * Only the page: the rest of a file that was cut in the middle still serves others. One of
 * hugetlbfs is larger, which is found out, as a part of it cannot be replaced (EINVAL, nothing
 * has happened). There is none to be had already when the host has no free one.
 */
static bool replace_page(uintptr_t addr, uintptr_t first, uintptr_t end)
{
	for (uintptr_t bytes = page_bytes; bytes; bytes *= 2) {
		uintptr_t at = align_down(addr, bytes);

		if (at < first || bytes > end - at)
			break;
		if (mmap((void *)at, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
			return true;
		if (errno != EINVAL)
			break;
	}
	return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context VBLK_UNUSED)
{
	uintptr_t addr = (uintptr_t)info->si_addr, first, end;
	int saved_errno = errno;

	if (info->si_code == BUS_ADRERR && is_guarded(addr, &first, &end) &&
	    replace_page(addr, first, end)) {
		hit_cnt++;
	} else {
		const struct sigaction fatal = { .sa_handler = SIG_DFL };

		/* The access is made again and ends the process. */
		(void)sigaction(sig, &fatal, NULL);
	}
	errno = saved_errno;
}

void memguard_install(void)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
	sigemptyset(&action.sa_mask);
	(void)sigaction(SIGBUS, &action, NULL);
}

int memguard_add(void *base, size_t bytes)
{
	int r = -ENOMEM;

	pthread_mutex_lock(&ranges_lock);
	for (unsigned int i = 0; i < RANGES_MAX && r < 0; i++) {
		if (ranges[i].first)
			continue;
		__atomic_store_n(&ranges[i].end, (uintptr_t)base + bytes, __ATOMIC_RELAXED);
		__atomic_store_n(&ranges[i].first, (uintptr_t)base, __ATOMIC_RELEASE);
		r = 0;
	}
	pthread_mutex_unlock(&ranges_lock);
	return r;
}

void memguard_remove(void *base)
{
	pthread_mutex_lock(&ranges_lock);
	for (unsigned int i = 0; i < RANGES_MAX; i++)
		if (ranges[i].first == (uintptr_t)base)
			__atomic_store_n(&ranges[i].first, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&ranges_lock);
}

unsigned int memguard_hits(void)
{
	return hit_cnt;
}

void memguard_count_hit(void)
{
	hit_cnt++;
}
