/* SPDX-License-Identifier: MIT */
#include "attach_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "privileges.h"
#include "vblk/host/host_disk.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/vdpa/vdpa_nl.h"

#define MGMTDEV_NAME	  "vduse"
#define DISK_WAIT_MS	  10000u
#define DISK_WAIT_STEP_MS 5u

static void VBLK_PRINTF(3, 4) fail(struct helper_result *res, int error, const char *fmt, ...)
{
	va_list ap;

	res->error = error;
	va_start(ap, fmt);
	vsnprintf(res->text, sizeof(res->text), fmt, ap);
	va_end(ap);
}

static bool open_bus(const struct helper_request *req, struct vdpa_nl **ret_nl,
		     struct helper_result *res)
{
	int r = req->bus_fd < 0 ? vdpa_nl_open(ret_nl) : vdpa_nl_open_on(req->bus_fd, ret_nl);

	if (r == -ENOENT)
		fail(res, r,
		     "the kernel's vdpa bus cannot be reached: load it (modprobe vdpa) and run in the initial network namespace");
	else if (r < 0)
		fail(res, r, "cannot reach the kernel's vdpa bus: %s", strerror(-r));
	return r == 0;
}

static void explain_add(struct vdpa_nl *nl, int error, struct helper_result *res)
{
	const char *kernel = vdpa_nl_last_message(nl);

	switch (-error) {
	case EPERM:
		fail(res, error,
		     "the kernel refuses the attach: CAP_NET_ADMIN is missing in the initial user namespace");
		return;
	case ENODEV:
		fail(res, error, "the vdpa bus has no 'vduse' management device: modprobe vduse");
		return;
	case EEXIST:
		fail(res, error,
		     "a vdpa device of this name exists already: choose another --name");
		return;
	}
	fail(res, error, "the kernel refuses the attach: %s%s%s", strerror(-error),
	     *kernel ? ": " : "", kernel);
}

/* A probe may end after the attach (driver_async_probe): wait for the disk, not for long. */
static int wait_for_disk(const char *name, char ret_disk[HOST_NODE_MAX])
{
	const struct timespec step = { .tv_nsec = DISK_WAIT_STEP_MS * NSEC_PER_MSEC };
	uint64_t end = clock_now_ns() + DISK_WAIT_MS * NSEC_PER_MSEC;
	char node[HOST_NODE_MAX + 8];
	int r;

	for (;;) {
		r = host_vdpa_disk("", name, ret_disk);
		if (r == 0) {
			snprintf(node, sizeof(node), "/dev/%s", ret_disk);
			if (access(node, F_OK) == 0)
				return 0;
			r = -ENXIO;
		}
		if (r != -ENXIO || clock_now_ns() > end)
			return r;
		nanosleep(&step, NULL);
	}
}

/* Only a matter of speed: what cannot be set is left as it is. */
static void tune(const char *disk, const char *attr, const char *value)
{
	if (host_disk_set_queue_attr("", disk, attr, value) < 0)
		return;
}

/* The backend orders I/O itself, and what it is made of decides if seeks cost time. */
static void tune_disk(const char *disk, bool rotational)
{
	tune(disk, "scheduler", "none");
	tune(disk, "rotational", rotational ? "1" : "0");
}

/*
 * The helper that detaches looks into the node, whether anybody uses it, and the daemon whose
 * user it is then serves what is in it anyhow. The group stays, and with it what it may.
 */
static void give_node(const char *disk, uid_t uid)
{
	char node[HOST_NODE_MAX + 8];

	snprintf(node, sizeof(node), "/dev/%s", disk);
	if (lchown(node, uid, (gid_t)-1) < 0)
		return;
}

static void attach(const struct helper_request *req, struct helper_result *res)
{
	struct vdpa_nl *nl;
	int r;

	if (!open_bus(req, &nl, res))
		return;
	r = vdpa_nl_dev_add(nl, MGMTDEV_NAME, req->name);
	if (r < 0 && !(r == -EEXIST && req->adopt)) {
		explain_add(nl, r, res);
		vdpa_nl_close(nl);
		return;
	}
	vdpa_nl_close(nl);
	res->on_bus = true;

	r = host_vdpa_bind("", req->name);
	if (r < 0) {
		fail(res, r, "cannot bind the vdpa device to virtio_vdpa: %s", strerror(-r));
		return;
	}
	r = wait_for_disk(req->name, res->disk);
	if (r < 0) {
		fail(res, r, "the kernel made no disk of the device: see its messages with dmesg");
		return;
	}
	tune_disk(res->disk, req->rotational);
	give_node(res->disk, req->uid);
}

