/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"
#include "vblk/blk/blk_config.h"

#define BIT(n) (1ull << (n))
#define ALWAYS                                                                                   \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |                            \
	 BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_SIZE_MAX) | \
	 BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_MQ))

static struct bdev_limits plain_limits(void)
{
	return (struct bdev_limits){
		.capacity_bytes = 0x1234567800ull * 512,
		.logical_block_bytes = 512,
		.physical_block_bytes = 512,
		.buf_align_bytes = 1,
	};
}

static uint64_t features_with(void (*change)(struct bdev_limits *))
{
	struct bdev_limits limits = plain_limits();
	struct blk_params params;

	change(&limits);
	blk_params_init(&params, &limits, 1, 256, "");
	return params.features;
}

static void nothing(struct bdev_limits *l)
{
	(void)l;
}

static void cached(struct bdev_limits *l)
{
	l->volatile_cache = true;
}

static void read_only(struct bdev_limits *l)
{
	l->read_only = true;
}

static void discards(struct bdev_limits *l)
{
	l->max_discard_bytes = 4096;
}

static void zeroes(struct bdev_limits *l)
{
	l->max_write_zeroes_bytes = 4096;
}

static void erases(struct bdev_limits *l)
{
	l->max_secure_erase_bytes = 4096;
}

static void read_only_with_all(struct bdev_limits *l)
{
	discards(l);
	zeroes(l);
	erases(l);
	read_only(l);
}

static void discards_less_than_a_block(struct bdev_limits *l)
{
	l->logical_block_bytes = l->physical_block_bytes = 4096;
	l->max_discard_bytes = 2048;
}

static const struct {
	void (*change)(struct bdev_limits *);
	uint64_t more;
} feature_cases[] = {
	{ nothing, 0 },
	{ cached, BIT(VIRTIO_BLK_F_FLUSH) },
	{ read_only, BIT(VIRTIO_BLK_F_RO) },
	{ discards, BIT(VIRTIO_BLK_F_DISCARD) },
	{ zeroes, BIT(VIRTIO_BLK_F_WRITE_ZEROES) },
	{ erases, BIT(VIRTIO_BLK_F_SECURE_ERASE) },
	{ read_only_with_all, BIT(VIRTIO_BLK_F_RO) },
	{ discards_less_than_a_block, 0 },
};

START_TEST(features_follow_the_limits)
{
	ck_assert_uint_eq(features_with(feature_cases[_i].change), ALWAYS | feature_cases[_i].more);
}
END_TEST

static const struct {
	uint16_t queue_size;
	uint32_t seg_max;
} seg_max_cases[] = {
	{ 4, 1 }, { 8, 2 }, { 16, 6 }, { 128, 62 }, { 256, 126 }, { 512, 126 }, { 32768, 126 },
};

START_TEST(seg_max_fits_half_the_ring)
{
	struct bdev_limits limits = plain_limits();
	struct blk_params params;

	blk_params_init(&params, &limits, 1, seg_max_cases[_i].queue_size, "");
	ck_assert_uint_eq(params.seg_max, seg_max_cases[_i].seg_max);
	ck_assert_uint_ge(blk_iov_max(&params), params.seg_max + 2);
}
END_TEST

START_TEST(segments_are_as_the_backend_takes_them)
{
	struct bdev_limits limits = plain_limits();
	struct virtio_blk_config config;
	struct blk_params params;

	limits.max_segs = 17;
	limits.max_seg_bytes = 65536;
	blk_params_init(&params, &limits, 1, 256, "");
	blk_config_fill(&params, &config);
	ck_assert_uint_eq(le32toh(config.seg_max), 17);
	ck_assert_uint_eq(le32toh(config.size_max), 65536);
	limits.max_segs = 1000;
	limits.max_seg_bytes = UINT32_MAX;
	blk_params_init(&params, &limits, 1, 256, "");
	blk_config_fill(&params, &config);
	ck_assert_uint_eq(le32toh(config.seg_max), 126);
	ck_assert_uint_eq(le32toh(config.size_max), BLK_SIZE_MAX_BYTES);
}
END_TEST

