/* SPDX-License-Identifier: MIT */
#include "vblk/mem/memmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/math.h"

struct memmap {
	unsigned int ref_cnt;
	unsigned int cnt;
	void (*release)(void *ctx);
	void *ctx;
	const struct memmap_region *by_file; /* NULL: none is */
	struct memmap_region regions[];
};

static int compare_iova(const void *a, const void *b)
{
	const struct memmap_region *ra = a, *rb = b;

	return (ra->iova > rb->iova) - (ra->iova < rb->iova);
}

/* Address of the last byte: a region may end exactly at 2^64. */
static uint64_t last_iova(const struct memmap_region *region)
{
	return region->iova + (region->len_bytes - 1);
}

static bool region_is_sane(const struct memmap_region *region)
{
	return region->va && region->len_bytes && last_iova(region) >= region->iova &&
	       region->len_bytes - 1 <= UINTPTR_MAX - (uintptr_t)region->va;
}

/* Return: 0, @ret_region NULL where there is none; -EINVAL more than one, or without a file. */
static int find_by_file(const struct memmap_region *regions, unsigned int cnt,
			const struct memmap_region **ret_region)
{
	*ret_region = NULL;
	for (unsigned int i = 0; i < cnt; i++) {
		if (!regions[i].by_file)
			continue;
		if (*ret_region || regions[i].fd < 0)
			return -EINVAL;
		*ret_region = &regions[i];
	}
	return 0;
}

static bool regions_are_sane(const struct memmap_region *sorted, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++) {
		if (!region_is_sane(&sorted[i]))
			return false;
		if (i && sorted[i].iova <= last_iova(&sorted[i - 1]))
			return false;
	}
	return true;
}

int memmap_new(const struct memmap_region *regions, unsigned int cnt, void (*release)(void *ctx),
	       void *ctx, struct memmap **ret_map)
{
	struct memmap *map;

	if (cnt > MEMMAP_REGIONS_MAX)
		return -EINVAL;
	map = malloc(sizeof(*map) + cnt * sizeof(map->regions[0]));
	if (!map)
		return -ENOMEM;
	map->ref_cnt = 1;
	map->cnt = cnt;
	map->release = release;
	map->ctx = ctx;
	if (cnt) {
		memcpy(map->regions, regions, cnt * sizeof(map->regions[0]));
		qsort(map->regions, cnt, sizeof(map->regions[0]), compare_iova);
	}
	if (!regions_are_sane(map->regions, cnt) ||
	    find_by_file(map->regions, cnt, &map->by_file) < 0) {
		free(map);
		return -EINVAL;
	}
	*ret_map = map;
	return 0;
}

struct memmap *memmap_ref(struct memmap *map)
{
	/* The caller already has a reference, so nothing needs ordering. */
	__atomic_fetch_add(&map->ref_cnt, 1, __ATOMIC_RELAXED);
	return map;
}

void memmap_unref(struct memmap *map)
{
	/* Release: our accesses to the memory end before another thread unmaps
	 * it. Acquire: pairs with the releases of the other holders. */
	if (!map || __atomic_sub_fetch(&map->ref_cnt, 1, __ATOMIC_ACQ_REL))
		return;
	if (map->release)
		map->release(map->ctx);
	free(map);
}

/* The region that holds @iova, or NULL. */
static const struct memmap_region *find_region(const struct memmap *map, uint64_t iova)
{
	unsigned int low = 0, high = map->cnt;

	/* Finds the first region that begins behind @iova. */
	while (low < high) {
		unsigned int mid = low + (high - low) / 2;

		if (map->regions[mid].iova <= iova)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low || iova > last_iova(&map->regions[low - 1]))
		return NULL;
	return &map->regions[low - 1];
}

void *memmap_translate(const struct memmap *map, uint64_t iova, uint64_t len_bytes,
		       unsigned int perm, uint64_t *ret_len_bytes)
{
	const struct memmap_region *region;
	uint64_t skip_bytes;

	if (!len_bytes || iova + (len_bytes - 1) < iova)
		return NULL;
	region = find_region(map, iova);
	if (!region || (region->perm & perm) != perm)
		return NULL;
	skip_bytes = iova - region->iova;
	*ret_len_bytes = MIN(len_bytes, region->len_bytes - skip_bytes);
	return (char *)region->va + skip_bytes;
}

bool memmap_is_by_file(const struct memmap *map)
{
	return map->by_file;
}

/* Return: true, and where @va is in the file; false: it is memory. */
static bool place_in_file(const struct memmap *map, const void *va, size_t len, off_t *ret_at)
{
	const struct memmap_region *region = map->by_file;
	uint64_t skip_bytes;

	if (!region)
		return false;
	/* Of an address before the region this is larger than any region there. */
	skip_bytes = (uintptr_t)va - (uintptr_t)region->va;
	if (!range_fits(skip_bytes, len, region->len_bytes))
		return false;
	*ret_at = (off_t)(region->fd_offset_bytes + skip_bytes);
	return true;
}

int memmap_load(const struct memmap *map, void *dst, const void *va, size_t len)
{
	off_t at;

	if (!place_in_file(map, va, len, &at)) {
		memcpy(dst, va, len);
		return 0;
	}
	if (pread(map->by_file->fd, dst, len, at) == (ssize_t)len)
		return 0;
	memset(dst, 0, len);
	memguard_count_hit();
	return -EIO;
}

int memmap_store(const struct memmap *map, void *va, const void *src, size_t len)
{
	off_t at;

	if (!place_in_file(map, va, len, &at)) {
		memcpy(va, src, len);
		return 0;
	}
	if (pwrite(map->by_file->fd, src, len, at) == (ssize_t)len)
		return 0;
	memguard_count_hit();
	return -EIO;
}

const struct memmap_region *memmap_regions(const struct memmap *map, unsigned int *ret_cnt)
{
	*ret_cnt = map->cnt;
	return map->regions;
}
