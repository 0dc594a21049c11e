/* SPDX-License-Identifier: MIT */
/*
 * The driver's own rings in the hands of the server. How it may end, at any moment, is the
 * subject of src/README.md; here is what keeps to it:
 *
 *   given      the control thread has handed the rings over and does not have them back
 *   at_server  of the connection that is open the server may know of the rings
 *   fenced     no server of an earlier connection touches them any more: it was told of none, it
 *              has stopped them in order, or a server has let us in since (it serves the next
 *              client after it is done with the last), or nobody listens any more
 *
 * The rings are over (given back) when they were stopped in order; or, with a server that is gone,
 * once that is fenced and either the driver forgets what was in flight or nothing was.
 */
#include "bdev_vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/le.h"
#include "vblk/util/math.h"

#define BIT64(n) (1ull << (n))
/* How rings are told to the server: it must not be 0, and descriptors begin there. */
#define RING_ADD (1ull << 40)
/* A record of so many requests is none. */
#define BUF_BYTES_MAX (64ull << 20)
#define COPY_BYTES    4096u
/* Between looks at a ring that a server has stopped before it was done with it. */
#define STOP_STEP_MS 1
/* Where it says nothing; a driver knows a longest segment in any case. */
#define SEG_BYTES_MIN (128u << 10)
/* What a driver accepts for itself alone; the server need not know. */
#define FEATURES_OF_DRIVER                                                \
	(BIT64(VIRTIO_F_ACCESS_PLATFORM) | BIT64(VIRTIO_BLK_F_SIZE_MAX) | \
	 BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_BLK_SIZE) |     \
	 BIT64(VIRTIO_BLK_F_TOPOLOGY) | BIT64(VIRTIO_BLK_F_MQ))

/**
 * struct vu_direct - see above
 * @gen: counts what is given, 1, 2, ...
 * @session_gen: what the connection is for, 0: our own rings; @drained: it has stopped all of that
 */
struct vu_direct {
	struct vu_bdev *dev;
	unsigned int queue_cnt;
	int event_fd;
	int kick_fds[VU_QUEUES_MAX];
	int call_fds[VU_QUEUES_MAX];
	struct vu_relay *relay;

	/* Under vu_bdev.lock; from @params on constant while @at_server. */
	bool given;
	uint32_t gen;
	bool fenced;
	bool stopping;
	enum bdev_direct_stop how;
	bool at_server;
	struct bdev_direct_params params;
	struct bdev_direct_ring rings[VU_QUEUES_MAX];

	/* Connection thread. */
	uint32_t session_gen;
	uint64_t session_features;
	bool drained;

	/* It stores (relaxed), any thread loads. */
	bool is_up;
};

/* ---- under the lock ---- */

static bool rings_are_idle(const struct vu_direct *d)
{
	for (unsigned int i = 0; i < d->queue_cnt; i++) {
		const struct bdev_direct_ring *ring = &d->rings[i];
		uint16_t used_idx;

		if (!ring->size)
			continue;
		/* First: what comes meanwhile is new, and nobody's yet. */
		used_idx = load_acquire_le16(ring->used_idx);
		if (load_acquire_le16(ring->avail_idx) != used_idx)
			return false;
	}
	return true;
}

static void inject_all(const struct vu_direct *d)
{
	for (unsigned int i = 0; i < d->queue_cnt; i++)
		if (d->rings[i].size)
			d->params.inject(d->params.ctx, i);
}

static void end(struct vu_direct *d)
{
	d->given = false;
	(void)close(d->params.mem_fd);
	/* What the last server has said last may have been lost with it. */
	inject_all(d);
	vu_signal(d->event_fd);
}

static void end_if_over(struct vu_direct *d)
{
	if (d->given && d->stopping && !d->at_server && d->fenced &&
	    (d->how == BDEV_DIRECT_FORGET || rings_are_idle(d)))
		end(d);
}

/* ---- control thread ---- */

static struct vu_direct *direct_of(const struct bdev *bdev)
{
	return container_of(bdev, const struct vu_bdev, base)->conn->direct;
}

bool bdev_direct_is_possible(const struct bdev *bdev)
{
	return bdev->ops == &bdev_vhost_user_ops &&
	       container_of(bdev, const struct vu_bdev, base)->can_direct;
}

int bdev_direct_kick_fd(const struct bdev *bdev, unsigned int idx)
{
	return direct_of(bdev)->kick_fds[idx];
}