/* The kernel would write it out inside the detach, while the whole host waits. */
static void flush(const struct helper_request *req, struct helper_result *res)
{
	char node[HOST_NODE_MAX + 8];
	_cleanup_close_ int fd = -1;

	res->on_bus = true;
	if (host_vdpa_disk("", req->name, res->disk) < 0)
		return;
	snprintf(node, sizeof(node), "/dev/%s", res->disk);
	fd = open(node, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && fsync(fd) < 0)
		fail(res, -errno, "writes to /dev/%s that were not flushed are lost: %s", res->disk,
		     strerror(errno));
}

static void detach(const struct helper_request *req, struct helper_result *res)
{
	_cleanup_close_ int claim_fd = -1;
	struct vdpa_nl *nl;
	int r;

	res->on_bus = true;
	/* Held over the removal, so that nobody can mount the disk in between. */
	if (!req->force && host_vdpa_disk("", req->name, res->disk) == 0) {
		r = host_disk_claim(res->disk, &claim_fd);
		if (r == -EBUSY) {
			fail(res, r, "/dev/%s is in use", res->disk);
			return;
		}
		/* The kernel made the node anew, and no udev rule has given it to us. */
		if (r == -EACCES) {
			fail(res, r,
			     "the daemon's user may not open /dev/%s to see whether it is in use: detach it with vblkctl",
			     res->disk);
			return;
		}
	}
	if (!open_bus(req, &nl, res))
		return;
	r = vdpa_nl_dev_del(nl, req->name);
	if (r < 0 && r != -ENODEV)
		fail(res, r, "the kernel refuses the detach: %s", strerror(-r));
	else
		res->on_bus = false;
	vdpa_nl_close(nl);
}

/* The result goes to descriptor 3. */
static VBLK_NORETURN void serve(const struct helper_request *req)
{
	struct helper_result res = { 0 };

	switch (req->op) {
	case HELPER_ATTACH:
		attach(req, &res);
		break;
	case HELPER_FLUSH:
		flush(req, &res);
		break;
	case HELPER_DETACH:
		detach(req, &res);
		break;
	}
	_exit(write(3, &res, sizeof(res)) == sizeof(res) ? 0 : 1);
}

/*
 * Keep nothing of the keeper's: stuck in the kernel, this process would go on holding its locks
 * after it. The result goes to descriptor 3, a word of the keeper's comes from 4 (@go_fd, -1 =
 * none), the bus is 5.
 */
static struct helper_request keep_only(const struct helper_request *req, int out_fd, int go_fd)
{
	struct helper_request kept = *req;
	/* Above all targets, so that none is overwritten. */
	int out = fcntl(out_fd, F_DUPFD, 6);
	int go = go_fd < 0 ? out : fcntl(go_fd, F_DUPFD, 6);
	int bus = req->bus_fd < 0 ? out : fcntl(req->bus_fd, F_DUPFD, 6);

	if (out < 0 || go < 0 || bus < 0 || dup2(out, 3) < 0 || dup2(go, 4) < 0 || dup2(bus, 5) < 0)
		_exit(1);
	close_range(6, UINT_MAX, 0);
	if (req->bus_fd < 0)
		close(5);
	else
		kept.bus_fd = 5;
	if (go_fd < 0)
		close(4);
	return kept;
}

static VBLK_NORETURN void helper_main(const struct helper_request *req, int out_fd)
{
	const struct helper_request kept = keep_only(req, out_fd, -1);

	serve(&kept);
}

static VBLK_NORETURN void wait_and_attach(const struct helper_request *req, int out_fd, int go_fd)
{
	const struct helper_request kept = keep_only(req, out_fd, go_fd);
	char word;

	if (privileges_drop_attach_helper() < 0 || read(4, &word, 1) != 1)
		_exit(1);
	close(4);
	serve(&kept);
}

int helper_prepare(const struct helper_request *req, int out_fd, int *ret_go_fd, pid_t *ret_pid)
{
	int fds[2], r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	r = -errno;
	if (pid == 0)
		wait_and_attach(req, out_fd, fds[0]);
	close(fds[0]);
	if (pid < 0) {
		close(fds[1]);
		return r;
	}
	*ret_go_fd = fds[1];
	*ret_pid = pid;
	return 0;
}

int helper_go(int go_fd)
{
	int r = write(go_fd, "", 1) == 1 ? 0 : -errno;

	close(go_fd);
	return r;
}

int helper_start(const struct helper_request *req, int out_fd, pid_t *ret_pid)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		helper_main(req, out_fd);
	*ret_pid = pid;
	return 0;
}

void helper_result_read(int fd, struct helper_result *ret_result)
{
	if (read(fd, ret_result, sizeof(*ret_result)) == sizeof(*ret_result)) {
		ret_result->disk[sizeof(ret_result->disk) - 1] = '\0';
		ret_result->text[sizeof(ret_result->text) - 1] = '\0';
		return;
	}
	*ret_result = (struct helper_result){ 0 };
	fail(ret_result, -ECHILD, "the process that talks to the vdpa bus died");
}
