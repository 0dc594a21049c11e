/* SPDX-License-Identifier: MIT */
/* Attacks that take more than a table: time, threads, memory that goes, bad set-up. */
#include "hostile.h"

#include <linux/vhost.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RING0_IOVA 0x40000000u
#define HOLE_IOVA  0x60000000u
#define MANY_IOVA  0x100000000ull

/* A good READ of @len bytes at @head, whose data go to @data_iova. */
static void put_read(struct drv *d, uint16_t head, uint64_t data_iova, uint32_t len)
{
	uint64_t area = AREA_IOVA + head * 32u;
	struct virtio_blk_outhdr *hdr = drv_va(d, area);
	struct drv_seg segs[] = {
		{ area, 16, false },
		{ data_iova, len, true },
		{ area + 16, 1, true },
	};

	*hdr = (struct virtio_blk_outhdr){ .type = VIRTIO_BLK_T_IN };
	drv_chain(&d->q[0], head, segs, 3);
	drv_add(&d->q[0], head);
}

/* Kicks without touching the ring, which may be gone. */
static void kick_only(struct drv *d)
{
	(void)eventfd_write(d->q[0].kick_fd, 1);
}

/* ---- indexes and heads ---- */

static void run_avail_idx(struct drv *d, const struct attack *a)
{
	d->q[0].avail_idx = (uint16_t)(d->q[0].avail_idx + a->cnt);
	drv_kick(&d->q[0]);
}

static void run_head(struct drv *d, const struct attack *a)
{
	drv_add(&d->q[0], (uint16_t)a->cnt);
	drv_kick(&d->q[0]);
}

static void run_head_twice(struct drv *d, const struct attack *a)
{
	(void)a;
	put_read(d, 0, DATA_IOVA, 4096);
	drv_add(&d->q[0], 0);
	drv_kick(&d->q[0]);
}

/* ---- while requests run ---- */

static bool flip_stop;

static void *flip_main(void *arg)
{
	struct drv *d = arg;
	volatile struct vring_desc *desc = d->q[0].desc;
	volatile struct virtio_blk_outhdr *hdr = drv_va(d, AREA_IOVA);

	for (unsigned int i = 0; !__atomic_load_n(&flip_stop, __ATOMIC_RELAXED); i++) {
		desc[0].len = i & 1 ? 16 : 0xffffffff;
		desc[1].addr = i & 2 ? DATA_IOVA : HOLE_IOVA;
		desc[1].len = i & 4 ? 512 : 0x7fffffff;
		desc[1].flags = (uint16_t)(i & 8 ? 3 : i);
		desc[2].addr = i & 16 ? AREA_IOVA + 16 : UINT64_MAX;
		desc[1].next = (uint16_t)(i & 32 ? 2 : i);
		hdr->type = i & 64 ? 0 : i;
		hdr->sector = i & 128 ? 0 : UINT64_MAX - i;
	}
	return NULL;
}

/* Everything changes while the device looks; a queue that stops is brought back. */
static void run_flip(struct drv *d, const struct attack *a)
{
	uint64_t end = now_ms() + a->cnt;
	struct vring_used_elem elem;
	pthread_t thread;

	__atomic_store_n(&flip_stop, false, __ATOMIC_RELAXED);
	put_read(d, 0, DATA_IOVA, 512);
	if (pthread_create(&thread, NULL, flip_main, d) != 0)
		die("no thread");
	do {
		drv_kick(&d->q[0]);
		if (!drv_reap(&d->q[0], 200, &elem)) {
			drv_reset(d);
			drv_start(d, FEATURES_ALL);
		}
		drv_add(&d->q[0], 0);
	} while (now_ms() < end);
	__atomic_store_n(&flip_stop, true, __ATOMIC_RELAXED);
	(void)pthread_join(thread, NULL);
}

