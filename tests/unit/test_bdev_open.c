/* SPDX-License-Identifier: MIT */
/* Opening images: what is refused, with which words, and what is found out. */
#include "run_suite.h"
#include "vblk/bdev/bdev.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_bdev_fixture.h"

static char dir[256], image[300];

static void make_file(const char *path, off_t size)
{
	int fd = open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	close(fd);
}

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(dir, sizeof(dir), "%s/vblk-bdev-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	(void)snprintf(image, sizeof(image), "%s/a:b.img", dir);
	make_file(image, 1 << 20);
}

static void teardown(void)
{
	unlink(image);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void expect_refusal(struct bdev_params p, int err, const char *part)
{
	struct bdev *bdev = NULL;
	char why[BDEV_WHY_MAX] = "";

	ck_assert_int_eq(bdev_open(&p, &bdev, why), err);
	ck_assert_ptr_null(bdev);
	ck_assert_msg(strstr(why, part) != NULL, "'%s' lacks '%s'", why, part);
	ck_assert_msg(why[strlen(why) - 1] != '.', "'%s' ends in a full stop", why);
}

/* Opens @spec, takes it over from itself under other numbers, and compares. */
static struct bdev *take_over(struct bdev_params *p, struct bdev **ret_old)
{
	char why[BDEV_WHY_MAX] = "";
	struct bdev_handover handover;
	struct bdev *taken;

	ck_assert_msg(bdev_open(p, ret_old, why) == 0, "%s", why);
	ck_assert_int_eq(bdev_hand_over(*ret_old, &handover), 0);
	for (unsigned int i = 0; i < handover.fd_cnt; i++)
		handover.fds[i] = fcntl(handover.fds[i], F_DUPFD_CLOEXEC, 3);
	/* Nothing is asked again: the image may have another size by now. */
	if (p->spec == image)
		make_file(image, 2 << 20);
	ck_assert_int_eq(bdev_take_over(p, &handover, &taken), 0);
	ck_assert_mem_eq(&taken->limits, &(*ret_old)->limits, sizeof(taken->limits));
	ck_assert_ptr_eq(taken->ops, (*ret_old)->ops);
	return taken;
}

START_TEST(open_backend_goes_on_in_another_program)
{
	const char *const specs[] = { image, "mem:1M", "null:1M" };
	struct bdev_params p = { .spec = specs[_i], .queue_cnt = 2, .discard = true };
	struct bdev *old, *taken = take_over(&p, &old);

	bdev_close(old);
	bdev_close(taken);
}
END_TEST

START_TEST(lock_lasts_through_a_takeover)
{
	struct bdev_params p = { .spec = image, .queue_cnt = 1 };
	struct bdev *old, *taken = take_over(&p, &old);

	bdev_close(old);
	expect_refusal(p, -EBUSY, "in use");
	bdev_close(taken);
}
END_TEST

START_TEST(takeover_with_other_files_is_refused)
{
	struct bdev_params p = { .spec = image, .queue_cnt = 2 };
	struct bdev_handover handover;
	char why[BDEV_WHY_MAX] = "";
	struct bdev *old, *taken;

	ck_assert_int_eq(bdev_open(&p, &old, why), 0);
	ck_assert_int_eq(bdev_hand_over(old, &handover), 0);
	handover.fd_cnt--;
	ck_assert_int_eq(bdev_take_over(&p, &handover, &taken), -EINVAL);
	handover.kind = "tape";
	ck_assert_int_eq(bdev_take_over(&p, &handover, &taken), -EINVAL);
	handover.kind = "null";
	ck_assert_int_eq(bdev_take_over(&p, &handover, &taken), -EINVAL);
	handover.kind = "mem";
	handover.fd_cnt = 1;
	handover.limits.capacity_bytes++;
	ck_assert_int_eq(bdev_take_over(&p, &handover, &taken), -EINVAL);
	bdev_close(old);
}
END_TEST

START_TEST(missing_image_says_how_to_make_one)
{
	unlink(image);
	expect_refusal((struct bdev_params){ .spec = image }, -ENOENT, "truncate -s 10G");
}
END_TEST

START_TEST(empty_image_is_refused)
{
	ck_assert_int_eq(truncate(image, 0), 0);
	expect_refusal((struct bdev_params){ .spec = image }, -EINVAL, "is empty");
}
END_TEST

START_TEST(image_smaller_than_one_block_is_refused)
{
	ck_assert_int_eq(truncate(image, 100), 0);
	expect_refusal((struct bdev_params){ .spec = image }, -EINVAL, "less than one block");
}
END_TEST

START_TEST(directory_is_refused)
{
	expect_refusal((struct bdev_params){ .spec = dir }, -EISDIR, "directory");
}
END_TEST

START_TEST(fifo_is_refused_without_hanging)
{
	unlink(image);
	ck_assert_int_eq(mkfifo(image, 0600), 0);
	expect_refusal((struct bdev_params){ .spec = image, .read_only = true }, -ENOTBLK,
		       "neither a regular file nor a block device");
}
END_TEST

START_TEST(character_device_is_refused)
{
	expect_refusal((struct bdev_params){ .spec = "/dev/null" }, -ENOTBLK, "neither");
}
END_TEST

START_TEST(o_direct_where_there_is_none_is_refused_with_a_hint)
{
	struct bdev_params p = { .spec = "/proc/version", .direct = true, .read_only = true };

	expect_refusal(p, -EINVAL, "without --direct");
}
END_TEST

START_TEST(size_is_rounded_down_to_blocks)
{
	struct bdev_params p = { .spec = image, .logical_block_bytes = 4096 };
	struct fx fx;

	ck_assert_int_eq(truncate(image, 8192 + 4095), 0);
	fx_start(&fx, &p);
	ck_assert_uint_eq(fx.bdev->limits.capacity_bytes, 8192);
	fx_stop(&fx);
}
END_TEST

START_TEST(file_prefix_and_odd_names_reach_the_file)
{
	char spec[310];
	struct bdev_params p = { .spec = spec };
	struct fx fx;

	(void)snprintf(spec, sizeof(spec), "file:%s", image);
	fx_start(&fx, &p);
	fx_stop(&fx);
	/* An existing relative path that looks like a scheme is a path. */
	ck_assert_int_eq(chdir(dir), 0);
	p.spec = "a:b.img";
	fx_start(&fx, &p);
	fx_stop(&fx);
}
END_TEST

START_TEST(defaults_of_a_file)
{
	struct bdev_params p = { .spec = image, .discard = true };
	const struct bdev_limits *lim;
	struct fx fx;

	fx_start(&fx, &p);
	lim = &fx.bdev->limits;
	ck_assert_uint_eq(lim->capacity_bytes, 1 << 20);
	ck_assert_uint_eq(lim->logical_block_bytes, 512);
	ck_assert_uint_eq(lim->physical_block_bytes, 4096);
	ck_assert_uint_eq(lim->buf_align_bytes, 1);
	ck_assert_uint_eq(lim->max_secure_erase_bytes, 0);
	ck_assert_uint_gt(lim->max_write_zeroes_bytes, 0);
	ck_assert(lim->volatile_cache);
	ck_assert(!lim->direct);
	fx_stop(&fx);
}
END_TEST

/* Holds the image in another process until told to go. */
static pid_t hold_elsewhere(bool read_only, int *ret_go_fd)
{
	int ready[2], go[2];
	char byte = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	ck_assert_int_eq(pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		struct bdev_params p = { .spec = image, .read_only = read_only };
		char why[BDEV_WHY_MAX];
		struct bdev *bdev;

		close(go[1]);
		byte = bdev_open(&p, &bdev, why) == 0;
		(void)!write(ready[1], &byte, 1);
		(void)!read(go[0], &byte, 1);
		_exit(0);
	}
	close(go[0]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 1);
	close(ready[0]);
	close(ready[1]);
	*ret_go_fd = go[1];
	return pid;
}

START_TEST(second_user_is_refused_with_the_holder_named)
{
	struct bdev_params p = { .spec = image };
	struct fx fx;
	char want[64];
	int go, status;
	pid_t pid = hold_elsewhere(false, &go);

	(void)snprintf(want, sizeof(want), "is in use by another process (pid %d)", (int)pid);
	expect_refusal(p, -EBUSY, want);
	p.read_only = true;
	expect_refusal(p, -EBUSY, "in use");
	close(go);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	/* The lock goes with its holder. */
	fx_start(&fx, &p);
	fx_stop(&fx);
}
END_TEST

START_TEST(two_readers_share_an_image)
{
	struct bdev_params p = { .spec = image, .read_only = true };
	struct fx fx;
	int go, status;
	pid_t pid = hold_elsewhere(true, &go);

	fx_start(&fx, &p);
	fx_stop(&fx);
	p.read_only = false;
	expect_refusal(p, -EBUSY, "in use");
	close(go);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

START_TEST(a_queue_gone_does_not_drop_the_lock)
{
	struct bdev_params p = { .spec = image };
	struct fx fx;

	fx_start(&fx, &p);
	bdev_queue_free(fx.bq);
	fx.bq = NULL;
	expect_refusal(p, -EBUSY, "in use");
	fx_stop(&fx);
}
END_TEST

/* ---- sizes that change later ---- */

static off_t image_bytes(void)
{
	struct stat st;

	ck_assert_int_eq(stat(image, &st), 0);
	return st.st_size;
}

START_TEST(file_that_grew_is_noticed_in_whole_blocks)
{
	struct bdev_params p = { .spec = image, .logical_block_bytes = 4096, .read_only = _i };
	uint64_t size;
	struct fx fx;

	fx_start(&fx, &p);
	ck_assert_int_eq(truncate(image, (2 << 20) + 4095), 0);
	ck_assert_int_eq(bdev_resize(fx.bdev, image, 0, &size, fx.why), 0);
	ck_assert_uint_eq(size, 2 << 20);
	ck_assert_int_eq(truncate(image, 4096), 0);
	ck_assert_int_eq(bdev_resize(fx.bdev, image, 0, &size, fx.why), 0);
	ck_assert_uint_eq(size, 4096);
	ck_assert_int_eq(truncate(image, 4095), 0);
	ck_assert_int_eq(bdev_resize(fx.bdev, image, 0, &size, fx.why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(fx.why, "not even one block"));
	fx_stop(&fx);
}
END_TEST

START_TEST(file_is_grown_and_never_made_shorter)
{
	struct bdev_params p = { .spec = image };
	uint8_t buf[512];
	uint64_t size;
	struct fx fx;

	fx_start(&fx, &p);
	ck_assert_int_eq(bdev_resize(fx.bdev, image, 3 << 20, &size, fx.why), 0);
	ck_assert_uint_eq(size, 3 << 20);
	ck_assert_int_eq(image_bytes(), 3 << 20);
	ck_assert_int_eq(bdev_resize(fx.bdev, image, 512, &size, fx.why), 0);
	ck_assert_uint_eq(size, 3 << 20);
	ck_assert_int_eq(image_bytes(), 3 << 20);
	bdev_limits_set_capacity(&fx.bdev->limits, size);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, (3 << 20) - 512, buf, 512), 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, (3 << 20) - 512, buf, 512), 0);
	fx_stop(&fx);
}
END_TEST

