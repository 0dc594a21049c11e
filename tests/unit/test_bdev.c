/* SPDX-License-Identifier: MIT */
/* The registry, the checks in front of every backend, and the backends without a file. */
#include "run_suite.h"
#include "vblk/bdev/bdev.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_bdev_fixture.h"

#define MIB (1u << 20)

static struct fx fx;

static const struct {
	struct bdev_params params;
	int err;
	const char *part; /* of the sentence */
} bad_opens[] = {
	{ { .spec = "" }, -EINVAL, "no backend" },
	{ { .spec = "null:" }, -EINVAL, "size" },
	{ { .spec = "null:10X" }, -EINVAL, "size" },
	{ { .spec = "mem:-1" }, -EINVAL, "size" },
	{ { .spec = "mem:0" }, -EINVAL, "less than one block" },
	{ { .spec = "mem:511" }, -EINVAL, "less than one block" },
	{ { .spec = "ftp:disk.img" }, -EINVAL, "null:SIZE, mem:SIZE, file:PATH" },
	{ { .spec = "null:1M", .logical_block_bytes = 513 }, -EINVAL, "513" },
	{ { .spec = "null:1M", .logical_block_bytes = 8192 }, -EINVAL, "8192" },
	{ { .spec = "null:1M", .physical_block_bytes = 768 }, -EINVAL, "768" },
	{ { .spec = "null:1M", .logical_block_bytes = 4096, .physical_block_bytes = 512 },
	  -EINVAL,
	  "smaller" },
};

START_TEST(bad_spec_is_refused_with_a_sentence)
{
	struct bdev *bdev = NULL;
	char why[BDEV_WHY_MAX] = "";

	ck_assert_int_eq(bdev_open(&bad_opens[_i].params, &bdev, why), bad_opens[_i].err);
	ck_assert_ptr_null(bdev);
	ck_assert_msg(strstr(why, bad_opens[_i].part) != NULL, "'%s' lacks '%s'", why,
		      bad_opens[_i].part);
}
END_TEST

START_TEST(capacity_is_rounded_down_to_blocks)
{
	struct bdev_params p = { .spec = "null:10000", .logical_block_bytes = 4096 };

	fx_start(&fx, &p);
	ck_assert_uint_eq(fx.bdev->limits.capacity_bytes, 8192);
	ck_assert_uint_eq(fx.bdev->limits.logical_block_bytes, 4096);
	fx_stop(&fx);
}
END_TEST

static uint8_t buf[MIB];

static const struct {
	enum bdev_op op;
	uint64_t offset, len, iov_len;
	unsigned int slot;
	bool ro;
	int result;
} checks[] = {
	{ BDEV_READ, 0, 512, 512, 0, false, 0 },
	{ BDEV_READ, MIB - 512, 512, 512, 0, false, 0 },
	{ BDEV_READ, MIB, 512, 512, 0, false, -EINVAL },
	{ BDEV_READ, MIB - 512, 1024, 1024, 0, false, -EINVAL },
	{ BDEV_READ, UINT64_MAX - 511, 1024, 1024, 0, false, -EINVAL },
	{ BDEV_READ, 1, 512, 512, 0, false, -EINVAL },
	{ BDEV_READ, 0, 511, 511, 0, false, -EINVAL },
	{ BDEV_READ, 0, 0, 0, 0, false, -EINVAL },
	{ BDEV_READ, 0, 512, 1024, 0, false, -EINVAL },
	{ BDEV_WRITE, 0, 1024, 512, 0, false, -EINVAL },
	{ BDEV_READ, 0, 512, 512, FX_DEPTH, false, -EINVAL },
	{ BDEV_READ, 0, 512, 512, 0, true, 0 },
	{ BDEV_WRITE, 0, 512, 512, 0, true, -EROFS },
	{ BDEV_DISCARD, 0, 512, 0, 0, true, -EROFS },
	{ BDEV_WRITE_ZEROES, 0, 512, 0, 0, true, -EROFS },
	{ BDEV_SECURE_ERASE, 0, 512, 0, 0, true, -EROFS },
	{ BDEV_FLUSH, 0, 0, 0, 0, true, 0 },
	{ BDEV_SECURE_ERASE, 0, 512, 0, 0, false, -EOPNOTSUPP },
	{ BDEV_DISCARD, 0, 512, 0, 0, false, 0 },
	{ BDEV_DISCARD, 0, 2 * MIB, 0, 0, false, -EINVAL },
	{ BDEV_WRITE_ZEROES, 0, 1ull << 40, 0, 0, false, -EINVAL },
	{ (enum bdev_op)77, 0, 512, 512, 0, false, -EOPNOTSUPP },
};

