/* SPDX-License-Identifier: MIT */
#include "vblk/blk/blk_config.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vblk/util/math.h"

#define FEATURE(bit) (1ull << (bit))

/* What the driver may rely on for one range of at most @max_bytes. */
static uint64_t range_limit(const struct bdev_limits *limits, uint64_t max_bytes)
{
	if (limits->read_only)
		return 0;
	return align_down(MIN(max_bytes, (uint64_t)BLK_RANGE_BYTES_MAX),
			  limits->logical_block_bytes);
}

static uint64_t features_of(const struct bdev_limits *limits)
{
	/* MQ also for one queue: num_queues is then always there to be read. */
	uint64_t features = FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
			    FEATURE(VIRTIO_RING_F_EVENT_IDX) | FEATURE(VIRTIO_BLK_F_SEG_MAX) |
			    FEATURE(VIRTIO_BLK_F_SIZE_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
			    FEATURE(VIRTIO_BLK_F_TOPOLOGY) | FEATURE(VIRTIO_BLK_F_MQ);

	if (limits->volatile_cache)
		features |= FEATURE(VIRTIO_BLK_F_FLUSH);
	if (limits->read_only)
		features |= FEATURE(VIRTIO_BLK_F_RO);
	if (limits->max_discard_bytes)
		features |= FEATURE(VIRTIO_BLK_F_DISCARD);
	if (limits->max_write_zeroes_bytes)
		features |= FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
	if (limits->max_secure_erase_bytes)
		features |= FEATURE(VIRTIO_BLK_F_SECURE_ERASE);
	return features;
}

static uint32_t size_max_of(const struct bdev_limits *limits)
{
	if (!limits->max_seg_bytes)
		return BLK_SIZE_MAX_BYTES;
	return MIN(limits->max_seg_bytes, BLK_SIZE_MAX_BYTES);
}

static uint32_t seg_max_of(uint16_t queue_size)
{
	/* Header and status need two descriptors, also in a ring of half the size. */
	unsigned int half = queue_size / 2;

	if (half <= 3)
		return 1;
	return MIN(half - 2, BLK_SEG_MAX);
}

void blk_params_init(struct blk_params *params, const struct bdev_limits *limits,
		     uint16_t queue_cnt, uint16_t queue_size, const char *serial)
{
	struct bdev_limits *l = &params->limits;

	memset(params, 0, sizeof(*params));
	*l = *limits;
	l->max_discard_bytes = range_limit(limits, limits->max_discard_bytes);
	l->max_write_zeroes_bytes = range_limit(limits, limits->max_write_zeroes_bytes);
	l->max_secure_erase_bytes = range_limit(limits, limits->max_secure_erase_bytes);

	params->features = features_of(l);
	params->queue_cnt = queue_cnt;
	params->queue_size = queue_size;
	params->seg_max = seg_max_of(queue_size);
	if (l->max_segs)
		params->seg_max = MIN(params->seg_max, l->max_segs);
	memcpy(params->serial, serial, strnlen(serial, sizeof(params->serial)));
}

static __le32 sectors_le32(uint64_t bytes)
{
	return htole32((uint32_t)MIN(bytes >> SECTOR_SHIFT, (uint64_t)UINT32_MAX));
}

static void fill_topology(const struct bdev_limits *limits, struct virtio_blk_config *cfg)
{
	uint32_t block_bytes = limits->logical_block_bytes;
	uint32_t blocks = MAX(limits->physical_block_bytes / block_bytes, 1u);

	cfg->blk_size = htole32(block_bytes);
	cfg->physical_block_exp = (uint8_t)log2_of(blocks);
	cfg->alignment_offset = 0;
	cfg->min_io_size = htole16((uint16_t)MIN(blocks, (uint32_t)UINT16_MAX));
	cfg->opt_io_size = htole32(limits->opt_io_bytes / block_bytes);
}

static void fill_ranges(const struct bdev_limits *limits, struct virtio_blk_config *cfg)
{
	/* Never 0 for a valid field: Linux refuses to probe with a SECURE_ERASE limit of 0. */
	uint32_t align_bytes = MAX(limits->discard_align_bytes, limits->logical_block_bytes);
	uint32_t ranges = BLK_RANGES_MAX;

	if (limits->max_ranges)
		ranges = MIN(ranges, limits->max_ranges);
	if (limits->max_discard_bytes) {
		cfg->max_discard_sectors = sectors_le32(limits->max_discard_bytes);
		cfg->max_discard_seg = htole32(ranges);
		cfg->discard_sector_alignment = sectors_le32(align_bytes);
	}
	if (limits->max_write_zeroes_bytes) {
		cfg->max_write_zeroes_sectors = sectors_le32(limits->max_write_zeroes_bytes);
		cfg->max_write_zeroes_seg = htole32(ranges);
		cfg->write_zeroes_may_unmap = limits->write_zeroes_may_unmap;
	}
	if (limits->max_secure_erase_bytes) {
		cfg->max_secure_erase_sectors = sectors_le32(limits->max_secure_erase_bytes);
		cfg->max_secure_erase_seg = htole32(ranges);
		cfg->secure_erase_sector_alignment = sectors_le32(align_bytes);
	}
}

void blk_params_without_indirect(struct blk_params *params)
{
	params->features &= ~(1ull << VIRTIO_RING_F_INDIRECT_DESC);
}

void blk_config_fill(const struct blk_params *params, struct virtio_blk_config *ret_config)
{
	const struct bdev_limits *limits = &params->limits;

	/* Geometry, writeback and what newer headers append stay 0: not on offer. */
	memset(ret_config, 0, sizeof(*ret_config));
	ret_config->capacity = htole64(bdev_limits_capacity(limits) >> SECTOR_SHIFT);
	ret_config->size_max = htole32(size_max_of(limits));
	ret_config->seg_max = htole32(params->seg_max);
	ret_config->num_queues = htole16(params->queue_cnt);
	fill_topology(limits, ret_config);
	fill_ranges(limits, ret_config);
}
