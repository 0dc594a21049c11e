/* SPDX-License-Identifier: MIT */
/*
 * What the driver is told: feature bits and the virtio-blk configuration
 * space, derived from a backend's limits.
 * Source: virtio 1.2 s5.2.3 (feature bits), s5.2.4 (configuration layout).
 */
#ifndef VBLK_BLK_BLK_CONFIG_H
#define VBLK_BLK_BLK_CONFIG_H

#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <stdint.h>

#include "vblk/bdev/bdev.h"
#include "vblk/util/compiler.h"

_Static_assert(sizeof(struct virtio_blk_config) >= 72, "secure erase fields end at 72");

/* Ranges of one DISCARD, WRITE_ZEROES or SECURE_ERASE request. */
#define BLK_RANGES_MAX 16u
/* Longest segment: larger ones cost bounce space and win nothing (measured). */
#define BLK_SIZE_MAX_BYTES (128u * 1024u)
#define BLK_SEG_MAX	   126u
/*
 * Longest range on offer for DISCARD, WRITE_ZEROES and SECURE_ERASE. Linux keeps the bytes
 * of a bio in 32 bits, so more than 4 GiB cannot be used, and a limit in sectors whose bytes
 * do not fit would rely on every kernel's care. A power of two keeps splits aligned.
 */
#define BLK_RANGE_BYTES_MAX (2ull << 30)
#define BLK_SERIAL_BYTES    VIRTIO_BLK_ID_BYTES

/**
 * struct blk_params - facts of one disk, constant but for the capacity (see struct bdev_limits)
 * @limits:   the backend's, but the longest discard, zeroing and erase are what the
 *            driver is told: 0 when not on offer, else at most BLK_RANGE_BYTES_MAX
 * @features: VIRTIO_BLK_F_* and VIRTIO_RING_F_* and VIRTIO_F_VERSION_1 bits on
 *            offer, without what the transport adds (ACCESS_PLATFORM)
 * @serial:   not terminated when all bytes are used; zero padded
 * @seg_max:  most data segments of one request
 */
struct blk_params {
	struct bdev_limits limits;
	uint64_t features;
	uint16_t queue_cnt;
	uint16_t queue_size;
	uint32_t seg_max;
	uint8_t serial[BLK_SERIAL_BYTES];
};

/**
 * blk_params_init() - derive everything from the limits
 * @queue_size: power of two, 4..VQ_SIZE_MAX; seg_max stays below half of it, since
 *              Linux never compares the two and a driver may halve a ring
 * @serial: "" for none (GET_ID is then answered with zeroes)
 */
void blk_params_init(struct blk_params *params, const struct bdev_limits *limits,
		     uint16_t queue_cnt, uint16_t queue_size, const char *serial);

/*
 * True when @feature (bit number) is on offer. What the driver accepted is the transport's
 * affair; mind that a driver which leaves FLUSH out although it was offered may expect
 * every completed write to be stable (virtio 1.2 s5.2.6.2).
 */
static inline bool blk_params_offer(const struct blk_params *params, unsigned int feature)
{
	return params->features & (1ull << feature);
}

/**
 * blk_params_without_indirect() - do not offer indirect descriptors
 *
 * Linux allocates an indirect table for each request and maps it: that costs
 * some 6 % of the IOPS at depth, and when the allocation fails a queue whose
 * seg_max does not fit the ring stands still for ever. A ring without them should be
 * larger, since each request takes as many entries as it has buffers.
 */
void blk_params_without_indirect(struct blk_params *params);

/* The configuration space, all 72 bytes and more that this header's kernel knows, little-endian. */
void blk_config_fill(const struct blk_params *params, struct virtio_blk_config *ret_config);

/* Buffers a request may need: data segments, header, status, and some for region borders. */
static inline unsigned int blk_iov_max(const struct blk_params *params)
{
	return params->seg_max + 4;
}

#endif
