/* SPDX-License-Identifier: MIT */
#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
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

int privileges_prepare(void)
{
	struct rlimit unlimited = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	struct rlimit lowest = { .rlim_cur = 1, .rlim_max = 1 };
	struct rlimit none = { 0 };

	/* REG_UMEM and old kernels' io_uring count against it, without exemption. */
	if (setrlimit(RLIMIT_MEMLOCK, &unlimited) < 0)
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

int privileges_drop_keeper(void)
{
	capng_select_t sets = CAPNG_SELECT_ALL;

	capng_clear(CAPNG_SELECT_ALL);
	if (capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED | CAPNG_BOUNDING_SET,
			 CAP_NET_ADMIN) < 0)
		return -EPERM;
	/* After an upgrade the bounding set is inherited, and can only be left as it is. */
	if (prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) == 0)
		sets = CAPNG_SELECT_CAPS | CAPNG_SELECT_AMBIENT;
	if (capng_apply(sets) < 0)
		return -EPERM;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return 0;
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

int privileges_lock_memory(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		return -errno;
	return 0;
}
