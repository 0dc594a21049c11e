/* SPDX-License-Identifier: MIT */
/*
 * Filters of system calls, tried in children: what is refused, what ends the process, what an
 * io_uring under it can still do, and that what the worker needs passes.
 */
#include "sandbox.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run_suite.h"
#include "vblk/loop/loop.h"

#define EXIT_OF(err) ((err)&0x7f)
#define EXIT_DID_IT  0x7e
#define EXIT_SETUP   0x7d

/* What a call ended with: its errno; EXIT_DID_IT when it worked. */
static int outcome(long r)
{
	return r < 0 ? EXIT_OF(errno) : EXIT_DID_IT;
}

/* The wait status of a child that enters the filter and makes the call. */
static int try_in(int (*enter)(void), int (*fn)(void))
{
	pid_t pid;
	int status;

	ck_assert_int_eq(sandbox_prepare_worker(true, false), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		const struct rlimit none = { 0 };

		(void)setrlimit(RLIMIT_CORE, &none);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || enter() < 0)
			_exit(EXIT_SETUP);
		_exit(fn());
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static int do_openat(void)
{
	return outcome(open("/dev/null", O_RDONLY));
}

static int do_socket(void)
{
	return outcome(socket(AF_UNIX, SOCK_DGRAM, 0));
}

static int do_socketpair(void)
{
	int fds[2];

	return outcome(socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
}

static int do_internet_socket(void)
{
	return outcome(socket(AF_INET, SOCK_STREAM, 0));
}

static int do_fork(void)
{
	return outcome(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
}

static int do_clone3(void)
{
	return outcome(syscall(SYS_clone3, NULL, 0));
}

static int do_kill(void)
{
	return outcome(kill(getppid(), 0));
}

static int do_tgkill(void)
{
	return outcome(syscall(SYS_tgkill, getppid(), getppid(), 0));
}

static int do_uring_setup(void)
{
	struct io_uring_params p = { 0 };

	return outcome(syscall(SYS_io_uring_setup, 4, &p));
}

static int do_setuid(void)
{
	return outcome(syscall(SYS_setuid, getuid()));
}

static int do_unlink(void)
{
	return outcome(unlink("/nonexistent"));
}

static int do_strange_ioctl(void)
{
	int bytes;

	return outcome(ioctl(STDIN_FILENO, FIONREAD, &bytes));
}

static int do_exec_page(void)
{
	return outcome(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0) == MAP_FAILED
			       ? -1
			       : 0);
}

static int do_make_exec(void)
{
	static char page[8192];

	return outcome(mprotect((void *)(((uintptr_t)page + 4095) & ~4095ul), 4096,
				PROT_READ | PROT_EXEC));
}

static int do_wake_thread(void)
{
	return outcome(syscall(SYS_tgkill, getpid(), gettid(), SIGURG));
}

static int do_real_time(void)
{
	const struct sched_param param = { .sched_priority = 1 };

	return outcome(sched_setscheduler(0, SCHED_FIFO, &param));
}

static int do_limit(void)
{
	const struct rlimit limit = { 0 };

	return outcome(setrlimit(RLIMIT_NOFILE, &limit));
}

static int do_dumpable(void)
{
	return outcome(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0));
}

static int do_another_filter(void)
{
	return outcome(syscall(SYS_seccomp, 0, 0, NULL));
}

static int do_execve(void)
{
	char *const argv[] = { (char *)"true", NULL };

	return outcome(execv("/bin/true", argv));
}

static int do_ptrace(void)
{
	return outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int do_vm_readv(void)
{
	return outcome(process_vm_readv(getppid(), NULL, 0, NULL, 0, 0));
}

static int do_mount(void)
{
	return outcome(mount("none", "/nonexistent", "tmpfs", 0, NULL));
}

static int do_bpf(void)
{
	return outcome(syscall(SYS_bpf, 0, NULL, 0));
}

static int do_unshare(void)
{
	return outcome(unshare(CLONE_NEWUSER));
}

/* clang-format off */
static int (*const refused[])(void) = {
	do_openat, do_socket, do_fork, do_clone3, do_kill, do_tgkill, do_wake_thread, do_uring_setup,
	do_setuid, do_unlink, do_strange_ioctl, do_exec_page, do_make_exec, do_real_time, do_limit,
	do_dumpable, do_another_filter,
};
static int (*const fatal[])(void) = {
	do_execve, do_ptrace, do_vm_readv, do_mount, do_bpf, do_unshare,
};
static int (*const refused_to_keeper[])(void) = {
	do_ptrace, do_vm_readv, do_mount, do_bpf, do_unshare,
};
/* clang-format on */

START_TEST(worker_is_refused)
{
	int status = try_in(sandbox_enter_worker, refused[_i]);

	ck_assert_msg(WIFEXITED(status), "died of signal %d", WTERMSIG(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_OF(ENOSYS));
}
END_TEST

START_TEST(worker_dies_of)
{
	int status = try_in(sandbox_enter_worker, fatal[_i]);

	ck_assert_msg(WIFSIGNALED(status), "exit code %d", WEXITSTATUS(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSYS);
}
END_TEST

START_TEST(keeper_is_refused)
{
	int status = try_in(sandbox_enter_keeper, refused_to_keeper[_i]);

	ck_assert_msg(WIFEXITED(status), "died of signal %d", WTERMSIG(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_OF(EPERM));
}
END_TEST

/* Exit code 0 is that of /bin/true. */
START_TEST(keeper_becomes_another_program)
{
	int status = try_in(sandbox_enter_keeper, do_execve);

	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}
END_TEST

/* Both, as the worker of a keeper has. */
static int enter_both(void)
{
	return sandbox_enter_keeper() < 0 ? -1 : sandbox_enter_worker();
}

START_TEST(worker_has_the_keepers_filter_as_well)
{
	int status = try_in(enter_both, do_openat);

	ck_assert_msg(WIFEXITED(status), "died of signal %d", WTERMSIG(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_OF(ENOSYS));
}
END_TEST

START_TEST(worker_that_connects_has_unix_sockets_only)
{
	static const struct {
		int (*fn)(void);
		int code;
	} calls[] = {
		{ do_socket, EXIT_DID_IT },
		{ do_socketpair, EXIT_DID_IT },
		{ do_internet_socket, EXIT_OF(ENOSYS) },
		{ do_openat, EXIT_OF(ENOSYS) },
	};

	ck_assert_int_eq(sandbox_prepare_worker(_i & 1, true), 0);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		int status = try_in(sandbox_enter_worker, calls[i].fn);

		ck_assert_msg(WIFEXITED(status), "died of signal %d", WTERMSIG(status));
		ck_assert_int_eq(WEXITSTATUS(status), calls[i].code);
	}
}
END_TEST

static int do_fstat(void)
{
	struct stat st;

	return outcome(fstat(STDIN_FILENO, &st));
}

static int do_fstatfs(void)
{
	struct statfs fs;

	return outcome(fstatfs(STDIN_FILENO, &fs));
}

static int do_readlinkat(void)
{
	char buf[64];

	return outcome(readlinkat(STDIN_FILENO, "/proc/self/exe", buf, sizeof(buf)));
}

START_TEST(worker_of_a_socket_looks_at_what_its_client_sends)
{
	static const struct {
		int (*fn)(void);
		int code;
	} calls[] = {
		{ do_wake_thread, EXIT_DID_IT }, { do_fstat, EXIT_DID_IT },
		{ do_fstatfs, EXIT_DID_IT },	 { do_readlinkat, EXIT_DID_IT },
		{ do_tgkill, EXIT_OF(ENOSYS) },	 { do_socket, EXIT_OF(ENOSYS) },
	};

	ck_assert_int_eq(sandbox_prepare_worker(false, false), 0);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		int status = try_in(sandbox_enter_worker, calls[i].fn);

		ck_assert_msg(WIFEXITED(status), "died of signal %d", WTERMSIG(status));
		ck_assert_int_eq(WEXITSTATUS(status), calls[i].code);
	}
}
END_TEST

START_TEST(unprepared_filter_is_an_error)
{
	ck_assert_int_eq(sandbox_enter_worker(), -EINVAL);
}
END_TEST

/* ---- the worker's work ---- */

static struct loop loop;

static int enter_with_ring(void)
{
	return loop_init(&loop, 8) < 0 ? -1 : sandbox_enter_worker();
}

struct ring_op {
	struct loop_op op;
	int result;
	bool done;
};

static void ring_op_done(struct loop_op *op, int res, uint32_t flags VBLK_UNUSED)
{
	struct ring_op *ring_op = container_of(op, struct ring_op, op);

	ring_op->result = res;
	ring_op->done = true;
}

static int run_on_ring(struct io_uring_sqe *sqe)
{
	struct ring_op op = { .op.complete = ring_op_done };

	loop_sqe_bind(sqe, &op.op);
	while (!op.done)
		if (loop_wait(&loop) < 0)
			return EXIT_SETUP;
	return op.result < 0 ? EXIT_OF(-op.result) : EXIT_DID_IT;
}

static int ring_opens(void)
{
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);

	io_uring_prep_openat(sqe, AT_FDCWD, "/dev/null", O_RDONLY, 0);
	return run_on_ring(sqe);
}

static int ring_makes_socket(void)
{
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);

	io_uring_prep_rw(45 /* IORING_OP_SOCKET */, sqe, AF_UNIX, NULL, 0, SOCK_DGRAM);
	return run_on_ring(sqe);
}

static int ring_connects(void)
{
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);

	io_uring_prep_connect(sqe, STDIN_FILENO, NULL, 0);
	return run_on_ring(sqe);
}

static int (*const ring_refused[])(void) = { ring_opens, ring_makes_socket, ring_connects };

START_TEST(ring_refuses_what_it_is_not_for)
{
	int status = try_in(enter_with_ring, ring_refused[_i]);

	ck_assert_msg(WIFEXITED(status), "died of signal %d", WTERMSIG(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_OF(EACCES));
}
END_TEST

static int ring_reads(void)
{
	static char byte;
	struct io_uring_sqe *sqe = loop_get_sqe(&loop);
	struct iovec iov = { &byte, 1 };
	int fd = memfd_create("data", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, 4096) < 0 ||
	    (pwritev2(fd, &iov, 1, 0, RWF_NOWAIT) < 0 && errno != EOPNOTSUPP))
		return EXIT_OF(errno);
	io_uring_prep_read(sqe, fd, &byte, 1, 0);
	return run_on_ring(sqe);
}

static int works(void)
{
	const struct sched_param param = { .sched_priority = 0 };
	uint64_t range[2] = { 0, 512 };
	int efd = eventfd(0, EFD_CLOEXEC);
	void *page =
		mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (efd < 0 || page == MAP_FAILED || madvise(page, 1 << 20, MADV_POPULATE_READ) < 0)
		return EXIT_OF(errno);
	if (sched_setscheduler(0, SCHED_BATCH, &param) < 0 ||
	    sched_setscheduler(0, SCHED_OTHER, &param) < 0 || sched_yield() < 0 ||
	    setpriority(PRIO_PROCESS, 0, 10) < 0 || mlockall(MCL_CURRENT) < 0)
		return EXIT_OF(errno);
	/* Passed on to a file that has no such call. */
	if (ioctl(efd, BLKDISCARD, range) == 0 || errno != ENOTTY)
		return EXIT_OF(errno);
	return EXIT_DID_IT;
}

static int (*const allowed[])(void) = { ring_reads, works };

START_TEST(worker_can_work)
{
	int status = try_in(enter_with_ring, allowed[_i]);

	ck_assert_msg(WIFEXITED(status), "died of signal %d", WTERMSIG(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_DID_IT);
}
END_TEST

/* ---- threads that were there before ---- */

static pthread_barrier_t barrier;
static int seen_errno;

static void *open_later(void *arg VBLK_UNUSED)
{
	(void)pthread_barrier_wait(&barrier);
	(void)pthread_barrier_wait(&barrier);
	seen_errno = open("/dev/null", O_RDONLY) < 0 ? errno : 0;
	return NULL;
}

static pthread_t thread;

static int enter_with_thread(void)
{
	int r;

	if (pthread_barrier_init(&barrier, NULL, 2) ||
	    pthread_create(&thread, NULL, open_later, NULL))
		return -1;
	(void)pthread_barrier_wait(&barrier);
	r = sandbox_enter_worker();
	(void)pthread_barrier_wait(&barrier);
	return r;
}

static int join_thread(void)
{
	return pthread_join(thread, NULL) ? EXIT_SETUP : EXIT_OF(seen_errno);
}

START_TEST(filter_holds_for_threads_that_exist)
{
	int status = try_in(enter_with_thread, join_thread);

	ck_assert_msg(WIFEXITED(status), "died of signal %d", WTERMSIG(status));
	ck_assert_int_eq(WEXITSTATUS(status), EXIT_OF(ENOSYS));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sandbox");
	TCase *tc;

	tc = tcase_create("unprepared");
	tcase_add_test(tc, worker_of_a_socket_looks_at_what_its_client_sends);
	tcase_add_loop_test(tc, worker_that_connects_has_unix_sockets_only, 0, 2);
	tcase_add_test(tc, unprepared_filter_is_an_error);
	suite_add_tcase(suite, tc);
	/* What sanitizers do on their own is not on the list. */
	if (!sandbox_is_built())
		return run_suite(suite);
	tc = tcase_create("refusals");
	tcase_add_loop_test(tc, worker_is_refused, 0, ARRAY_SIZE(refused));
	tcase_add_loop_test(tc, worker_dies_of, 0, ARRAY_SIZE(fatal));
	tcase_add_loop_test(tc, keeper_is_refused, 0, ARRAY_SIZE(refused_to_keeper));
	tcase_add_test(tc, keeper_becomes_another_program);
	tcase_add_test(tc, worker_has_the_keepers_filter_as_well);
	tcase_add_loop_test(tc, ring_refuses_what_it_is_not_for, 0, ARRAY_SIZE(ring_refused));
	tcase_add_test(tc, filter_holds_for_threads_that_exist);
	suite_add_tcase(suite, tc);
	tc = tcase_create("work");
	tcase_add_loop_test(tc, worker_can_work, 0, ARRAY_SIZE(allowed));
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
