/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "run_suite.h"
#include "vblk/mem/memguard.h"
#include "vblk/mem/memmap.h"
#include "vblk/util/compiler.h"

#define RW (MEMMAP_READ | MEMMAP_WRITE)

static char mem[65536];

#define REGION(at, len, where, perms)                                                      \
	{                                                                                  \
		.iova = (at), .len_bytes = (len), .va = (where), .perm = (perms), .fd = -1 \
	}

static const struct {
	struct memmap_region regions[3];
	unsigned int cnt;
	int result;
} new_cases[] = {
	{ .cnt = 0, .result = 0 },
	{ { REGION(0, 4096, mem, RW) }, 1, 0 },
	{ { REGION(0, 0, mem, RW) }, 1, -EINVAL },		/* empty */
	{ { REGION(0, 4096, NULL, RW) }, 1, -EINVAL },		/* nowhere */
	{ { REGION(UINT64_MAX - 4095, 4096, mem, RW) }, 1, 0 }, /* ends at 2^64 */
	{ { REGION(UINT64_MAX - 4095, 4097, mem, RW) }, 1, -EINVAL },
	{ { REGION(0, UINT64_MAX, mem, RW) }, 1, -EINVAL }, /* our addresses wrap */
	{ { REGION(4096, 4096, mem, RW), REGION(0, 4096, mem, RW) }, 2, 0 }, /* unsorted */
	{ { REGION(0, 4096, mem, RW), REGION(0, 4096, mem, RW) }, 2, -EINVAL },
	{ { REGION(0, 4097, mem, RW), REGION(4096, 4096, mem, RW) }, 2, -EINVAL },
	{ { REGION(0, 8192, mem, RW), REGION(4096, 1, mem, RW) }, 2, -EINVAL }, /* inside */
	{ { REGION(8192, 1, mem, RW), REGION(0, 1, mem, RW), REGION(8192, 1, mem, RW) },
	  3,
	  -EINVAL },
};

START_TEST(new_checks_the_regions)
{
	struct memmap *map = NULL;

	ck_assert_int_eq(memmap_new(new_cases[_i].regions, new_cases[_i].cnt, NULL, NULL, &map),
			 new_cases[_i].result);
	ck_assert_int_eq(map != NULL, new_cases[_i].result == 0);
	memmap_unref(map);
}
END_TEST

/* Between memory on both sides, in the middle of a file, whose names are no memory. */
START_TEST(region_by_file_is_loaded_and_stored)
{
	struct memmap_region regions[] = {
		REGION(0, 4096, mem, RW),
		REGION(4096, 4096, NULL, RW),
		REGION(8192, 4096, mem + 8192, RW),
	};
	char *names = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char byte = 0, bytes[8], before[8] = "left___l", after[8] = "right__r";
	struct memmap *map;
	int fd = memfd_create("region", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(fd, 12288), 0);
	ck_assert_int_eq(pwrite(fd, "begin", 5, 4096), 5);
	ck_assert_int_eq(memmap_new(regions, 1, NULL, NULL, &map), 0);
	ck_assert(!memmap_is_by_file(map));
	memmap_unref(map);
	regions[1].va = names;
	regions[1].fd = fd;
	regions[1].fd_offset_bytes = 4096;
	regions[1].by_file = true;
	ck_assert_int_eq(memmap_new(regions, 3, NULL, NULL, &map), 0);
	ck_assert(memmap_is_by_file(map));

	ck_assert_int_eq(memmap_load(map, bytes, names, 5), 0);
	ck_assert_mem_eq(bytes, "begin", 5);
	ck_assert_int_eq(memmap_store(map, names + 4095, "e", 1), 0);
	ck_assert_int_eq(pread(fd, &byte, 1, 8191), 1);
	ck_assert_int_eq(byte, 'e');
	ck_assert_int_eq(memmap_store(map, mem + 4088, before, 8), 0);
	ck_assert_int_eq(memmap_store(map, mem + 8192, after, 8), 0);
	ck_assert_mem_eq(mem + 4088, before, 8);
	ck_assert_int_eq(memmap_load(map, bytes, mem + 8192, 8), 0);
	ck_assert_mem_eq(bytes, after, 8);
	memmap_unref(map);
	munmap(names, 4096);
	close(fd);
}
END_TEST

