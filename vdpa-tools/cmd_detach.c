/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "vblk/control/paths.h"
#include "vblk/control/varlink.h"
#include "vblk/host/host_disk.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"
#include "vblk/vduse/vduse_ctl.h"

#define TIMEOUT_DEFAULT_S 30
#define TIMEOUT_MAX_S	  3600
#define USERS_MAX	  1024
/* The daemon has a deadline of its own; its explanation is worth a little waiting. */
#define REPLY_GRACE_MS 3000
#define EXIT_WAIT_MS   15000

static const char *remedy(const char *users)
{
	if (!strncmp(users, "mounted", strlen("mounted")))
		return "unmount it first";
	if (!strncmp(users, "swap", strlen("swap")))
		return "swapoff first";
	return "stop that first";
}

/* Return: 0; EXIT_FAILED after a message. */
static int check_unused(const struct device *device, bool force)
{
	char users[USERS_MAX];
	int cnt;

	if (!device->node[0])
		return 0;
	cnt = host_disk_users("", device->node + strlen("/dev/"), users, sizeof(users));
	/* Not found means gone meanwhile; what else cannot be found out, the daemon asks the
	 * kernel for. */
	if (cnt <= 0)
		return 0;
	if (force) {
		log_warning("detaching '%s' although %s is %s: what has not been written is lost",
			    device->name, device->node, users);
		return 0;
	}
	log_error("cannot detach '%s': %s is %s (%s; --force detaches anyway and loses unwritten "
		  "data)",
		  device->name, device->node, users, remedy(users));
	return EXIT_FAILED;
}

static int report_error(const struct device *device, const char *error, const json_t *parameters)
{
	const char *users = json_string_value(json_object_get(parameters, "users"));
	const char *message = json_string_value(json_object_get(parameters, "message"));

	if (device->served && !strcmp(error, VBLKD_INTERFACE ".Busy"))
		log_error(
			"cannot detach '%s': a client is connected: %s (--force ends the server all the same)",
			device->name, users ? users : "");
	else if (!strcmp(error, VBLKD_INTERFACE ".Busy"))
		log_error("cannot detach '%s': %s is in use%s%s (--force detaches anyway and loses "
			  "unwritten data)",
			  device->name, device->node[0] ? device->node : "it",
			  users && users[0] ? ": " : "", users ? users : "");
	else
		log_error("cannot detach '%s': %s", device->name, message ? message : error);
	return EXIT_FAILED;
}

static int report_silence(const struct device *device, int err)
{
	json_int_t pid = device_int(device, "pid");

	if (err == -ETIMEDOUT)
		log_error("'%s' was not detached in time; its daemon (pid %" JSON_INTEGER_FORMAT
			  ") may still be at it: look with 'vblkctl show %s' and in the journal",
			  device->name, pid, device->name);
	else if (err == -ECONNRESET)
		log_error("the daemon of '%s' (pid %" JSON_INTEGER_FORMAT
			  ") ended, or was started again, before it answered: look with 'vblkctl "
			  "show %s' and in the journal",
			  device->name, pid, device->name);
	else
		log_errno(err, "cannot talk to the daemon of '%s' (pid %" JSON_INTEGER_FORMAT ")",
			  device->name, pid);
	return EXIT_FAILED;
}

/* The reply comes from the last moments of the daemon; when it has ended, nothing is left. */
static void wait_for_end(const struct device *device, int pidfd)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

	if (pidfd >= 0 && poll(&pfd, 1, EXIT_WAIT_MS) == 0)
		log_warning("'%s' is detached, but its daemon (pid %" JSON_INTEGER_FORMAT
			    ") has not ended yet",
			    device->name, device_int(device, "pid"));
}

static bool is_gone(const char *name)
{
	struct device device;
	int r = device_load(name, &device);

	if (!r)
		device_fini(&device);
	return r == -ENODEV;
}

static int call_detach(const struct device *device, bool force, int timeout_ms)
{
	json_t *reply, *request = json_pack("{s:b, s:i}", "force", force, "timeout_ms", timeout_ms);
	char path[PATH_MAX], error[128];
	int r;

	r = vblkd_run_path(device->name, "control", path, sizeof(path));
	if (r < 0) {
		json_decref(request);
		return report_silence(device, r);
	}
	r = varlink_call(path, VBLKD_INTERFACE ".Detach", request, timeout_ms + REPLY_GRACE_MS,
			 &reply, error);
	if (r < 0) {
		/* It may have ended before its reply was on the way. */
		if (r == -ECONNRESET && is_gone(device->name))
			return EXIT_DONE;
		return report_silence(device, r);
	}
	r = error[0] ? report_error(device, error, reply) : EXIT_DONE;
	json_decref(reply);
	return r;
}

