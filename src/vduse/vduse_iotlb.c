/* SPDX-License-Identifier: MIT */
/*
 * The driver's memory as the kernel describes it: entries of I/O virtual
 * addresses, each with a file to map.
 */
#include "vduse_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/math.h"

/* What a memmap holds, given back by its release function. */
struct iotlb_set {
	const struct vduse_sys *sys;
	uint64_t from_iova;
	unsigned int cnt;
	struct vduse_mapping mappings[MEMMAP_REGIONS_MAX];
	struct memmap_region regions[MEMMAP_REGIONS_MAX];
};

int vduse_iotlb_get_fd(const struct vduse_sys *sys, int dev_fd, uint64_t start, uint64_t last,
		       struct vduse_iotlb_entry *ret_entry)
{
	struct vduse_iotlb_entry entry = { .start = start, .last = last };
	int fd;

	fd = sys->ioctl(sys->ctx, dev_fd, VDUSE_IOTLB_GET_FD, &entry);
	if (fd < 0)
		return fd;
	/* The kernel takes the access rights for descriptor flags: none of them is CLOEXEC. */
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	*ret_entry = entry;
	return fd;
}

static int prot_from_access(unsigned int access)
{
	int prot = PROT_NONE;

	if (access & VDUSE_ACCESS_RO)
		prot |= PROT_READ;
	if (access & VDUSE_ACCESS_WO)
		prot |= PROT_WRITE;
	return prot;
}

static unsigned int memmap_perm_from_access(unsigned int access)
{
	unsigned int perm = 0;

	if (access & VDUSE_ACCESS_RO)
		perm |= MEMMAP_READ;
	if (access & VDUSE_ACCESS_WO)
		perm |= MEMMAP_WRITE;
	return perm;
}

/* Maps [@iova, @iova + @len_bytes) of @entry; @fd stays the caller's on failure. */
static int mapping_init(const struct vduse_sys *sys, const struct vduse_iotlb_entry *entry, int fd,
			uint64_t iova, uint64_t len_bytes, struct vduse_mapping *ret_mapping)
{
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t offset = entry->offset + (iova - entry->start);
	uint64_t page_offset = align_down(offset, page_bytes);
	uint64_t map_bytes = len_bytes + (offset - page_offset);
	void *base;
	int r;

	if (offset < entry->offset || map_bytes < len_bytes || map_bytes > SIZE_MAX / 2)
		return -EFAULT;
	r = sys->mmap(sys->ctx, map_bytes, prot_from_access(entry->perm), fd, (off_t)page_offset,
		      &base);
	if (r < 0)
		return r;
	r = memguard_add(base, map_bytes);
	if (r < 0) {
		sys->munmap(sys->ctx, base, map_bytes);
		return r;
	}
	*ret_mapping = (struct vduse_mapping){
		.va = (uint8_t *)base + (offset - page_offset),
		.base = base,
		.map_bytes = map_bytes,
		.fd = fd,
		.fd_offset_bytes = offset,
	};
	return 0;
}

void vduse_mapping_unmap(const struct vduse_sys *sys, struct vduse_mapping *mapping)
{
	if (!mapping->base)
		return;
	memguard_remove(mapping->base);
	sys->munmap(sys->ctx, mapping->base, mapping->map_bytes);
	if (mapping->fd >= 0)
		sys->close(sys->ctx, mapping->fd);
	*mapping = (struct vduse_mapping){ .fd = -1 };
}

int vduse_iotlb_map(const struct vduse_sys *sys, int dev_fd, uint64_t iova, uint64_t len_bytes,
		    unsigned int perm, struct vduse_mapping *ret_mapping)
{
	struct vduse_mapping mapping;
	struct vduse_iotlb_entry entry;
	int fd, r;

	fd = vduse_iotlb_get_fd(sys, dev_fd, iova, iova, &entry);
	if (fd < 0)
		return fd == -EINVAL ? -EFAULT : fd;
	if (entry.start > iova || entry.last < iova || len_bytes - 1 > entry.last - iova)
		r = -EFAULT;
	else if ((entry.perm & perm) != perm)
		r = -EACCES;
	else
		r = mapping_init(sys, &entry, fd, iova, len_bytes, &mapping);
	sys->close(sys->ctx, fd);
	if (r < 0)
		return r;
	mapping.fd = -1;
	*ret_mapping = mapping;
	return 0;
}

