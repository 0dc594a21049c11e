/* SPDX-License-Identifier: MIT */
#include "vhost_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "vblk/util/le.h"

/* Parts of a ring within its region. */
#define DESC_AT	 0u
#define AVAIL_AT 4096u
#define USED_AT	 8192u

static const struct {
	uint64_t iova;
	uint64_t len_bytes;
	uint8_t perm;
} layout[REGION_CNT] = {
	[REGION_A] = { 0, 2u << 20, VHOST_ACCESS_RW },
	[REGION_B] = { 2u << 20, 1u << 20, VHOST_ACCESS_RW },
	[REGION_READ_ONLY] = { 0x10000000, 16 * DRV_PAGE, VHOST_ACCESS_RO },
	[REGION_WRITE_ONLY] = { 0x20000000, 16 * DRV_PAGE, VHOST_ACCESS_WO },
	[REGION_VICTIM] = { 0x30000000, 16 * DRV_PAGE, VHOST_ACCESS_RW },
	[REGION_TOP] = { UINT64_MAX - 16 * DRV_PAGE + 1, 16 * DRV_PAGE, VHOST_ACCESS_RW },
	[REGION_RING0] = { 0x40000000, 16 * DRV_PAGE, VHOST_ACCESS_RW },
	[REGION_RING1] = { 0x50000000, 16 * DRV_PAGE, VHOST_ACCESS_RW },
};

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fflush(stdout);
	(void)fprintf(stderr, "hostile-driver: ");
	(void)vfprintf(stderr, fmt, ap);
	(void)fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

unsigned int rnd(unsigned int below)
{
	static uint64_t state = 1;

	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned int)(state >> 33) % below;
}

/* ---- memory ---- */

static int iotlb_send(struct drv *d, const struct vhost_iotlb_msg *iotlb)
{
	struct vhost_msg_v2 msg;

	memset(&msg, 0, sizeof(msg));
	msg.type = VHOST_IOTLB_MSG_V2;
	msg.iotlb = *iotlb;
	return write(d->fd, &msg, sizeof(msg)) == (ssize_t)sizeof(msg) ? 0 : -errno;
}

int drv_iotlb_add(struct drv *d, uint64_t iova, uint64_t len_bytes, void *va, uint8_t perm)
{
	const struct vhost_iotlb_msg msg = {
		.iova = iova,
		.size = len_bytes,
		.uaddr = (uintptr_t)va,
		.perm = perm,
		.type = VHOST_IOTLB_UPDATE,
	};

	return iotlb_send(d, &msg);
}

int drv_iotlb_remove(struct drv *d, uint64_t iova, uint64_t len_bytes)
{
	const struct vhost_iotlb_msg msg = {
		.iova = iova,
		.size = len_bytes,
		.type = VHOST_IOTLB_INVALIDATE,
	};

	return iotlb_send(d, &msg);
}

int drv_iotlb_batch(struct drv *d, bool begin)
{
	const struct vhost_iotlb_msg msg = {
		.type = begin ? VHOST_IOTLB_BATCH_BEGIN : VHOST_IOTLB_BATCH_END,
	};

	return iotlb_send(d, &msg);
}

int drv_region_map(struct drv *d, enum drv_region_id id)
{
	struct drv_region *region = &d->region[id];

	return drv_iotlb_add(d, region->iova, region->len_bytes, region->va, region->perm);
}

int drv_region_unmap(struct drv *d, enum drv_region_id id)
{
	return drv_iotlb_remove(d, d->region[id].iova, d->region[id].len_bytes);
}

void *drv_va(struct drv *d, uint64_t iova)
{
	for (unsigned int i = 0; i < REGION_CNT; i++) {
		struct drv_region *region = &d->region[i];

		if (iova - region->iova < region->len_bytes)
			return region->va + (iova - region->iova);
	}
	die("no region has 0x%llx", (unsigned long long)iova);
}