static int seen_result, seen_cnt;

static void note_done(struct bdev_io *io VBLK_UNUSED, int result)
{
	seen_result = result;
	seen_cnt++;
}

START_TEST(request_is_checked_before_the_backend_sees_it)
{
	struct bdev_params p = { .spec = "null:1M", .discard = true, .read_only = checks[_i].ro };
	struct iovec iov = { buf, checks[_i].iov_len };
	struct bdev_io io = { .op = checks[_i].op,
			      .slot_idx = checks[_i].slot,
			      .offset_bytes = checks[_i].offset,
			      .len_bytes = checks[_i].len,
			      .iov = &iov,
			      .iov_cnt = checks[_i].iov_len ? 1 : 0,
			      .done = note_done };

	fx_start(&fx, &p);
	bdev_submit(fx.bq, &io);
	ck_assert_int_eq(seen_cnt, 1);
	ck_assert_int_eq(seen_result, checks[_i].result);
	fx_stop(&fx);
}
END_TEST

START_TEST(discard_off_means_cannot_discard)
{
	static const char *const specs[] = { "null:1M", "mem:1M" };
	struct bdev_params p = { .spec = specs[_i] };

	fx_start(&fx, &p);
	ck_assert_uint_eq(fx.bdev->limits.max_discard_bytes, 0);
	ck_assert(!fx.bdev->limits.write_zeroes_may_unmap);
	ck_assert_int_eq(fx_range(&fx, BDEV_DISCARD, 0, 0, 512), -EOPNOTSUPP);
	ck_assert_int_eq(fx_range(&fx, BDEV_WRITE_ZEROES, 0, 0, 512), 0);
	fx_stop(&fx);
}
END_TEST

START_TEST(null_read_leaves_nothing_stale_in_the_buffer)
{
	struct bdev_params p = { .spec = "null:1M" };

	fx_start(&fx, &p);
	memset(buf, 0xa5, sizeof(buf));
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, buf, sizeof(buf)), 0);
	ck_assert_uint_eq(buf[0], 0);
	ck_assert_mem_eq(buf, buf + 1, sizeof(buf) - 1);
	fx_stop(&fx);
}
END_TEST

START_TEST(mem_keeps_what_was_written_in_many_pieces)
{
	struct bdev_params p = { .spec = "mem:4M" };
	static uint8_t in[200 * 512], out[200 * 512];
	struct iovec iov[200];

	fx_start(&fx, &p);
	fx_pattern(in, sizeof(in), 1);
	for (unsigned int i = 0; i < 200; i++)
		iov[i] = (struct iovec){ in + i * 512, 512 };
	ck_assert_int_eq(fx_finish(&fx, fx_begin(&fx, 3, BDEV_WRITE, 512, sizeof(in), iov, 200)),
			 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 512, out, sizeof(out)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));

	ck_assert_int_eq(fx_range(&fx, BDEV_WRITE_ZEROES, BDEV_IO_MAY_UNMAP, 1024, 512), 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 512, out, sizeof(out)), 0);
	memset(in + 512, 0, 512);
	ck_assert_mem_eq(in, out, sizeof(in));
	fx_stop(&fx);
}
END_TEST

