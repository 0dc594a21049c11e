/* SPDX-License-Identifier: MIT */
/*
 * The client's memory. Each region is an object that is counted: a table that gains
 * or loses a slot shares the others with the one before, and what it does not have
 * goes when the last request that may touch it has ended.
 */
#include "vhu_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/math.h"

/**
 * struct vhu_mapping - one region
 * @ref_cnt: any thread
 * @fd: owned, at @fd_offset_bytes is @va
 */
struct vhu_mapping {
	unsigned int ref_cnt;
	struct vhu_region region;
	void *va;
	void *base;
	size_t map_bytes;
	int fd;
};

/* What a memmap holds on to. */
struct hold {
	unsigned int cnt;
	struct vhu_mapping *mappings[VHU_SLOTS_MAX];
};

static struct vhu_mapping *mapping_ref(struct vhu_mapping *mapping)
{
	__atomic_fetch_add(&mapping->ref_cnt, 1, __ATOMIC_RELAXED);
	return mapping;
}

static void mapping_unref(struct vhu_mapping *mapping)
{
	/* As in memmap_unref(). */
	if (__atomic_sub_fetch(&mapping->ref_cnt, 1, __ATOMIC_ACQ_REL))
		return;
	memguard_remove(mapping->base);
	(void)munmap(mapping->base, mapping->map_bytes);
	(void)close(mapping->fd);
	free(mapping);
}

static bool region_is_sane(const struct vhu_region *region)
{
	uint64_t last = region->size_bytes - 1, sum;

	return region->size_bytes && checked_add(region->gaddr, last, &sum) &&
	       checked_add(region->uaddr, last, &sum) &&
	       checked_add(region->mmap_offset_bytes, region->size_bytes, &sum) && sum <= INT64_MAX;
}

/* Maps what @mapping says, with the pages around it. */
static int mapping_map(struct vhu_mapping *mapping, uint64_t align_bytes, const char **ret_why)
{
	uint64_t offset_bytes = mapping->region.mmap_offset_bytes;
	uint64_t first_bytes = align_down(offset_bytes, align_bytes);
	uint64_t skip_bytes = offset_bytes - first_bytes;
	int r;

	mapping->map_bytes = align_up(skip_bytes + mapping->region.size_bytes, align_bytes);
	mapping->base = mmap(NULL, mapping->map_bytes, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_NORESERVE, mapping->fd, (off_t)first_bytes);
	if (mapping->base == MAP_FAILED) {
		*ret_why = "a region's file cannot be mapped";
		return -errno;
	}
	r = memguard_add(mapping->base, mapping->map_bytes);
	if (r < 0) {
		(void)munmap(mapping->base, mapping->map_bytes);
		*ret_why = "too many regions";
		return r;
	}
	mapping->va = (char *)mapping->base + skip_bytes;
	return 0;
}

/* @fd: taken, also on failure. */
static int mapping_new(int proc_fd, const struct vhu_region *region, int fd,
		       struct vhu_mapping **ret_mapping, const char **ret_why)
{
	_cleanup_close_ int own_fd = fd;
	_cleanup_free_ struct vhu_mapping *mapping = calloc(1, sizeof(*mapping));
	uint64_t file_bytes, align_bytes;
	int r;

	*ret_why = "out of memory";
	if (!mapping)
		return -ENOMEM;
	if (!region_is_sane(region)) {
		*ret_why = "a region is empty or wraps";
		return -EINVAL;
	}
	r = vhu_fd_memory(proc_fd, fd, &file_bytes, &align_bytes);
	if (r < 0) {
		*ret_why = "a region's file is no memory (memfd, tmpfs or hugetlbfs)";
		return r;
	}
	if (!range_fits(region->mmap_offset_bytes, region->size_bytes, file_bytes)) {
		*ret_why = "a region is longer than its file";
		return -EINVAL;
	}
	mapping->ref_cnt = 1;
	mapping->region = *region;
	mapping->fd = own_fd;
	r = mapping_map(mapping, align_bytes, ret_why);
	if (r < 0)
		return r;
	(void)steal_fd(&own_fd);
	*ret_mapping = steal_ptr(&mapping);
	return 0;
}

static void hold_release(void *ctx)
{
	struct hold *hold = ctx;

	for (unsigned int i = 0; i < hold->cnt; i++)
		mapping_unref(hold->mappings[i]);
	free(hold);
}

static bool uaddrs_overlap(const struct vhu_mapping *a, const struct vhu_mapping *b)
{
	const struct vhu_region *ra = &a->region, *rb = &b->region;

	return ra->uaddr <= rb->uaddr + (rb->size_bytes - 1) &&
	       rb->uaddr <= ra->uaddr + (ra->size_bytes - 1);
}

static bool any_uaddrs_overlap(struct vhu_mapping *const *mappings, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++)
		for (unsigned int k = 0; k < i; k++)
			if (uaddrs_overlap(mappings[i], mappings[k]))
				return true;
	return false;
}

