/* SPDX-License-Identifier: MIT */
/*
 * The driver's rings in the hands of a server: between the fake kernel and a server in a process
 * of its own, which is killed, as is the process that handed the rings over.
 */
#include "run_suite.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vduse.h>

#include "fake_vduse_sys.h"
#include "vblk/mem/memguard.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vblk/vduse/vduse_ctl.h"
#include "vblk/vduse/vduse_dev.h"
#include "vblk/virtqueue/vq_inflight.h"
#include "vhu_child.h"

#define QUEUES	    2u
#define QUEUE_SIZE  64u
#define DISK_BYTES  (1u << 20)
#define PATIENCE_MS 20000
#define BATCH	    16u

/* @shared: what outlives a worker: the record of whose the rings are, and our own of requests. */
struct shared {
	struct bdev_direct_record record;
	uint32_t size_told;
	_Alignas(64) uint8_t inflight[];
};

static struct {
	char dir[64], path[108], image[128], backend[192], spec[160];
	int listen_fd, buf_fd;
	pid_t server, worker;
	struct fake_vduse *k;
	struct blk_params blk;
	struct bdev *bdev;
	struct shared *shared;
	struct vduse_dev *dev;
	uint64_t features;
	char why[BDEV_WHY_MAX];
	struct ring_blk_req reqs[QUEUES][BATCH];
	unsigned int irq_cnt[QUEUES];
	uint8_t byte;
} fx;

#ifdef __SANITIZE_THREAD__
const char *__tsan_default_options(void);

/* Children have threads of their own, whatever threads their parent has. */
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}
#endif

/* ---- the server ---- */

static void start_server(void)
{
	const struct vhu_child_params params = {
		.listen_fd = fx.listen_fd,
		.backend = fx.backend,
		.queue_cnt = QUEUES,
		.queue_size = QUEUE_SIZE,
	};

	fx.server = fork();
	ck_assert_int_ge(fx.server, 0);
	if (!fx.server)
		vhu_child_serve(&params);
}

static void end_child(pid_t *pid)
{
	if (!*pid)
		return;
	ck_assert_int_eq(kill(*pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(*pid, NULL, 0), *pid);
	*pid = 0;
}

/* ---- the worker ---- */

static void on_event(void *ctx VBLK_UNUSED, enum vduse_event event, int arg)
{
	ck_assert_msg(event == VDUSE_EVENT_DRIVER_OK || event == VDUSE_EVENT_RESET, "event %d, %d",
		      (int)event, arg);
}

static void start_worker(void)
{
	struct vduse_dev_params params = {
		.sys = fake_vduse_sys(fx.k),
		.blk = &fx.blk,
		.bdev = fx.bdev,
		.umem = VDUSE_UMEM_OFF,
		.bounce_bytes = FAKE_VDUSE_BOUNCE_BYTES,
		.inflight = fx.shared->inflight,
		.size_told = &fx.shared->size_told,
		.direct = &fx.shared->record,
		.direct_buf_fd = fx.buf_fd,
		.drain_deadline_ms = PATIENCE_MS,
		.event = on_event,
	};

	ck_assert_int_eq(vduse_ctl_open_dev(params.sys, "disk", &params.fd), 0);
	ck_assert_int_eq(vduse_dev_new(&params, &fx.dev), 0);
}

static void turn(void)
{
	struct pollfd fds[2] = {
		{ .fd = vduse_dev_queue_fd(fx.dev), .events = POLLIN },
		{ .fd = vduse_dev_direct_fd(fx.dev), .events = POLLIN },
	};
	uint64_t at_ns;

	(void)poll(fds, 2, 1);
	if (fds[0].revents)
		vduse_dev_handle_queues(fx.dev);
	if (fds[1].revents)
		vduse_dev_handle_direct(fx.dev);
	at_ns = vduse_dev_deadline_ns(fx.dev);
	if (at_ns && at_ns <= clock_now_ns())
		vduse_dev_handle_deadline(fx.dev);
}

static bool is_direct(void)
{
	struct vduse_dev_info info;

	vduse_dev_info(fx.dev, &info);
	return info.direct;
}

static bool is_at_server(void)
{
	return is_direct() && bdev_direct_is_up(fx.bdev);
}

static void want(bool direct)
{
	__atomic_store_n(&fx.shared->record.wanted, direct, __ATOMIC_RELEASE);
	vduse_dev_handle_direct(fx.dev);
}

static void wait_for(bool (*is_so)(void))
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_MS * NSEC_PER_MSEC;

	while (!is_so()) {
		ck_assert_uint_lt(clock_now_ns(), end_ns);
		turn();
	}
}