static void run_unmap_in_flight(struct drv *d, const struct attack *a)
{
	struct vring_used_elem elem;

	for (unsigned int i = 0; i < a->cnt; i++) {
		for (uint16_t head = 0; head < 60; head += 3)
			put_read(d, head, d->region[REGION_B].iova + head * 16384u, 32768);
		drv_kick(&d->q[0]);
		if (drv_region_unmap(d, REGION_B) < 0 || drv_region_map(d, REGION_B) < 0)
			die("region B cannot be mapped again");
		for (unsigned int n = 0; n < 20 && drv_reap(&d->q[0], 1000, &elem); n++)
			;
		drv_reset(d);
		drv_start(d, FEATURES_ALL);
	}
}

static void run_reset_in_flight(struct drv *d, const struct attack *a)
{
	for (unsigned int i = 0; i < a->cnt; i++) {
		for (uint16_t head = 0; head < 60; head += 3)
			put_read(d, head, DATA_IOVA + head * 16384u, 32768);
		drv_kick(&d->q[0]);
		drv_reset(d);
		drv_start(d, FEATURES_ALL);
	}
}

static void run_kicks(struct drv *d, const struct attack *a)
{
	for (unsigned int i = 0; i < a->cnt; i++)
		kick_only(d);
}

/* ---- memory that goes away ---- */

static void truncate_region(struct drv *d, enum drv_region_id id, uint64_t len_bytes)
{
	if (ftruncate(d->region[id].fd, (off_t)len_bytes) < 0)
		die("ftruncate: %m");
}

enum {
	HEADER,
	DATA,
	STATUS,
	TABLE
};

/* One part of a request, @a->cnt, is in pages that no file has any more. */
static void run_truncated_part(struct drv *d, const struct attack *a)
{
	uint64_t victim = d->region[REGION_VICTIM].iova;
	struct drv_seg segs[] = {
		{ a->cnt == HEADER ? victim : AREA_IOVA, 16, false },
		{ a->cnt == DATA ? victim : DATA_IOVA, 4096, a->type == VIRTIO_BLK_T_IN },
		{ a->cnt == STATUS ? victim : AREA_IOVA + 16, 1, true },
	};
	struct virtio_blk_outhdr *hdr = drv_va(d, segs[0].iova);

	*hdr = (struct virtio_blk_outhdr){ .type = a->type };
	*(uint8_t *)drv_va(d, segs[2].iova) = DRV_NO_ANSWER;
	drv_chain_indirect(d, &d->q[0], 0, a->cnt == TABLE ? victim : TABLE_IOVA, segs, 3);
	drv_add(&d->q[0], 0);
	truncate_region(d, REGION_VICTIM, 0);
	drv_kick(&d->q[0]);
}

/* Of the ring's file the first @a->cnt bytes remain. */
static void run_truncated_ring(struct drv *d, const struct attack *a)
{
	put_read(d, 0, DATA_IOVA, 4096);
	__atomic_store_n(&d->q[0].avail->idx, d->q[0].avail_idx, __ATOMIC_RELEASE);
	truncate_region(d, REGION_RING0, a->cnt);
	kick_only(d);
}

/* @a->cnt mappings of one page; @a->type: whether requests can go on meanwhile. */
static void run_many_regions(struct drv *d, const struct attack *a)
{
	uint64_t step = 2 * DRV_PAGE;
	uint8_t answer;

	if (drv_iotlb_batch(d, true) < 0)
		die("batch: %m");
	for (unsigned int i = 0; i < a->cnt; i++)
		if (drv_iotlb_add(d, MANY_IOVA + i * step, DRV_PAGE, drv_va(d, DATA_IOVA),
				  VHOST_ACCESS_RW) < 0)
			die("mapping %u: %m", i);
	(void)drv_iotlb_batch(d, false);
	answer = drv_request(d, &d->q[1], VIRTIO_BLK_T_FLUSH, 0, WITNESS_IOVA, 0, 0,
			     a->type ? DRV_WAIT_MS : 500);
	if (a->type && answer != VIRTIO_BLK_S_OK)
		die("%u mappings: status %u", a->cnt, answer);
	if (a->type)
		hostile_check_control();
	if (drv_iotlb_remove(d, MANY_IOVA, a->cnt * step) < 0)
		die("unmapping: %m");
	if (!a->type && drv_reap(&d->q[1], DRV_WAIT_MS, &(struct vring_used_elem){ 0 }) !=
				(answer == DRV_NO_ANSWER))
		die("a request did not come back when the mappings were gone");
}

