/* SPDX-License-Identifier: MIT */
/*
 * The memory that requests point into. By default the kernel's bounce pages,
 * mapped; or memory of our own put in their place (UMEM), which io_uring can
 * register once and for all. UMEM is never needed: what goes wrong with it
 * ends with the plain mapping, except where the kernel's pages would then be
 * out of reach.
 *
 * Where another process moves the data (limits.remote) UMEM can be read here only for the moment
 * in which the kernel pins its pages, for which it wants an address. From then on the addresses are
 * names; headers and status bytes, which lie between the data, are read and written through the
 * file.
 */
#include "vduse_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vblk/util/clock.h"
#include "vblk/util/math.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* What most machines call a huge page; where it is another size there will be none. */
#define HUGE_PAGE_BYTES (2ull << 20)
/* Time for making them. The disk can do without, and its user waits. */
#define HUGE_PAGES_NS (500 * NSEC_PER_MSEC)
/* Made by one call, which makes all CPUs give their lists of pages back first. */
#define HUGE_PAGES_AT_ONCE 8u

/* Where huge pages of the file can be mapped as such. Return: NULL when there is no room. */
static void *map_aligned(int fd, uint64_t bytes)
{
	uint64_t room_bytes = bytes + HUGE_PAGE_BYTES;
	char *room, *at, *end;

	room = mmap(NULL, room_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		    0);
	if (room == MAP_FAILED)
		return NULL;
	at = room + (align_up((uintptr_t)room, HUGE_PAGE_BYTES) - (uintptr_t)room);
	end = at + bytes;
	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		(void)munmap(room, room_bytes);
		return NULL;
	}
	if (at > room)
		(void)munmap(room, (size_t)(at - room));
	if (end < room + room_bytes)
		(void)munmap(end, (size_t)(room + room_bytes - end));
	return at;
}

/*
 * Of pages of 4 KiB a request of 128 KiB is 32 segments to the block layer below, of a huge page it
 * is one. Asked for by name, since memory files get none by default (shmem_enabled); of holes none
 * are made.
 */
static void make_huge_pages(int fd, uint64_t bytes)
{
	const uint64_t step_bytes = HUGE_PAGES_AT_ONCE * HUGE_PAGE_BYTES;
	uint64_t begun_ns = clock_now_ns();
	char *va = map_aligned(fd, bytes);

	if (!va)
		return;
	for (uint64_t at = 0; at < bytes; at += step_bytes)
		if (madvise(va + at, MIN(step_bytes, bytes - at), MADV_COLLAPSE) < 0 ||
		    clock_now_ns() - begun_ns > HUGE_PAGES_NS)
			break;
	(void)munmap(va, bytes);
}

/*
 * Faults every page in now, so that pinning them at the first request is quick.
 * For reading: a shared page of a memory file is writable at once all the same,
 * and pages that a predecessor has filled already come many at a time, which
 * faults for writing do not.
 */
static void umem_prefault(void *va, size_t bytes)
{
	if (madvise(va, bytes, MADV_POPULATE_READ) < 0)
		memset(va, 0, bytes);
	/* Data of users does not belong into a core file. */
	(void)madvise(va, bytes, MADV_DONTDUMP);
}

uint64_t vduse_umem_bytes(enum vduse_umem umem, const struct blk_params *blk, uint64_t bounce_bytes)
{
	switch (umem) {
	case VDUSE_UMEM_AUTO:
		return blk->limits.direct || blk->limits.remote ? bounce_bytes : 0;
	case VDUSE_UMEM_ON:
		return bounce_bytes;
	case VDUSE_UMEM_OFF:
		break;
	}
	return 0;
}

/*
 * A shared file, so that a fork() does not part us from the pages the kernel pinned. Whoever is
 * given it cannot change its size: what is read, or mapped, is there.
 */
int vduse_umem_new(uint64_t bytes, int *ret_fd)
{
	int fd, r;

	if (!bytes || bytes > SIZE_MAX / 2)
		return -EINVAL;
	fd = memfd_create("vblk-umem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (fallocate(fd, 0, 0, (off_t)bytes) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		r = -errno;
		(void)close(fd);
		return r;
	}
	make_huge_pages(fd, bytes);
	*ret_fd = fd;
	return 0;
}

static void umem_protect(struct vduse_mem *mem, int prot)
{
	bool done = mprotect(mem->umem, mem->umem_bytes, prot) == 0;

	__atomic_store_n(&mem->umem_hidden, done && prot == PROT_NONE, __ATOMIC_RELAXED);
}

static void umem_map(struct vduse_mem *mem, uint64_t bytes, int outliving_fd)
{
	void *va;
	int fd;

	if (outliving_fd > 0)
		fd = fcntl(outliving_fd, F_DUPFD_CLOEXEC, 0);
	else if (vduse_umem_new(bytes, &fd) < 0)
		fd = -1;
	if (fd < 0)
		return;
	va = map_aligned(fd, bytes);
	if (!va) {
		(void)close(fd);
		return;
	}
	umem_prefault(va, bytes);
	mem->umem = va;
	mem->umem_bytes = bytes;
	mem->umem_fd = fd;
	/* A predecessor may have left data there. The pages stay, so pinning them is quick. */
	if (mem->hides)
		umem_protect(mem, PROT_NONE);
}

void vduse_mem_init(struct vduse_mem *mem, const struct vduse_sys *sys, int dev_fd,
		    uint64_t umem_bytes, int umem_fd, bool hides)
{
	*mem = (struct vduse_mem){ .sys = sys, .dev_fd = dev_fd, .umem_fd = -1, .hides = hides };
	(void)pthread_mutex_init(&mem->lock, NULL);
	if (umem_bytes)
		umem_map(mem, umem_bytes, umem_fd);
}