static bool is_ours(void)
{
	return !is_direct() && !__atomic_load_n(&fx.shared->record.is_servers, __ATOMIC_ACQUIRE);
}

static void a_while(void)
{
	uint64_t end_ns = clock_now_ns() + 100 * NSEC_PER_MSEC;

	while (clock_now_ns() < end_ns)
		turn();
}

static int status(uint8_t status)
{
	uint32_t id = fake_vduse_send_status(fx.k, status);

	vduse_dev_handle(fx.dev);
	while (fake_vduse_answer(fx.k, id) == FAKE_VDUSE_PENDING)
		turn();
	return fake_vduse_answer(fx.k, id);
}

static void probe(void)
{
	ck_assert_int_eq(status(0x00), VDUSE_REQ_RESULT_OK);
	ck_assert_int_eq(status(0x01), VDUSE_REQ_RESULT_OK);
	ck_assert_int_eq(status(0x03), VDUSE_REQ_RESULT_OK);
	fake_vduse_set_features(fx.k, fx.features);
	ck_assert_int_eq(status(0x0b), VDUSE_REQ_RESULT_OK);
	fake_vduse_probe(fx.k, QUEUE_SIZE, QUEUES, fx.features);
	memset(fx.irq_cnt, 0, sizeof(fx.irq_cnt));
	ck_assert_int_eq(status(0x0f), VDUSE_REQ_RESULT_OK);
}

/* ---- requests ---- */

static void submit(unsigned int queue, unsigned int i, uint32_t type, bool quietly)
{
	struct ring_blk_spec spec = {
		.type = type,
		.sector = (uint64_t)queue * BATCH + i,
		.from_driver = type == VIRTIO_BLK_T_OUT,
		.seg_cnt = 1,
		.seg_bytes = { 512 },
	};
	struct ring_blk_req *req = &fx.reqs[queue][i];

	fake_vduse_build(fx.k, queue, &spec, req);
	memset(req->data[0], type == VIRTIO_BLK_T_OUT ? fx.byte + (int)i : 0xee, 512);
	fake_vduse_publish(fx.k, queue, req->head);
	if (!quietly)
		fake_vduse_kick(fx.k, queue);
}

static void submit_batch(uint32_t type, bool quietly)
{
	if (type == VIRTIO_BLK_T_OUT)
		fx.byte += 0x11;
	for (unsigned int q = 0; q < QUEUES; q++)
		for (unsigned int i = 0; i < BATCH; i++)
			submit(q, i, type, quietly);
}

/* Each once, and interrupted for. */
static void wait_done(unsigned int queue, unsigned int i)
{
	struct ring *r = fake_vduse_ring(fx.k, queue);
	uint64_t end_ns = clock_now_ns() + PATIENCE_MS * NSEC_PER_MSEC;
	struct ring_blk_req *req = &fx.reqs[queue][i];

	for (;;) {
		unsigned int irq_cnt = fake_vduse_irq_cnt(fx.k, queue);

		/* A driver looks when it is interrupted, and at no other time. */
		if (irq_cnt != fx.irq_cnt[queue])
			ring_reap(r);
		fx.irq_cnt[queue] = irq_cnt;
		ck_assert_uint_eq(r->bad_used_cnt, 0);
		if (ring_blk_is_done(r, req))
			break;
		ck_assert_msg(clock_now_ns() < end_ns, "queue %u, request %u", queue, i);
		turn();
	}
	ck_assert_uint_eq(*req->status, VIRTIO_BLK_S_OK);
}

