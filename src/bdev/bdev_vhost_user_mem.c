/* SPDX-License-Identifier: MIT */
/* The driver's memory: files of it for the server, addresses in it for the queues. */
#include "bdev_vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vblk/util/math.h"

#define ADDR_ALIGN (2ull << 20)

void vu_mem_init(struct vu_mem *mem, uint64_t area_bytes)
{
	*mem = (struct vu_mem){ .next_addr = align_up(VU_AREA_ADDR + area_bytes, ADDR_ALIGN) };
}

static void set_clear(struct vu_set *set)
{
	for (unsigned int i = 0; i < set->cnt; i++)
		(void)close(set->fds[i]);
	*set = (struct vu_set){ .map = NULL };
}

void vu_mem_fini(struct vu_mem *mem)
{
	for (unsigned int i = 0; i < VU_SETS_MAX; i++)
		set_clear(&mem->sets[i]);
}

/*
 * Memory of our own (UMEM) is where all data is, then; what else there is are the driver's rings,
 * which are none of the server's business.
 */
static bool is_wanted(const struct memmap_region *region, bool only_pinned)
{
	return region->fd >= 0 && (region->pinned || !only_pinned);
}

static bool has_pinned(const struct memmap_region *regions, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++)
		if (regions[i].pinned && regions[i].fd >= 0)
			return true;
	return false;
}

/* The largest that is not in @taken; NULL: none. */
static const struct memmap_region *largest(const struct memmap_region *regions, unsigned int cnt,
					   bool only_pinned,
					   const struct memmap_region *const *taken,
					   unsigned int taken_cnt)
{
	const struct memmap_region *best = NULL;

	for (unsigned int i = 0; i < cnt; i++) {
		unsigned int t = 0;

		while (t < taken_cnt && taken[t] != &regions[i])
			t++;
		if (t == taken_cnt && is_wanted(&regions[i], only_pinned) &&
		    (!best || regions[i].len_bytes > best->len_bytes))
			best = &regions[i];
	}
	return best;
}

/* Return: false: no descriptor is to be had. */
static bool set_add(struct vu_mem *mem, struct vu_set *set, const struct memmap_region *region)
{
	int fd = fcntl(region->fd, F_DUPFD_CLOEXEC, 0);
	unsigned int i = set->cnt;

	if (fd < 0)
		return false;
	set->fds[i] = fd;
	set->fd_offset_bytes[i] = region->fd_offset_bytes;
	set->regions[i] = (struct vu_region){
		.va = region->va,
		.len_bytes = region->len_bytes,
		.addr = mem->next_addr,
	};
	mem->next_addr = align_up(mem->next_addr + region->len_bytes, ADDR_ALIGN);
	set->cnt++;
	return true;
}

/* Data lies in few large regions; where there are too many, requests in the rest fail. */
static void set_fill(struct vu_mem *mem, struct vu_set *set, const struct memmap *map)
{
	const struct memmap_region *taken[VU_REGIONS_MAX];
	const struct memmap_region *regions, *region;
	unsigned int cnt, taken_cnt = 0;
	bool only_pinned;

	regions = memmap_regions(map, &cnt);
	only_pinned = has_pinned(regions, cnt);
	while (taken_cnt < VU_REGIONS_MAX &&
	       (region = largest(regions, cnt, only_pinned, taken, taken_cnt))) {
		taken[taken_cnt++] = region;
		if (!set_add(mem, set, region))
			return;
	}
}

static struct vu_set *set_of(struct vu_mem *mem, const struct memmap *map)
{
	for (unsigned int i = 0; i < VU_SETS_MAX; i++)
		if (mem->sets[i].map == map)
			return &mem->sets[i];
	return NULL;
}

const struct vu_set *vu_mem_get(struct vu_mem *mem, const struct memmap *map)
{
	struct vu_set *set = set_of(mem, map);

	if (!set) {
		set = set_of(mem, NULL);
		if (!set)
			return NULL;
		set->map = map;
		set_fill(mem, set, map);
		mem->gen++;
	}
	set->user_cnt++;
	return set;
}

void vu_mem_put(struct vu_mem *mem, const struct memmap *map)
{
	struct vu_set *set = set_of(mem, map);

	if (!set || --set->user_cnt)
		return;
	set_clear(set);
	mem->gen++;
}

static void close_regions(struct vhu_client_region *regions, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++)
		(void)close(regions[i].fd);
}

static int table_add(struct vhu_client_region *regions, unsigned int *cnt, int fd, uint64_t addr,
		     uint64_t len_bytes, uint64_t fd_offset_bytes)
{
	int copy;

	if (*cnt == VHU_CLIENT_REGIONS_MAX)
		return 0;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	regions[(*cnt)++] = (struct vhu_client_region){
		.addr = addr,
		.len_bytes = len_bytes,
		.fd = copy,
		.fd_offset_bytes = fd_offset_bytes,
	};
	return 0;
}

int vu_mem_table(const struct vu_mem *mem, int area_fd, uint64_t area_bytes,
		 struct vhu_client_region *ret_regions)
{
	unsigned int cnt = 0;
	int r;

	r = table_add(ret_regions, &cnt, area_fd, VU_AREA_ADDR, area_bytes, 0);
	for (unsigned int s = 0; s < VU_SETS_MAX; s++) {
		const struct vu_set *set = &mem->sets[s];

		for (unsigned int i = 0; r == 0 && i < set->cnt; i++)
			r = table_add(ret_regions, &cnt, set->fds[i], set->regions[i].addr,
				      set->regions[i].len_bytes, set->fd_offset_bytes[i]);
	}
	if (r < 0) {
		close_regions(ret_regions, cnt);
		return r;
	}
	return (int)cnt;
}