/* ---- bad set-up ---- */

static const uint8_t driver_ok = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;

enum {
	RING_DESC,
	RING_AVAIL,
	RING_USED,
	RING_SIZE
};

/* One part, @a->cnt, of ring 0 is at @a->sector. */
static void run_ring_at(struct drv *d, const struct attack *a)
{
	struct drv_queue *q = &d->q[0];

	drv_reset(d);
	switch (a->cnt) {
	case RING_DESC:
		q->desc_iova = a->sector;
		break;
	case RING_AVAIL:
		q->avail_iova = a->sector;
		break;
	case RING_USED:
		q->used_iova = a->sector;
		break;
	default:
		q->num = (uint16_t)a->sector;
		break;
	}
	drv_start(d, FEATURES_ALL);
	put_read(d, 0, DATA_IOVA, 4096);
	drv_kick(q);
}

static void run_enable(struct drv *d, const struct attack *a)
{
	for (unsigned int i = 0; i < a->cnt; i++)
		(void)drv_ring_enable(d, 0, i & 2);
	(void)drv_status_set(d, driver_ok);
	(void)drv_ring_enable(d, 0, true);
	(void)drv_status_set(d, driver_ok);
}

static void run_status(struct drv *d, const struct attack *a)
{
	(void)drv_status_set(d, (uint8_t)(driver_ok | a->cnt));
	(void)drv_status_set(d, 0xff);
}