static void finish_batch(uint32_t type)
{
	for (unsigned int q = 0; q < QUEUES; q++) {
		for (unsigned int i = 0; i < BATCH; i++) {
			struct ring_blk_req *req = &fx.reqs[q][i];

			wait_done(q, i);
			for (unsigned int b = 0; type == VIRTIO_BLK_T_IN && b < 512; b++)
				ck_assert_uint_eq(req->data[0][b], (uint8_t)(fx.byte + i));
			ring_blk_put(fake_vduse_ring(fx.k, q), req);
		}
		ring_alloc_reset(fake_vduse_ring(fx.k, q));
	}
}

/* Writes, reads back, compares. */
static void check_io(void)
{
	submit_batch(VIRTIO_BLK_T_OUT, false);
	finish_batch(VIRTIO_BLK_T_OUT);
	submit_batch(VIRTIO_BLK_T_IN, false);
	finish_batch(VIRTIO_BLK_T_IN);
}

static uint64_t served_by_us(void)
{
	struct vdev_queue_info info;
	uint64_t cnt = 0;

	for (unsigned int q = 0; q < QUEUES; q++) {
		vdev_queue_info(vduse_dev_vdev(fx.dev), q, &info);
		cnt += info.stats.requests[BDEV_READ] + info.stats.requests[BDEV_WRITE];
	}
	return cnt;
}

/* ---- fixture ---- */

