/* SPDX-License-Identifier: MIT */
/*
 * The thread that owns the connection. It may wait for the server as long as it likes: nobody
 * waits for it, but for vu_conn_leave(), which it hears at once.
 */
#include "bdev_vhost_user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/le.h"
#include "vblk/util/math.h"
#include "vblk/util/thread.h"

#define CONN_STACK_BYTES (128u * 1024u)
/* A server that is asked for the first time may still be ending what another client left. */
#define ANSWER_MS	30000u
#define INTERVAL_MIN_MS 10u
#define INTERVAL_MAX_MS 1000u

void vu_signal(int event_fd)
{
	uint64_t one = 1;
	ssize_t n;

	/* Fails only when the counter is full, and then it is readable anyway. */
	n = write(event_fd, &one, sizeof(one));
	(void)n;
}

void vu_consume(int event_fd)
{
	uint64_t cnt;
	struct iovec iov = { .iov_base = &cnt, .iov_len = sizeof(cnt) };

	(void)preadv2(event_fd, &iov, 1, -1, RWF_NOWAIT);
}

/* All queues look at our words; one that holds nothing does so when it is asked next. */
static void wake_all(struct vu_conn *conn)
{
	pthread_mutex_lock(&conn->dev->lock);
	for (unsigned int i = 0; i < VU_QUEUES_MAX; i++)
		if (conn->queues[i])
			vu_signal(conn->queues[i]->call_fd);
	pthread_mutex_unlock(&conn->dev->lock);
}

/* ---- rings ---- */

/* What a queue asks for, copied under the lock. */
struct wish {
	bool exists;
	bool run;
	uint64_t asked;
	uint64_t answered;
	struct vhu_client_ring ring;
};

/* Descriptors are copies: the queue may be freed while the server is told of them. */
static void wish_of(struct vu_conn *conn, unsigned int idx, struct wish *ret_wish)
{
	struct vu_queue *q;

	*ret_wish = (struct wish){ .ring = { .idx = idx, .kick_fd = -1, .call_fd = -1 } };
	pthread_mutex_lock(&conn->dev->lock);
	q = conn->queues[idx];
	if (q) {
		ret_wish->exists = true;
		/* Pairs with queue_ask(): the ring is ready. */
		ret_wish->asked = __atomic_load_n(&q->asked, __ATOMIC_ACQUIRE);
		ret_wish->answered = q->answered;
		/* A word about an earlier server is followed by another, and its ring is gone. */
		ret_wish->run = ret_wish->asked != ret_wish->answered &&
				ret_wish->asked & VU_ASK_RUN &&
				vu_ask_epoch(ret_wish->asked) == conn->epoch;
		if (ret_wish->run) {
			ret_wish->ring.size = q->ring_size;
			ret_wish->ring.desc_addr = vu_area_addr_of(&q->area, q->area.desc);
			ret_wish->ring.avail_addr = vu_area_addr_of(&q->area, q->area.avail);
			ret_wish->ring.used_addr = vu_area_addr_of(&q->area, q->area.used);
			ret_wish->ring.kick_fd = dup(q->kick_fd);
			ret_wish->ring.call_fd = dup(q->call_fd);
		}
	}
	pthread_mutex_unlock(&conn->dev->lock);
}

static void wish_fini(struct wish *wish)
{
	if (wish->ring.kick_fd >= 0)
		(void)close(wish->ring.kick_fd);
	if (wish->ring.call_fd >= 0)
		(void)close(wish->ring.call_fd);
}

static void answer(struct vu_conn *conn, unsigned int idx, uint64_t word)
{
	struct vu_queue *q;

	pthread_mutex_lock(&conn->dev->lock);
	q = conn->queues[idx];
	if (q) {
		__atomic_store_n(&q->answered, word, __ATOMIC_RELEASE);
		vu_signal(q->call_fd);
	}
	pthread_mutex_unlock(&conn->dev->lock);
}

