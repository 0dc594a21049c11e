/* SPDX-License-Identifier: MIT */
/* Block devices, on a loop device made for the test. */
#include "bdev_uring.h"
#include "run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test_bdev_fixture.h"

#define IMAGE_BYTES (8u << 20)

static char loop_path[64];
static int backing_fd, loop_fd;
static struct fx fx;
static uint8_t in[1 << 20], out[1 << 20];

/* 0 or -errno; the device goes when its last user closes it. */
static int loop_new(uint32_t block_bytes)
{
	const char *tmp = getenv("TMPDIR");
	char image[300];
	struct loop_config config = { .block_size = block_bytes,
				      .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int idx, r;

	if (ctl < 0)
		return -errno;
	(void)snprintf(image, sizeof(image), "%s/vblk-blk-XXXXXX", tmp ? tmp : "/tmp");
	backing_fd = mkstemp(image);
	if (backing_fd < 0 || ftruncate(backing_fd, IMAGE_BYTES) < 0)
		return -errno;
	unlink(image);
	config.fd = (uint32_t)backing_fd;
	/* Somebody else may take the free one first. */
	do {
		idx = ioctl(ctl, LOOP_CTL_GET_FREE);
		(void)snprintf(loop_path, sizeof(loop_path), "/dev/loop%d", idx);
		loop_fd = idx < 0 ? -1 : open(loop_path, O_RDWR | O_CLOEXEC);
		r = loop_fd < 0 || ioctl(loop_fd, LOOP_CONFIGURE, &config) < 0 ? -errno : 0;
		if (r < 0 && loop_fd >= 0)
			close(loop_fd);
	} while (r == -EBUSY);
	close(ctl);
	return r;
}

static void loop_del(void)
{
	close(loop_fd);
	close(backing_fd);
}

static void start(bool direct, bool writethrough)
{
	struct bdev_params p = {
		.spec = loop_path, .direct = direct, .writethrough = writethrough, .discard = true
	};

	ck_assert_int_eq(loop_new(512), 0);
	fx_start(&fx, &p);
}

static void stop(void)
{
	fx_stop(&fx);
	loop_del();
}

START_TEST(size_and_blocks_are_those_of_the_device)
{
	struct bdev_params p = { .spec = loop_path };

	ck_assert_int_eq(loop_new(4096), 0);
	fx_start(&fx, &p);
	ck_assert_uint_eq(fx.bdev->limits.capacity_bytes, IMAGE_BYTES);
	ck_assert_uint_eq(fx.bdev->limits.logical_block_bytes, 4096);
	ck_assert_uint_ge(fx.bdev->limits.physical_block_bytes, 4096);
	ck_assert_uint_eq(fx.bdev->limits.max_secure_erase_bytes, 0);
	stop();
}
END_TEST

START_TEST(blocks_smaller_than_those_of_the_device_are_refused)
{
	struct bdev_params p = { .spec = loop_path, .logical_block_bytes = 512 };
	char why[BDEV_WHY_MAX];
	struct bdev *bdev;

	ck_assert_int_eq(loop_new(4096), 0);
	ck_assert_int_eq(bdev_open(&p, &bdev, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "needs at least 4096"));
	loop_del();
}
END_TEST

START_TEST(device_in_use_is_refused)
{
	struct bdev_params p = { .spec = loop_path };
	char why[BDEV_WHY_MAX];
	struct bdev *bdev;
	int fd;

	ck_assert_int_eq(loop_new(512), 0);
	fd = open(loop_path, O_RDWR | O_EXCL | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bdev_open(&p, &bdev, why), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why, "is in use"));
	close(fd);
	loop_del();
}
END_TEST

/* _i: bit 0 direct, bit 1 write-through */
START_TEST(data_discard_and_zeroes_reach_the_device)
{
	struct stat before, after;

	start(_i & 1, _i & 2);
	fx_pattern(in, sizeof(in), 1);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 0, in, sizeof(in)), 0);
	ck_assert_int_eq(fx_range(&fx, BDEV_FLUSH, 0, 0, 0), 0);
	ck_assert_int_eq(pread(backing_fd, out, sizeof(out), 0), sizeof(out));
	ck_assert_mem_eq(in, out, sizeof(in));

	ck_assert_int_eq(fx_range(&fx, BDEV_WRITE_ZEROES, 0, 512, 4096), 0);
	ck_assert_int_eq(fx_range(&fx, BDEV_WRITE_ZEROES, BDEV_IO_MAY_UNMAP, 8192, 4096), 0);
	memset(in + 512, 0, 4096);
	memset(in + 8192, 0, 4096);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, sizeof(out)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));

	/* pages that are dirty and not yet on the device do not stand in the way */
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 0, in, sizeof(in)), 0);
	ck_assert_int_eq(fx_range(&fx, BDEV_WRITE_ZEROES, 0, 65536, 65536), 0);
	memset(in + 65536, 0, 65536);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, sizeof(out)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));
	ck_assert_int_eq(fx_range(&fx, BDEV_FLUSH, 0, 0, 0), 0);

	if (fx.bdev->limits.max_discard_bytes) {
		ck_assert_int_eq(fstat(backing_fd, &before), 0);
		ck_assert_int_eq(fx_range(&fx, BDEV_DISCARD, 0, 0, 1 << 19), 0);
		ck_assert_int_eq(fstat(backing_fd, &after), 0);
		ck_assert_int_lt(after.st_blocks, before.st_blocks);
	} else {
		printf("SKIP: the loop device cannot discard\n");
	}
	stop();
}
END_TEST