START_TEST(serial_is_cut_and_padded)
{
	struct bdev_limits limits = plain_limits();
	static const uint8_t zeroes20[BLK_SERIAL_BYTES];
	struct blk_params params;

	blk_params_init(&params, &limits, 1, 256, "");
	ck_assert_mem_eq(params.serial, zeroes20, sizeof(zeroes20));
	blk_params_init(&params, &limits, 1, 256, "DB01");
	ck_assert_mem_eq(params.serial, "DB01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	blk_params_init(&params, &limits, 1, 256, "abcdefghijklmnopqrstuvwxyz");
	ck_assert_mem_eq(params.serial, "abcdefghijklmnopqrst", 20);
}
END_TEST

/* @width bytes, little-endian, at @offset of the configuration space (virtio 1.2 s5.2.4) */
struct field {
	unsigned int offset;
	unsigned int width;
	uint64_t value;
};

/* The fields and nothing else: whatever is not named must be zero. */
static void check_config(const struct bdev_limits *limits, const struct field *fields,
			 unsigned int field_cnt)
{
	uint8_t expected[sizeof(struct virtio_blk_config)] = { 0 };
	struct virtio_blk_config cfg;
	struct blk_params params;

	for (unsigned int i = 0; i < field_cnt; i++) {
		for (unsigned int b = 0; b < fields[i].width; b++)
			expected[fields[i].offset + b] = (uint8_t)(fields[i].value >> (8 * b));
	}
	memset(&cfg, 0xa5, sizeof(cfg));
	blk_params_init(&params, limits, 3, 256, "x");
	blk_config_fill(&params, &cfg);
	ck_assert_mem_eq(&cfg, expected, sizeof(expected));
}

START_TEST(config_of_a_plain_disk)
{
	static const struct field fields[] = {
		{ 0, 8, 0x1234567800 }, { 8, 4, 128 * 1024 }, { 12, 4, 126 }, { 20, 4, 512 },
		{ 24, 1, 0 },		{ 26, 2, 1 },	      { 34, 2, 3 },
	};
	struct bdev_limits limits = plain_limits();

	check_config(&limits, fields, ARRAY_SIZE(fields));
}
END_TEST

START_TEST(config_of_a_disk_that_can_everything)
{
	static const struct field fields[] = {
		{ 0, 8, 0x1234567800 }, { 8, 4, 128 * 1024 }, { 12, 4, 126 },
		{ 20, 4, 4096 },	{ 24, 1, 2 }, /* 16 KiB = 4096 << 2 */
		{ 26, 2, 4 },			      /* min_io_size */
		{ 28, 4, 256 },			      /* opt_io_size */
		{ 34, 2, 3 },			      /* num_queues */
		{ 36, 4, 2048 },		      /* max_discard_sectors */
		{ 40, 4, 16 },			      /* max_discard_seg */
		{ 44, 4, 128 },			      /* discard_sector_alignment */
		{ 48, 4, 2 << 21 }, /* max_write_zeroes_sectors, cut down to 2 GiB */
		{ 52, 4, 16 },	    /* max_write_zeroes_seg */
		{ 56, 1, 1 },	    /* write_zeroes_may_unmap */
		{ 60, 4, 8 },	    /* max_secure_erase_sectors */
		{ 64, 4, 16 },	    /* max_secure_erase_seg */
		{ 68, 4, 128 },	    /* secure_erase_sector_alignment */
	};
	struct bdev_limits limits = plain_limits();

	limits.logical_block_bytes = 4096;
	limits.physical_block_bytes = 16384;
	limits.opt_io_bytes = 1 << 20;
	limits.max_discard_bytes = 1 << 20;
	limits.discard_align_bytes = 65536;
	limits.max_write_zeroes_bytes = UINT64_MAX;
	limits.write_zeroes_may_unmap = true;
	limits.max_secure_erase_bytes = 4096;
	limits.volatile_cache = true;
	check_config(&limits, fields, ARRAY_SIZE(fields));
}
END_TEST

START_TEST(limits_are_cut_to_blocks)
{
	struct bdev_limits limits = plain_limits();
	struct blk_params params;

	limits.logical_block_bytes = limits.physical_block_bytes = 4096;
	limits.max_discard_bytes = 10000;
	blk_params_init(&params, &limits, 1, 256, "");
	ck_assert_uint_eq(params.limits.max_discard_bytes, 8192);
}
END_TEST

START_TEST(discard_alignment_is_never_less_than_a_block)
{
	struct bdev_limits limits = plain_limits();
	struct virtio_blk_config cfg;
	struct blk_params params;

	limits.max_discard_bytes = limits.max_secure_erase_bytes = 1 << 20;
	limits.discard_align_bytes = 0;
	blk_params_init(&params, &limits, 1, 256, "");
	blk_config_fill(&params, &cfg);
	ck_assert_uint_eq(cfg.discard_sector_alignment, htole32(1));
	ck_assert_uint_eq(cfg.secure_erase_sector_alignment, htole32(1));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blk_config");
	TCase *tc = tcase_create("config");

	tcase_add_loop_test(tc, features_follow_the_limits, 0, ARRAY_SIZE(feature_cases));
	tcase_add_loop_test(tc, seg_max_fits_half_the_ring, 0, ARRAY_SIZE(seg_max_cases));
	tcase_add_test(tc, segments_are_as_the_backend_takes_them);
	tcase_add_test(tc, serial_is_cut_and_padded);
	tcase_add_test(tc, config_of_a_plain_disk);
	tcase_add_test(tc, config_of_a_disk_that_can_everything);
	tcase_add_test(tc, limits_are_cut_to_blocks);
	tcase_add_test(tc, discard_alignment_is_never_less_than_a_block);
	suite_add_tcase(suite, tc);

	return run_suite(suite);
}