static void make_files(void)
{
	size_t bytes = sizeof(struct shared) + QUEUES * vq_inflight_bytes(QUEUE_SIZE);
	int fd;

	strcpy(fx.dir, "/tmp/vblk-direct-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fx.dir));
	snprintf(fx.path, sizeof(fx.path), "%s/sock", fx.dir);
	snprintf(fx.image, sizeof(fx.image), "%s/image", fx.dir);
	/* So that requests are in flight when it is killed, and end in any order. */
	snprintf(fx.backend, sizeof(fx.backend), "fault:delay=0ms-12ms:%s", fx.image);
	snprintf(fx.spec, sizeof(fx.spec), "vhost-user:%s", fx.path);
	fd = open(fx.image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(ftruncate(fd, DISK_BYTES), 0);
	close(fd);
	fx.listen_fd = vhu_child_listen(fx.path);
	fx.buf_fd = memfd_create("buffer", MFD_CLOEXEC);
	fx.shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(fx.shared != MAP_FAILED);
}

static void setup(void)
{
	struct bdev_params params = {
		.queue_cnt = QUEUES,
		.discard = true,
		.direct_rings = true,
		.queue_size = QUEUE_SIZE,
	};
	int r;

	memset(&fx, 0, sizeof(fx));
	memguard_install();
	make_files();
	start_server();
	params.spec = fx.spec;
	r = bdev_open(&params, &fx.bdev, fx.why);
	ck_assert_msg(r == 0, "%s", fx.why);
	blk_params_init(&fx.blk, &fx.bdev->limits, QUEUES, QUEUE_SIZE, "");
	/* Without it every batch is interrupted for, which tests can wait for. */
	fx.features = vduse_features(&fx.blk) & ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	fx.k = fake_vduse_new(QUEUES, QUEUE_SIZE);
}

static void setup_direct(void)
{
	setup();
	start_worker();
	probe();
	check_io();
	want(true);
	wait_for(is_at_server);
}

static void teardown(void)
{
	if (fx.dev && !fx.server)
		start_server();
	vduse_dev_free(fx.dev);
	end_child(&fx.worker);
	end_child(&fx.server);
	fake_vduse_free(fx.k);
	bdev_close(fx.bdev);
	close(fx.listen_fd);
	close(fx.buf_fd);
	unlink(fx.path);
	unlink(fx.image);
	rmdir(fx.dir);
}

/* ---- there and back ---- */

START_TEST(server_serves_the_rings)
{
	uint64_t before = served_by_us();

	ck_assert_uint_eq(__atomic_load_n(&fx.shared->record.is_servers, __ATOMIC_ACQUIRE), 1);
	check_io();
	ck_assert_uint_eq(served_by_us(), before);
}
END_TEST

START_TEST(rings_come_back_when_asked_for)
{
	uint64_t before = served_by_us();

	/* More than the ring is long: what our record last said of it is of no use. */
	for (unsigned int i = 0; i < 2 * QUEUE_SIZE; i += BATCH)
		check_io();
	submit_batch(VIRTIO_BLK_T_OUT, false);
	want(false);
	wait_for(is_ours);
	finish_batch(VIRTIO_BLK_T_OUT);
	check_io();
	ck_assert_uint_ge(served_by_us(), before + 2 * QUEUES * BATCH);
	want(true);
	wait_for(is_at_server);
	check_io();
}
END_TEST

START_TEST(reset_ends_it_and_the_next_driver_begins_anew)
{
	check_io();
	ck_assert_int_eq(status(0), VDUSE_REQ_RESULT_OK);
	ck_assert(is_ours());
	probe();
	check_io();
	wait_for(is_at_server);
	check_io();
}
END_TEST

START_TEST(retired_worker_leaves_nothing_in_flight)
{
	submit_batch(VIRTIO_BLK_T_OUT, false);
	vduse_dev_retire(fx.dev);
	while (!vduse_dev_is_retired(fx.dev))
		turn();
	ck_assert_uint_eq(fx.shared->record.is_servers, 0);
	vduse_dev_free(fx.dev);
	start_worker();
	finish_batch(VIRTIO_BLK_T_OUT);
	wait_for(is_at_server);
	check_io();
}
END_TEST

/* ---- killed ---- */

START_TEST(killed_server_is_followed_by_another)
{
	for (unsigned int i = 0; i < 8; i++) {
		submit_batch(VIRTIO_BLK_T_OUT, false);
		(void)poll(NULL, 0, (int)(i % 4));
		end_child(&fx.server);
		start_server();
		finish_batch(VIRTIO_BLK_T_OUT);
		submit_batch(VIRTIO_BLK_T_IN, false);
		end_child(&fx.server);
		start_server();
		finish_batch(VIRTIO_BLK_T_IN);
	}
	ck_assert(is_direct());
}
END_TEST

START_TEST(idle_rings_come_back_from_a_dead_server)
{
	check_io();
	end_child(&fx.server);
	close(fx.listen_fd);
	want(false);
	wait_for(is_ours);
	unlink(fx.path);
	fx.listen_fd = vhu_child_listen(fx.path);
	start_server();
	check_io();
}
END_TEST

START_TEST(requests_of_a_dead_server_are_not_anybodys)
{
	submit_batch(VIRTIO_BLK_T_OUT, false);
	/* Some of them have ended. */
	(void)poll(NULL, 0, 4);
	end_child(&fx.server);
	want(false);
	a_while();
	ck_assert(is_direct());
	start_server();
	wait_for(is_ours);
	finish_batch(VIRTIO_BLK_T_OUT);
	check_io();
}
END_TEST

START_TEST(reset_does_not_wait_for_a_dead_server)
{
	kill(fx.server, SIGSTOP);
	submit_batch(VIRTIO_BLK_T_OUT, false);
	end_child(&fx.server);
	close(fx.listen_fd);
	ck_assert_int_eq(status(0), VDUSE_REQ_RESULT_OK);
	unlink(fx.path);
	fx.listen_fd = vhu_child_listen(fx.path);
	start_server();
	probe();
	check_io();
}
END_TEST

/* A server that lives may still be at it: who listens and lets nobody in is no proof. */
START_TEST(reset_waits_for_a_server_that_lives)
{
	uint32_t id;

	kill(fx.server, SIGSTOP);
	submit_batch(VIRTIO_BLK_T_OUT, false);
	id = fake_vduse_send_status(fx.k, 0);
	vduse_dev_handle(fx.dev);
	a_while();
	ck_assert_int_eq(fake_vduse_answer(fx.k, id), FAKE_VDUSE_PENDING);
	kill(fx.server, SIGCONT);
	while (fake_vduse_answer(fx.k, id) == FAKE_VDUSE_PENDING)
		turn();
	ck_assert_int_eq(fake_vduse_answer(fx.k, id), VDUSE_REQ_RESULT_OK);
	probe();
	check_io();
}
END_TEST

/*
 * A worker in a process of its own, on the rings of ours. The kicks of the driver do not reach it,
 * so it kicks for itself all the time.
 */
static void fork_worker(void)
{
	uint64_t one = 1;
	ssize_t n;

	fx.worker = fork();
	ck_assert_int_ge(fx.worker, 0);
	if (fx.worker)
		return;
	start_worker();
	for (;;) {
		turn();
		for (unsigned int i = 0; i < QUEUES && is_direct(); i++)
			n = write(bdev_direct_kick_fd(fx.bdev, i), &one, sizeof(one));
		(void)n;
	}
}

/* Rings in use, and no worker in this process. */
static void setup_for_forks(void)
{
	setup_direct();
	vduse_dev_retire(fx.dev);
	while (!vduse_dev_is_retired(fx.dev))
		turn();
	vduse_dev_free(fx.dev);
	fx.dev = NULL;
}

static void wait_until_servers(void)
{
	uint64_t end_ns = clock_now_ns() + PATIENCE_MS * NSEC_PER_MSEC;

	while (!__atomic_load_n(&fx.shared->record.is_servers, __ATOMIC_ACQUIRE)) {
		ck_assert_uint_lt(clock_now_ns(), end_ns);
		(void)poll(NULL, 0, 1);
	}
}

static void kill_workers(bool server_too)
{
	for (unsigned int i = 0; i < 6; i++) {
		fork_worker();
		wait_until_servers();
		submit_batch(VIRTIO_BLK_T_OUT, true);
		(void)poll(NULL, 0, (int)(i % 4));
		if (server_too && i % 2)
			end_child(&fx.server);
		end_child(&fx.worker);
		if (server_too && !(i % 2))
			end_child(&fx.server);
		/* Another one may die as well. */
		fork_worker();
		if (server_too)
			start_server();
		(void)poll(NULL, 0, (int)(i % 3));
		end_child(&fx.worker);
		start_worker();
		ck_assert(is_direct());
		finish_batch(VIRTIO_BLK_T_OUT);
		submit_batch(VIRTIO_BLK_T_IN, false);
		finish_batch(VIRTIO_BLK_T_IN);
		vduse_dev_retire(fx.dev);
		while (!vduse_dev_is_retired(fx.dev))
			turn();
		vduse_dev_free(fx.dev);
		fx.dev = NULL;
	}
}

START_TEST(killed_worker_is_followed_by_another)
{
	kill_workers(false);
}
END_TEST

START_TEST(both_killed)
{
	kill_workers(true);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("vduse_direct");
	TCase *tc = tcase_create("rings at the server");
	TCase *forks = tcase_create("killed workers");

	tcase_add_checked_fixture(tc, setup_direct, teardown);
	tcase_add_test(tc, server_serves_the_rings);
	tcase_add_test(tc, rings_come_back_when_asked_for);
	tcase_add_test(tc, reset_ends_it_and_the_next_driver_begins_anew);
	tcase_add_test(tc, retired_worker_leaves_nothing_in_flight);
	tcase_add_test(tc, killed_server_is_followed_by_another);
	tcase_add_test(tc, idle_rings_come_back_from_a_dead_server);
	tcase_add_test(tc, requests_of_a_dead_server_are_not_anybodys);
	tcase_add_test(tc, reset_does_not_wait_for_a_dead_server);
	tcase_add_test(tc, reset_waits_for_a_server_that_lives);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(forks, setup_for_forks, teardown);
	tcase_add_test(forks, killed_worker_is_followed_by_another);
	tcase_add_test(forks, both_killed);
	tcase_set_timeout(forks, 60);
	suite_add_tcase(s, forks);
	return s;
}

int main(void)
{
	return run_suite(suite());
}