START_TEST(file_that_is_only_read_is_not_grown)
{
	struct bdev_params p = { .spec = image, .read_only = true };
	uint64_t size = 7;
	struct fx fx;

	fx_start(&fx, &p);
	ck_assert_int_eq(bdev_resize(fx.bdev, image, 3 << 20, &size, fx.why), -EROFS);
	ck_assert_ptr_nonnull(strstr(fx.why, image));
	ck_assert_uint_eq(size, 7);
	ck_assert_int_eq(image_bytes(), 1 << 20);
	ck_assert_int_eq(bdev_resize(fx.bdev, image, 1 << 20, &size, fx.why), 0);
	fx_stop(&fx);
}
END_TEST

START_TEST(size_that_no_file_can_have_is_refused)
{
	struct bdev_params p = { .spec = image };
	uint64_t size;
	struct fx fx;

	fx_start(&fx, &p);
	ck_assert_int_lt(bdev_resize(fx.bdev, image, UINT64_MAX & ~511ull, &size, fx.why), 0);
	ck_assert_ptr_nonnull(strstr(fx.why, "cannot grow"));
	ck_assert_int_eq(image_bytes(), 1 << 20);
	fx_stop(&fx);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bdev_open");
	TCase *tc = tcase_create("open");

	fx_skip_without_uring();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, open_backend_goes_on_in_another_program, 0, 3);
	tcase_add_test(tc, lock_lasts_through_a_takeover);
	tcase_add_test(tc, takeover_with_other_files_is_refused);
	tcase_add_test(tc, missing_image_says_how_to_make_one);
	tcase_add_test(tc, empty_image_is_refused);
	tcase_add_test(tc, image_smaller_than_one_block_is_refused);
	tcase_add_test(tc, directory_is_refused);
	tcase_add_test(tc, fifo_is_refused_without_hanging);
	tcase_add_test(tc, character_device_is_refused);
	tcase_add_test(tc, o_direct_where_there_is_none_is_refused_with_a_hint);
	tcase_add_test(tc, size_is_rounded_down_to_blocks);
	tcase_add_test(tc, file_prefix_and_odd_names_reach_the_file);
	tcase_add_test(tc, defaults_of_a_file);
	tcase_add_test(tc, second_user_is_refused_with_the_holder_named);
	tcase_add_test(tc, two_readers_share_an_image);
	tcase_add_test(tc, a_queue_gone_does_not_drop_the_lock);
	tcase_add_loop_test(tc, file_that_grew_is_noticed_in_whole_blocks, 0, 2);
	tcase_add_test(tc, file_is_grown_and_never_made_shorter);
	tcase_add_test(tc, file_that_is_only_read_is_not_grown);
	tcase_add_test(tc, size_that_no_file_can_have_is_refused);
	suite_add_tcase(s, tc);

	return run_suite(s);
}
