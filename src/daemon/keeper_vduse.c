/* SPDX-License-Identifier: MIT */
/* The VDUSE device: making it, taking over an orphan, and removing it. */
#include "keeper_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "vblk/host/host_module.h"
#include "vblk/host/host_vdpa.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"
#include "vblk/vduse/vduse_ctl.h"
#include "vblk/vduse/vduse_dev.h"
#include "worker_mark.h"

/* Kernels without the knob have this size. */
#define BOUNCE_BYTES_DEFAULT (64ull << 20)
#define DESTROY_WAIT_MS	     30000u

static int check_host(void)
{
	char text[HOST_MODULE_TEXT_MAX];
	unsigned int missing;

	if (geteuid() != 0) {
		log_error("only root can make kernel block devices: try with sudo");
		return -EPERM;
	}
	missing = host_missing_modules("");
	if (missing) {
		log_error("%s", host_missing_text("", missing, text, sizeof(text)));
		return -ENODEV;
	}
	return 0;
}

/*
 * A worker whose keeper died serves on and keeps the device open. Killing it
 * loses nothing: its successor finishes what it had in flight.
 */
static void kill_leftover_worker(pid_t pid, void *ctx)
{
	const struct keeper *keeper = ctx;
	struct pollfd pfd = { .events = POLLIN };
	_cleanup_close_ int pidfd = pidfd_open(pid, 0);

	/* Looked at again, since the number may be somebody else's by now. */
	if (pidfd < 0 || !worker_is_marked(keeper->dir.fd, pid))
		return;
	log_notice("ending the worker (pid %d) of a dead keeper", (int)pid);
	/* It is of our user, or of root, and no capability is needed for either. */
	(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	/* Its lock on the backend goes with it, unless it hangs in the kernel. */
	pfd.fd = pidfd;
	(void)poll(&pfd, 1, KEEPER_OLD_IO_MS);
}

/* 0 where it cannot be told. */
static uint64_t device_id(const struct keeper *keeper)
{
	uint64_t id;

	return host_vduse_id("", keeper->config->name, &id) < 0 ? 0 : id;
}

static int cannot_adopt(const struct keeper *keeper, int error, const char *why)
{
	const char *name = keeper->config->name;

	if (error == -ENOENT)
		log_error(
			"a VDUSE device named '%s' exists that vblkd did not make: choose another --name",
			name);
	else if (error == -ENODEV)
		log_error(
			"a VDUSE device named '%s' exists that vblkd did not make (the record in %s is of an earlier one): choose another --name",
			name, keeper->dir.path);
	else if (error == -ESTALE)
		log_error(
			"'%s' is an orphan and can only be taken over with the options it was started with: %s",
			name, why);
	else
		log_errno(error, "cannot read the record of requests in flight of '%s'", name);
	return error;
}

/*
 * Before the backend is opened, which a living worker has locked. It is ended
 * only for somebody who can go on with what it had in flight.
 */
static int end_predecessor(struct keeper *keeper)
{
	char path[sizeof("/dev/vduse/") + DEVICE_NAME_MAX];
	char why[BDEV_WHY_MAX] = "";
	int r;

	snprintf(path, sizeof(path), "/dev/vduse/%s", keeper->config->name);
	if (access(path, F_OK) < 0)
		return 0;
	privileges_begin_as(&keeper->user);
	r = inflight_file_check(keeper->dir.fd, keeper->config, device_id(keeper), why);
	if (r == 0)
		worker_each_marked(keeper->dir.fd, kill_leftover_worker, keeper);
	privileges_end_as(&keeper->user);
	if (r < 0)
		return cannot_adopt(keeper, r, why);
	keeper->predecessor_ended = true;
	return 0;
}

/*
 * The driver's size, not the backend's of now: a file that grew is shown larger when somebody asks
 * for it. One that shrank is served all the same, as a living daemon would have gone on to do: what
 * is there can be read, and nothing waits for ever.
 */
static void use_recorded_capacity(struct keeper *keeper, uint64_t capacity_bytes)
{
	uint64_t found_bytes = bdev_limits_capacity(&keeper->bdev->limits);

	if (found_bytes < capacity_bytes)
		log_warning(
			"'%s' has only %" PRIu64 " bytes left of the %" PRIu64
			" that the disk shows: reading what is missing gives I/O errors until it is grown again",
			keeper->config->backend, found_bytes, capacity_bytes);
	keeper_use_capacity(keeper, capacity_bytes);
}

static int adopt_device(struct keeper *keeper)
{
	char why[BDEV_WHY_MAX] = "";
	uint64_t capacity_bytes;
	int r;

	privileges_begin_as(&keeper->user);
	r = inflight_file_adopt(keeper->dir.fd, keeper->config, &keeper->blk, device_id(keeper),
				&keeper->inflight, &capacity_bytes, why);
	privileges_end_as(&keeper->user);
	if (r < 0)
		return cannot_adopt(keeper, r, why);
	use_recorded_capacity(keeper, capacity_bytes);
	keeper->adopted = true;
	keeper->on_bus = true;
	log_notice("taking over the orphaned device");
	return 0;
}

/* A predecessor that died before the attach left nothing to take over. */
static int create_device(struct keeper *keeper)
{
	const char *name = keeper->config->name;
	char driver[HOST_NODE_MAX];
	int r;

	r = vduse_ctl_create(&vduse_sys_kernel, keeper->ctl_fd, name, &keeper->blk);
	if (r != -EEXIST)
		return r;
	if (host_vdpa_driver("", name, driver) == 0)
		return -EEXIST;
	if (faccessat(keeper->dir.fd, "inflight", F_OK, 0) < 0)
		return -EEXIST;
	if (vduse_ctl_destroy(&vduse_sys_kernel, keeper->ctl_fd, name) < 0)
		return -EEXIST;
	return vduse_ctl_create(&vduse_sys_kernel, keeper->ctl_fd, name, &keeper->blk);
}

static int set_knobs(struct keeper *keeper)
{
	const struct vblkd_config *config = keeper->config;
	int r;

	r = vduse_ctl_set_attr(config->name, "msg_timeout", config->msg_timeout_s);
	if (r < 0)
		return log_errno(r, "cannot set the message timeout");
	if (config->bounce_bytes) {
		r = vduse_ctl_set_attr(config->name, "bounce_size", config->bounce_bytes);
		if (r == -ENOENT) {
			log_error(
				"this kernel cannot change the bounce size (6.12 can): leave out --bounce-size");
			return r;
		}
		if (r < 0)
			return log_errno(r, "cannot set the bounce size");
	}
	return 0;
}

static int setup_queues(struct keeper *keeper)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = vduse_ctl_open_dev(&vduse_sys_kernel, keeper->config->name, &fd);
	if (r == 0)
		r = vduse_ctl_setup_queues(&vduse_sys_kernel, fd, &keeper->blk);
	if (r < 0)
		log_errno(r, "cannot set up the queues of VDUSE device '%s'", keeper->config->name);
	return r;
}

