/* SPDX-License-Identifier: MIT */
/* How a worker that lost its keeper is found. */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run_dir.h"
#include "run_suite.h"
#include "worker_mark.h"

static char dir[] = "/tmp/vblkd-mark.XXXXXX";
static int dir_fd;

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(dir_fd, 0);
}

static void teardown(void)
{
	(void)unlinkat(dir_fd, WORKER_MARK_NAME, 0);
	(void)unlinkat(dir_fd, "other", 0);
	close(dir_fd);
	(void)rmdir(dir);
}

/* A process that has marked itself and lives until it is killed. */
static pid_t marked(void)
{
	int fds[2], dead = -1;
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		if (worker_mark(dir_fd) < 0 || write(fds[1], &byte, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	ck_assert_int_gt(pid, 0);
	close(fds[1]);
	dead = read(fds[0], &byte, 1) == 1 ? 0 : -1;
	close(fds[0]);
	ck_assert_int_eq(dead, 0);
	return pid;
}

static void end(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void sum_pids(pid_t pid, void *ctx)
{
	*(long *)ctx += pid;
}

static long sum_of_marked(void)
{
	long sum = 0;

	worker_each_marked(dir_fd, sum_pids, &sum);
	return sum;
}

/* One that retires and its successor live together. */
START_TEST(all_marked_processes_are_found_as_long_as_they_live)
{
	pid_t first, second;

	ck_assert_int_eq(sum_of_marked(), 0);
	first = marked();
	second = marked();
	ck_assert_int_eq(sum_of_marked(), (long)first + second);
	ck_assert(worker_is_marked(dir_fd, first));
	ck_assert(!worker_is_marked(dir_fd, getpid()));
	end(first);
	ck_assert(!worker_is_marked(dir_fd, first));
	ck_assert_int_eq(sum_of_marked(), second);
	end(second);
	ck_assert_int_eq(sum_of_marked(), 0);
}
END_TEST

/* Who can write to the directory must not get others killed. */
START_TEST(link_to_a_file_of_others_marks_nobody)
{
	pid_t pid = marked();

	ck_assert_int_eq(renameat(dir_fd, WORKER_MARK_NAME, dir_fd, "other"), 0);
	ck_assert_int_eq(symlinkat("other", dir_fd, WORKER_MARK_NAME), 0);
	ck_assert_int_eq(sum_of_marked(), 0);
	ck_assert_int_eq(unlinkat(dir_fd, WORKER_MARK_NAME, 0), 0);
	ck_assert_int_eq(linkat(dir_fd, "other", dir_fd, WORKER_MARK_NAME, 0), 0);
	ck_assert_int_eq(sum_of_marked(), 0);
	ck_assert(!worker_is_marked(dir_fd, pid));
	end(pid);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("worker_mark");
	TCase *tc = tcase_create("mark");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, all_marked_processes_are_found_as_long_as_they_live);
	tcase_add_test(tc, link_to_a_file_of_others_marks_nobody);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
