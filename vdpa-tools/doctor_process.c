/* SPDX-License-Identifier: MIT */
/* What a process started from here may do: user, capabilities, limits, io_uring. */
#include "doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <string.h>

#include "vblk/util/math.h"

#define NOFILE_ADVISED 1024u

static const struct {
	unsigned int cap;
	const char *name;
	const char *what_for;
	bool for_user; /* only to become the daemons' user */
} caps[] = {
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN", "attaches to the vdpa bus", false },
	{ CAP_SYS_RESOURCE, "CAP_SYS_RESOURCE", "raises the limit of locked memory", false },
	{ CAP_SETPCAP, "CAP_SETPCAP", "gives the other capabilities up", false },
	{ CAP_SETUID, "CAP_SETUID", "becomes the user " DOCTOR_USER, true },
	{ CAP_SETGID, "CAP_SETGID", "becomes the user " DOCTOR_USER, true },
	{ CAP_CHOWN, "CAP_CHOWN", "gives nodes to the user " DOCTOR_USER, true },
};

static bool has_cap(const struct doctor *doctor, unsigned int cap)
{
	return doctor->facts->caps & (1ull << cap);
}

/* The initial user namespace maps every id to itself; a kernel without namespaces has no file. */
static bool is_initial_user_namespace(const struct doctor *doctor)
{
	unsigned long long inside = 0, outside = 0, cnt = UINT32_MAX;
	char path[PATH_MAX];
	FILE *f;

	snprintf(path, sizeof(path), "%s/proc/self/uid_map", doctor->root);
	f = fopen(path, "re");
	if (!f)
		return true;
	if (fscanf(f, "%llu %llu %llu", &inside, &outside, &cnt) != 3)
		cnt = 0;
	fclose(f);
	return inside == 0 && outside == 0 && cnt == UINT32_MAX;
}

static void check_user(struct doctor *doctor)
{
	bool complete = true;

	if (doctor->facts->euid != 0) {
		doctor_say(
			doctor, DOCTOR_PROBLEM, "user",
			"only root can make disks, and see everything that is examined here: run "
			"'sudo vblkctl doctor'");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		if (has_cap(doctor, caps[i].cap) || (caps[i].for_user && !doctor->facts->has_user))
			continue;
		doctor_say(doctor, DOCTOR_PROBLEM, "user",
			   "%s is missing, which %s: give it to this container", caps[i].name,
			   caps[i].what_for);
		complete = false;
	}
	if (!is_initial_user_namespace(doctor)) {
		doctor_say(
			doctor, DOCTOR_PROBLEM, "user",
			"root of a user namespace cannot attach to the vdpa bus: use root of the "
			"host");
		complete = false;
	}
	if (complete && doctor->facts->has_user)
		doctor_say(
			doctor, DOCTOR_OK, "user",
			"root, with all capabilities that are needed; daemons run as " DOCTOR_USER);
	else if (complete)
		doctor_say(doctor, DOCTOR_WARNING, "user",
			   "there is no user " DOCTOR_USER ", so daemons run as root: make it with "
			   "'systemd-sysusers', or 'useradd -r " DOCTOR_USER "'");
}

static void check_limits(struct doctor *doctor)
{
	const struct doctor_facts *facts = doctor->facts;

	/* Those of somebody else tell nothing. */
	if (facts->euid != 0)
		return;
	if (facts->nofile.rlim_cur < NOFILE_ADVISED)
		doctor_say(doctor, DOCTOR_WARNING, "limits",
			   "only %" PRIu64 " open files: 64 queues need more; run 'ulimit -n %u'",
			   (uint64_t)facts->nofile.rlim_cur, NOFILE_ADVISED);
	else if (facts->memlock.rlim_max != RLIM_INFINITY && !has_cap(doctor, CAP_SYS_RESOURCE))
		doctor_say(
			doctor, DOCTOR_WARNING, "limits",
			"locked memory is limited to %" PRIu64
			" bytes and cannot be raised from here: run 'ulimit -l unlimited' as root",
			(uint64_t)facts->memlock.rlim_max);
	else
		doctor_say(doctor, DOCTOR_OK, "limits",
			   "open files and locked memory are enough, or raised at the start");
}

static void explain_no_ring(struct doctor *doctor)
{
	switch (doctor->facts->ring) {
	case -ENOSYS:
		doctor_say(
			doctor, DOCTOR_PROBLEM, "io_uring",
			"this kernel has no io_uring: boot one with CONFIG_IO_URING, 6.1 or newer");
		break;
	case -EPERM:
	case -EACCES:
		doctor_say(
			doctor, DOCTOR_PROBLEM, "io_uring",
			"this process may not use it: a container's seccomp profile has to allow "
			"io_uring_setup, io_uring_enter and io_uring_register");
		break;
	default:
		doctor_say(doctor, DOCTOR_PROBLEM, "io_uring", "no ring can be made: %s",
			   strerror(-doctor->facts->ring));
	}
}

/* The worker has no capability, so what root may do here tells nothing of it. */
static void check_io_uring(struct doctor *doctor)
{
	int64_t disabled = doctor_read_number(doctor, "/proc/sys/kernel/io_uring_disabled", 0);
	int64_t group = doctor_read_number(doctor, "/proc/sys/kernel/io_uring_group", -1);

	if (disabled >= 2 || (disabled == 1 && group < 0))
		doctor_say(doctor, DOCTOR_PROBLEM, "io_uring",
			   "it is switched off: run 'sysctl kernel.io_uring_disabled=0'");
	else if (disabled == 1 &&
		 group != (int64_t)(doctor->facts->has_user ? doctor->facts->user_gid : 0))
		doctor_say(doctor, DOCTOR_WARNING, "io_uring",
			   "only group %" PRId64
			   " may use it, so vblkd must be in that group: check "
			   "'sysctl kernel.io_uring_group'",
			   group);
	else if (doctor->facts->ring < 0)
		explain_no_ring(doctor);
	else if (doctor->facts->ring_missing[0])
		doctor_say(doctor, DOCTOR_PROBLEM, "io_uring",
			   "this kernel does not know %s: boot 6.1 or newer",
			   doctor->facts->ring_missing);
	else
		doctor_say(doctor, DOCTOR_OK, "io_uring",
			   "rings can be made, every operation is known");
}

void doctor_check_process(struct doctor *doctor)
{
	check_user(doctor);
	check_limits(doctor);
	check_io_uring(doctor);
}