int bdev_direct_start(struct bdev *bdev, const struct bdev_direct_params *params)
{
	struct vu_direct *d = direct_of(bdev);
	int mem_fd;

	if (params->queue_cnt > d->queue_cnt)
		return -EINVAL;
	mem_fd = fcntl(params->mem_fd, F_DUPFD_CLOEXEC, 0);
	if (mem_fd < 0)
		return -errno;
	vu_relay_use(d->relay, params->inject, params->ctx);
	pthread_mutex_lock(&d->dev->lock);
	memset(d->rings, 0, sizeof(d->rings));
	memcpy(d->rings, params->rings, params->queue_cnt * sizeof(d->rings[0]));
	d->params = *params;
	d->params.mem_fd = mem_fd;
	d->params.rings = d->rings;
	d->given = true;
	d->gen++;
	d->fenced = true;
	d->stopping = false;
	d->at_server = false;
	pthread_mutex_unlock(&d->dev->lock);
	vu_signal(d->dev->conn->mail_fd);
	return 0;
}

void bdev_direct_stop(struct bdev *bdev, enum bdev_direct_stop how)
{
	struct vu_direct *d = direct_of(bdev);

	pthread_mutex_lock(&d->dev->lock);
	if (!d->stopping || how == BDEV_DIRECT_FORGET)
		d->how = how;
	d->stopping = true;
	end_if_over(d);
	pthread_mutex_unlock(&d->dev->lock);
	vu_signal(d->dev->conn->mail_fd);
}

bool bdev_direct_is_over(struct bdev *bdev)
{
	struct vu_direct *d = direct_of(bdev);
	bool given;

	pthread_mutex_lock(&d->dev->lock);
	given = d->given;
	pthread_mutex_unlock(&d->dev->lock);
	return !given;
}

int bdev_direct_event_fd(const struct bdev *bdev)
{
	return direct_of(bdev)->event_fd;
}

void bdev_direct_handle(struct bdev *bdev)
{
	uint64_t cnt;
	ssize_t n;

	n = read(direct_of(bdev)->event_fd, &cnt, sizeof(cnt));
	(void)n;
}

bool bdev_direct_is_up(const struct bdev *bdev)
{
	return __atomic_load_n(&direct_of(bdev)->is_up, __ATOMIC_RELAXED);
}

/* ---- connection thread: beginnings ---- */

void vu_direct_prepare(struct vu_conn *conn, struct vhu_client_params *params)
{
	struct vu_direct *d = conn->direct;

	if (!d)
		return;
	pthread_mutex_lock(&d->dev->lock);
	d->session_gen = d->given ? d->gen : 0;
	d->session_features = d->params.features & ~BIT64(VIRTIO_F_ACCESS_PLATFORM);
	pthread_mutex_unlock(&d->dev->lock);
	d->drained = false;
	if (!d->session_gen)
		return;
	params->features = d->session_features;
	params->inflight = true;
	/* Nobody else says that there is something to do. */
	vu_signal(conn->mail_fd);
}

bool vu_direct_fits(const struct vu_conn *conn, const struct vu_server_conf *conf)
{
	const struct bdev_limits *limits = &conn->dev->base.limits;
	uint32_t seg_bytes = limits->max_seg_bytes ? limits->max_seg_bytes : SEG_BYTES_MIN;
	const struct vu_direct *d = conn->direct;

	if (!d || !d->session_gen)
		return true;
	return vhu_client_has_inflight(conn->client) &&
	       !(d->session_features & ~FEATURES_OF_DRIVER & ~conf->features) &&
	       (!conf->size_max_bytes || conf->size_max_bytes >= seg_bytes) &&
	       (!conf->max_ranges || conf->max_ranges >= limits->max_ranges) &&
	       conf->max_discard_bytes >= limits->max_discard_bytes &&
	       conf->max_write_zeroes_bytes >= limits->max_write_zeroes_bytes &&
	       conf->max_secure_erase_bytes >= limits->max_secure_erase_bytes;
}

void vu_direct_tried(struct vu_conn *conn, int r)
{
	struct vu_direct *d = conn->direct;

	if (!d)
		return;
	pthread_mutex_lock(&d->dev->lock);
	d->fenced |= r == 0 || r == -ECONNREFUSED || r == -ENOENT;
	end_if_over(d);
	pthread_mutex_unlock(&d->dev->lock);
}

