/* SPDX-License-Identifier: MIT */
#include "bdev_vhost_user.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "vblk/util/math.h"

#define PART_ALIGN 4096u

/* Offsets of the parts of one queue's area. */
struct layout {
	size_t desc, avail, used, tables, end;
};

static size_t place(size_t *at, size_t bytes)
{
	size_t here = *at;

	*at = align_up(here + bytes, PART_ALIGN);
	return here;
}

/* Without indirect descriptors the ring is the largest, with them it has @depth entries. */
static struct layout layout_of(unsigned int depth)
{
	struct layout l;
	size_t at = 0;

	(void)place(&at, depth * sizeof(struct vu_wire));
	l.desc = place(&at, vq_driver_desc_bytes(VU_RING_MAX));
	l.avail = place(&at, vq_driver_avail_bytes(VU_RING_MAX));
	l.used = place(&at, vq_driver_used_bytes(VU_RING_MAX));
	l.tables = place(&at,
			 (size_t)MIN(depth, VU_RING_MAX) * VU_BUFS_MAX * sizeof(struct vring_desc));
	l.end = at;
	return l;
}

size_t vu_area_bytes(unsigned int depth)
{
	return layout_of(depth).end;
}

int vu_area_map(int fd, unsigned int idx, unsigned int depth, struct vu_area *ret_area)
{
	struct layout l = layout_of(depth);
	uint8_t *base;

	base = mmap(NULL, l.end, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(idx * l.end));
	if (base == MAP_FAILED)
		return -errno;
	/* Not on the data path: memory may be short then, because this very disk is awaited. */
	memset(base, 0, l.end);
	*ret_area = (struct vu_area){
		.base = base,
		.bytes = l.end,
		.addr = VU_AREA_ADDR + idx * l.end,
		.wires = (struct vu_wire *)(void *)base,
		.desc = (struct vring_desc *)(void *)(base + l.desc),
		.avail = (struct vring_avail *)(void *)(base + l.avail),
		.used = (struct vring_used *)(void *)(base + l.used),
		.tables = (struct vring_desc *)(void *)(base + l.tables),
	};
	return 0;
}

void vu_area_unmap(struct vu_area *area)
{
	if (area->base)
		(void)munmap(area->base, area->bytes);
	area->base = NULL;
}