static int make_device(struct keeper *keeper)
{
	int r = create_device(keeper);

	if (r == -EEXIST)
		return adopt_device(keeper);
	if (r < 0)
		return log_errno(r, "the kernel refuses to create VDUSE device '%s'",
				 keeper->config->name);
	keeper->created = true;
	r = set_knobs(keeper);
	if (r < 0)
		return r;
	privileges_begin_as(&keeper->user);
	r = inflight_file_create(keeper->dir.fd, keeper->config, &keeper->blk, device_id(keeper),
				 &keeper->inflight);
	privileges_end_as(&keeper->user);
	if (r < 0)
		return log_errno(r, "cannot make the record of requests in flight");
	return setup_queues(keeper);
}

/* Without it the worker tries for itself, and can do without as well. */
static void make_umem(struct keeper *keeper)
{
	uint64_t bytes = vduse_umem_bytes(keeper->config->umem, &keeper->blk, keeper->bounce_bytes);

	if (bytes && vduse_umem_new(bytes, &keeper->umem_fd) < 0)
		log_debug("no memory of our own for the device");
}

/* What others, and later keepers and workers, open. */
static int give_to_user(struct keeper *keeper)
{
	const struct privileges_user *user = &keeper->user;
	int r;

	/* Also where it is root's again: an orphan may have been served as somebody else. */
	r = vduse_ctl_give_dev(keeper->config->name, user->uid, user->gid);
	if (r < 0)
		return log_errno(r, "cannot give /dev/vduse/%s to user '%s'", keeper->config->name,
				 keeper->config->user);
	privileges_begin_as(user);
	keeper_open_stats(keeper);
	r = keeper_direct_open(keeper);
	if (r < 0) {
		privileges_end_as(user);
		return r;
	}
	if (run_dir_note_rotational(&keeper->dir, keeper->blk.limits.rotational) < 0)
		log_debug("udev is not told whether the disk is rotational");
	r = run_dir_listen(&keeper->dir, &keeper->listen_fd);
	privileges_end_as(user);
	if (r < 0)
		return log_errno(r, "cannot make the control socket in %s", keeper->dir.path);
	return 0;
}