/* The daemon looks into the node, too, as a user whose it may not be: the kernel makes the
 * node anew after a rebind, and a host without the udev rule leaves it to root. Who the user is
 * says the VDUSE node, which only root can have given away. */
static void give_node(const struct device *device)
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "/dev/vduse/%s", device->name);
	if (!device->node[0] || lstat(path, &st) < 0 || !S_ISCHR(st.st_mode))
		return;
	if (lchown(device->node, st.st_uid, (gid_t)-1) < 0)
		log_debug("cannot give %s to the user of the daemon", device->node);
}

static int detach_served(const struct device *device, bool force, int timeout_ms)
{
	json_int_t pid = device_int(device, "pid");
	_cleanup_close_ int pidfd = -1;
	int r;

	r = check_unused(device, force);
	if (r)
		return r;
	give_node(device);
	if (pid > 0)
		pidfd = pidfd_open((pid_t)pid, 0);
	r = call_detach(device, force, timeout_ms);
	if (r == EXIT_DONE)
		wait_for_end(device, pidfd);
	return r;
}

/* Return: 0 and the locked file, so that no daemon of this name can start; -errno. */
static int lock_run_dir(const struct device *device, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	int r;

	r = vblkd_run_path(device->name, "lock", path, sizeof(path));
	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int remove_run_dir(const struct device *device)
{
	static const char *const files[] = { "control", "state.json", "state.json.new", "inflight",
					     "stats",	"rotational", "worker",		"lock" };
	char path[PATH_MAX];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		r = vblkd_run_path(device->name, files[i], path, sizeof(path));
		if (r < 0)
			return r;
		if (unlink(path) < 0 && errno != ENOENT)
			return -errno;
	}
	r = vblkd_run_path(device->name, NULL, path, sizeof(path));
	if (r < 0)
		return r;
	return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int destroy_vduse(const struct device *device)
{
	_cleanup_close_ int fd = -1;
	int r;

	r = vduse_ctl_open(&vduse_sys_kernel, &fd);
	if (r < 0)
		return r;
	r = vduse_ctl_destroy(&vduse_sys_kernel, fd, device->name);
	return r == -EINVAL ? 0 : r; /* gone already */
}

/* No daemon, and nothing of it on the vdpa bus: no I/O can wait for it. */
static int tidy_up(const struct device *device)
{
	_cleanup_close_ int lock_fd = -1;
	int r;

	r = lock_run_dir(device, &lock_fd);
	if (r == -EWOULDBLOCK) {
		log_error("cannot detach '%s': a daemon is just starting for it", device->name);
		return EXIT_FAILED;
	}
	if (!r && device->has_vduse)
		r = destroy_vduse(device);
	if (!r)
		r = remove_run_dir(device);
	if (r < 0) {
		log_errno(r, "cannot remove what is left of '%s'", device->name);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static int detach(const struct device *device, bool force, int timeout_ms)
{
	char command[1024];

	switch (device->condition) {
	case DEVICE_ANSWERS:
	case DEVICE_SILENT:
		return detach_served(device, force, timeout_ms);
	case DEVICE_ORPHAN:
	case DEVICE_REMAINS:
		if (!device->on_bus)
			return tidy_up(device);
		log_error(
			"cannot detach '%s': its daemon is gone and I/O may wait for one; take it "
			"over with that I/O first: %s",
			device->name, device_adopt_command(device, command, sizeof(command)));
		return EXIT_FAILED;
	case DEVICE_UNREADABLE:
		break;
	}
	log_error("cannot look at device '%s': %s", device->name, strerror(EACCES));
	return EXIT_FAILED;
}

int cmd_detach(int argc, char **argv)
{
	const char *name, *timeout = NULL;
	bool force = false;
	const struct arg_option options[] = { { "--force", &force, NULL },
					      { "--timeout", NULL, &timeout } };
	uint64_t timeout_s = TIMEOUT_DEFAULT_S;
	struct device device;
	int r;

	r = args_parse(argc, argv, options, ARRAY_SIZE(options), "NAME", &name);
	if (r)
		return r;
	if (timeout && parse_u64(timeout, 1, TIMEOUT_MAX_S, &timeout_s) < 0) {
		log_error("--timeout takes seconds, 1 to %d, not '%s'", TIMEOUT_MAX_S, timeout);
		return EXIT_USAGE;
	}
	r = device_find_to_change(argv[0], name, &device);
	if (r)
		return r;
	r = detach(&device, force, (int)(timeout_s * MSEC_PER_SEC));
	device_fini(&device);
	return r;
}