static void regions_make(struct drv *d)
{
	/* Room for all side by side: a buffer may cross from A to B here, too. */
	uint8_t *room = mmap(NULL, 8u << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (room == MAP_FAILED)
		die("mmap: %m");
	for (unsigned int i = 0; i < REGION_CNT; i++) {
		struct drv_region *region = &d->region[i];

		region->iova = layout[i].iova;
		region->len_bytes = layout[i].len_bytes;
		region->perm = layout[i].perm;
		region->fd = memfd_create("region", MFD_CLOEXEC);
		if (region->fd < 0 || ftruncate(region->fd, (off_t)region->len_bytes) < 0)
			die("memfd: %m");
		region->va = mmap(room, region->len_bytes, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, region->fd, 0);
		if (region->va == MAP_FAILED)
			die("mmap: %m");
		room += region->len_bytes;
	}
}

/* ---- control ---- */

static void must(struct drv *d, unsigned long request, void *arg, const char *what)
{
	if (ioctl(d->fd, request, arg) < 0)
		die("%s: %m", what);
}

static void rings_make(struct drv *d)
{
	for (unsigned int i = 0; i < DRV_QUEUES; i++) {
		struct drv_queue *q = &d->q[i];
		uint8_t *va = d->region[REGION_RING0 + i].va;

		q->idx = i;
		q->desc = (void *)(va + DESC_AT);
		q->avail = (void *)(va + AVAIL_AT);
		q->used = (void *)(va + USED_AT);
		q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		q->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (q->kick_fd < 0 || q->call_fd < 0)
			die("eventfd: %m");
	}
	drv_rings_clean(d);
}

void drv_open(struct drv *d, const char *node)
{
	uint64_t backend =
		(1ull << VHOST_BACKEND_F_IOTLB_MSG_V2) | (1ull << VHOST_BACKEND_F_IOTLB_BATCH);
	/* The head of a struct vhost_vdpa_config, then the capacity in sectors. */
	struct {
		uint32_t offset;
		uint32_t len;
		uint64_t capacity;
	} config = { .offset = 0, .len = sizeof(uint64_t) };

	_Static_assert(sizeof(struct vhost_vdpa_config) == 8, "capacity follows the head");

	memset(d, 0, sizeof(*d));
	d->fd = open(node, O_RDWR | O_CLOEXEC);
	if (d->fd < 0)
		die("cannot open %s: %m", node);
	must(d, VHOST_SET_OWNER, NULL, "VHOST_SET_OWNER");
	must(d, VHOST_GET_FEATURES, &d->offered, "VHOST_GET_FEATURES");
	must(d, VHOST_SET_BACKEND_FEATURES, &backend, "VHOST_SET_BACKEND_FEATURES");
	must(d, VHOST_VDPA_GET_CONFIG, &config, "VHOST_VDPA_GET_CONFIG");
	d->capacity_bytes = config.capacity * 512;
	regions_make(d);
	rings_make(d);
	for (unsigned int i = 0; i < REGION_CNT; i++)
		if (drv_region_map(d, (enum drv_region_id)i) < 0)
			die("region %u cannot be mapped", i);
}

uint8_t drv_status(struct drv *d)
{
	uint8_t status = 0;

	must(d, VHOST_VDPA_GET_STATUS, &status, "VHOST_VDPA_GET_STATUS");
	return status;
}

int drv_status_set(struct drv *d, uint8_t status)
{
	return ioctl(d->fd, VHOST_VDPA_SET_STATUS, &status) < 0 ? -errno : 0;
}

int drv_features_set(struct drv *d, uint64_t features)
{
	d->features = features;
	return ioctl(d->fd, VHOST_SET_FEATURES, &features) < 0 ? -errno : 0;
}

void drv_rings_clean(struct drv *d)
{
	for (unsigned int i = 0; i < DRV_QUEUES; i++) {
		struct drv_region *region = &d->region[REGION_RING0 + i];
		struct drv_queue *q = &d->q[i];
		uint64_t cnt;

		memset(region->va, 0, region->len_bytes);
		q->avail_idx = 0;
		q->used_idx = 0;
		q->num = DRV_RING_SIZE;
		q->desc_iova = region->iova + DESC_AT;
		q->avail_iova = region->iova + AVAIL_AT;
		q->used_iova = region->iova + USED_AT;
		while (read(q->call_fd, &cnt, sizeof(cnt)) > 0)
			;
	}
}

void drv_ring_set(struct drv *d, unsigned int idx)
{
	struct drv_queue *q = &d->q[idx];
	struct vhost_vring_state num = { .index = idx, .num = q->num };
	struct vhost_vring_state base = { .index = idx, .num = 0 };
	struct vhost_vring_file kick = { .index = idx, .fd = q->kick_fd };
	struct vhost_vring_file call = { .index = idx, .fd = q->call_fd };
	struct vhost_vring_addr addr = {
		.index = idx,
		.desc_user_addr = q->desc_iova,
		.avail_user_addr = q->avail_iova,
		.used_user_addr = q->used_iova,
	};

	must(d, VHOST_SET_VRING_NUM, &num, "VHOST_SET_VRING_NUM");
	must(d, VHOST_SET_VRING_ADDR, &addr, "VHOST_SET_VRING_ADDR");
	must(d, VHOST_SET_VRING_BASE, &base, "VHOST_SET_VRING_BASE");
	must(d, VHOST_SET_VRING_KICK, &kick, "VHOST_SET_VRING_KICK");
	must(d, VHOST_SET_VRING_CALL, &call, "VHOST_SET_VRING_CALL");
}

int drv_ring_enable(struct drv *d, unsigned int idx, bool on)
{
	struct vhost_vring_state state = { .index = idx, .num = on };

	return ioctl(d->fd, VHOST_VDPA_SET_VRING_ENABLE, &state) < 0 ? -errno : 0;
}

void drv_reset(struct drv *d)
{
	int r = drv_status_set(d, 0);

	if (r < 0)
		die("reset: %s", strerror(-r));
	drv_rings_clean(d);
}

void drv_start(struct drv *d, uint64_t features)
{
	const uint8_t driver = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	const uint8_t features_ok = driver | VIRTIO_CONFIG_S_FEATURES_OK;
	const uint8_t all = features_ok | VIRTIO_CONFIG_S_DRIVER_OK;

	if (drv_status_set(d, VIRTIO_CONFIG_S_ACKNOWLEDGE) < 0 || drv_status_set(d, driver) < 0 ||
	    drv_features_set(d, features) < 0 || drv_status_set(d, features_ok) < 0)
		die("cannot negotiate: %m");
	if (drv_status(d) != features_ok)
		die("features 0x%llx refused", (unsigned long long)features);
	for (unsigned int i = 0; i < DRV_QUEUES; i++) {
		drv_ring_set(d, i);
		if (drv_ring_enable(d, i, true) < 0)
			die("cannot enable queue %u: %m", i);
	}
	if (drv_status_set(d, all) < 0 || drv_status(d) != all)
		die("DRIVER_OK refused");
}

/* ---- requests ---- */

static void desc_set(struct vring_desc *desc, const struct drv_seg *seg, bool more, uint16_t next)
{
	desc->addr = seg->iova;
	desc->len = seg->len;
	desc->flags =
		(uint16_t)((seg->write ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0));
	desc->next = next;
}

void drv_chain(struct drv_queue *q, uint16_t head, const struct drv_seg *segs, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++) {
		unsigned int at = (head + i) % DRV_RING_SIZE;

		desc_set(&q->desc[at], &segs[i], i + 1 < cnt, (uint16_t)((at + 1) % DRV_RING_SIZE));
	}
}