/* ---- connection thread: the buffer ---- */

static int copy_file(int from_fd, uint64_t from_bytes, int to_fd, uint64_t len_bytes)
{
	uint8_t buf[COPY_BYTES];

	for (uint64_t at = 0; at < len_bytes; at += sizeof(buf)) {
		size_t part_bytes = (size_t)MIN(len_bytes - at, (uint64_t)sizeof(buf));

		if (pread(from_fd, buf, part_bytes, (off_t)(from_bytes + at)) !=
		    (ssize_t)part_bytes)
			return -EPROTO;
		/* Every byte, so that there is room for it: the server would die of a hole. */
		if (pwrite(to_fd, buf, part_bytes, (off_t)at) != (ssize_t)part_bytes)
			return -ENOSPC;
	}
	return 0;
}

/*
 * A fresh one of this server's making. It is the record's from when it is complete; nothing is in
 * flight now, so whoever dies before or after that leaves the truth.
 */
static int buf_begin(struct vhu_client *client, const struct bdev_direct_params *params)
{
	struct bdev_direct_record *record = params->record;
	struct vhu_client_inflight inflight;
	_cleanup_close_ int fd = -1;
	int r;

	r = vhu_client_inflight_new(client, params->queue_cnt, params->queue_size, &inflight, &fd);
	if (r < 0)
		return r;
	if (inflight.len_bytes > BUF_BYTES_MAX)
		return -EPROTO;
	r = copy_file(fd, inflight.fd_offset_bytes, params->buf_fd, inflight.len_bytes);
	if (r < 0)
		return r;
	record->len_bytes = inflight.len_bytes;
	record->queue_cnt = inflight.queue_cnt;
	record->queue_size = inflight.queue_size;
	__atomic_store_n(&record->is_servers, 1, __ATOMIC_RELEASE);
	return 0;
}

static int buf_give(struct vhu_client *client, const struct bdev_direct_params *params)
{
	const struct bdev_direct_record *record = params->record;
	struct vhu_client_inflight inflight;
	int r = 0;

	if (!__atomic_load_n(&record->is_servers, __ATOMIC_ACQUIRE))
		r = buf_begin(client, params);
	if (r < 0)
		return r;
	inflight = (struct vhu_client_inflight){
		.len_bytes = record->len_bytes,
		.queue_cnt = record->queue_cnt,
		.queue_size = record->queue_size,
	};
	return vhu_client_inflight_use(client, &inflight, params->buf_fd);
}

/* ---- connection thread: rings ---- */

static int ring_start(struct vu_conn *conn, unsigned int idx)
{
	const struct vu_direct *d = conn->direct;
	const struct bdev_direct_ring *ring = &d->rings[idx];
	const struct vhu_client_ring told = {
		.idx = idx,
		.size = ring->size,
		/* What was taken and not used is in the buffer, and counted from there. */
		.base_idx = load_acquire_le16(ring->used_idx),
		.desc_addr = ring->desc_addr + RING_ADD,
		.avail_addr = ring->avail_addr + RING_ADD,
		.used_addr = ring->used_addr + RING_ADD,
		.kick_fd = d->kick_fds[idx],
		.call_fd = d->call_fds[idx],
	};
	int r;

	r = vhu_client_ring_start(conn->client, &told);
	if (r < 0)
		return r;
	conn->started[idx] = true;
	/* The driver may have kicked nobody, and not have heard of somebody who is gone. */
	vu_signal(d->kick_fds[idx]);
	d->params.inject(d->params.ctx, idx);
	return 0;
}

static int hand_over(struct vu_conn *conn)
{
	struct vu_direct *d = conn->direct;
	const struct vhu_client_region region = {
		.len_bytes = d->params.mem_bytes,
		.fd = d->params.mem_fd,
		.ring_add = RING_ADD,
	};
	int r;

	r = vhu_client_set_memory(conn->client, &region, 1);
	if (r == 0)
		r = buf_give(conn->client, &d->params);
	for (unsigned int i = 0; r == 0 && i < d->queue_cnt; i++)
		if (d->rings[i].size)
			r = ring_start(conn, i);
	__atomic_store_n(&d->is_up, r == 0, __ATOMIC_RELAXED);
	return r;
}

