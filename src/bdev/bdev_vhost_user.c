/* SPDX-License-Identifier: MIT */
#include "bdev_vhost_user.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"

#define SCHEME "vhost-user:"
/* A server that serves nobody answers at once. */
#define OPEN_MS 5000u
/* Less than a keeper waits for whoever asks. */
#define RESIZE_MS      8000u
#define RESIZE_STEP_MS 2u
#define HANDOVER_FDS   3u

static struct vu_bdev *vu_bdev_of(struct bdev *bdev)
{
	return container_of(bdev, struct vu_bdev, base);
}

static void vu_close(struct bdev *bdev)
{
	struct vu_bdev *dev = vu_bdev_of(bdev);

	if (dev->shared)
		(void)munmap(dev->shared, sizeof(*dev->shared));
	if (dev->shared_fd >= 0)
		(void)close(dev->shared_fd);
	if (dev->ask_fd >= 0)
		(void)close(dev->ask_fd);
	if (dev->told_fd >= 0)
		(void)close(dev->told_fd);
	(void)pthread_mutex_destroy(&dev->lock);
	free(dev);
}

static struct vu_bdev *dev_new(const struct bdev_params *params)
{
	struct vu_bdev *dev = calloc(1, sizeof(*dev));

	if (!dev)
		return NULL;
	dev->base.ops = &bdev_vhost_user_ops;
	dev->queue_cnt = params->queue_cnt ? MIN(params->queue_cnt, VU_QUEUES_MAX) : VU_QUEUES_MAX;
	dev->can_direct = params->direct_rings;
	dev->shared_fd = -1;
	dev->ask_fd = -1;
	dev->told_fd = -1;
	(void)pthread_mutex_init(&dev->lock, NULL);
	return dev;
}

/* The same socket also for a process that has another working directory. */
static int take_path(struct vu_bdev *dev, const char *path)
{
	char cwd[PATH_MAX];
	int len;

	if (*path == '/') {
		len = snprintf(dev->path, sizeof(dev->path), "%s", path);
	} else {
		if (!getcwd(cwd, sizeof(cwd)))
			return -errno;
		len = snprintf(dev->path, sizeof(dev->path), "%s/%s", cwd, path);
	}
	return len < (int)sizeof(dev->path) ? 0 : -ENAMETOOLONG;
}

/* What keeper, workers and those who ask for the size have in common; @fd: taken. */
static int map_shared(struct vu_bdev *dev, int fd)
{
	void *p;

	dev->shared_fd = fd;
	p = mmap(NULL, sizeof(*dev->shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	dev->shared = p;
	return 0;
}

static int make_shared(struct vu_bdev *dev)
{
	_cleanup_close_ int fd = memfd_create("vblk-vhost-user-size", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, sizeof(*dev->shared)) < 0)
		return -errno;
	dev->ask_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	dev->told_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dev->ask_fd < 0 || dev->told_fd < 0)
		return -errno;
	return map_shared(dev, steal_fd(&fd));
}

static int cannot_connect(const struct bdev_params *params, int r, char why[BDEV_WHY_MAX])
{
	const char *spec = params->spec;

	switch (r) {
	case -ENOENT:
		return bdev_why(why, r, "'%s': there is no such socket (is its server started?)",
				spec);
	case -ECONNREFUSED:
		return bdev_why(why, r, "'%s': nobody listens on this socket (start its server)",
				spec);
	case -EACCES:
	case -EPERM:
		return bdev_why(
			why, r,
			"'%s': no permission to connect; the user that vblkd runs as must be "
			"able to write to the socket and to reach it",
			spec);
	case -ETIMEDOUT:
		return bdev_why(why, r,
				"'%s': the server does not answer (does it serve another client?)",
				spec);
	case -EOPNOTSUPP:
		return bdev_why(
			why, r,
			"'%s': the server is no vhost-user-blk server, or one that does not "
			"tell its configuration",
			spec);
	case -EPROTO:
	case -EREMOTEIO:
	case -EPIPE:
	case -ECONNRESET:
		return bdev_why(why, r,
				"'%s': what the server says is not the vhost-user protocol, or no "
				"block device of virtio 1",
				spec);
	default:
		return bdev_why(why, r, "'%s': cannot connect: %s", spec, strerror(-r));
	}
}