/* A map of @mappings, which it holds on to. */
static int map_new(struct vhu_mapping *const *mappings, unsigned int cnt, struct memmap **ret_map,
		   const char **ret_why)
{
	_cleanup_free_ struct hold *hold = calloc(1, sizeof(*hold));
	_cleanup_free_ struct memmap_region *regions = calloc(cnt + 1, sizeof(*regions));
	int r;

	*ret_why = "out of memory";
	if (!hold || !regions)
		return -ENOMEM;
	hold->cnt = cnt;
	for (unsigned int i = 0; i < cnt; i++) {
		hold->mappings[i] = mappings[i];
		regions[i] = (struct memmap_region){
			.iova = mappings[i]->region.gaddr,
			.len_bytes = mappings[i]->region.size_bytes,
			.va = mappings[i]->va,
			.perm = MEMMAP_READ | MEMMAP_WRITE,
			.fd = mappings[i]->fd,
			.fd_offset_bytes = mappings[i]->region.mmap_offset_bytes,
		};
	}
	*ret_why = "regions overlap";
	if (any_uaddrs_overlap(mappings, cnt))
		return -EINVAL;
	r = memmap_new(regions, cnt, hold_release, hold, ret_map);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < cnt; i++)
		(void)mapping_ref(mappings[i]);
	(void)steal_ptr(&hold);
	return 0;
}

/* @next: its references are taken; on failure they are dropped. */
static int mem_replace(struct vhu_mem *mem, struct vhu_mapping *const *next, unsigned int cnt,
		       const char **ret_why)
{
	struct memmap *map;
	int r;

	r = map_new(next, cnt, &map, ret_why);
	if (r < 0) {
		for (unsigned int i = 0; i < cnt; i++)
			mapping_unref(next[i]);
		return r;
	}
	vhu_mem_drop(mem);
	while (mem->cnt < cnt) {
		mem->mappings[mem->cnt] = next[mem->cnt];
		mem->cnt++;
	}
	mem->map = map;
	return 0;
}

int vhu_mem_set(struct vhu_mem *mem, int proc_fd, struct vhu_msg *msg, const char **ret_why)
{
	const struct vhu_mem_table *table = &msg->payload.mem_table;
	struct vhu_mapping *next[VHU_REGIONS_MAX];

	for (unsigned int i = 0; i < table->region_cnt; i++) {
		int r = mapping_new(proc_fd, &table->regions[i], vhu_msg_steal_fd(msg, i), &next[i],
				    ret_why);

		if (r < 0) {
			while (i-- > 0)
				mapping_unref(next[i]);
			return r;
		}
	}
	return mem_replace(mem, next, table->region_cnt, ret_why);
}

int vhu_mem_add(struct vhu_mem *mem, int proc_fd, struct vhu_msg *msg, const char **ret_why)
{
	struct vhu_mapping *next[VHU_SLOTS_MAX];
	int r;

	if (mem->cnt == VHU_SLOTS_MAX) {
		*ret_why = "no slot is free";
		return -ENOSPC;
	}
	r = mapping_new(proc_fd, &msg->payload.mem_reg.region, vhu_msg_steal_fd(msg, 0),
			&next[mem->cnt], ret_why);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < mem->cnt; i++)
		next[i] = mapping_ref(mem->mappings[i]);
	return mem_replace(mem, next, mem->cnt + 1, ret_why);
}

int vhu_mem_remove(struct vhu_mem *mem, const struct vhu_region *region, const char **ret_why)
{
	struct vhu_mapping *next[VHU_SLOTS_MAX];
	unsigned int cnt = 0;

	for (unsigned int i = 0; i < mem->cnt; i++) {
		const struct vhu_region *has = &mem->mappings[i]->region;

		/* The specification names these three. */
		if (has->gaddr != region->gaddr || has->uaddr != region->uaddr ||
		    has->size_bytes != region->size_bytes)
			next[cnt++] = mem->mappings[i];
	}
	if (cnt == mem->cnt) {
		*ret_why = "there is no such region";
		return -ENOENT;
	}
	for (unsigned int i = 0; i < cnt; i++)
		(void)mapping_ref(next[i]);
	return mem_replace(mem, next, cnt, ret_why);
}

void vhu_mem_drop(struct vhu_mem *mem)
{
	memmap_unref(mem->map);
	mem->map = NULL;
	for (unsigned int i = 0; i < mem->cnt; i++)
		mapping_unref(mem->mappings[i]);
	mem->cnt = 0;
}

void *vhu_mem_at(const struct vhu_mem *mem, uint64_t uaddr, uint64_t len_bytes)
{
	for (unsigned int i = 0; i < mem->cnt; i++) {
		const struct vhu_region *region = &mem->mappings[i]->region;

		if (uaddr >= region->uaddr &&
		    range_fits(uaddr - region->uaddr, len_bytes, region->size_bytes))
			return (char *)mem->mappings[i]->va + (uaddr - region->uaddr);
	}
	return NULL;
}

uint64_t vhu_mem_bytes(const struct vhu_mem *mem)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < mem->cnt; i++)
		bytes += mem->mappings[i]->region.size_bytes;
	return bytes;
}