/* It has answered, and may still be at what it took: not every server waits for that. */
static int wait_until_used(struct vu_conn *conn, unsigned int idx, uint16_t base_idx)
{
	struct pollfd fds[2] = {
		{ .fd = conn->stop_fd, .events = POLLIN },
		{ .fd = vhu_client_fd(conn->client), .events = POLLIN },
	};

	while (load_acquire_le16(conn->direct->rings[idx].used_idx) != base_idx) {
		(void)poll(fds, 2, STOP_STEP_MS);
		if (fds[0].revents)
			return -ECANCELED;
		if (fds[1].revents)
			return -ECONNRESET;
	}
	return 0;
}

/* As long as it takes: only the server knows when it is done, or its end tells. */
static int take_back(struct vu_conn *conn)
{
	int r = 0;

	vhu_client_set_timeout(conn->client, UINT_MAX);
	for (unsigned int i = 0; r == 0 && i < VU_QUEUES_MAX; i++) {
		uint16_t base_idx = 0;

		if (!conn->started[i])
			continue;
		r = vhu_client_ring_stop(conn->client, i, &base_idx);
		if (r == 0)
			r = wait_until_used(conn, i, base_idx);
	}
	return r;
}

/* Return: 1 the server is to be told of the rings; 0 it knows, or need not; -ESTALE. */
static int begin_session(struct vu_direct *d)
{
	int r = 0;

	pthread_mutex_lock(&d->dev->lock);
	if ((d->given ? d->gen : 0) != d->session_gen) {
		r = -ESTALE;
	} else if (d->given && !d->at_server) {
		d->at_server = true;
		d->fenced = false;
		r = 1;
	}
	pthread_mutex_unlock(&d->dev->lock);
	return r;
}

int vu_direct_do_rings(struct vu_conn *conn)
{
	struct vu_direct *d = conn->direct;
	bool stopping;
	int r;

	if (!d)
		return 1;
	r = begin_session(d);
	if (r < 0)
		return r;
	if (!d->session_gen)
		return 1;
	if (r > 0)
		r = hand_over(conn);
	if (r < 0)
		return r;
	pthread_mutex_lock(&d->dev->lock);
	stopping = d->stopping;
	pthread_mutex_unlock(&d->dev->lock);
	if (!stopping)
		return 0;
	r = take_back(conn);
	d->drained = r == 0;
	return r < 0 ? r : -ESTALE;
}

void vu_direct_lost(struct vu_conn *conn)
{
	struct vu_direct *d = conn->direct;

	if (!d)
		return;
	__atomic_store_n(&d->is_up, false, __ATOMIC_RELAXED);
	d->session_gen = 0;
	pthread_mutex_lock(&d->dev->lock);
	d->at_server = false;
	d->fenced |= d->drained;
	if (d->given && d->drained)
		end(d);
	else
		end_if_over(d);
	pthread_mutex_unlock(&d->dev->lock);
	d->drained = false;
}

/* ---- making it ---- */

static int make_eventfds(struct vu_direct *d)
{
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->event_fd < 0)
		return -errno;
	for (unsigned int i = 0; i < d->queue_cnt; i++) {
		d->kick_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		d->call_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (d->kick_fds[i] < 0 || d->call_fds[i] < 0)
			return -errno;
	}
	return 0;
}

int vu_direct_new(struct vu_conn *conn, struct vu_direct **ret_direct)
{
	struct vu_direct *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->dev = conn->dev;
	d->queue_cnt = conn->dev->queue_cnt;
	d->event_fd = -1;
	for (unsigned int i = 0; i < d->queue_cnt; i++)
		d->kick_fds[i] = d->call_fds[i] = -1;
	r = make_eventfds(d);
	if (r == 0)
		r = vu_relay_new(d->call_fds, d->queue_cnt, &d->relay);
	if (r < 0) {
		vu_direct_free(d);
		return r;
	}
	*ret_direct = d;
	return 0;
}

void vu_direct_free(struct vu_direct *d)
{
	if (!d)
		return;
	vu_relay_free(d->relay);
	if (d->given)
		(void)close(d->params.mem_fd);
	for (unsigned int i = 0; i < d->queue_cnt; i++) {
		if (d->kick_fds[i] >= 0)
			(void)close(d->kick_fds[i]);
		if (d->call_fds[i] >= 0)
			(void)close(d->call_fds[i]);
	}
	if (d->event_fd >= 0)
		(void)close(d->event_fd);
	free(d);
}