static int ring_stop(struct vu_conn *conn, unsigned int idx)
{
	uint16_t base_idx;

	if (!conn->started[idx])
		return 0;
	conn->started[idx] = false;
	return vhu_client_ring_stop(conn->client, idx, &base_idx);
}

/* Rings that are not wanted any more, or as they were. */
static int stop_rings(struct vu_conn *conn)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < VU_QUEUES_MAX; i++) {
		struct wish wish;

		wish_of(conn, i, &wish);
		if (!wish.exists || wish.asked != wish.answered)
			r = ring_stop(conn, i);
		if (r == 0 && wish.exists && wish.asked != wish.answered &&
		    !(wish.asked & VU_ASK_RUN))
			answer(conn, i, wish.asked);
		wish_fini(&wish);
	}
	return r;
}

static bool any_started(const struct vu_conn *conn)
{
	for (unsigned int i = 0; i < VU_QUEUES_MAX; i++)
		if (conn->started[i])
			return true;
	return false;
}

/*
 * A server that is at work does not get other memory: it would have to stop in the middle, and few
 * are ever asked to. -ECONNABORTED: it gets it with a new connection.
 */
static int tell_memory(struct vu_conn *conn)
{
	struct vhu_client_region regions[VHU_CLIENT_REGIONS_MAX];
	uint32_t gen;
	int cnt, r;

	pthread_mutex_lock(&conn->dev->lock);
	gen = conn->mem.gen;
	cnt = conn->told && gen == conn->told_gen
		      ? 0
		      : vu_mem_table(&conn->mem, conn->area_fd, conn->area_bytes, regions);
	pthread_mutex_unlock(&conn->dev->lock);
	if (cnt <= 0)
		return cnt;
	r = any_started(conn) ? -ECONNABORTED
			      : vhu_client_set_memory(conn->client, regions, (unsigned int)cnt);
	for (int i = 0; i < cnt; i++)
		(void)close(regions[i].fd);
	conn->told = true;
	conn->told_gen = gen;
	return r;
}

/* Of all queues that were busy we must know what they had in flight, see the header. */
static bool all_have_acked(struct vu_conn *conn)
{
	bool all = true;

	pthread_mutex_lock(&conn->dev->lock);
	for (unsigned int i = 0; i < VU_QUEUES_MAX; i++) {
		struct vu_queue *q = conn->queues[i];

		/* Pair with queue_ack(): redoing_cnt has it. */
		if (q && __atomic_load_n(&q->acked, __ATOMIC_ACQUIRE) != conn->epoch &&
		    __atomic_load_n(&q->busy, __ATOMIC_SEQ_CST))
			all = false;
	}
	pthread_mutex_unlock(&conn->dev->lock);
	return all;
}

static int start_rings(struct vu_conn *conn)
{
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < VU_QUEUES_MAX; i++) {
		struct wish wish;

		wish_of(conn, i, &wish);
		if (wish.run) {
			r = tell_memory(conn);
			if (r == 0 && (wish.ring.kick_fd < 0 || wish.ring.call_fd < 0))
				r = -EMFILE;
			if (r == 0)
				r = vhu_client_ring_start(conn->client, &wish.ring);
			if (r == 0) {
				conn->started[i] = true;
				answer(conn, i, wish.asked);
			}
		}
		wish_fini(&wish);
	}
	return r;
}

static bool is_broken(struct vu_conn *conn)
{
	bool broken = false;

	pthread_mutex_lock(&conn->dev->lock);
	for (unsigned int i = 0; i < VU_QUEUES_MAX; i++)
		if (conn->queues[i] && __atomic_load_n(&conn->queues[i]->broken_epoch,
						       __ATOMIC_ACQUIRE) == conn->epoch)
			broken = true;
	pthread_mutex_unlock(&conn->dev->lock);
	return broken;
}

