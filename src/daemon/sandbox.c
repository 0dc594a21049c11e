/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vblk/bdev/bdev.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/math.h"
#include "vblk/vduse/vduse_sys.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

#ifdef __has_feature
#define CLANG_HAS(feature) __has_feature(feature)
#else
#define CLANG_HAS(feature) 0
#endif

bool sandbox_is_built(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	CLANG_HAS(address_sanitizer) || CLANG_HAS(thread_sanitizer)
	return false;
#else
	return true;
#endif
}

/* ---- worker ---- */

/* With any arguments. What makes a descriptor here makes one of no file, socket or ring. */
static const int worker_calls[] = {
	/* requests */
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(preadv),
	SCMP_SYS(pwritev),
	SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2),
	SCMP_SYS(fallocate),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	/* clients of the control socket, the keeper, the journal */
	SCMP_SYS(accept4),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(getsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(shutdown),
	/* descriptors */
	SCMP_SYS(close),
	SCMP_SYS(dup),
	SCMP_SYS(dup2),
	SCMP_SYS(dup3),
	SCMP_SYS(lseek),
	SCMP_SYS(fstat),
	SCMP_SYS(fcntl),
	SCMP_SYS(eventfd2),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	/* memory; umem of its own where the keeper had none */
	SCMP_SYS(memfd_create),
	SCMP_SYS(ftruncate),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(mlock),
	SCMP_SYS(mlock2),
	SCMP_SYS(mlockall),
	SCMP_SYS(munlock),
	SCMP_SYS(munlockall),
	/* threads that exist, signals, time */
	SCMP_SYS(futex),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(membarrier),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getscheduler),
	SCMP_SYS(sched_getparam),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_setaffinity),
	SCMP_SYS(getpriority),
	SCMP_SYS(setpriority),
	SCMP_SYS(getcpu),
	SCMP_SYS(getrusage),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(nanosleep),
	SCMP_SYS(time),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(getrandom),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getppid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* For a client of a socket: is what it sends memory, and whose? */
static const int socket_worker_calls[] = {
	SCMP_SYS(fstatfs),
	SCMP_SYS(readlinkat),
};

/* What opens other doors: to programs, to other processes, into the kernel. */
static const int attack_calls[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(kcmp),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(fsopen),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(add_key),
	SCMP_SYS(keyctl),
	SCMP_SYS(request_key),
};

/*
 * A call that this architecture does not have is no error: it cannot be made, either.
 * Of the same call an earlier rule without arguments would swallow a later one with.
 */
static int add_calls(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++) {
		int r = seccomp_rule_add(filter, action, calls[i], 0);

		if (r < 0 && r != -EDOM)
			return r;
	}
	return 0;
}

static struct scmp_arg_cmp arg_is(unsigned int idx, uint64_t value)
{
	return (struct scmp_arg_cmp){ .arg = idx, .op = SCMP_CMP_EQ, .datum_a = value };
}

static struct scmp_arg_cmp arg_lacks(unsigned int idx, uint64_t bits)
{
	return (struct scmp_arg_cmp){ .arg = idx, .op = SCMP_CMP_MASKED_EQ, .datum_a = bits };
}

static int allow_if(scmp_filter_ctx filter, int call, struct scmp_arg_cmp arg)
{
	int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, arg);

	return r == -EDOM ? 0 : r;
}

static int allow_ioctls(scmp_filter_ctx filter, const unsigned long *requests, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++) {
		int r = allow_if(filter, SCMP_SYS(ioctl), arg_is(1, requests[i]));

		if (r < 0)
			return r;
	}
	return 0;
}

static int allow_worker_ioctls(scmp_filter_ctx filter)
{
	const unsigned long *requests;
	unsigned int cnt;

	requests = bdev_ioctls(&cnt);
	return allow_ioctls(filter, requests, cnt);
}

static int allow_vduse_ioctls(scmp_filter_ctx filter)
{
	const unsigned long *requests;
	unsigned int cnt;

	requests = vduse_sys_ioctls(&cnt);
	return allow_ioctls(filter, requests, cnt);
}