START_TEST(file_that_lacks_bytes_counts_as_memory_that_is_gone)
{
	struct memmap_region region = REGION(0, 8192, mem, RW);
	unsigned int hits = memguard_hits();
	char bytes[8] = "not zero";
	struct memmap *map;
	int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	region.fd = fd;
	region.by_file = true;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
	ck_assert_int_eq(memmap_load(map, bytes, mem + 4092, 8), -EIO);
	ck_assert_mem_eq(bytes, "\0\0\0\0\0\0\0\0", 8);
	ck_assert_uint_eq(memguard_hits(), hits + 1);
	ck_assert_int_eq(memmap_store(map, mem + 4092, bytes, 8), -EIO);
	ck_assert_uint_eq(memguard_hits(), hits + 2);
	memmap_unref(map);
	close(fd);
}
END_TEST

START_TEST(regions_by_file_are_checked)
{
	struct memmap_region regions[] = { REGION(0, 4096, mem, RW), REGION(4096, 4096, mem, RW) };
	struct memmap *map;

	regions[0].by_file = true;
	ck_assert_int_eq(memmap_new(regions, 2, NULL, NULL, &map), -EINVAL);
	regions[0].fd = regions[1].fd = 0;
	regions[1].by_file = true;
	ck_assert_int_eq(memmap_new(regions, 2, NULL, NULL, &map), -EINVAL);
}
END_TEST

START_TEST(more_regions_than_the_limit_are_refused)
{
	struct memmap_region *regions = calloc(MEMMAP_REGIONS_MAX + 1, sizeof(*regions));
	struct memmap *map;

	ck_assert_ptr_nonnull(regions);
	for (unsigned int i = 0; i <= MEMMAP_REGIONS_MAX; i++)
		regions[i] = (struct memmap_region)REGION(i * 16, 16, mem, RW);
	ck_assert_int_eq(memmap_new(regions, MEMMAP_REGIONS_MAX + 1, NULL, NULL, &map), -EINVAL);
	ck_assert_int_eq(memmap_new(regions, MEMMAP_REGIONS_MAX, NULL, NULL, &map), 0);
	memmap_unref(map);
	free(regions);
}
END_TEST

/* Out of order; a hole at 0x3000; the last region ends at 2^64. */
static struct memmap *sample_map(void)
{
	static const struct memmap_region regions[] = {
		REGION(UINT64_MAX - 0xfff, 0x1000, mem + 0x8000, RW),
		REGION(0x2000, 0x1000, mem + 0x1000, MEMMAP_READ),
		REGION(0x4000, 0x1000, mem + 0x4000, MEMMAP_WRITE),
		REGION(0x1000, 0x1000, mem, RW),
	};
	struct memmap *map;

	ck_assert_int_eq(memmap_new(regions, ARRAY_SIZE(regions), NULL, NULL, &map), 0);
	return map;
}

static const struct {
	uint64_t iova, len;
	unsigned int perm;
	void *va;
	uint64_t part;
} translate_cases[] = {
	{ 0x1000, 1, MEMMAP_READ, mem, 1 },
	{ 0x1000, 0x1000, RW, mem, 0x1000 },
	{ 0x1fff, 1, RW, mem + 0xfff, 1 },
	{ 0x1800, 0x1000, MEMMAP_READ, mem + 0x800, 0x800 }, /* goes on in the next region */
	{ 0x2000, 1, MEMMAP_READ, mem + 0x1000, 1 },
	{ 0x2000, 1, MEMMAP_WRITE, NULL, 0 },
	{ 0x2000, 1, RW, NULL, 0 },
	{ 0x4000, 1, MEMMAP_READ, NULL, 0 },
	{ 0x4000, 1, MEMMAP_WRITE, mem + 0x4000, 1 },
	{ 0x2800, 0x2000, MEMMAP_READ, mem + 0x1800, 0x800 }, /* the hole is the next call's */
	{ 0x0fff, 2, MEMMAP_READ, NULL, 0 },
	{ 0x3000, 1, MEMMAP_READ, NULL, 0 },
	{ 0x5000, 1, MEMMAP_READ, NULL, 0 },
	{ 0, 1, MEMMAP_READ, NULL, 0 },
	{ 0x1000, 0, MEMMAP_READ, NULL, 0 },
	{ UINT64_MAX, 1, RW, mem + 0x8fff, 1 },
	{ UINT64_MAX - 0xfff, 0x1000, RW, mem + 0x8000, 0x1000 },
	{ UINT64_MAX - 0xfff, 0x1001, RW, NULL, 0 }, /* wraps */
	{ 0x1000, UINT64_MAX, MEMMAP_READ, NULL, 0 },
	{ 0x1000, UINT64_MAX - 0xfff, MEMMAP_READ, mem, 0x1000 }, /* ends exactly at 2^64 */
};

