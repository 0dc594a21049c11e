/* SPDX-License-Identifier: MIT */
/* What a server's features and configuration space mean for us; all of it may be a lie. */
#include "bdev_vhost_user.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <stddef.h>
#include <string.h>

#include "vblk/util/math.h"

#define BIT64(n) (1ull << (n))

/* Every server has these; some refuse to be asked for more. */
#define CONF_BYTES_MIN ((uint32_t)offsetof(struct virtio_blk_config, max_secure_erase_sectors))
#define CONF_BYTES_MAX ((uint32_t)sizeof(struct virtio_blk_config))

_Static_assert(CONF_BYTES_MIN == 60, "up to the fields of write-zeroes");

uint64_t vu_features_wanted(void)
{
	return BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) |
	       BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_BLK_F_SIZE_MAX) |
	       BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_RO) | BIT64(VIRTIO_BLK_F_BLK_SIZE) |
	       BIT64(VIRTIO_BLK_F_FLUSH) | BIT64(VIRTIO_BLK_F_TOPOLOGY) | BIT64(VIRTIO_BLK_F_MQ) |
	       BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES) |
	       BIT64(VIRTIO_BLK_F_SECURE_ERASE);
}

uint16_t vu_ring_size(uint64_t features, unsigned int depth)
{
	/* Each request has a table of its own, or else takes what entries it needs. */
	if (features & BIT64(VIRTIO_RING_F_INDIRECT_DESC))
		return (uint16_t)(1u << (31 - __builtin_clz(depth)));
	return VU_RING_MAX;
}

uint32_t vu_conf_bytes(uint64_t features)
{
	uint32_t erase_end =
		offsetof(struct virtio_blk_config, secure_erase_sector_alignment) +
		sizeof(((struct virtio_blk_config *)NULL)->secure_erase_sector_alignment);

	return features & BIT64(VIRTIO_BLK_F_SECURE_ERASE) ? erase_end : CONF_BYTES_MIN;
}

static bool has(const struct vu_server_conf *conf, unsigned int bit)
{
	return conf->features & BIT64(bit);
}

static uint64_t sectors_bytes(__le32 sectors)
{
	return (uint64_t)le32toh(sectors) << SECTOR_SHIFT;
}

/* Return: false: such a block size, capacity or limit cannot be. */
static bool parse_sizes(const struct virtio_blk_config *config, struct vu_server_conf *conf)
{
	uint64_t sectors = le64toh(config->capacity);

	if (!sectors || sectors > (uint64_t)INT64_MAX >> SECTOR_SHIFT)
		return false;
	conf->capacity_bytes = sectors << SECTOR_SHIFT;
	conf->block_bytes = SECTOR_BYTES;
	if (has(conf, VIRTIO_BLK_F_BLK_SIZE))
		conf->block_bytes = le32toh(config->blk_size);
	if (!is_power_of_two(conf->block_bytes) || conf->block_bytes < SECTOR_BYTES)
		return false;
	conf->seg_max = 1;
	if (has(conf, VIRTIO_BLK_F_SEG_MAX))
		conf->seg_max = MAX(le32toh(config->seg_max), 1u);
	if (has(conf, VIRTIO_BLK_F_SIZE_MAX))
		conf->size_max_bytes = le32toh(config->size_max);
	/* A segment is at least what a page holds. */
	return !conf->size_max_bytes || conf->size_max_bytes >= 4096;
}

static void parse_topology(const struct virtio_blk_config *config, struct vu_server_conf *conf)
{
	uint64_t physical_bytes = conf->block_bytes, opt_bytes = 0;

	if (has(conf, VIRTIO_BLK_F_TOPOLOGY)) {
		if (config->physical_block_exp < 16)
			physical_bytes <<= config->physical_block_exp;
		opt_bytes = (uint64_t)le32toh(config->opt_io_size) * conf->block_bytes;
	}
	/* Advice, and not to be refused for. */
	conf->physical_bytes =
		(uint32_t)MIN(physical_bytes, (uint64_t)BDEV_PHYSICAL_BLOCK_MAX_BYTES);
	conf->opt_io_bytes = opt_bytes <= UINT32_MAX / 2 ? (uint32_t)opt_bytes : 0;
}

static void parse_ranges(const struct virtio_blk_config *config, struct vu_server_conf *conf)
{
	uint64_t align_bytes = sectors_bytes(config->discard_sector_alignment);

	conf->discard_align_bytes = conf->block_bytes;
	if (has(conf, VIRTIO_BLK_F_DISCARD)) {
		conf->max_discard_bytes = sectors_bytes(config->max_discard_sectors);
		conf->max_ranges = MAX(le32toh(config->max_discard_seg), 1u);
		if (is_power_of_two(align_bytes) && align_bytes <= UINT32_MAX / 2)
			conf->discard_align_bytes = MAX((uint32_t)align_bytes, conf->block_bytes);
	}
	if (has(conf, VIRTIO_BLK_F_WRITE_ZEROES)) {
		conf->max_write_zeroes_bytes = sectors_bytes(config->max_write_zeroes_sectors);
		conf->write_zeroes_may_unmap = config->write_zeroes_may_unmap;
	}
	if (has(conf, VIRTIO_BLK_F_SECURE_ERASE)) {
		uint32_t ranges = MAX(le32toh(config->max_secure_erase_seg), 1u);

		conf->max_secure_erase_bytes = sectors_bytes(config->max_secure_erase_sectors);
		conf->max_ranges = conf->max_ranges ? MIN(conf->max_ranges, ranges) : ranges;
	}
}

