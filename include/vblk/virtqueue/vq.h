/* SPDX-License-Identifier: MIT */
/*
 * Device side of a virtqueue, split or packed. Trusts nothing in the ring: each
 * field is loaded once, checked, then used. A driver that breaks the rules breaks
 * the queue (sticky, reported once): nothing more is popped until the next
 * vq_start(), while requests already popped may still be pushed.
 *
 * Context: one thread at a time; no function blocks, allocates or logs, except
 * vq_new(), vq_start() and vq_free().
 * Source: virtio 1.2 s2.7 (split virtqueues), s2.8 (packed virtqueues).
 */
#ifndef VBLK_VIRTQUEUE_VQ_H
#define VBLK_VIRTQUEUE_VQ_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vblk/mem/memmap.h"
#include "vblk/util/compiler.h"
#include "vblk/virtqueue/vq_inflight.h"

#define VQ_SIZE_MAX 32768u

/* vq_base() of a packed ring that is new: both positions 0, both wrap counters 1. */
#define VQ_BASE_PACKED_NEW 0x80008000u

/* Why a queue is broken; vq_fault_str() gives the words. */
enum vq_fault {
	VQ_FAULT_NONE,
	VQ_FAULT_AVAIL_IDX,	    /* avail->idx ran ahead by more than the queue's size */
	VQ_FAULT_HEAD_RANGE,	    /* head >= size */
	VQ_FAULT_HEAD_BUSY,	    /* head made available again before it was used */
	VQ_FAULT_NEXT_RANGE,	    /* next >= table size */
	VQ_FAULT_LOOP,		    /* more links than descriptors, seen before iov_max was */
	VQ_FAULT_TOO_MANY_SEGMENTS, /* more buffers than iov_max */
	VQ_FAULT_ADDRESS,	    /* buffer outside the map, or without permission */
	VQ_FAULT_ZERO_LENGTH,	    /* descriptor of no bytes */
	VQ_FAULT_READ_AFTER_WRITE,  /* device-readable buffer behind a writable one */
	VQ_FAULT_INDIRECT_SIZE,	    /* table empty or no multiple of 16 bytes */
	VQ_FAULT_INDIRECT_NESTED,   /* indirect inside an indirect table */
	VQ_FAULT_INDIRECT_NEXT,	    /* INDIRECT together with NEXT; packed: or in a chain */
	VQ_FAULT_INDIRECT_REFUSED,  /* not negotiated */
	VQ_FAULT_OVERRUN,	    /* packed: chain longer than the free part of the ring */
	VQ_FAULT_NOT_AVAILABLE,	    /* packed: chain with a descriptor not marked available */
	VQ_FAULT_MEMORY,	    /* pages of the ring or of a request are gone; memguard.h */
};

const char *vq_fault_str(enum vq_fault fault);

/**
 * struct vq_chain - one request of the driver
 * @head: what vq_push() wants back, exactly once; below the ring's size. Split: the
 *        descriptor's index; packed: a number of ours, not the driver's buffer id.
 * @iov: the caller's array: @readable_cnt device-readable buffers, then
 *       @writable_cnt device-writable ones
 */
struct vq_chain {
	uint16_t head;
	unsigned int readable_cnt;
	unsigned int writable_cnt;
	struct iovec *iov;
};

/**
 * struct vq_config - what vq_start() needs; pointers are borrowed until vq_stop()
 * @size:      1..size_max of vq_new(); split: a power of two
 * @packed:    VIRTIO_F_RING_PACKED negotiated
 * @desc, @avail, @used: split: the three parts, mapped and aligned to 16, 2 and 4 bytes
 * @packed_desc, @driver_event, @device_event: packed: ring, driver area and device
 *             area, aligned to 16, 4 and 4 bytes
 * @base:      packed: where a fresh ring stands, as vq_base() says: bits 0-14 the
 *             position, bit 15 the wrap counter, the same again in bits 16-31 for
 *             used descriptors. Both halves must be equal: nothing is outstanding.
 *             A half of zeroes beside 0x8000 is taken for the same (some front-ends
 *             send 16 bits). Split: ignored, used->idx is in the ring.
 * @event_idx, @indirect: VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC negotiated
 * @inflight:  record that outlives the process, or NULL. Packed: vq_inflight_packed_bytes().
 * @recover:   the ring was in use before this process: take over what @inflight
 *             says was in flight; needs @inflight. Without it the ring is fresh,
 *             and the record is reset. Packed: the record says where the ring
 *             stands, or, if it is marked VQ_INFLIGHT_CLEAN, @base does.
 */
struct vq_config {
	uint16_t size;
	bool packed;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_packed_desc *packed_desc;
	struct vring_packed_desc_event *driver_event;
	struct vring_packed_desc_event *device_event;
	uint32_t base;
	bool event_idx;
	bool indirect;
	struct vq_inflight *inflight;
	bool recover;
};

