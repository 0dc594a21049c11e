/* SPDX-License-Identifier: MIT */
/* Opening the backend that is another server: what is refused, and what is not believed. */
#include "run_suite.h"
#include "vblk/bdev/bdev.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "test_vhu_bdev_fixture.h"
#include "vblk/util/math.h"
#include "vblk/vhu/vhu_wire.h"

#define BIT64(n) (1ull << (n))

static void expect_refusal(int err, const char *part)
{
	struct bdev *bdev = NULL;

	ck_assert_int_eq(bdev_open(&fx.params, &bdev, fx.why), err);
	ck_assert_msg(strstr(fx.why, part) != NULL, "'%s' lacks '%s'", fx.why, part);
	ck_assert_ptr_null(bdev);
}

START_TEST(servers_that_cannot_be_used_are_refused_with_a_sentence)
{
	char path[200];

	expect_refusal(-ENOENT, "no such socket");
	fx.options.no_protocol = BIT64(VHU_PROTOCOL_F_CONFIG);
	start_server();
	expect_refusal(-EOPNOTSUPP, "configuration");
	stop_server();
	fx.options.no_protocol = 0;
	fx.options.no_features = BIT64(VIRTIO_F_VERSION_1);
	start_server();
	expect_refusal(-EPROTO, "virtio 1");
	stop_server();
	fx.options.no_features = 0;
	fx.options.config.capacity = 0;
	start_server();
	expect_refusal(-EPROTO, "virtio 1");
	stop_server();
	fake_vhu_usual(&fx.options);
	fx.options.config.blk_size = htole32(1000);
	start_server();
	expect_refusal(-EPROTO, "virtio 1");
	stop_server();
	fake_vhu_usual(&fx.options);
	fx.options.queue_cnt = 1;
	start_server();
	expect_refusal(-EINVAL, "--queues 1");
	stop_server();
	fake_vhu_usual(&fx.options);
	fx.options.ring_max = 256;
	fx.params.queue_size = 512;
	start_server();
	expect_refusal(-EOPNOTSUPP, "no queues of 512 entries: use a smaller --queue-size");
	fx.params.queue_size = 256;
	ck_assert_int_eq(bdev_open(&fx.params, &fx.bdev, fx.why), 0);
	bdev_close(fx.bdev);
	fx.bdev = NULL;
	fake_vhu_inject(fx.srv, FAKE_VHU_BAD_REPLY);
	expect_refusal(-EPROTO, "not the vhost-user protocol");
	fx.params.spec = "vhost-user:";
	expect_refusal(-EINVAL, "behind the colon");
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	memcpy(path, "vhost-user:/", 12);
	fx.params.spec = path;
	expect_refusal(-ENAMETOOLONG, "107 characters");
}
END_TEST

/* What a configuration says, and what comes of it: refused, or this many bytes in all. */
static const struct {
	uint64_t sectors;
	uint32_t block_bytes, seg_max, size_max, opt_io_blocks;
	uint16_t queues;
	uint8_t exponent;
	unsigned int queue_cnt;
	int err;
	uint32_t max_segs;
} configs[] = {
	{ 2048, 512, 32, 0, 0, 2, 0, 2, 0, 32 },
	/* sizes */
	{ 0, 512, 32, 0, 0, 2, 0, 2, -EPROTO, 0 },
	{ UINT64_MAX, 512, 32, 0, 0, 2, 0, 2, -EPROTO, 0 },
	{ 1ull << 54, 512, 32, 0, 0, 2, 0, 2, -EPROTO, 0 },
	{ (1ull << 54) - 1, 512, 32, 0, 0, 2, 0, 2, 0, 32 },
	{ 7, 4096, 32, 0, 0, 2, 0, 2, -EINVAL, 0 },
	/* blocks */
	{ 2048, 0, 32, 0, 0, 2, 0, 2, -EPROTO, 0 },
	{ 2048, 1, 32, 0, 0, 2, 0, 2, -EPROTO, 0 },
	{ 2048, 513, 32, 0, 0, 2, 0, 2, -EPROTO, 0 },
	{ 2048, 8192, 32, 0, 0, 2, 0, 2, -EOPNOTSUPP, 0 },
	{ 2048, 1u << 31, 32, 0, 0, 2, 0, 2, -EOPNOTSUPP, 0 },
	{ 2048, 512, 32, 0, UINT32_MAX, 2, 255, 2, 0, 32 },
	{ 2048, 4096, 32, 0, UINT32_MAX, 2, 15, 2, 0, 32 },
	/* segments */
	{ 2048, 512, 0, 0, 0, 2, 0, 2, 0, 1 },
	{ 2048, 512, UINT32_MAX, 0, 0, 2, 0, 2, 0, 126 },
	{ 2048, 512, 32, 1, 0, 2, 0, 2, -EPROTO, 0 },
	{ 2048, 512, 32, 4095, 0, 2, 0, 2, -EPROTO, 0 },
	{ 2048, 512, 32, UINT32_MAX, 0, 2, 0, 2, 0, 32 },
	/* queues */
	{ 2048, 512, 32, 0, 0, 0, 0, 2, -EPROTO, 0 },
	{ 2048, 512, 32, 0, 0, 2, 0, 0, -EPROTO, 0 },
	{ 2048, 512, 32, 0, 0, UINT16_MAX, 0, 1, -EINVAL, 0 },
	{ 2048, 512, 32, 0, 0, UINT16_MAX, 0, UINT32_MAX, 0, 32 },
};