START_TEST(mem_content_survives_the_worker)
{
	struct bdev_params p = { .spec = "mem:1M" };
	uint8_t in[512], out[512];
	int status;
	pid_t pid;

	fx_start(&fx, &p);
	fx_pattern(in, sizeof(in), 2);
	pid = fork();
	if (pid == 0) {
		struct bdev_queue *bq;
		struct iovec iov = { in, sizeof(in) };
		struct bdev_io io = { .op = BDEV_WRITE,
				      .len_bytes = sizeof(in),
				      .iov = &iov,
				      .iov_cnt = 1,
				      .done = note_done };

		if (bdev_queue_new(fx.bdev, &fx.loop, 1, &bq) < 0)
			_exit(1);
		bdev_submit(bq, &io);
		_exit(seen_result);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, sizeof(out)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));
	fx_stop(&fx);
}
END_TEST

START_TEST(resized_memory_keeps_its_content_and_bounds_follow)
{
	struct bdev_params p = { .spec = "mem:1M" };
	static uint8_t in[65536], out[65536];
	uint64_t size;

	fx_start(&fx, &p);
	fx_pattern(in, sizeof(in), 1);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 0, in, sizeof(in)), 0);
	ck_assert_int_eq(bdev_resize(fx.bdev, p.spec, 0, &size, fx.why), 0);
	ck_assert_uint_eq(size, MIB);
	ck_assert_int_eq(bdev_resize(fx.bdev, p.spec, 2 * MIB, &size, fx.why), 0);
	ck_assert_uint_eq(size, 2 * MIB);
	/* Served only when the caller says so. */
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, MIB, out, sizeof(out)), -EINVAL);
	bdev_limits_set_capacity(&fx.bdev->limits, size);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, MIB, out, sizeof(out)), 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 2 * MIB - 512, in, 512), 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 2 * MIB, in, 512), -EINVAL);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, sizeof(out)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));
	bdev_limits_set_capacity(&fx.bdev->limits, 512);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 512, out, 512), -EINVAL);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, 512), 0);
	/* Asked for less, it is as long as it was. */
	ck_assert_int_eq(bdev_resize(fx.bdev, p.spec, 512, &size, fx.why), 0);
	ck_assert_uint_eq(size, 2 * MIB);
	fx_stop(&fx);
}
END_TEST

START_TEST(null_is_as_large_as_anybody_likes)
{
	struct bdev_params p = { .spec = "null:1M", .read_only = true };
	uint64_t size;

	fx_start(&fx, &p);
	ck_assert_int_eq(bdev_resize(fx.bdev, p.spec, 0, &size, fx.why), 0);
	ck_assert_uint_eq(size, MIB);
	ck_assert_int_eq(bdev_resize(fx.bdev, p.spec, 1ull << 50, &size, fx.why), 0);
	ck_assert_uint_eq(size, 1ull << 50);
	fx_stop(&fx);
}
END_TEST

START_TEST(close_and_free_accept_null)
{
	bdev_queue_free(NULL);
	bdev_close(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bdev");
	TCase *tc = tcase_create("bdev");

	fx_skip_without_uring();
	tcase_add_loop_test(tc, bad_spec_is_refused_with_a_sentence, 0, (int)ARRAY_SIZE(bad_opens));
	tcase_add_loop_test(tc, request_is_checked_before_the_backend_sees_it, 0,
			    (int)ARRAY_SIZE(checks));
	tcase_add_loop_test(tc, discard_off_means_cannot_discard, 0, 2);
	tcase_add_test(tc, capacity_is_rounded_down_to_blocks);
	tcase_add_test(tc, null_read_leaves_nothing_stale_in_the_buffer);
	tcase_add_test(tc, mem_keeps_what_was_written_in_many_pieces);
	tcase_add_test(tc, mem_content_survives_the_worker);
	tcase_add_test(tc, resized_memory_keeps_its_content_and_bounds_follow);
	tcase_add_test(tc, null_is_as_large_as_anybody_likes);
	tcase_add_test(tc, close_and_free_accept_null);
	suite_add_tcase(s, tc);

	return run_suite(s);
}