static int do_rings(struct vu_conn *conn)
{
	int r;

	r = vu_direct_do_rings(conn);
	if (r <= 0)
		return r;
	if (is_broken(conn))
		return -EBADMSG;
	if (__atomic_exchange_n(&conn->redo_ended, 0, __ATOMIC_ACQ_REL))
		wake_all(conn);
	r = stop_rings(conn);
	/* Also when nothing runs: what the driver has taken away goes from the server. */
	if (r == 0 && conn->told && !any_started(conn))
		r = tell_memory(conn);
	if (r == 0 && all_have_acked(conn))
		r = start_rings(conn);
	return r;
}

/* ---- the server as a whole ---- */

/*
 * @is_news: nobody has asked. The disk follows the server's changes, not its size: somebody may
 * have given it another one.
 */
static void note_capacity(struct vu_conn *conn, const struct vu_server_conf *conf,
			  uint32_t answered, bool is_news)
{
	struct vu_shared *shared = conn->dev->shared;
	uint64_t old_bytes = __atomic_exchange_n(&shared->capacity_bytes, conf->capacity_bytes,
						 __ATOMIC_RELAXED);

	/* Pairs with vu_resize(). */
	__atomic_store_n(&shared->answered, answered, __ATOMIC_RELEASE);
	if (is_news && conf->capacity_bytes != old_bytes)
		vu_signal(conn->dev->told_fd);
}

/* Somebody wants to know, or the server says that it has changed. */
static int look_at_capacity(struct vu_conn *conn, bool is_news)
{
	uint32_t asked = __atomic_load_n(&conn->dev->shared->asked, __ATOMIC_ACQUIRE);
	struct vu_server_conf conf;
	int r;

	r = vu_conf_ask(conn->client, &conf);
	if (r == 0)
		note_capacity(conn, &conf, asked, is_news);
	return r;
}

static int connect_server(struct vu_conn *conn)
{
	struct vhu_client_params params = {
		.path = conn->dev->path,
		.features = vu_features_wanted(),
		.timeout_ms = ANSWER_MS,
		.stop_fd = conn->stop_fd,
	};
	uint32_t asked = __atomic_load_n(&conn->dev->shared->asked, __ATOMIC_ACQUIRE);
	struct vu_server_conf conf;
	int r;

	vu_direct_prepare(conn, &params);
	r = vhu_client_open(&params, &conn->client);
	vu_direct_tried(conn, r);
	if (r < 0)
		return r;
	r = vu_conf_ask(conn->client, &conf);
	if (r < 0)
		return r;
	/* Another disk at the same place; perhaps it is the right one next time. */
	if (!vu_conf_fits(&conf, &conn->dev->base.limits, conn->dev->queue_cnt) ||
	    !vu_direct_fits(conn, &conf))
		return -EMEDIUMTYPE;
	note_capacity(conn, &conf, asked, true);
	pthread_mutex_lock(&conn->dev->lock);
	conn->server = conf;
	__atomic_store_n(&conn->up_epoch, conn->epoch, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&conn->dev->lock);
	return 0;
}

/* Descriptors of the poll below. */
enum {
	POLL_STOP,
	POLL_MAIL,
	POLL_SOCK,
	POLL_BACKEND,
	POLL_ASK,
	POLL_CNT
};

static int handle(struct vu_conn *conn, const struct pollfd *fds)
{
	bool is_news;
	int r = 0;

	/* It says nothing unasked there: it is gone, or talks nonsense. */
	if (fds[POLL_SOCK].revents)
		return -ECONNRESET;
	if (fds[POLL_BACKEND].revents)
		r = vhu_client_handle_backend(conn->client);
	is_news = r > 0;
	if (fds[POLL_ASK].revents)
		vu_consume(conn->dev->ask_fd);
	if (is_news || (r == 0 && fds[POLL_ASK].revents))
		r = look_at_capacity(conn, is_news);
	if (fds[POLL_MAIL].revents)
		vu_consume(conn->mail_fd);
	return r < 0 ? r : do_rings(conn);
}

/* A connection that we end for another one is not lost, unless that other one is not to be had. */
static bool is_ours(int err)
{
	return err == -ECONNABORTED || err == -ESTALE || err == -ECANCELED;
}