START_TEST(zeroing_by_ioctl_at_depth)
{
	struct uring_queue *q;
	struct fx_io *fio[FX_DEPTH];

	start(false, false);
	q = container_of(fx.bq, struct uring_queue, base);
	q->zero_refused = 1u << ZERO_PUNCH | 1u << ZERO_RANGE;
	memset(in, 0xff, sizeof(in));
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 0, in, sizeof(in)), 0);
	for (unsigned int i = 0; i < FX_DEPTH; i++)
		fio[i] = fx_begin(&fx, i, BDEV_WRITE_ZEROES, i * 8192, 4096, NULL, 0);
	for (unsigned int i = 0; i < FX_DEPTH; i++) {
		ck_assert_int_eq(fx_finish(&fx, fio[i]), 0);
		memset(in + i * 8192, 0, 4096);
	}
	ck_assert_uint_eq(q->zero_refused, 1u << ZERO_PUNCH | 1u << ZERO_RANGE);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, sizeof(out)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));
	stop();
}
END_TEST

START_TEST(shrunk_device_gives_io_errors)
{
	start(_i, false);
	ck_assert_int_eq(ftruncate(backing_fd, 1 << 20), 0);
	ck_assert_int_eq(ioctl(loop_fd, LOOP_SET_CAPACITY), 0);
	ck_assert_int_lt(fx_rw(&fx, BDEV_READ, 4 << 20, out, 65536), 0);
	ck_assert_int_lt(fx_rw(&fx, BDEV_WRITE, 4 << 20, in, 65536), 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, 65536), 0);
	stop();
}
END_TEST

START_TEST(device_that_grew_is_noticed_and_used)
{
	uint64_t size;

	start(_i, false);
	ck_assert_int_eq(bdev_resize(fx.bdev, loop_path, 2 * IMAGE_BYTES, &size, fx.why), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(fx.why, "has only 8388608 bytes"));
	ck_assert_int_eq(ftruncate(backing_fd, 2 * IMAGE_BYTES), 0);
	ck_assert_int_eq(ioctl(loop_fd, LOOP_SET_CAPACITY), 0);
	ck_assert_int_eq(bdev_resize(fx.bdev, loop_path, 0, &size, fx.why), 0);
	ck_assert_uint_eq(size, 2 * IMAGE_BYTES);
	ck_assert_int_eq(bdev_resize(fx.bdev, loop_path, 2 * IMAGE_BYTES, &size, fx.why), 0);
	bdev_limits_set_capacity(&fx.bdev->limits, size);
	fx_pattern(in, 65536, 5);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 2 * IMAGE_BYTES - 65536, in, 65536), 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 2 * IMAGE_BYTES - 65536, out, 65536), 0);
	ck_assert_mem_eq(in, out, 65536);
	stop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bdev_blk");
	TCase *tc = tcase_create("blk");
	int failed = loop_new(512);

	if (failed < 0) {
		printf("SKIP: no loop device can be made: %s\n", strerror(-failed));
		return 77;
	}
	loop_del();
	fx_skip_without_uring();
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, size_and_blocks_are_those_of_the_device);
	tcase_add_test(tc, blocks_smaller_than_those_of_the_device_are_refused);
	tcase_add_test(tc, device_in_use_is_refused);
	tcase_add_loop_test(tc, data_discard_and_zeroes_reach_the_device, 0, 4);
	tcase_add_test(tc, zeroing_by_ioctl_at_depth);
	tcase_add_loop_test(tc, shrunk_device_gives_io_errors, 0, 2);
	tcase_add_loop_test(tc, device_that_grew_is_noticed_and_used, 0, 2);
	suite_add_tcase(s, tc);

	return run_suite(s);
}
