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

/**
 * struct vq_inflight - one queue's record
 * @used_idx: used->idx of the last publish whose heads are all cleared
 * @size: entries of @seq: the ring's size; or VQ_INFLIGHT_CLEAN
 * @seq: by head; 0 = not in flight
 */
struct vq_inflight {
	uint16_t used_idx;
	uint16_t size;
	uint32_t reserved;
	uint64_t seq[];
};

/* Bytes of a record for rings of up to @size_max, rounded up to a cache line. */
static inline size_t vq_inflight_bytes(uint16_t size_max)
{
	size_t bytes = sizeof(struct vq_inflight) + (size_t)size_max * sizeof(uint64_t);

	return (bytes + 63) & ~(size_t)63;
}

#endif