/* The keeper hears of it when the server comes or goes. */
static void note_server(struct vu_conn *conn, int err)
{
	int32_t old_err;

	if (is_ours(err))
		return;
	old_err = __atomic_exchange_n(&conn->dev->shared->server_err, err, __ATOMIC_RELAXED);
	if (!old_err != !err)
		vu_signal(conn->dev->told_fd);
}

/* Until the server is lost, or there is nothing more to do. */
static int serve(struct vu_conn *conn)
{
	struct pollfd fds[POLL_CNT] = {
		[POLL_STOP] = { .fd = conn->stop_fd, .events = POLLIN },
		[POLL_MAIL] = { .fd = conn->mail_fd, .events = POLLIN },
		[POLL_SOCK] = { .fd = vhu_client_fd(conn->client), .events = POLLIN },
		[POLL_BACKEND] = { .fd = vhu_client_backend_fd(conn->client), .events = POLLIN },
		[POLL_ASK] = { .fd = conn->dev->ask_fd, .events = POLLIN },
	};
	int r = 0;

	while (r >= 0) {
		r = poll(fds, POLL_CNT, conn->in_doubt ? (int)INTERVAL_MAX_MS : -1);
		if (r == 0 && conn->in_doubt) {
			conn->in_doubt = false;
			note_server(conn, 0);
		}
		if (r < 0 && errno == EINTR)
			r = 0;
		else if (r < 0)
			r = -errno;
		else if (fds[POLL_STOP].revents)
			r = -ECANCELED;
		else
			r = handle(conn, fds);
	}
	return r;
}

/* Whatever it had is up to the next one. */
static void lose_server(struct vu_conn *conn)
{
	vhu_client_close(conn->client);
	conn->client = NULL;
	conn->told = false;
	memset(conn->started, 0, sizeof(conn->started));
	vu_direct_lost(conn);
	/* Full order, against queue_be_busy(). */
	__atomic_store_n(&conn->epoch, conn->epoch + 1, __ATOMIC_SEQ_CST);
	fence_full();
	wake_all(conn);
}

/* Return: false: it is time to end. */
static bool pause_before_next(struct vu_conn *conn)
{
	uint64_t end_ns = clock_now_ns() + conn->interval_ms * NSEC_PER_MSEC;
	struct pollfd pfd = { .fd = conn->stop_fd, .events = POLLIN };

	conn->interval_ms = MIN(conn->interval_ms * 2, INTERVAL_MAX_MS);
	for (;;) {
		uint64_t now_ns = clock_now_ns();

		if (now_ns >= end_ns)
			return true;
		if (poll(&pfd, 1, (int)((end_ns - now_ns) / NSEC_PER_MSEC) + 1) > 0)
			return false;
	}
}

/*
 * One that can be connected to and is of no use is not asked all the time, and not said to be back
 * each time.
 */
static int serve_and_judge(struct vu_conn *conn)
{
	uint64_t begun_ns = clock_now_ns();
	bool is_of_use;
	int r;

	if (!conn->in_doubt)
		note_server(conn, 0);
	r = serve(conn);
	is_of_use = __atomic_load_n(&conn->served_epoch, __ATOMIC_RELAXED) == conn->epoch ||
		    clock_now_ns() - begun_ns > INTERVAL_MAX_MS * NSEC_PER_MSEC;
	if (is_of_use)
		conn->interval_ms = INTERVAL_MIN_MS;
	conn->in_doubt = !is_of_use && !is_ours(r);
	return r;
}

static void *conn_main(void *arg)
{
	struct vu_conn *conn = arg;
	int r;

	(void)pthread_setname_np(pthread_self(), "vhost-user");
	do {
		r = connect_server(conn);
		if (r == 0) {
			wake_all(conn);
			r = serve_and_judge(conn);
		}
		note_server(conn, r);
		if (conn->client)
			lose_server(conn);
	} while (r != -ECANCELED && pause_before_next(conn));
	return NULL;
}

