/* SPDX-License-Identifier: MIT */
/*
 * Driver side of a split virtqueue, for a device that another program is. It
 * trusts nothing that the device writes: used entries are loaded once and
 * checked against what is in flight, and what it needs of its own descriptors
 * it keeps elsewhere. A device that breaks the rules breaks the queue (sticky):
 * nothing more is reaped until the next vq_driver_start().
 *
 * Shares no code with the device side, so that a common mistake cannot test
 * itself.
 *
 * Context: one thread at a time; no function blocks or logs, and none allocates
 * but vq_driver_new().
 * Source: virtio 1.2 s2.7 (split virtqueues).
 */
#ifndef VBLK_VIRTQUEUE_VQ_DRIVER_H
#define VBLK_VIRTQUEUE_VQ_DRIVER_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

#define VQ_DRIVER_SIZE_MAX 32768u

/* Alignment of the three parts (s2.7), and the bytes they take. */
#define VQ_DRIVER_DESC_ALIGN  16u
#define VQ_DRIVER_AVAIL_ALIGN 2u
#define VQ_DRIVER_USED_ALIGN  4u

static inline size_t vq_driver_desc_bytes(uint16_t size)
{
	return (size_t)size * sizeof(struct vring_desc);
}

/* With the event index behind the ring. */
static inline size_t vq_driver_avail_bytes(uint16_t size)
{
	return sizeof(struct vring_avail) + (size_t)size * sizeof(uint16_t) + sizeof(uint16_t);
}

static inline size_t vq_driver_used_bytes(uint16_t size)
{
	return sizeof(struct vring_used) + (size_t)size * sizeof(struct vring_used_elem) +
	       sizeof(uint16_t);
}

/* @addr: as the device knows the memory */
struct vq_driver_buf {
	uint64_t addr;
	uint32_t len_bytes;
};

/**
 * struct vq_driver_config - what vq_driver_start() needs; memory borrowed until the next
 * @size:      power of two, 1..size_max of vq_driver_new()
 * @desc, @avail, @used: the three parts, mapped and aligned
 * @base_idx:  where both indexes begin; 0 but for tests of the wrap
 * @event_idx: VIRTIO_RING_F_EVENT_IDX negotiated
 * @tables:    VIRTIO_RING_F_INDIRECT_DESC negotiated: @size tables of @table_len entries each,
 *             which the device knows at @tables_addr. NULL: chains lie in the ring
 */
struct vq_driver_config {
	uint16_t size;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t base_idx;
	bool event_idx;
	struct vring_desc *tables;
	uint64_t tables_addr;
	uint16_t table_len;
};

struct vq_driver;

/* @size_max: power of two, 1..VQ_DRIVER_SIZE_MAX. Return: 0; -EINVAL; -ENOMEM. */
int vq_driver_new(uint16_t size_max, struct vq_driver **ret_drv) VBLK_MUST_CHECK;
/* NULL is fine. */
void vq_driver_free(struct vq_driver *drv);

/**
 * vq_driver_start() - make a fresh ring of the memory and begin with it
 *
 * No device may look at the memory. Whatever was in flight is forgotten: a caller that goes on
 * with another device posts it again. Interrupts are wanted.
 *
 * Return: 0; -EINVAL bad size, alignment or tables.
 */
int vq_driver_start(struct vq_driver *drv, const struct vq_driver_config *cfg) VBLK_MUST_CHECK;

/* Would vq_driver_post() find room for a chain of @buf_cnt buffers? */
bool vq_driver_has_room(const struct vq_driver *drv, unsigned int buf_cnt);

/**
 * vq_driver_post() - one request; the device sees it at the next vq_driver_publish()
 * @bufs: @readable_cnt buffers that the device reads, then @writable_cnt that it writes
 * @token: what vq_driver_reap() shall say
 *
 * Return: 0; -EAGAIN no room now; -EINVAL no buffer, or more than a table has entries (without
 *         tables: than the ring).
 */
int vq_driver_post(struct vq_driver *drv, const struct vq_driver_buf *bufs,
		   unsigned int readable_cnt, unsigned int writable_cnt,
		   uint16_t token) VBLK_MUST_CHECK;

/**
 * vq_driver_publish() - make all that was posted visible to the device
 * Return: true when it wants a kick for it. The first time after vq_driver_start() that
 *         something is published it says true whatever the device asked for.
 */
bool vq_driver_publish(struct vq_driver *drv);

/**
 * vq_driver_reap() - next request that the device has finished
 * @ret_written_bytes: what the device says it has written: check it before using it
 * Return: 1; 0 none; -EBADMSG the device broke the rules of the ring.
 */
int vq_driver_reap(struct vq_driver *drv, uint16_t *ret_token,
		   uint32_t *ret_written_bytes) VBLK_MUST_CHECK;

/**
 * vq_driver_irq_enable() - ask for an interrupt at the next used entry
 * Return: true when one is there already: reap it, no interrupt may come for it.
 */
bool vq_driver_irq_enable(struct vq_driver *drv) VBLK_MUST_CHECK;
/* Ask the device not to interrupt, until vq_driver_irq_enable(); it may anyway. */
void vq_driver_irq_suppress(struct vq_driver *drv);

/* Requests posted, published or not, and not yet reaped. */
unsigned int vq_driver_inflight_cnt(const struct vq_driver *drv);
bool vq_driver_is_broken(const struct vq_driver *drv);

#endif