/* Of one that was there. */
static int server_is_gone(const struct bdev_params *params, int r, char why[BDEV_WHY_MAX])
{
	switch (r) {
	case -ECONNRESET:
	case -EPIPE:
		return bdev_why(why, r, "'%s': the server has ended, or closed the connection",
				params->spec);
	case -EMEDIUMTYPE:
		return bdev_why(
			why, r,
			"'%s': the server has another disk now (blocks, read-only, queues), which "
			"cannot go on as this one",
			params->spec);
	case -EREMOTEIO:
		return bdev_why(why, r,
				"'%s': the server refuses what it is asked for (are its queues as "
				"long as they were?)",
				params->spec);
	case -EBADMSG:
		return bdev_why(why, r, "'%s': the server breaks the rules of its rings",
				params->spec);
	default:
		return cannot_connect(params, r, why);
	}
}

/* On the driver's rings a server that dies, or does not know us any more, must know what it had. */
static int try_inflight(struct vhu_client *client, const struct bdev_params *params,
			char why[BDEV_WHY_MAX])
{
	struct vhu_client_inflight inflight;
	int fd, r;

	if (!vhu_client_has_inflight(client))
		return bdev_why(
			why, -EOPNOTSUPP,
			"the server of '%s' keeps no record of its requests in flight "
			"(INFLIGHT_SHMFD), so with --direct-rings its death, or ours, could "
			"lose or repeat some: leave out --direct-rings",
			params->spec);
	r = vhu_client_inflight_new(client, (uint16_t)params->queue_cnt, params->queue_size,
				    &inflight, &fd);
	if (r < 0)
		return bdev_why(why, r,
				"the server of '%s' has no queues of %u entries: use a smaller "
				"--queue-size, or leave out --direct-rings",
				params->spec, params->queue_size);
	(void)close(fd);
	return 0;
}

/* Later a refusal would look like a server that is gone. */
static int try_ring(struct vhu_client *client, const struct vu_server_conf *conf,
		    const struct bdev_params *params, char why[BDEV_WHY_MAX])
{
	uint16_t size;
	int r;

	if (!params->queue_size)
		return 0;
	size = vu_ring_size(conf->features, params->queue_size);
	r = vhu_client_ring_try_size(client, 0, size);
	if (r == -EREMOTEIO)
		return bdev_why(why, -EOPNOTSUPP,
				"the server of '%s' has no queues of %u entries: use a smaller "
				"--queue-size",
				params->spec, size);
	return r < 0 ? cannot_connect(params, r, why) : 0;
}

/* Once, to learn what it is; workers connect for themselves. */
static int learn(struct vu_bdev *dev, const struct bdev_params *params, char why[BDEV_WHY_MAX])
{
	const struct vhu_client_params client_params = {
		.path = dev->path,
		.features = vu_features_wanted(),
		.timeout_ms = OPEN_MS,
		.stop_fd = -1,
		.inflight = params->direct_rings,
	};
	struct vu_server_conf conf;
	struct vhu_client *client;
	int r;

	r = vhu_client_open(&client_params, &client);
	if (r < 0)
		return cannot_connect(params, r, why);
	r = vu_conf_ask(client, &conf);
	if (r < 0)
		r = cannot_connect(params, r, why);
	else
		r = vu_conf_limits(&conf, params, &dev->base.limits, why);
	if (r == 0)
		r = try_ring(client, &conf, params, why);
	if (r == 0 && params->direct_rings)
		r = try_inflight(client, params, why);
	vhu_client_close(client);
	return r;
}

static int setup(struct vu_bdev *dev, const struct bdev_params *params, char why[BDEV_WHY_MAX])
{
	const char *path = params->spec + strlen(SCHEME);
	int r = -EINVAL;

	if (*path)
		r = take_path(dev, path);
	if (r == -ENAMETOOLONG)
		return bdev_why(why, r, "'%s': a socket's path has at most %zu characters",
				params->spec, sizeof(dev->path) - 1);
	if (r < 0)
		return bdev_why(why, r, "'%s': there must be a socket's path behind the colon",
				params->spec);
	r = make_shared(dev);
	if (r < 0)
		return bdev_why(why, r, "'%s': out of memory or descriptors", params->spec);
	r = learn(dev, params, why);
	if (r < 0)
		return r;
	dev->shared->capacity_bytes = dev->base.limits.capacity_bytes;
	memcpy(dev->shared->path, dev->path, sizeof(dev->path));
	return 0;
}

static int vu_open(const struct bdev_params *params, struct bdev **ret_bdev, char why[BDEV_WHY_MAX])
{
	struct vu_bdev *dev = dev_new(params);
	int r;

	if (!dev)
		return bdev_why(why, -ENOMEM, "'%s': out of memory", params->spec);
	r = setup(dev, params, why);
	if (r < 0) {
		vu_close(&dev->base);
		return r;
	}
	*ret_bdev = &dev->base;
	return 0;
}

