/* SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launch.h"
#include "vblk/host/host_module.h"
#include "vblk/loop/loop_probe.h"
#include "vblk/util/cleanup.h"
#include "vblk/vdpa/vdpa_nl.h"

#define NETLINK_TIMEOUT_MS 3000

static uint64_t read_caps(void)
{
	char line[256];
	uint64_t caps = 0;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "CapEff:", 7))
			caps = strtoull(line + 7, NULL, 16);
	if (f)
		fclose(f);
	return caps;
}

static void look_for_vduse(const struct vdpa_mgmtdev_info *info, void *ctx)
{
	int *result = ctx;

	if (!strcmp(info->name, "vduse") && info->classes & (1ull << VIRTIO_ID_BLOCK))
		*result = 0;
}

static int ask_netlink(void)
{
	struct vdpa_nl *nl;
	int result = -ENODEV;
	int r = vdpa_nl_open(&nl);

	if (r < 0)
		return r;
	r = vdpa_nl_mgmtdev_dump(nl, look_for_vduse, &result);
	vdpa_nl_close(nl);
	return r < 0 ? r : result;
}

/*
 * In a process of its own: while an attach or detach of anybody hangs, the kernel holds the lock
 * of generic netlink, and who asks sleeps where no signal reaches it. It is left behind then.
 */
static int ask_netlink_with_patience(void)
{
	_cleanup_close_ int in = -1, out = -1;
	struct pollfd pfd = { .events = POLLIN };
	int fds[2], result;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	in = fds[0];
	out = fds[1];
	switch (fork()) {
	case -1:
		return -errno;
	case 0:
		result = ask_netlink();
		_exit(write(out, &result, sizeof(result)) == sizeof(result) ? 0 : 1);
	}
	pfd.fd = in;
	if (poll(&pfd, 1, NETLINK_TIMEOUT_MS) <= 0)
		return -ETIMEDOUT;
	return read(in, &result, sizeof(result)) == sizeof(result) ? result : -EIO;
}

/* With signals held back, so that the device never outlives us. */
static int probe_vduse(struct vduse_probe *ret_probe)
{
	char name[DEVICE_NAME_MAX + 1];
	sigset_t all, old;
	int r;

	snprintf(name, sizeof(name), "vblkd-doctor-%d", (int)getpid());
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &old);
	r = vduse_probe(&vduse_sys_kernel, name, ret_probe);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

void doctor_gather(struct doctor_facts *ret_facts)
{
	struct doctor_facts facts = {
		.euid = geteuid(),
		.caps = read_caps(),
		.vduse_result = DOCTOR_NOT_ASKED,
		.netlink = DOCTOR_NOT_ASKED,
	};
	unsigned int missing = host_missing_modules("");
	const struct passwd *user = getpwnam(DOCTOR_USER);
	char path[PATH_MAX];

	facts.has_user = user != NULL;
	facts.user_gid = user ? user->pw_gid : 0;
	(void)getrlimit(RLIMIT_NOFILE, &facts.nofile);
	(void)getrlimit(RLIMIT_MEMLOCK, &facts.memlock);
	facts.ring = loop_probe(facts.ring_missing, sizeof(facts.ring_missing));
	if (!(missing & HOST_NO_VDUSE) && facts.euid == 0)
		facts.vduse_result = probe_vduse(&facts.vduse);
	if (!(missing & (HOST_NO_VDUSE | HOST_NO_VDPA)))
		facts.netlink = ask_netlink_with_patience();
	facts.has_program = launch_find_daemon(path) == 0;
	*ret_facts = facts;
}