int vu_conf_parse(const struct vhu_client_facts *facts, const struct virtio_blk_config *config,
		  struct vu_server_conf *ret_conf)
{
	struct vu_server_conf conf = { .features = facts->features, .queue_cnt = 1 };

	if (!has(&conf, VIRTIO_F_VERSION_1) || !parse_sizes(config, &conf))
		return -EPROTO;
	if (has(&conf, VIRTIO_BLK_F_MQ))
		conf.queue_cnt = le16toh(config->num_queues);
	conf.queue_cnt = MIN(conf.queue_cnt, facts->queue_cnt);
	if (!conf.queue_cnt)
		return -EPROTO;
	parse_topology(config, &conf);
	parse_ranges(config, &conf);
	conf.read_only = has(&conf, VIRTIO_BLK_F_RO);
	conf.has_flush = has(&conf, VIRTIO_BLK_F_FLUSH);
	*ret_conf = conf;
	return 0;
}

int vu_conf_ask(struct vhu_client *client, struct vu_server_conf *ret_conf)
{
	const struct vhu_client_facts *facts = vhu_client_facts(client);
	struct virtio_blk_config config = { 0 };
	int r;

	_Static_assert(CONF_BYTES_MAX >= 72, "secure erase fields end at 72");
	r = vhu_client_get_config(client, &config, vu_conf_bytes(facts->features));
	return r < 0 ? r : vu_conf_parse(facts, &config, ret_conf);
}

static void limit_ranges(const struct vu_server_conf *conf, const struct bdev_params *params,
			 struct bdev_limits *limits)
{
	uint32_t block_bytes = limits->logical_block_bytes;

	limits->discard_align_bytes = MAX(conf->discard_align_bytes, block_bytes);
	if (limits->read_only)
		return;
	if (params->discard)
		limits->max_discard_bytes = align_down(conf->max_discard_bytes, block_bytes);
	limits->max_write_zeroes_bytes = align_down(conf->max_write_zeroes_bytes, block_bytes);
	limits->write_zeroes_may_unmap = params->discard && conf->write_zeroes_may_unmap;
	limits->max_secure_erase_bytes = align_down(conf->max_secure_erase_bytes, block_bytes);
}

/* What only we could see to, which are not in the way of requests then. */
static int check_direct(const struct vu_server_conf *conf, const struct bdev_params *params,
			char why[BDEV_WHY_MAX])
{
	const char *what = NULL;

	if (params->read_only && !conf->read_only)
		what = "--read-only";
	else if (params->writethrough && conf->has_flush)
		what = "--cache=writethrough";
	else if (!params->discard && (conf->max_discard_bytes || conf->write_zeroes_may_unmap))
		what = "--discard=off";
	if (what)
		return bdev_why(
			why, -EINVAL,
			"with --direct-rings the server of '%s' gets requests as the kernel "
			"makes them: leave out %s, or --direct-rings",
			params->spec, what);
	if (has(conf, VIRTIO_RING_F_EVENT_IDX) && has(conf, VIRTIO_RING_F_INDIRECT_DESC))
		return 0;
	return bdev_why(why, -EOPNOTSUPP,
			"the server of '%s' lacks features of rings that the kernel uses (indirect "
			"descriptors, EVENT_IDX): leave out --direct-rings",
			params->spec);
}

int vu_conf_limits(const struct vu_server_conf *conf, const struct bdev_params *params,
		   struct bdev_limits *ret_limits, char why[BDEV_WHY_MAX])
{
	struct bdev_limits limits = {
		.buf_align_bytes = 1,
		.opt_io_bytes = conf->opt_io_bytes,
		.read_only = conf->read_only || params->read_only,
		.volatile_cache = conf->has_flush && !params->writethrough,
		.max_segs = MIN(conf->seg_max, VU_SEGS_MAX),
		.max_seg_bytes = conf->size_max_bytes,
		.remote = true,
	};
	int r = 0;

	if (params->direct_rings) {
		limits.max_ranges = conf->max_ranges;
		r = check_direct(conf, params, why);
	}
	if (r == 0)
		r = bdev_set_block_sizes(params, conf->block_bytes, conf->physical_bytes, &limits,
					 why);
	if (r == 0)
		r = bdev_set_capacity(params, conf->capacity_bytes, &limits, why);
	if (r < 0)
		return r;
	if (params->queue_cnt > conf->queue_cnt)
		return bdev_why(why, -EINVAL,
				"the server of '%s' has %" PRIu32
				" queues, not %u (use --queues %" PRIu32 ")",
				params->spec, conf->queue_cnt, params->queue_cnt, conf->queue_cnt);
	limit_ranges(conf, params, &limits);
	*ret_limits = limits;
	return 0;
}

bool vu_conf_fits(const struct vu_server_conf *conf, const struct bdev_limits *limits,
		  unsigned int queue_cnt)
{
	return conf->block_bytes <= limits->logical_block_bytes &&
	       (limits->read_only || !conf->read_only) && conf->queue_cnt >= queue_cnt &&
	       conf->seg_max >= limits->max_segs;
}