/*
 * The server serves one client, which is the worker; so that one is asked to ask. It may have to
 * wait for a server that is away.
 */
static int vu_resize(struct bdev *bdev, uint64_t want_bytes VBLK_UNUSED, uint64_t *ret_size_bytes)
{
	const struct timespec step = { .tv_nsec = RESIZE_STEP_MS * NSEC_PER_MSEC };
	uint64_t end_ns = clock_now_ns() + RESIZE_MS * NSEC_PER_MSEC;
	struct vu_shared *shared = vu_bdev_of(bdev)->shared;
	uint32_t number = __atomic_add_fetch(&shared->asked, 1, __ATOMIC_RELEASE);

	vu_signal(vu_bdev_of(bdev)->ask_fd);
	/* Pairs with note_capacity(). */
	while ((int32_t)(__atomic_load_n(&shared->answered, __ATOMIC_ACQUIRE) - number) < 0) {
		if (clock_now_ns() >= end_ns)
			return -ETIMEDOUT;
		(void)nanosleep(&step, NULL);
	}
	*ret_size_bytes = __atomic_load_n(&shared->capacity_bytes, __ATOMIC_RELAXED);
	return 0;
}

static int vu_news_fd(const struct bdev *bdev)
{
	return container_of(bdev, const struct vu_bdev, base)->told_fd;
}

static uint64_t vu_size_told(struct bdev *bdev)
{
	struct vu_bdev *dev = vu_bdev_of(bdev);

	/* First: what is told from now on makes it readable again. */
	vu_consume(dev->told_fd);
	return __atomic_load_n(&dev->shared->capacity_bytes, __ATOMIC_RELAXED);
}

static int vu_server(const struct bdev *bdev, char why[BDEV_WHY_MAX])
{
	const struct vu_bdev *dev = container_of(bdev, const struct vu_bdev, base);
	int r = __atomic_load_n(&dev->shared->server_err, __ATOMIC_RELAXED);
	char spec[sizeof(SCHEME) + sizeof(dev->path)];

	if (r >= 0)
		return 1;
	(void)snprintf(spec, sizeof(spec), SCHEME "%s", dev->path);
	return server_is_gone(&(struct bdev_params){ .spec = spec }, r, why);
}

static void vu_hand_over(const struct bdev *bdev, struct bdev_handover *ret_handover)
{
	const struct vu_bdev *dev = container_of(bdev, const struct vu_bdev, base);

	ret_handover->fds[0] = dev->shared_fd;
	ret_handover->fds[1] = dev->ask_fd;
	ret_handover->fds[2] = dev->told_fd;
	ret_handover->fd_cnt = HANDOVER_FDS;
}

static int vu_take_over(const struct bdev_params *params, const struct bdev_handover *handover,
			struct bdev **ret_bdev)
{
	struct vu_bdev *dev;
	struct stat st;
	int r;

	if (handover->fd_cnt != HANDOVER_FDS)
		return -EINVAL;
	if (fstat(handover->fds[0], &st) < 0)
		return -errno;
	/* What a page has behind the end of its file is shared, and zero. */
	if ((uint64_t)st.st_size < VU_SHARED_BYTES_MIN)
		return -EINVAL;
	dev = dev_new(params);
	if (!dev)
		return -ENOMEM;
	r = map_shared(dev, handover->fds[0]);
	if (r < 0) {
		/* The caller's. */
		dev->shared_fd = -1;
		vu_close(&dev->base);
		return r;
	}
	memcpy(dev->path, dev->shared->path, sizeof(dev->path) - 1);
	dev->ask_fd = handover->fds[1];
	dev->told_fd = handover->fds[2];
	dev->base.limits = handover->limits;
	*ret_bdev = &dev->base;
	return 0;
}

const struct bdev_ops bdev_vhost_user_ops = {
	.name = "vhost-user",
	.open = vu_open,
	.close = vu_close,
	.resize = vu_resize,
	.news_fd = vu_news_fd,
	.size_told = vu_size_told,
	.server = vu_server,
	.hand_over = vu_hand_over,
	.take_over = vu_take_over,
	.queue_new = vu_queue_new,
	.queue_free = vu_queue_free,
	.map_changed = vu_queue_map_changed,
	.submit = vu_queue_submit,
	.commit = vu_queue_commit,
};