static int allow_with_arguments(scmp_filter_ctx filter)
{
	const struct {
		int call;
		struct scmp_arg_cmp arg;
	} rules[] = {
		/* no page becomes code */
		{ SCMP_SYS(mmap), arg_lacks(2, PROT_EXEC) },
		{ SCMP_SYS(mprotect), arg_lacks(2, PROT_EXEC) },
		{ SCMP_SYS(sched_setscheduler), arg_is(1, SCHED_OTHER) },
		{ SCMP_SYS(sched_setscheduler), arg_is(1, SCHED_BATCH) },
		/* look, do not touch */
		{ SCMP_SYS(prlimit64), arg_is(2, 0) },
		{ SCMP_SYS(prctl), arg_is(0, PR_SET_NAME) },
		{ SCMP_SYS(prctl), arg_is(0, PR_GET_NAME) },
		{ SCMP_SYS(prctl), arg_is(0, PR_SET_VMA) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		int r = allow_if(filter, rules[i].call, rules[i].arg);

		if (r < 0)
			return r;
	}
	return allow_worker_ioctls(filter);
}

static int add_worker_rules(scmp_filter_ctx filter)
{
	int r;

	r = add_calls(filter, SCMP_ACT_ALLOW, worker_calls, ARRAY_SIZE(worker_calls));
	if (r == 0)
		r = add_calls(filter, SCMP_ACT_KILL_PROCESS, attack_calls,
			      ARRAY_SIZE(attack_calls));
	return r < 0 ? r : allow_with_arguments(filter);
}

/* A server of this host, and nobody beyond it. */
static int allow_connecting(scmp_filter_ctx filter)
{
	static const int calls[] = { SCMP_SYS(connect) };
	int r;

	r = add_calls(filter, SCMP_ACT_ALLOW, calls, ARRAY_SIZE(calls));
	if (r == 0)
		r = allow_if(filter, SCMP_SYS(socket), arg_is(0, AF_UNIX));
	if (r == 0)
		r = allow_if(filter, SCMP_SYS(socketpair), arg_is(0, AF_UNIX));
	return r;
}

static int add_vduse_worker_rules(scmp_filter_ctx filter)
{
	int r = add_worker_rules(filter);

	return r < 0 ? r : allow_vduse_ioctls(filter);
}

static int add_socket_worker_rules(scmp_filter_ctx filter)
{
	int r = add_worker_rules(filter);

	if (r == 0)
		r = add_calls(filter, SCMP_ACT_ALLOW, socket_worker_calls,
			      ARRAY_SIZE(socket_worker_calls));
	/* What fstat(3) makes in some C libraries. */
	if (r == 0)
		r = allow_if(filter, SCMP_SYS(newfstatat), arg_is(3, AT_EMPTY_PATH));
	/* What vdev_queue_interrupt() sends to our threads; nobody else minds it. */
	return r < 0 ? r : allow_if(filter, SCMP_SYS(tgkill), arg_is(2, SIGURG));
}

static int add_connecting_socket_worker_rules(scmp_filter_ctx filter)
{
	int r = add_socket_worker_rules(filter);

	return r < 0 ? r : allow_connecting(filter);
}

static int add_connecting_vduse_worker_rules(scmp_filter_ctx filter)
{
	int r = add_vduse_worker_rules(filter);

	return r < 0 ? r : allow_connecting(filter);
}

/* ---- from rules to a program of the kernel ---- */

/* Return: 0, @ret_prog->filter owned; -errno. The library writes to files only. */
static int read_program(int fd, struct sock_fprog *ret_prog)
{
	_cleanup_free_ struct sock_filter *code = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	code = malloc((size_t)st.st_size);
	if (!code)
		return -ENOMEM;
	if (pread(fd, code, (size_t)st.st_size, 0) != st.st_size)
		return -EIO;
	ret_prog->len = (unsigned short)((size_t)st.st_size / sizeof(*code));
	ret_prog->filter = code;
	code = NULL;
	return 0;
}

static int compile(uint32_t other_calls, int (*add_rules)(scmp_filter_ctx filter),
		   struct sock_fprog *ret_prog)
{
	_cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
	scmp_filter_ctx filter;
	int r;

	if (fd < 0)
		return -errno;
	filter = seccomp_init(other_calls);
	if (!filter)
		return -ENOMEM;
	r = add_rules(filter);
	/* A tree: what a call costs does not grow with the list. */
	if (r == 0)
		(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = seccomp_export_bpf(filter, fd);
	if (r == 0)
		r = read_program(fd, ret_prog);
	seccomp_release(filter);
	return r;
}

/*
 * All threads; and no price in speed, which kernels before 5.16 would take from everybody
 * with a filter, against programs that run somebody else's code (SSBD). This one does not.
 */
static int load(const struct sock_fprog *prog)
{
	const unsigned int flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, prog);

	/* More than 0: a thread that cannot be brought along. */
	return r < 0 ? -errno : r > 0 ? -EBUSY : 0;
}

/* Compiled in the keeper, once: no worker waits for that, or for memory for it. */
static struct sock_fprog worker_prog;

int sandbox_prepare_worker(bool vduse, bool connects)
{
	int (*const rules[2][2])(scmp_filter_ctx filter) = {
		{ add_socket_worker_rules, add_connecting_socket_worker_rules },
		{ add_vduse_worker_rules, add_connecting_vduse_worker_rules },
	};

	if (worker_prog.filter)
		return 0;
	return compile(SCMP_ACT_ERRNO(ENOSYS), rules[vduse][connects], &worker_prog);
}

int sandbox_enter_worker(void)
{
	return worker_prog.filter ? load(&worker_prog) : -EINVAL;
}

/* ---- keeper ---- */

/* Becoming the new program is what an upgrade is. */
static bool keeper_needs(int call)
{
	return call == SCMP_SYS(execve) || call == SCMP_SYS(execveat);
}

static int add_keeper_rules(scmp_filter_ctx filter)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(attack_calls) && r == 0; i++)
		if (!keeper_needs(attack_calls[i]))
			r = add_calls(filter, SCMP_ACT_ERRNO(EPERM), &attack_calls[i], 1);
	return r;
}

int sandbox_enter_keeper(void)
{
	struct sock_fprog prog;
	int r;

	r = compile(SCMP_ACT_ALLOW, add_keeper_rules, &prog);
	if (r < 0)
		return r;
	r = load(&prog);
	free(prog.filter);
	return r;
}