START_TEST(configuration_is_not_believed)
{
	struct virtio_blk_config *config = &fx.options.config;
	const struct bdev_limits *limits;
	int r;

	fx.options.features |= BIT64(VIRTIO_BLK_F_SIZE_MAX) | BIT64(VIRTIO_BLK_F_TOPOLOGY);
	if (!configs[_i].size_max)
		fx.options.no_features = BIT64(VIRTIO_BLK_F_SIZE_MAX);
	config->capacity = htole64(configs[_i].sectors);
	config->blk_size = htole32(configs[_i].block_bytes);
	config->seg_max = htole32(configs[_i].seg_max);
	config->size_max = htole32(configs[_i].size_max);
	config->opt_io_size = htole32(configs[_i].opt_io_blocks);
	config->physical_block_exp = configs[_i].exponent;
	config->num_queues = htole16(configs[_i].queues);
	config->max_discard_sectors = htole32(UINT32_MAX);
	config->discard_sector_alignment = htole32(UINT32_MAX);
	fx.options.queue_cnt = configs[_i].queue_cnt;
	start_server();
	r = bdev_open(&fx.params, &fx.bdev, fx.why);
	ck_assert_int_eq(r, configs[_i].err);
	if (r < 0) {
		ck_assert_ptr_null(fx.bdev);
		ck_assert(fx.why[0]);
		return;
	}
	limits = &fx.bdev->limits;
	ck_assert_uint_eq(limits->capacity_bytes, configs[_i].sectors * SECTOR_BYTES);
	ck_assert_uint_eq(limits->max_segs, configs[_i].max_segs);
	ck_assert(is_power_of_two(limits->physical_block_bytes) &&
		  is_power_of_two(limits->discard_align_bytes));
	ck_assert_uint_le(limits->physical_block_bytes, 1u << 20);
	ck_assert(is_aligned(limits->max_discard_bytes, limits->logical_block_bytes));
}
END_TEST

START_TEST(nobody_listens)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, fx.path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	expect_refusal(-ECONNREFUSED, "nobody listens");
	unlink(fx.path);
}
END_TEST

/* ---- on the driver's rings ---- */

static void refuses_direct(const char *text)
{
	fx.params.direct_rings = true;
	fx.params.queue_size = 16;
	ck_assert_int_lt(bdev_open(&fx.params, &fx.bdev, fx.why), 0);
	ck_assert_msg(strstr(fx.why, text) != NULL, "%s", fx.why);
	ck_assert_msg(strstr(fx.why, "--direct-rings") != NULL, "%s", fx.why);
}

START_TEST(server_that_forgets_gets_no_rings_of_the_driver)
{
	start_server();
	refuses_direct("INFLIGHT_SHMFD");
}
END_TEST

START_TEST(option_that_would_be_ignored_is_refused)
{
	start_server();
	fx.params.read_only = true;
	refuses_direct("leave out --read-only");
	fx.params.read_only = false;
	fx.params.writethrough = true;
	refuses_direct("leave out --cache=writethrough");
	fx.params.writethrough = false;
	fx.params.discard = false;
	refuses_direct("leave out --discard=off");
}
END_TEST

START_TEST(server_without_features_of_rings_is_refused)
{
	fx.options.no_features = BIT64(VIRTIO_RING_F_EVENT_IDX);
	start_server();
	refuses_direct("EVENT_IDX");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bdev_vhost_user_open");
	TCase *tc = tcase_create("bdev_vhost_user_open");

	tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
	tcase_add_test(tc, servers_that_cannot_be_used_are_refused_with_a_sentence);
	tcase_add_loop_test(tc, configuration_is_not_believed, 0, ARRAY_SIZE(configs));
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, server_that_forgets_gets_no_rings_of_the_driver);
	tcase_add_test(tc, option_that_would_be_ignored_is_refused);
	tcase_add_test(tc, server_without_features_of_rings_is_refused);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
