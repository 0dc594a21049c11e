/* SPDX-License-Identifier: MIT */
/* What a resize may do, and the process that asks the backend. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "resize.h"
#include "run_suite.h"
#include "vblk/util/compiler.h"

#define MIB	    (1ull << 20)
#define PATIENCE_MS 20000

/* A disk of 2 MiB with blocks of 4 KiB. */
static const struct {
	uint64_t size_bytes; /* asked for */
	bool force;
	bool refused; /* without the backend */
	uint64_t backend_bytes;
	int error;
	uint64_t result_bytes;
} cases[] = {
	/* asked: larger, the same, smaller */
	{ 4 * MIB, false, false, 4 * MIB, 0, 4 * MIB },
	{ 4 * MIB, false, false, 8 * MIB, 0, 4 * MIB },
	{ 2 * MIB, false, false, 8 * MIB, 0, 2 * MIB },
	{ MIB, false, true, 0, -EPERM, MIB },
	{ 2 * MIB - 4096, false, true, 0, -EPERM, 2 * MIB - 4096 },
	{ MIB, true, false, 2 * MIB, 0, MIB },
	/* as the backend is */
	{ 0, false, false, 4 * MIB, 0, 4 * MIB },
	{ 0, false, false, 2 * MIB, 0, 2 * MIB },
	{ 0, false, false, MIB, -EPERM, MIB },
	{ 0, true, false, MIB, 0, MIB },
	/* nonsense, with and without force */
	{ 2 * MIB + 512, false, true, 0, -EINVAL, 0 },
	{ MIB + 1, true, true, 0, -EINVAL, 0 },
	{ 1, true, true, 0, -EINVAL, 0 },
	{ 1ull << 63, false, true, 0, -EINVAL, 0 },
	{ UINT64_MAX, true, true, 0, -EINVAL, 0 },
};

START_TEST(nothing_is_cut_off_without_force)
{
	const struct bdev_limits limits = { .capacity_bytes = 2 * MIB,
					    .logical_block_bytes = 4096 };
	const struct resize_request req = { cases[_i].size_bytes, cases[_i].force };
	struct resize_result res;

	ck_assert(resize_refused(&limits, &req, &res) == cases[_i].refused);
	if (!cases[_i].refused)
		resize_settle(&limits, &req, cases[_i].backend_bytes, &res);
	ck_assert_int_eq(res.error, cases[_i].error);
	ck_assert(res.would_cut == (cases[_i].error == -EPERM));
	ck_assert_uint_eq(res.size_bytes, cases[_i].result_bytes);
	ck_assert(!res.error == !res.text[0]);
}
END_TEST

START_TEST(what_would_be_cut_off_is_named)
{
	const struct bdev_limits limits = { .capacity_bytes = 2 * MIB,
					    .logical_block_bytes = 4096 };
	const struct resize_request req = { MIB, false };
	struct resize_result res;

	ck_assert(resize_refused(&limits, &req, &res));
	ck_assert_str_eq(
		res.text,
		"going from 2M to 1M would cut off 1048576 bytes that a filesystem may use");
}
END_TEST

/* Runs the process for @spec and reads what it says. */
static struct resize_result ask(const char *spec, bool read_only, uint64_t size_bytes)
{
	const struct bdev_params params = { .spec = spec, .read_only = read_only };
	const struct resize_request req = { size_bytes, false };
	struct pollfd pfd = { .events = POLLIN };
	struct resize_result res;
	char why[BDEV_WHY_MAX];
	struct bdev *bdev;
	int fds[2], held[2], status;
	pid_t pid;

	ck_assert_int_eq(bdev_open(&params, &bdev, why), 0);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	ck_assert_int_eq(pipe2(held, O_CLOEXEC), 0);
	ck_assert_int_eq(
		resize_start(bdev, spec, &req, (const int[]){ -1, held[1] }, 2, fds[1], &pid), 0);
	close(fds[1]);
	pfd.fd = fds[0];
	ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
	resize_result_read(fds[0], &res);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	/* What is served changes only by the caller. */
	ck_assert_uint_eq(bdev->limits.capacity_bytes, 2 * MIB);
	close(fds[0]);
	close(held[0]);
	close(held[1]);
	bdev_close(bdev);
	return res;
}

START_TEST(process_tells_what_the_backend_says)
{
	struct resize_result res = ask("mem:2M", false, 4 * MIB);

	ck_assert_int_eq(res.error, 0);
	ck_assert_uint_eq(res.size_bytes, 4 * MIB);
	res = ask("null:2M", false, 0);
	ck_assert_int_eq(res.error, 0);
	ck_assert_uint_eq(res.size_bytes, 2 * MIB);
	res = ask("mem:2M", true, 4 * MIB);
	ck_assert_int_eq(res.error, -EROFS);
	ck_assert_ptr_nonnull(strstr(res.text, "'mem:2M' is attached read-only"));
}
END_TEST

START_TEST(process_that_dies_is_noticed)
{
	struct resize_result res;
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	close(fds[1]);
	resize_result_read(fds[0], &res);
	ck_assert_int_eq(res.error, -ECHILD);
	ck_assert_str_ne(res.text, "");
	close(fds[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("daemon_resize");
	TCase *tc = tcase_create("resize");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, nothing_is_cut_off_without_force, 0, (int)ARRAY_SIZE(cases));
	tcase_add_test(tc, what_would_be_cut_off_is_named);
	tcase_add_test(tc, process_tells_what_the_backend_says);
	tcase_add_test(tc, process_that_dies_is_noticed);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