START_TEST(translate_finds_the_contiguous_part)
{
	struct memmap *map = sample_map();
	uint64_t part = 0;

	ck_assert_ptr_eq(memmap_translate(map, translate_cases[_i].iova, translate_cases[_i].len,
					  translate_cases[_i].perm, &part),
			 translate_cases[_i].va);
	ck_assert_uint_eq(part, translate_cases[_i].part);
	memmap_unref(map);
}
END_TEST

START_TEST(regions_are_listed_in_order)
{
	struct memmap *map = sample_map();
	const struct memmap_region *regions;
	unsigned int cnt;

	regions = memmap_regions(map, &cnt);
	ck_assert_uint_eq(cnt, 4);
	for (unsigned int i = 1; i < cnt; i++)
		ck_assert(regions[i - 1].iova < regions[i].iova);
	memmap_unref(map);
}
END_TEST

START_TEST(an_empty_map_translates_nothing)
{
	struct memmap *map;
	uint64_t part;

	ck_assert_int_eq(memmap_new(NULL, 0, NULL, NULL, &map), 0);
	ck_assert_ptr_null(memmap_translate(map, 0, 1, 0, &part));
	memmap_unref(map);
}
END_TEST

static void count_release(void *ctx)
{
	(*(unsigned int *)ctx)++;
}

START_TEST(release_runs_once_with_the_last_reference)
{
	static const struct memmap_region region = REGION(0, 1, mem, RW);
	unsigned int released_cnt = 0;
	struct memmap *map;

	ck_assert_int_eq(memmap_new(&region, 1, count_release, &released_cnt, &map), 0);
	ck_assert_ptr_eq(memmap_ref(map), map);
	memmap_unref(map);
	ck_assert_uint_eq(released_cnt, 0);
	memmap_unref(map);
	ck_assert_uint_eq(released_cnt, 1);
	memmap_unref(NULL);
}
END_TEST

START_TEST(release_does_not_run_when_new_fails)
{
	static const struct memmap_region region = REGION(0, 0, mem, RW);
	unsigned int released_cnt = 0;
	struct memmap *map;

	ck_assert_int_eq(memmap_new(&region, 1, count_release, &released_cnt, &map), -EINVAL);
	ck_assert_uint_eq(released_cnt, 0);
}
END_TEST

static void *use_and_drop(void *arg)
{
	struct memmap *map = arg;

	for (int i = 0; i < 10000; i++) {
		uint64_t part;

		memmap_ref(map);
		ck_assert_ptr_nonnull(memmap_translate(map, 0x1000, 1, MEMMAP_READ, &part));
		memmap_unref(map);
	}
	memmap_unref(map);
	return NULL;
}

START_TEST(references_are_counted_across_threads)
{
	static const struct memmap_region region = REGION(0x1000, 16, mem, RW);
	unsigned int released_cnt = 0;
	pthread_t threads[3];
	struct memmap *map;

	ck_assert_int_eq(memmap_new(&region, 1, count_release, &released_cnt, &map), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, use_and_drop, memmap_ref(map)),
				 0);
	memmap_unref(map);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(released_cnt, 1);
}
END_TEST

/* ---- guard ---- */

static char *map_page(int *ret_fd)
{
	char *page;

	*ret_fd = memfd_create("page", MFD_CLOEXEC);
	ck_assert_int_ge(*ret_fd, 0);
	ck_assert_int_eq(ftruncate(*ret_fd, 8192), 0);
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
	ck_assert_ptr_ne(page, MAP_FAILED);
	memset(page, 'x', 8192);
	return page;
}

START_TEST(page_that_is_gone_reads_as_zeroes_and_counts)
{
	unsigned int hits = memguard_hits();
	volatile char *page;
	int fd;

	memguard_install();
	page = map_page(&fd);
	ck_assert_int_eq(memguard_add((void *)page, 8192), 0);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ck_assert_int_eq(page[4095], 'x');
	ck_assert_uint_eq(memguard_hits(), hits);
	ck_assert_int_eq(page[4096], 0);
	ck_assert_int_eq(page[8191], 0);
	page[5000] = 'y';
	ck_assert_int_eq(page[5000], 'y');
	ck_assert_uint_eq(memguard_hits(), hits + 1);
	/* The neighbour is still the file's. */
	ck_assert_int_eq(page[4095], 'x');
	memguard_remove((void *)page);
	munmap((void *)page, 8192);
	close(fd);
}
END_TEST