static void iotlb_set_free(void *ctx)
{
	struct iotlb_set *set = ctx;
	unsigned int i;

	for (i = 0; i < set->cnt; i++)
		vduse_mapping_unmap(set->sys, &set->mappings[i]);
	free(set);
}

/* The file stays open: a relay hands the memory on by it. */
static int iotlb_set_add(struct iotlb_set *set, const struct vduse_iotlb_entry *entry, int fd)
{
	struct vduse_mapping *mapping = &set->mappings[set->cnt];
	int r;

	/* One region is kept for the caller's own. */
	if (set->cnt >= MEMMAP_REGIONS_MAX - 1)
		return -E2BIG;
	if (entry->last - entry->start == UINT64_MAX)
		return -EFAULT;
	r = mapping_init(set->sys, entry, fd, entry->start, entry->last - entry->start + 1,
			 mapping);
	if (r < 0)
		return r;
	set->regions[set->cnt] = (struct memmap_region){
		.iova = entry->start,
		.len_bytes = entry->last - entry->start + 1,
		.va = mapping->va,
		.perm = memmap_perm_from_access(entry->perm),
		.fd = mapping->fd,
		.fd_offset_bytes = mapping->fd_offset_bytes,
	};
	set->cnt++;
	return 0;
}

/* Takes one entry that was found from @next on; owns @fd. */
static int iotlb_set_take(struct iotlb_set *set, const struct vduse_iotlb_entry *entry, int fd,
			  uint64_t next)
{
	int r = 0;

	/* An entry that does not lead on would keep the caller busy for ever. */
	if (entry->last < next || entry->last < entry->start)
		r = -EFAULT;
	/*
	 * Entries that overlap: vhost_vdpa, closed by a program that died, leaves its memory
	 * in the kernel's table (6.12), and another driver has added its own at the same
	 * addresses. Nobody can tell which is meant, and guessing would be wrong data.
	 */
	else if (entry->start < next && next > set->from_iova)
		r = -ENOTUNIQ;
	/* What begins before the first is the rest of a range that the caller replaces. */
	else if (entry->start >= next)
		r = iotlb_set_add(set, entry, fd);
	if (r < 0 || entry->start < next)
		set->sys->close(set->sys->ctx, fd);
	return r;
}

static int iotlb_set_fill(struct iotlb_set *set, int dev_fd, uint64_t from_iova)
{
	struct vduse_iotlb_entry entry = { .last = 0 };
	uint64_t next = from_iova;
	int fd, r;

	while (entry.last < UINT64_MAX) {
		fd = vduse_iotlb_get_fd(set->sys, dev_fd, next, UINT64_MAX, &entry);
		if (fd < 0)
			return fd == -EINVAL ? 0 : fd;
		r = iotlb_set_take(set, &entry, fd, next);
		if (r < 0)
			return r;
		next = entry.last + 1;
	}
	return 0;
}

int vduse_iotlb_memmap(const struct vduse_sys *sys, int dev_fd, uint64_t from_iova,
		       const struct memmap_region *first, struct memmap **ret_map)
{
	struct iotlb_set *set;
	unsigned int region_cnt;
	int r;

	set = calloc(1, sizeof(*set));
	if (!set)
		return -ENOMEM;
	set->sys = sys;
	set->from_iova = from_iova;
	r = iotlb_set_fill(set, dev_fd, from_iova);
	if (r == 0 && !set->cnt && !first)
		r = -ENOENT;
	if (r == 0) {
		region_cnt = set->cnt;
		if (first)
			set->regions[region_cnt++] = *first;
		r = memmap_new(set->regions, region_cnt, iotlb_set_free, set, ret_map);
	}
	if (r < 0)
		iotlb_set_free(set);
	return r;
}
