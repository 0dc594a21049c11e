/* SPDX-License-Identifier: MIT */
/*
 * A virtio-blk driver in user space, over /dev/vhost-vdpa-N: memory, rings and
 * control are all in the hands of the program, so it can break any rule.
 *
 * What goes wrong without having been asked for ends the program: die().
 */
#ifndef TESTS_TOOLS_VHOST_DRIVER_H
#define TESTS_TOOLS_VHOST_DRIVER_H

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRV_QUEUES    2u
#define DRV_RING_SIZE 64u
#define DRV_PAGE      4096u
#define DRV_WAIT_MS   20000u

#define BIT64(n) (1ull << (n))

/* Memory that the device is shown; each a file of its own. A and B are neighbours. */
enum drv_region_id {
	REGION_A,
	REGION_B,
	REGION_READ_ONLY,
	REGION_WRITE_ONLY,
	REGION_VICTIM,
	REGION_TOP, /* up to the last address there is */
	REGION_RING0,
	REGION_RING1,
	REGION_CNT,
};

struct drv_region {
	uint64_t iova;
	uint64_t len_bytes;
	uint8_t perm; /* VHOST_ACCESS_* */
	int fd;
	uint8_t *va;
};

/**
 * struct drv_queue - a ring, and where the device is told that it is
 * @avail_idx, @used_idx: ours; what is in the ring follows drv_publish()
 */
struct drv_queue {
	unsigned int idx;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx;
	uint16_t used_idx;
	int kick_fd;
	int call_fd;
	uint64_t desc_iova, avail_iova, used_iova;
	uint16_t num;
};

struct drv {
	int fd;
	uint64_t offered;
	uint64_t features;
	uint64_t capacity_bytes;
	struct drv_region region[REGION_CNT];
	struct drv_queue q[DRV_QUEUES];
};

struct drv_seg {
	uint64_t iova;
	uint32_t len;
	bool write;
};

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);
uint64_t now_ms(void);
unsigned int rnd(unsigned int below);

void drv_open(struct drv *d, const char *node);

/* IOTLB messages; 0 or -errno. */
int drv_iotlb_add(struct drv *d, uint64_t iova, uint64_t len_bytes, void *va, uint8_t perm);
int drv_iotlb_remove(struct drv *d, uint64_t iova, uint64_t len_bytes);
/* All that follows until drv_iotlb_batch(d, false) counts as one. */
int drv_iotlb_batch(struct drv *d, bool begin);
int drv_region_map(struct drv *d, enum drv_region_id id);
int drv_region_unmap(struct drv *d, enum drv_region_id id);
/* Our address of a device address that is in a region. */
void *drv_va(struct drv *d, uint64_t iova);

uint8_t drv_status(struct drv *d);
/* 0 or -errno. */
int drv_status_set(struct drv *d, uint8_t status);
int drv_features_set(struct drv *d, uint64_t features);
/* Fresh indexes, addresses and sizes as they ought to be. */
void drv_rings_clean(struct drv *d);
/* Tells the kernel of a ring. */
void drv_ring_set(struct drv *d, unsigned int idx);
int drv_ring_enable(struct drv *d, unsigned int idx, bool on);
void drv_reset(struct drv *d);
/* From a reset device to DRIVER_OK. */
void drv_start(struct drv *d, uint64_t features);

/* Chain at @head, head + 1, ... of the ring's own table. */
void drv_chain(struct drv_queue *q, uint16_t head, const struct drv_seg *segs, unsigned int cnt);
/* The same in a table at @table_iova. */
void drv_chain_indirect(struct drv *d, struct drv_queue *q, uint16_t head, uint64_t table_iova,
			const struct drv_seg *segs, unsigned int cnt);
/* Adds an entry; drv_kick() shows it. */
void drv_add(struct drv_queue *q, uint16_t head);
void drv_kick(struct drv_queue *q);
/* Next used element within @ms; false when there is none. */
bool drv_reap(struct drv_queue *q, unsigned int ms, struct vring_used_elem *ret_elem);

/* One request at a time, header and status in @area_iova's page, data at @data_iova. */
#define DRV_NO_ANSWER 255
uint8_t drv_request(struct drv *d, struct drv_queue *q, uint32_t type, uint64_t sector,
		    uint64_t area_iova, uint64_t data_iova, uint32_t data_len, unsigned int ms);

#endif