/* ---- joining and leaving, by queue threads ---- */

static void conn_free(struct vu_conn *conn)
{
	vu_mem_fini(&conn->mem);
	vu_direct_free(conn->direct);
	if (conn->stop_fd >= 0)
		(void)close(conn->stop_fd);
	if (conn->mail_fd >= 0)
		(void)close(conn->mail_fd);
	if (conn->area_fd >= 0)
		(void)close(conn->area_fd);
	free(conn);
}

/* Sparse: a queue that does not come takes no memory. */
static int area_file_new(uint64_t bytes)
{
	_cleanup_close_ int fd = memfd_create("vblk-vhost-user", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return -errno;
	/* The server could end us with a SIGBUS otherwise. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return steal_fd(&fd);
}

static int conn_new(struct vu_bdev *dev, unsigned int depth, struct vu_conn **ret_conn)
{
	struct vu_conn *conn = aligned_alloc(_Alignof(struct vu_conn), sizeof(*conn));
	int r = 0;

	if (!conn)
		return -ENOMEM;
	memset(conn, 0, sizeof(*conn));
	conn->dev = dev;
	conn->depth = depth;
	conn->epoch = 1;
	conn->interval_ms = INTERVAL_MIN_MS;
	conn->area_bytes = (uint64_t)dev->queue_cnt * vu_area_bytes(depth);
	vu_mem_init(&conn->mem, conn->area_bytes);
	conn->stop_fd = eventfd(0, EFD_CLOEXEC);
	conn->mail_fd = eventfd(0, EFD_CLOEXEC);
	if (conn->stop_fd < 0 || conn->mail_fd < 0)
		r = -errno;
	conn->area_fd = area_file_new(conn->area_bytes);
	if (conn->area_fd < 0)
		r = conn->area_fd;
	if (r == 0 && dev->can_direct)
		r = vu_direct_new(conn, &conn->direct);
	if (r == 0)
		r = thread_start(&conn->thread, CONN_STACK_BYTES, conn_main, conn);
	if (r < 0) {
		conn_free(conn);
		return r;
	}
	*ret_conn = conn;
	return 0;
}

static int free_idx(const struct vu_conn *conn)
{
	for (unsigned int i = 0; i < conn->dev->queue_cnt; i++)
		if (!conn->queues[i])
			return (int)i;
	return -ENOSPC;
}

int vu_conn_join(struct vu_queue *q, unsigned int depth)
{
	struct vu_bdev *dev = q->dev;
	int r = 0;

	if (!dev->conn)
		r = conn_new(dev, depth, &dev->conn);
	if (r < 0)
		return r;
	r = dev->conn->depth == depth ? free_idx(dev->conn) : -EINVAL;
	if (r >= 0) {
		q->idx = (unsigned int)r;
		r = vu_area_map(dev->conn->area_fd, q->idx, depth, &q->area);
	}
	/* The first one began it; without a queue it goes again. */
	dev->conn->user_cnt++;
	q->conn = dev->conn;
	if (r == 0)
		dev->conn->queues[q->idx] = q;
	return r;
}

void vu_conn_leave(struct vu_queue *q)
{
	struct vu_conn *conn = q->conn;
	bool is_last;

	if (!conn)
		return;
	pthread_mutex_lock(&q->dev->lock);
	if (conn->queues[q->idx] == q)
		conn->queues[q->idx] = NULL;
	if (q->map)
		vu_mem_put(&conn->mem, q->map);
	is_last = --conn->user_cnt == 0;
	if (is_last)
		q->dev->conn = NULL;
	else
		/* Under the lock: the last one may free all of it right after. */
		vu_signal(conn->mail_fd);
	pthread_mutex_unlock(&q->dev->lock);
	vu_area_unmap(&q->area);
	if (!is_last)
		return;
	vu_signal(conn->stop_fd);
	(void)pthread_join(conn->thread, NULL);
	conn_free(conn);
}