struct vq;

/* @size_max: power of two, 1..VQ_SIZE_MAX. Return: 0; -EINVAL; -ENOMEM. */
int vq_new(uint16_t size_max, struct vq **ret_vq) VBLK_MUST_CHECK;
void vq_free(struct vq *vq);

/**
 * vq_start() - begin (or go on) with a ring; clears a fault
 *
 * Nothing may be popped and unpushed. Starts with kicks wanted; the caller
 * processes once without waiting for one. With @cfg->recover it also calls
 * vq_publish() once, even if it pushed nothing: the predecessor may have died
 * between publishing and interrupting.
 *
 * Return: 0; -EINVAL bad size, alignment, base, or a record that does not fit the
 *         ring (the queue is stopped, the record as it was); -EFAULT likewise,
 *         because memory of the ring is gone; -ENOMEM.
 */
int vq_start(struct vq *vq, const struct vq_config *cfg) VBLK_MUST_CHECK;
/*
 * Forgets the ring; nothing may be popped and unpushed. Everything pushed should
 * be published. Split: the record is then marked clean. Packed: the record goes on
 * saying where the ring stands, since the ring does not; who resets the ring, or
 * tells the driver vq_base(), marks it clean (size = VQ_INFLIGHT_CLEAN).
 */
void vq_stop(struct vq *vq);

/*
 * Map used by later pops; borrowed, NULL while there is none: nothing is popped
 * then. The caller processes once after setting one, without waiting for a kick.
 */
void vq_set_map(struct vq *vq, const struct memmap *map);

/**
 * vq_pop() - next request
 * @iov: room for @iov_max buffers of this request, kept by the caller until pushed
 *
 * Requests that a predecessor had in flight come first, oldest first.
 *
 * Return: 1 with @ret_chain; 0 nothing available; -EBADMSG the queue is broken.
 */
int vq_pop(struct vq *vq, struct iovec *iov, unsigned int iov_max,
	   struct vq_chain *ret_chain) VBLK_MUST_CHECK;

/*
 * Did this thread touch memory of the driver's that is gone, since vq_start()? What
 * was read meanwhile is not what the driver wrote. The next vq_pop() says so, too.
 */
bool vq_memory_is_gone(const struct vq *vq);
/*
 * Takes a popped request back, not to be pushed: nothing was done for it, or what was done
 * cannot be told to the driver and is done again. It stays
 * in the in-flight record for the next vq_start() with recover. The queue is broken.
 */
void vq_abandon(struct vq *vq, uint16_t head);

/**
 * vq_push() - return a request; the driver sees it at the next vq_publish()
 * @written_bytes: bytes written to the device-writable buffers
 * @head must be popped and not yet pushed (asserted: it is our own bookkeeping).
 */
void vq_push(struct vq *vq, uint16_t head, uint32_t written_bytes);

/**
 * vq_publish() - make all pushed requests visible to the driver
 * Return: true when the driver wants an interrupt for them. The first call after
 *         vq_start() that publishes something says true whatever the driver
 *         asked for, and with recover the first call even if there is nothing.
 */
bool vq_publish(struct vq *vq);

/* Ask the driver not to kick, until vq_kick_enable(); it may anyway. */
void vq_kick_suppress(struct vq *vq);

/**
 * vq_kick_enable() - ask for a kick at the next request
 * Return: true when a request is already there: process it, no kick will come for
 *         it. Never true while nothing can be popped: broken, stopped, no map.
 */
bool vq_kick_enable(struct vq *vq) VBLK_MUST_CHECK;

bool vq_is_started(const struct vq *vq);
enum vq_fault vq_fault(const struct vq *vq);
/* Requests popped and not yet pushed. */
unsigned int vq_inflight_cnt(const struct vq *vq);
/*
 * Is there an entry in the ring that was not taken? Looks whatever keeps it from
 * being popped: no map, a fault.
 */
bool vq_has_available(const struct vq *vq);
/*
 * Next request to take: split: its index, which answers VDUSE_GET_VQ_STATE;
 * packed: position, and the wrap counter as bit 15.
 */
uint16_t vq_last_avail_idx(const struct vq *vq);
/*
 * Where the ring stands, for vq_config.base and vhost-user's GET_VRING_BASE.
 * While started; final when nothing is in flight and everything is published.
 */
uint32_t vq_base(const struct vq *vq);
uint16_t vq_size(const struct vq *vq);
/* How many requests the last vq_start() took over from a predecessor. */
unsigned int vq_recovered_cnt(const struct vq *vq);
/* How many of those are still to be popped. */
unsigned int vq_redo_cnt(const struct vq *vq);

#endif