void drv_chain_indirect(struct drv *d, struct drv_queue *q, uint16_t head, uint64_t table_iova,
			const struct drv_seg *segs, unsigned int cnt)
{
	uint8_t *table = drv_va(d, table_iova);

	for (unsigned int i = 0; i < cnt; i++) {
		struct vring_desc desc;

		desc_set(&desc, &segs[i], i + 1 < cnt, (uint16_t)(i + 1));
		/* Neither aligned nor in one region, but in one piece here. */
		memcpy(table + i * sizeof(desc), &desc, sizeof(desc));
	}
	q->desc[head] = (struct vring_desc){
		.addr = table_iova,
		.len = cnt * (uint32_t)sizeof(struct vring_desc),
		.flags = VRING_DESC_F_INDIRECT,
	};
}

void drv_add(struct drv_queue *q, uint16_t head)
{
	q->avail->ring[q->avail_idx % DRV_RING_SIZE] = head;
	q->avail_idx++;
}

void drv_kick(struct drv_queue *q)
{
	uint64_t one = 1;

	/* Descriptors before the index, the index before the kick. */
	__atomic_store_n(&q->avail->idx, q->avail_idx, __ATOMIC_RELEASE);
	fence_full();
	if (write(q->kick_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		die("kick: %m");
}

static uint16_t *used_event(struct drv_queue *q)
{
	return &q->avail->ring[DRV_RING_SIZE];
}

bool drv_reap(struct drv_queue *q, unsigned int ms, struct vring_used_elem *ret_elem)
{
	struct pollfd pfd = { .fd = q->call_fd, .events = POLLIN };
	uint64_t end = now_ms() + ms, cnt;

	for (;;) {
		*used_event(q) = q->used_idx;
		fence_full();
		if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->used_idx)
			break;
		if (now_ms() >= end)
			return false;
		/* An interrupt that does not come shows as a wait of full length. */
		(void)poll(&pfd, 1, (int)(end - now_ms()));
		if (read(q->call_fd, &cnt, sizeof(cnt)) < 0 && errno != EAGAIN)
			die("call: %m");
	}
	*ret_elem = q->used->ring[q->used_idx % DRV_RING_SIZE];
	q->used_idx++;
	return true;
}

uint8_t drv_request(struct drv *d, struct drv_queue *q, uint32_t type, uint64_t sector,
		    uint64_t area_iova, uint64_t data_iova, uint32_t data_len, unsigned int ms)
{
	struct virtio_blk_outhdr *hdr = drv_va(d, area_iova);
	volatile uint8_t *status = drv_va(d, area_iova + 16);
	struct drv_seg segs[] = {
		{ area_iova, 16, false },
		{ data_iova, data_len, type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID },
		{ area_iova + 16, 1, true },
	};
	struct vring_used_elem elem;

	*hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*status = DRV_NO_ANSWER;
	if (!data_len)
		segs[1] = segs[2];
	drv_chain(q, 0, segs, data_len ? 3 : 2);
	drv_add(q, 0);
	drv_kick(q);
	if (!drv_reap(q, ms, &elem))
		return DRV_NO_ANSWER;
	if (elem.id != 0)
		die("queue %u: head %u came back instead of 0", q->idx, elem.id);
	return *status;
}
