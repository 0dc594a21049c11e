/* SPDX-License-Identifier: MIT */
#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

/* Below a disk that others wait for: the last to be killed. */
static void protect_from_oom_killer(void)
{
	_cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "-1000", 5) < 0)
		return;
}

void privileges_raise_open_files(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

int privileges_prepare(bool host_disk)
{
	struct rlimit unlimited = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	struct rlimit lowest = { .rlim_cur = 1, .rlim_max = 1 };
	struct rlimit none = { 0 };

	/* REG_UMEM and old kernels' io_uring count against it, without exemption. */
	if (setrlimit(RLIMIT_MEMLOCK, &unlimited) < 0 && host_disk)
		return -errno;
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	/* For privileges_begin_real_time() without capabilities. */
	(void)setrlimit(RLIMIT_RTPRIO, &lowest);
	(void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	protect_from_oom_killer();
	return 0;
}

int privileges_find_user(const char *name, struct privileges_user *ret_user)
{
	struct passwd pwd, *found = NULL;
	char buf[4096];
	int r;

	r = getpwnam_r(name, &pwd, buf, sizeof(buf), &found);
	if (r)
		return -r;
	if (!found)
		return -ENOENT;
	if (pwd.pw_uid && !pwd.pw_gid)
		return -EINVAL;
	*ret_user = (struct privileges_user){ pwd.pw_uid, pwd.pw_gid };
	return 0;
}

/* Who half changed would go on as somebody whom nobody thought of. */
void privileges_begin_as(const struct privileges_user *user)
{
	if (geteuid() != user->uid && (setegid(user->gid) < 0 || seteuid(user->uid) < 0))
		abort();
}

void privileges_end_as(const struct privileges_user *user)
{
	if (getuid() != user->uid && (seteuid(getuid()) < 0 || setegid(getgid()) < 0))
		abort();
}

/* Capabilities are kept as far as they may be, but not in effect afterwards. */
static int change_user(const struct privileges_user *user)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
	    setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0 ||
	    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int add_capability(unsigned int capability)
{
	unsigned int sets = CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET;

	return capng_update(CAPNG_ADD, (capng_type_t)sets, capability) < 0 ? -EPERM : 0;
}

/*
 * After an upgrade the bounding set is inherited, and can only be left as it is. So it is for a
 * user who is not root, for whom it means nothing without new privileges.
 */
static int apply_bounding_set(void)
{
	if (geteuid() != 0)
		return 0;
	if (prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) == 0)
		return 0;
	return capng_apply(CAPNG_SELECT_BOUNDS) < 0 ? -EPERM : 0;
}

static int apply_last(void)
{
	if (capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) < 0)
		return -EPERM;
	/* A change of user sets it to what the host has for programs with set-user-ID. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int privileges_drop_keeper(const struct privileges_user *user, bool host_disk)
{
	int r = 0;

	capng_clear(CAPNG_SELECT_ALL);
	if (host_disk)
		r = add_capability(CAP_NET_ADMIN);
	if (r == 0)
		r = apply_bounding_set();
	if (r == 0 && user->uid != getuid())
		r = change_user(user);
	return r < 0 ? r : apply_last();
}

int privileges_drop_attach_helper(void)
{
	int r;

	capng_clear(CAPNG_SELECT_ALL);
	r = add_capability(CAP_NET_ADMIN);
	if (r == 0)
		r = add_capability(CAP_CHOWN);
	if (r == 0)
		r = apply_bounding_set();
	return r < 0 ? r : apply_last();
}

int privileges_keep_over_exec(bool keep)
{
	capng_clear(CAPNG_SELECT_ALL);
	if (add_capability(CAP_NET_ADMIN) < 0)
		return -EPERM;
	if (keep && capng_update(CAPNG_ADD, CAPNG_INHERITABLE | CAPNG_AMBIENT, CAP_NET_ADMIN) < 0)
		return -EPERM;
	return capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) < 0 ? -EPERM : 0;
}

int privileges_drop_worker(void)
{
	capng_clear(CAPNG_SELECT_ALL);
	/* The keeper has given up CAP_SETPCAP, so its bounding set stays as it is. */
	if (capng_apply(CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT) < 0)
		return -EPERM;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

void privileges_begin_real_time(void)
{
	struct sched_param lowest = { .sched_priority = 1 };

	(void)sched_setscheduler(0, SCHED_RR, &lowest);
}

void privileges_end_real_time(void)
{
	struct sched_param param = { .sched_priority = 0 };

	(void)sched_setscheduler(0, SCHED_OTHER, &param);
}

void privileges_set_real_time(pid_t tid, bool on)
{
	struct sched_param param = { .sched_priority = on };

	(void)sched_setscheduler(tid, on ? SCHED_RR : SCHED_OTHER, &param);
}

int privileges_lock_memory(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		return -errno;
	return 0;
}

int privileges_lock_touched_memory(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		return -errno;
	return 0;
}