void vduse_mem_fini(struct vduse_mem *mem)
{
	memmap_unref(mem->map);
	mem->map = NULL;
	if (mem->umem) {
		(void)munmap(mem->umem, mem->umem_bytes);
		(void)close(mem->umem_fd);
		mem->umem = NULL;
	}
	(void)pthread_mutex_destroy(&mem->lock);
}

/*
 * Its pages are pinned. A reservation takes the place of the mapping, so that its addresses stay
 * what they are called by and mean nothing else. With a limit on locked memory there may be no
 * room for both at a time. Nobody follows the addresses from here on, whatever is there.
 */
static void umem_hide(struct vduse_mem *mem)
{
	if (mmap(mem->umem, mem->umem_bytes, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		umem_protect(mem, PROT_NONE);
	else
		__atomic_store_n(&mem->umem_hidden, true, __ATOMIC_RELAXED);
}

static int umem_ioctl(struct vduse_mem *mem, unsigned long request)
{
	struct vduse_iova_umem arg = {
		.uaddr = (uintptr_t)mem->umem,
		.iova = 0,
		.size = mem->umem_bytes,
	};

	if (request == VDUSE_IOTLB_DEREG_UMEM)
		arg.uaddr = 0;
	return mem->sys->ioctl(mem->sys->ctx, mem->dev_fd, request, &arg);
}

int vduse_bounce_is_in_use(const struct vduse_sys *sys, int dev_fd, uint64_t *ret_bytes)
{
	struct vduse_iova_info info = { .start = 0, .last = 0 };
	int r;

	r = sys->ioctl(sys->ctx, dev_fd, VDUSE_IOTLB_GET_INFO, &info);
	if (r < 0)
		return r;
	*ret_bytes = info.last + 1;
	return (info.capability & VDUSE_IOVA_CAP_UMEM) && info.start == 0;
}

/* Return: 1 the kernel's bounce area is what the driver uses; 0 it is not; -errno. */
static int bounce_is_in_use(struct vduse_mem *mem)
{
	uint64_t bytes;
	int r = vduse_bounce_is_in_use(mem->sys, mem->dev_fd, &bytes);

	return r > 0 ? bytes == mem->umem_bytes : r;
}

/* Return: 0; -EEXIST the memory of somebody else is there, and stays; other -errno. */
static int umem_offer(struct vduse_mem *mem)
{
	int r = umem_ioctl(mem, VDUSE_IOTLB_REG_UMEM);

	if (r != -EEXIST)
		return r;
	/*
	 * A predecessor that shared this open file registered its own. The
	 * kernel copies back what is in use, so nothing gets lost; while it
	 * stands, the kernel's pages raise SIGBUS.
	 */
	if (umem_ioctl(mem, VDUSE_IOTLB_DEREG_UMEM) < 0)
		return -EEXIST;
	r = umem_ioctl(mem, VDUSE_IOTLB_REG_UMEM);
	return r == -EEXIST ? -EBUSY : r;
}

/*
 * Returns 1 when requests are in our memory from now on, 0 when they stay in
 * the kernel's or the driver's, -EEXIST when they are in memory of somebody else,
 * other -errno when that cannot be told.
 */
static int umem_register(struct vduse_mem *mem)
{
	int r;

	if (!mem->umem)
		return 0;
	/*
	 * A registration survives the driver's resets, until the descriptor is closed. The
	 * driver after it may bring memory of its own (vhost_vdpa), at the same addresses.
	 */
	r = bounce_is_in_use(mem);
	if (mem->umem_registered)
		return r;
	if (r <= 0)
		return 0;
	if (mem->hides)
		umem_protect(mem, PROT_READ | PROT_WRITE);
	r = umem_offer(mem);
	if (mem->hides && r == 0)
		umem_hide(mem);
	else if (mem->hides)
		umem_protect(mem, PROT_NONE);
	if (r < 0)
		return r == -EEXIST ? r : 0;
	__atomic_store_n(&mem->umem_registered, true, __ATOMIC_RELAXED);
	return 1;
}

static int mem_map(struct vduse_mem *mem)
{
	struct memmap_region bounce = {
		.iova = 0,
		.len_bytes = mem->umem_bytes,
		.va = mem->umem,
		.perm = MEMMAP_READ | MEMMAP_WRITE,
		.pinned = true,
		.fd = mem->umem_fd,
	};
	int r;

	r = umem_register(mem);
	if (r < 0)
		return r;
	bounce.by_file = mem->hides;
	__atomic_store_n(&mem->map_is_plain, r == 0, __ATOMIC_RELAXED);
	if (r > 0)
		return vduse_iotlb_memmap(mem->sys, mem->dev_fd, mem->umem_bytes, &bounce,
					  &mem->map);
	return vduse_iotlb_memmap(mem->sys, mem->dev_fd, 0, NULL, &mem->map);
}

int vduse_mem_get(struct vduse_mem *mem, struct memmap **ret_map)
{
	int r = 0;

	pthread_mutex_lock(&mem->lock);
	if (!mem->map)
		r = mem_map(mem);
	if (r == 0)
		*ret_map = memmap_ref(mem->map);
	pthread_mutex_unlock(&mem->lock);
	return r;
}

void vduse_mem_drop(struct vduse_mem *mem)
{
	/* Never contended: see struct vduse_mem. */
	pthread_mutex_lock(&mem->lock);
	memmap_unref(mem->map);
	mem->map = NULL;
	__atomic_store_n(&mem->map_is_plain, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&mem->lock);
}

bool vduse_mem_is_mapped(const struct vduse_mem *mem)
{
	return __atomic_load_n(&mem->map_is_plain, __ATOMIC_RELAXED) ||
	       (mem->umem && !__atomic_load_n(&mem->umem_hidden, __ATOMIC_RELAXED));
}
