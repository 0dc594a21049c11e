/* SPDX-License-Identifier: MIT */
/*
 * A disk that is served on a socket, over vhost-user: nothing of the kernel's, nothing that needs
 * root. The socket is open here as long as the keeper lives, so that a client finds it while there
 * is no worker; it connects again and brings what it had in flight.
 *
 * The fence between workers: each gets the write end of a pipe, which its rings hold as a
 * registered file until all their requests have ended. Its end of file is seen here.
 */
#include "keeper_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "vblk/util/clock.h"
#include "vblk/util/log.h"

#define OLD_LISTENER_MS 2000u

static int find_user(struct keeper *keeper)
{
	if (geteuid() == 0)
		return keeper_find_user(keeper);
	keeper->user = (struct privileges_user){ getuid(), getgid() };
	if (!keeper->config->user[0])
		return 0;
	log_error("only root can run a daemon as another user (--user): leave it out");
	return -EPERM;
}

/* They share the names of run directories, and what tools ask the kernel of. */
static int check_name(const struct keeper *keeper)
{
	char path[sizeof("/sys/class/vduse/") + DEVICE_NAME_MAX];

	snprintf(path, sizeof(path), "/sys/class/vduse/%s", keeper->config->name);
	if (geteuid() != 0 || access(path, F_OK) < 0)
		return 0;
	log_error("a VDUSE device named '%s' exists: choose another --name", keeper->config->name);
	return -EEXIST;
}

/* Who died left this behind, and perhaps a worker that still finishes what it had. */
static int take_run_dir(struct keeper *keeper)
{
	int r = keeper_take_run_dir(keeper);

	if (r == 0)
		keeper->predecessor_ended = faccessat(keeper->dir.fd, "state.json", F_OK, 0) == 0;
	return r;
}

static int make_files(struct keeper *keeper)
{
	int r;

	privileges_begin_as(&keeper->user);
	keeper_open_stats(keeper);
	r = run_dir_listen(&keeper->dir, &keeper->listen_fd);
	privileges_end_as(&keeper->user);
	if (r < 0)
		return log_errno(r, "cannot make the control socket in %s", keeper->dir.path);
	r = inflight_file_without_records(&keeper->inflight);
	return r < 0 ? log_errno(r, "cannot make the record of requests in flight") : 0;
}

/* As who started us, wherever that is allowed. */
static int listen_for_clients(struct keeper *keeper)
{
	/* A worker whose keeper died closes the socket as soon as it hears of that. */
	uint64_t wait_ms = keeper->predecessor_ended ? OLD_LISTENER_MS : 0;
	uint64_t end = clock_now_ns() + wait_ms * NSEC_PER_MSEC;
	const struct vblkd_config *config = keeper->config;
	char why[BDEV_WHY_MAX] = "";
	int r;

	if (config->socket_fd >= 0) {
		keeper->serve.fd = config->socket_fd;
		snprintf(keeper->serve.path, sizeof(keeper->serve.path), "%s", config->socket);
		return 0;
	}
	while ((r = serve_socket_listen(config->socket, config->socket_mode, &keeper->serve,
					why)) == -EADDRINUSE &&
	       clock_now_ns() < end)
		keeper_short_pause();
	if (r < 0)
		log_error("%s", why[0] ? why : strerror(-r));
	return r;
}

static int setup(struct keeper *keeper)
{
	int r;

	r = find_user(keeper);
	if (r == 0)
		r = check_name(keeper);
	if (r == 0)
		r = take_run_dir(keeper);
	if (r == 0)
		r = keeper_open_backend(keeper);
	if (r == 0)
		r = make_files(keeper);
	return r < 0 ? r : listen_for_clients(keeper);
}

static bool remove_socket(struct keeper *keeper)
{
	int r = serve_socket_close(&keeper->serve);

	if (r < 0)
		log_info("the socket '%s' stays behind (%s); the next start replaces it",
			 keeper->serve.path, strerror(-r));
	if (keeper->fence_fd >= 0)
		close(keeper->fence_fd);
	return true;
}

static bool old_io_has_ended(const struct keeper *keeper)
{
	struct pollfd pfd = { .fd = keeper->fence_fd, .events = POLLIN };

	return keeper->fence_fd < 0 || poll(&pfd, 1, 0) > 0;
}

static int open_for_worker(struct keeper *keeper, int *ret_fd)
{
	int fds[2];

	if (!old_io_has_ended(keeper))
		return -EBUSY;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return log_errno(-errno, "cannot make a pipe");
	if (keeper->fence_fd >= 0)
		close(keeper->fence_fd);
	keeper->fence_fd = fds[0];
	*ret_fd = fds[1];
	return 0;
}

static void enter_ready(struct keeper *keeper)
{
	const char *backend = keeper->config->backend, *path = keeper->serve.path;
	unsigned int queues = keeper->blk.queue_cnt;
	char size[FORMAT_SIZE_MAX];

	keeper->state = KEEPER_READY;
	keeper_publish_state(keeper);
	/* Whoever started us detached prints the path and wants no more on the terminal. */
	if (keeper->config->detached)
		log_leave_terminal();
	log_info("%s serves %s (%s, %u queue%s)", path, backend,
		 format_size_bytes(keeper->blk.limits.capacity_bytes, size), queues,
		 queues == 1 ? "" : "s");
	(void)sd_notifyf(0, "READY=1\nSTATUS=serving %s on %s\nX_VBLKD_NODE=%s", backend, path,
			 path);
	if (keeper->stop_pending)
		keeper_begin_detach(keeper, false, 0);
}

/*
 * Nothing is taken from under anybody: the worker finishes what it has and closes the connection,
 * and a client that connects again goes on. Who detaches without force was asked by the worker.
 */
static void begin_detach(struct keeper *keeper, bool force VBLK_UNUSED,
			 uint32_t timeout_ms VBLK_UNUSED)
{
	keeper_finish(keeper, keeper->exit_code);
}

static void look_for_disk(struct keeper *keeper VBLK_UNUSED)
{
}

const struct keeper_door keeper_door_serve = {
	.setup = setup,
	.remove = remove_socket,
	.open_for_worker = open_for_worker,
	.first_served = enter_ready,
	.begin_detach = begin_detach,
	.look_for_disk = look_for_disk,
};
