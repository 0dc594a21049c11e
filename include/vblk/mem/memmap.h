/* SPDX-License-Identifier: MIT */
/*
 * I/O virtual addresses of a driver to our memory: immutable, counted. A
 * change of the driver's memory is a new map; requests in flight keep the map
 * they were translated with alive.
 */
#ifndef VBLK_MEM_MEMMAP_H
#define VBLK_MEM_MEMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

#define MEMMAP_READ  1u /* the device may read: memory the driver filled */
#define MEMMAP_WRITE 2u /* the device may write */

#define MEMMAP_REGIONS_MAX 1024u

/**
 * struct memmap_region - [@iova, @iova + @len_bytes) is at @va, which is not NULL
 * @perm: mask of MEMMAP_READ and MEMMAP_WRITE
 * @pinned: every page exists and may be registered with io_uring as a whole
 * @fd: file behind @va for handing the memory to another process, or -1
 * @fd_offset_bytes: where @va is in @fd
 * @by_file: @va is a name and no memory; what has it is read and written through @fd, with
 *           memmap_load() and memmap_store(). One region of a map at most
 */
struct memmap_region {
	uint64_t iova;
	uint64_t len_bytes;
	void *va;
	unsigned int perm;
	bool pinned;
	int fd;
	uint64_t fd_offset_bytes;
	bool by_file;
};

struct memmap;

/**
 * memmap_new() - map with one reference
 * @regions: @cnt entries in any order, copied; at most MEMMAP_REGIONS_MAX, 0 for
 *           a map that translates nothing; one may end exactly at 2^64
 * @release: called once with @ctx when the last reference goes, in whichever
 *           thread drops it; unmaps and closes. NULL for nothing. Not called
 *           when memmap_new() itself fails.
 *
 * Return: 0; -EINVAL regions overlap, wrap, are empty, without @va, too many, or more than
 *         one @by_file; -ENOMEM.
 */
int memmap_new(const struct memmap_region *regions, unsigned int cnt, void (*release)(void *ctx),
	       void *ctx, struct memmap **ret_map) VBLK_MUST_CHECK;

/* Any thread. memmap_ref() returns @map. memmap_unref(NULL) is a no-op. */
struct memmap *memmap_ref(struct memmap *map);
void memmap_unref(struct memmap *map);

/**
 * memmap_translate() - address of the first bytes of a range
 * @len_bytes: > 0
 * @perm: what the access needs
 * @ret_len_bytes: contiguous bytes at the result, 1..@len_bytes; call again
 *                 for the rest, which is in the next region
 *
 * Return: NULL when @iova is in no region, a region lacks @perm, or
 *         @iova + @len_bytes wraps.
 */
void *memmap_translate(const struct memmap *map, uint64_t iova, uint64_t len_bytes,
		       unsigned int perm, uint64_t *ret_len_bytes);

/* Has it a region whose addresses must not be followed? */
bool memmap_is_by_file(const struct memmap *map);

/**
 * memmap_load() - copy out @len bytes at @va, which memmap_translate() has given for as many
 * memmap_store() - copy them there
 *
 * For regions of both kinds. Of one that is by_file it is a system call, which does not wait:
 * the file is memory.
 *
 * Return: 0; -EIO the file does not have them: zeroes were loaded, nothing or part was stored,
 *         and memguard_hits() has counted it, as where memory of any region is gone.
 */
int memmap_load(const struct memmap *map, void *dst, const void *va, size_t len);
int memmap_store(const struct memmap *map, void *va, const void *src, size_t len) VBLK_MUST_CHECK;

/* The regions, ascending by iova; valid while the caller holds a reference. */
const struct memmap_region *memmap_regions(const struct memmap *map, unsigned int *ret_cnt);

#endif
