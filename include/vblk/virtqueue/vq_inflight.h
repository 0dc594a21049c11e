/* SPDX-License-Identifier: MIT */
/*
 * Record of the requests a queue holds, in memory that outlives the process
 * (a file in /run), so that a successor can finish them.
 *
 * The ring itself keeps used->idx; it cannot tell which heads were taken and
 * not returned once completions are out of order. So: seq[head] != 0 means
 * "taken, not returned", and its value orders the requests. Publishing is
 *
 *   1. used->ring[] entries      2. used->idx (release)
 *   3. seq[head] = 0 for each    4. used_idx = used->idx
 *
 * A crash between 2 and 4 leaves used_idx behind used->idx; the heads in
 * used->ring[used_idx .. used->idx) are then exactly those whose step 3 may be
 * missing. The successor does steps 3 and 4, and then the next request to take
 * is used->idx + (number of seq[] != 0): every taken head was at some avail
 * slot before it. src/README.md has the whole argument.
 *
 * The content is only read back by this code, but a file can be damaged:
 * vq_start() checks it against the ring.
 */
#ifndef VBLK_VIRTQUEUE_VQ_INFLIGHT_H
#define VBLK_VIRTQUEUE_VQ_INFLIGHT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Value of @size: nothing is in flight, whatever the other fields say. Set while
 * the record is reset for a fresh ring and by vq_stop(), so that a crash there
 * leaves nothing that could be taken for the next ring's record. A zeroed record
 * (a new file) is not clean: it knows nothing about a ring in use.
 */
#define VQ_INFLIGHT_CLEAN 0xffffu

/* Value of @format. A split record of an older version has 0 there, too. */
#define VQ_INFLIGHT_SPLIT  0u
#define VQ_INFLIGHT_PACKED 1u

/**
 * struct vq_inflight - one queue's record
 * @used_idx: used->idx of the last publish whose heads are all cleared
 * @size: entries of @seq: the ring's size; or VQ_INFLIGHT_CLEAN
 * @format: a packed ring's record is struct vq_inflight_packed
 * @seq: by head; 0 = not in flight
 */
struct vq_inflight {
	uint16_t used_idx;
	uint16_t size;
	uint16_t format;
	uint16_t reserved;
	uint64_t seq[];
};

/**
 * struct vq_inflight_desc - one descriptor of a packed ring that was taken
 * @seq: of a chain's first: 0 = not in flight, else the order in which it was taken
 * @addr: of the buffer, or of the indirect table
 * @len_link: bits 0-31 length, 32-47 next entry of the chain, 48-63 the flags
 *            NEXT, WRITE and INDIRECT
 * @leave: of a chain's first: bits 0-31 written bytes and 32-47 place (from 1) in
 *         the batch that is being published, 0 = in none; 48-63 the driver's buffer id
 */
struct vq_inflight_desc {
	uint64_t seq;
	uint64_t addr;
	uint64_t len_link;
	uint64_t leave;
};

/**
 * struct vq_inflight_packed - a packed ring's record; begins like struct vq_inflight
 * @used: position (bits 0-14) and wrap counter (bit 15) of the next used descriptor
 * @next_used: what @used becomes by the batch that is being published; equal: none is
 */
struct vq_inflight_packed {
	uint16_t used;
	uint16_t size;
	uint16_t format;
	uint16_t next_used;
	uint64_t reserved[3];
	struct vq_inflight_desc desc[];
};

/* Bytes of a record for rings of up to @size_max, rounded up to a cache line. */
static inline size_t vq_inflight_bytes(uint16_t size_max)
{
	size_t bytes = sizeof(struct vq_inflight) + (size_t)size_max * sizeof(uint64_t);

	return (bytes + 63) & ~(size_t)63;
}

/* The same for packed rings; such memory has also room for a split ring's record. */
static inline size_t vq_inflight_packed_bytes(uint16_t size_max)
{
	size_t bytes = sizeof(struct vq_inflight_packed) +
		       (size_t)size_max * sizeof(struct vq_inflight_desc);

	return (bytes + 63) & ~(size_t)63;
}

#endif