static int setup(struct keeper *keeper)
{
	int r;

	r = check_host();
	if (r == 0)
		r = keeper_find_user(keeper);
	if (r == 0)
		r = keeper_take_run_dir(keeper);
	if (r == 0)
		r = end_predecessor(keeper);
	if (r == 0)
		r = keeper_open_backend(keeper);
	if (r < 0)
		return r;
	r = vduse_ctl_open(&vduse_sys_kernel, &keeper->ctl_fd);
	if (r < 0)
		return log_errno(r, "cannot open /dev/vduse/control");
	r = make_device(keeper);
	if (r < 0)
		return r;
	if (vduse_ctl_get_attr(keeper->config->name, "bounce_size", &keeper->bounce_bytes) < 0)
		keeper->bounce_bytes = BOUNCE_BYTES_DEFAULT;
	make_umem(keeper);
	r = give_to_user(keeper);
	return r < 0 ? r : keeper_prepare_attach(keeper);
}

static void destroy_device(struct keeper *keeper)
{
	uint64_t end = clock_now_ns() + DESTROY_WAIT_MS * NSEC_PER_MSEC;
	int r;

	while ((r = vduse_ctl_destroy(&vduse_sys_kernel, keeper->ctl_fd, keeper->config->name)) ==
		       -EBUSY &&
	       clock_now_ns() < end)
		keeper_short_pause();
	if (r < 0)
		log_errno(r, "VDUSE device '%s' could not be removed", keeper->config->name);
}

static bool remove_device(struct keeper *keeper)
{
	bool ours = keeper->created || (keeper->adopted && !keeper->on_bus);

	if (ours)
		destroy_device(keeper);
	if (keeper->ctl_fd >= 0)
		close(keeper->ctl_fd);
	if (keeper->umem_fd >= 0)
		close(keeper->umem_fd);
	if (keeper->direct_fd >= 0)
		close(keeper->direct_fd);
	/* An orphan that we could not take over still needs its files. */
	return ours || faccessat(keeper->dir.fd, "inflight", F_OK, 0) < 0;
}

/* Only the worker has it open, so that its death is seen by the kernel. */
static int open_for_worker(struct keeper *keeper, int *ret_fd)
{
	int r = vduse_ctl_open_dev(&vduse_sys_kernel, keeper->config->name, ret_fd);

	if (r < 0 && r != -EBUSY)
		log_errno(r, "cannot open /dev/vduse/%s", keeper->config->name);
	return r;
}

static void attach(struct keeper *keeper)
{
	keeper_start_helper(keeper, HELPER_ATTACH, false);
}

/* Unbound and bound again by somebody, it may have another name now, or none. */
static void look_for_disk(struct keeper *keeper)
{
	char disk[HOST_NODE_MAX];
	int r = host_vdpa_disk("", keeper->config->name, disk);

	if (r == 0)
		memcpy(keeper->disk, disk, sizeof(disk));
	else if (r == -ENXIO)
		keeper->disk[0] = '\0';
}

const struct keeper_door keeper_door_vduse = {
	.host_disk = true,
	.setup = setup,
	.remove = remove_device,
	.open_for_worker = open_for_worker,
	.first_served = attach,
	.begin_detach = keeper_begin_bus_detach,
	.look_for_disk = look_for_disk,
};