/* FEATURES_OK is not asked for, or with what cannot work; @a->type: straight to the end. */
static void run_features(struct drv *d, const struct attack *a)
{
	const uint8_t wanted =
		a->type ? driver_ok : driver_ok & (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;

	drv_reset(d);
	(void)drv_status_set(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	(void)drv_status_set(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	(void)drv_features_set(d, a->sector);
	for (unsigned int i = 0; i < DRV_QUEUES; i++) {
		drv_ring_set(d, i);
		(void)drv_ring_enable(d, i, true);
	}
	(void)drv_status_set(d, wanted);
	if (drv_status(d) == wanted)
		die("features 0x%llx were taken", (unsigned long long)a->sector);
	drv_reset(d);
	drv_start(d, FEATURES_ALL);
}

static void run_get_base(struct drv *d, const struct attack *a)
{
	for (unsigned int i = 0; i < a->cnt; i++) {
		struct vhost_vring_state state = { .index = i & 1 };

		if (ioctl(d->fd, VHOST_GET_VRING_BASE, &state) < 0)
			die("VHOST_GET_VRING_BASE: %m");
	}
}

/* A queue that is broken already meets changes of the memory. */
static void run_broken_and_remapped(struct drv *d, const struct attack *a)
{
	d->q[0].desc[0] = (struct vring_desc){ .addr = AREA_IOVA };
	drv_add(&d->q[0], 0);
	drv_kick(&d->q[0]);
	hostile_wait_broken();
	for (unsigned int i = 0; i < a->cnt; i++)
		if (drv_region_unmap(d, REGION_TOP) < 0 || drv_region_map(d, REGION_TOP) < 0)
			die("the top cannot be mapped again");
}

#define DEED(what, fn, n, ...)                                 \
	{                                                      \
		.name = what, .run = fn, .cnt = n, __VA_ARGS__ \
	}
#define BREAKS(why) .outcome = BROKEN, .text = why

/* Sizes that are no power of two, or too large, are refused by the kernel. */
#define RING_AT(what, part, where)                                                                 \
	{                                                                                          \
		.name = what, .run = run_ring_at, .cnt = part, .sector = where, BREAKS("its ring") \
	}

const struct attack hostile_deeds[] = {
	DEED("available index 65 ahead", run_avail_idx, 65, BREAKS("avail index")),
	DEED("available index 32768 ahead", run_avail_idx, 32768, BREAKS("avail index")),
	DEED("available index goes back", run_avail_idx, 65535, BREAKS("avail index")),
	DEED("head 64", run_head, 64, BREAKS("head outside")),
	DEED("head 65535", run_head, 65535, BREAKS("head outside")),
	DEED("a head twice", run_head_twice, 0, BREAKS("made available again")),
	DEED("everything changes all the time", run_flip, 1500, .outcome = ANY),
	DEED("unmapped in flight", run_unmap_in_flight, 5, .outcome = ANY),
	DEED("reset in flight", run_reset_in_flight, 20, .outcome = ANY),
	DEED("20000 kicks", run_kicks, 20000, .outcome = ANY),
	DEED("truncated data, written", run_truncated_part, DATA, .type = VIRTIO_BLK_T_OUT,
	     .outcome = ANSWERED, .status = VIRTIO_BLK_S_IOERR),
	DEED("truncated data, read", run_truncated_part, DATA, .type = VIRTIO_BLK_T_IN,
	     .outcome = ANSWERED, .status = VIRTIO_BLK_S_IOERR),
	DEED("truncated header", run_truncated_part, HEADER, BREAKS("memory")),
	DEED("truncated status", run_truncated_part, STATUS, BREAKS("memory")),
	DEED("truncated table", run_truncated_part, TABLE, BREAKS("memory")),
	DEED("truncated ring: nothing is left", run_truncated_ring, 0, BREAKS("memory")),
	DEED("truncated ring: descriptors are left", run_truncated_ring, 4096, BREAKS("memory")),
	DEED("truncated ring: only the used ring is gone", run_truncated_ring, 8192,
	     BREAKS("memory")),
	DEED("900 regions", run_many_regions, 900, .type = 1, .outcome = ANY),
	DEED("1100 regions", run_many_regions, 1100, .outcome = ANY),
	RING_AT("used ring that may not be written", RING_USED, 0x10000000),
	RING_AT("available ring that may not be read", RING_AVAIL, 0x20000000),
	RING_AT("descriptors of nothing", RING_DESC, HOLE_IOVA),
	RING_AT("used ring beyond its region", RING_USED, RING0_IOVA + 16 * DRV_PAGE - 64),
	RING_AT("descriptors at an odd address", RING_DESC, RING0_IOVA + 8),
	{ .name = "used ring over the descriptors",
	  .run = run_ring_at,
	  .cnt = RING_USED,
	  .sector = RING0_IOVA,
	  .outcome = ANY },
	{ .name = "ring of 1", .run = run_ring_at, .cnt = RING_SIZE, .sector = 1, .outcome = ANY },
	DEED("enabled and disabled", run_enable, 50, .outcome = ANY),
	DEED("status with all bits", run_status, 0x70, .outcome = ANY),
	DEED("features nobody offered", run_features, 0, .sector = UINT64_MAX, .outcome = ANY),
	DEED("no features", run_features, 0, .sector = 0, .outcome = ANY),
	DEED("DRIVER_OK with a packed ring", run_features, 0, .type = 1,
	     .sector = FEATURES_BASIC | BIT64(VIRTIO_F_RING_PACKED), .outcome = ANY),
	DEED("DRIVER_OK without features", run_features, 0, .type = 1, .outcome = ANY),
	DEED("GET_VRING_BASE 50 times", run_get_base, 50, .outcome = ANY),
	DEED("broken, then remapped", run_broken_and_remapped, 10, BREAKS("zero length")),
};
const unsigned int hostile_deeds_cnt = sizeof(hostile_deeds) / sizeof(hostile_deeds[0]);