/* A host without a free one is enough; this one may have some. */
START_TEST(huge_page_is_replaced_as_a_whole)
{
	const size_t huge_bytes = 2u << 20;
	unsigned int hits = memguard_hits();
	int fd = memfd_create("mem", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	volatile char *page;

	if (fd < 0)
		return;
	memguard_install();
	ck_assert_int_eq(ftruncate(fd, (off_t)(2 * huge_bytes)), 0);
	page = mmap(NULL, 2 * huge_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		    0);
	ck_assert_ptr_ne((void *)page, MAP_FAILED);
	ck_assert_int_eq(memguard_add((void *)page, 2 * huge_bytes), 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	page[huge_bytes + 5000] = 'y';
	ck_assert_int_eq(page[huge_bytes + 5000], 'y');
	ck_assert_int_eq(page[huge_bytes], 0);
	ck_assert_uint_eq(memguard_hits(), hits + 1);
	ck_assert_int_eq(page[huge_bytes - 1], 0);
	ck_assert_uint_eq(memguard_hits(), hits + 2);
	memguard_remove((void *)page);
	ck_assert_int_eq(munmap((void *)page, 2 * huge_bytes), 0);
	close(fd);
}
END_TEST

static void *hit_elsewhere(void *arg)
{
	volatile char *page = arg;

	return page[0] == 0 && memguard_hits() == 1 ? arg : NULL;
}

START_TEST(hits_are_counted_by_thread)
{
	unsigned int hits = memguard_hits();
	pthread_t thread;
	void *ret;
	char *page;
	int fd;

	memguard_install();
	page = map_page(&fd);
	ck_assert_int_eq(memguard_add(page, 8192), 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, hit_elsewhere, page), 0);
	ck_assert_int_eq(pthread_join(thread, &ret), 0);
	ck_assert_ptr_eq(ret, page);
	ck_assert_uint_eq(memguard_hits(), hits);
	memguard_remove(page);
	munmap(page, 8192);
	close(fd);
}
END_TEST

/* 0: never guarded; 1: not any more. A bug of ours must not be hidden. */
START_TEST(memory_without_guard_ends_the_process)
{
	volatile char *page;
	int fd;

	memguard_install();
	page = map_page(&fd);
	if (_i) {
		ck_assert_int_eq(memguard_add((void *)page, 8192), 0);
		memguard_remove((void *)page);
	}
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	(void)page[0];
}
END_TEST

START_TEST(guard_is_full_at_some_time)
{
	unsigned int cnt = 0;

	while (memguard_add(mem + cnt, 1) == 0)
		cnt++;
	ck_assert_uint_ge(cnt, MEMMAP_REGIONS_MAX);
	memguard_remove(mem);
	ck_assert_int_eq(memguard_add(mem, 1), 0);
	ck_assert_int_eq(memguard_add(mem, 1), -ENOMEM);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mem");
	TCase *tc = tcase_create("memmap");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, new_checks_the_regions, 0, ARRAY_SIZE(new_cases));
	tcase_add_test(tc, more_regions_than_the_limit_are_refused);
	tcase_add_test(tc, region_by_file_is_loaded_and_stored);
	tcase_add_test(tc, file_that_lacks_bytes_counts_as_memory_that_is_gone);
	tcase_add_test(tc, regions_by_file_are_checked);
	tcase_add_loop_test(tc, translate_finds_the_contiguous_part, 0,
			    ARRAY_SIZE(translate_cases));
	tcase_add_test(tc, regions_are_listed_in_order);
	tcase_add_test(tc, an_empty_map_translates_nothing);
	tcase_add_test(tc, release_runs_once_with_the_last_reference);
	tcase_add_test(tc, release_does_not_run_when_new_fails);
	tcase_add_test(tc, references_are_counted_across_threads);
	tcase_add_test(tc, page_that_is_gone_reads_as_zeroes_and_counts);
	tcase_add_test(tc, huge_page_is_replaced_as_a_whole);
	tcase_add_test(tc, hits_are_counted_by_thread);
	tcase_add_loop_test_raise_signal(tc, memory_without_guard_ends_the_process, SIGBUS, 0, 2);
	tcase_add_test(tc, guard_is_full_at_some_time);
	return run_suite(s);
}
