/* SPDX-License-Identifier: MIT */
/*
 * The driver's side of a split virtqueue for tests: memory with an IOVA base,
 * a ring in it, and raw stores into every field, malformed or not. Shares no
 * code with src/virtqueue, so that a common mistake cannot test itself.
 * Anything a test does wrong here (no memory, no descriptor) aborts.
 *
 *	struct ring *r = ring_new(8, 1 << 20, 0x10000);
 *	struct memmap_region reg = { .iova = r->iova, .len_bytes = r->mem_bytes, .va = r->mem,
 *				     .perm = MEMMAP_READ | MEMMAP_WRITE, .fd = -1 };
 *	struct ring_blk_req req;
 *
 *	ring_blk_submit(r, &(struct ring_blk_spec){ .type = VIRTIO_BLK_T_IN, .sector = 8,
 *			.seg_cnt = 1, .seg_bytes = { 4096 } }, &req);
 *	... the device works ...
 *	ring_reap(r);
 *	ck_assert(ring_blk_is_done(r, &req) && *req.status == VIRTIO_BLK_S_OK);
 *	ring_blk_put(r, &req);
 *	ring_free(r);
 */
#ifndef TESTS_FAKE_RING_BUILDER_H
#define TESTS_FAKE_RING_BUILDER_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_BLK_SEGS_MAX 128

/**
 * struct ring - memory with one ring in it; every field may be read and changed
 * @mem: @mem_bytes at driver address @iova, shared memory of file @fd (offset 0)
 * @mem_used_bytes: allocated so far by ring_alloc()
 * @buf_start_bytes: where ring_alloc_reset() goes back to, behind the ring
 * @avail_idx: next avail->idx to publish
 * @used_idx: next entry of used->ring to look at
 * @desc_busy: by descriptor; taken by ring_desc_alloc()
 * @done_cnt: by head; completions seen by ring_reap() since it was last made available
 * @done_bytes: by head; written length of the last one
 * @bad_used_cnt: used entries whose id is no index of the ring
 */
struct ring {
	uint8_t *mem;
	size_t mem_bytes;
	size_t mem_used_bytes;
	size_t buf_start_bytes;
	uint64_t iova;
	int fd;
	uint16_t size;
	uint16_t avail_idx;
	uint16_t used_idx;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	bool *desc_busy;
	unsigned int *done_cnt;
	uint32_t *done_bytes;
	unsigned int bad_used_cnt;
};

/* @size: entries, 1..32768. @mem_bytes: room for the ring and all buffers; zeroed. */
struct ring *ring_new(uint16_t size, size_t mem_bytes, uint64_t iova);
void ring_free(struct ring *r);

/* Zeroed bytes of the arena. @align_bytes: power of two. */
void *ring_alloc(struct ring *r, size_t bytes, size_t align_bytes);
/* Gives all buffers back at once; the ring stays. */
void ring_alloc_reset(struct ring *r);
/* Driver address of a pointer into the arena, and back (NULL when outside). */
uint64_t ring_iova(const struct ring *r, const void *p);
void *ring_ptr(const struct ring *r, uint64_t iova);
/* Driver addresses of the three parts, as VDUSE_VQ_GET_INFO tells them. */
uint64_t ring_desc_iova(const struct ring *r);
uint64_t ring_avail_iova(const struct ring *r);
uint64_t ring_used_iova(const struct ring *r);

/* Both start at @idx: tests the wrap at 2^16. Sets the shared indexes too. */
void ring_set_start_idx(struct ring *r, uint16_t idx);

/* Stores @desc (host byte order) into descriptor @i, any values. */
void ring_desc_write(struct ring *r, unsigned int i, struct vring_desc desc);
/* ring_desc_set(r, 0, .addr = a, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 1) */
#define ring_desc_set(r, i, ...) ring_desc_write(r, i, (struct vring_desc){ __VA_ARGS__ })
/* The same for entry @i of an indirect table in the arena. */
void ring_table_write(void *table, unsigned int i, struct vring_desc desc);
#define ring_table_set(table, i, ...) ring_table_write(table, i, (struct vring_desc){ __VA_ARGS__ })

/* A free descriptor, marked busy; aborts when there is none. */
uint16_t ring_desc_alloc(struct ring *r);
unsigned int ring_desc_free_cnt(const struct ring *r);

/* Puts @head into the next avail slot and moves avail->idx (release). */
void ring_publish(struct ring *r, uint16_t head);
/* The same in two steps, for batches: several adds, one show. */
void ring_avail_add(struct ring *r, uint16_t head);
void ring_avail_show(struct ring *r);
/* Stores avail->idx directly, whatever was added. */
void ring_avail_idx_set(struct ring *r, uint16_t idx);

uint16_t ring_used_idx(const struct ring *r);
/* Entry at free-running index @idx. */
struct vring_used_elem ring_used_elem(const struct ring *r, uint16_t idx);
/* Looks at new used entries, counts them by head; returns how many. */
unsigned int ring_reap(struct ring *r);

/* What the driver says about interrupts. */
void ring_avail_flags_set(struct ring *r, uint16_t flags);
void ring_used_event_set(struct ring *r, uint16_t idx);
/* What the device says about kicks. */
uint16_t ring_used_flags(const struct ring *r);
uint16_t ring_avail_event(const struct ring *r);
/* A driver's decision to kick after moving avail->idx from @old_idx to now. */
bool ring_kick_wanted(const struct ring *r, uint16_t old_idx, bool event_idx);

/**
 * struct ring_blk_spec - a virtio-blk request to build
 * @seg_bytes: @seg_cnt data segments
 * @from_driver: data goes to the device (WRITE, DISCARD, WRITE_ZEROES)
 * @indirect: one descriptor with a table
 */
struct ring_blk_spec {
	uint32_t type;
	uint32_t ioprio;
	uint64_t sector;
	bool from_driver;
	bool indirect;
	unsigned int seg_cnt;
	uint32_t seg_bytes[RING_BLK_SEGS_MAX];
};

/**
 * struct ring_blk_req - where the parts of a built request are
 * @status: 0xff until the device stores a status
 */
struct ring_blk_req {
	uint16_t head;
	uint16_t desc_cnt;
	uint16_t descs[RING_BLK_SEGS_MAX + 2];
	void *hdr;
	unsigned int seg_cnt;
	uint8_t *data[RING_BLK_SEGS_MAX];
	uint32_t data_bytes[RING_BLK_SEGS_MAX];
	uint8_t *status;
};

/* Allocates and links the parts; fill req->data[], then ring_publish(r, req->head). */
void ring_blk_build(struct ring *r, const struct ring_blk_spec *spec, struct ring_blk_req *ret_req);
/* Build and publish. */
void ring_blk_submit(struct ring *r, const struct ring_blk_spec *spec,
		     struct ring_blk_req *ret_req);
/* True when ring_reap() has seen it completed exactly once; more than once aborts. */
bool ring_blk_is_done(const struct ring *r, const struct ring_blk_req *req);
/* Length that came with the completion. */
uint32_t ring_blk_written_bytes(const struct ring *r, const struct ring_blk_req *req);
/* Frees its descriptors for others; buffers only by ring_alloc_reset(). */
void ring_blk_put(struct ring *r, struct ring_blk_req *req);

#endif
