/* SPDX-License-Identifier: MIT */
#include "test_vdev_fixture.h"

#include <check.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct vdev *vdev;
struct fake_bdev *fake;
struct blk_params blk;
struct ring *rings[QUEUES];
struct memmap *map;
struct vdev_ring conf[QUEUES];
static int irq_fd[QUEUES];
int map_err;
unsigned int stopped_cnt, broken_cnt, failed_cnt, map_get_cnt, stuck_cnt, unstuck_cnt;
unsigned int stuck_ms;
int last_err;
bool gave_up;
bool (*driver_goes_on)(unsigned int idx);

static void signal_fd(int fd)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(fd, &one, sizeof(one)), sizeof(one));
}

static void on_inject(void *ctx, unsigned int idx)
{
	(void)ctx;
	if (!driver_goes_on || !driver_goes_on(idx))
		signal_fd(irq_fd[idx]);
}

static int on_map_get(void *ctx, struct memmap **ret_map)
{
	int err = __atomic_load_n(&map_err, __ATOMIC_RELAXED);

	(void)ctx;
	__atomic_fetch_add(&map_get_cnt, 1, __ATOMIC_RELAXED);
	if (err)
		return err;
	*ret_map = memmap_ref(map);
	return 0;
}

static void on_stopped(void *ctx)
{
	(void)ctx;
	stopped_cnt++;
}

static void on_broken(void *ctx, unsigned int idx, enum vq_fault fault)
{
	(void)ctx;
	(void)idx;
	ck_assert_int_ne(fault, VQ_FAULT_NONE);
	broken_cnt++;
}

static void on_failed(void *ctx, unsigned int idx, int err)
{
	(void)ctx;
	(void)idx;
	last_err = err;
	failed_cnt++;
}

static void on_stuck(void *ctx, unsigned int idx, bool is_stuck)
{
	(void)ctx;
	ck_assert_uint_eq(idx, 1);
	if (is_stuck)
		stuck_cnt++;
	else
		unstuck_cnt++;
}

static const struct vdev_transport_ops ops = {
	.inject_irq = on_inject,
	.map_get = on_map_get,
	.stopped = on_stopped,
	.queue_broken = on_broken,
	.queue_failed = on_failed,
	.queue_stuck = on_stuck,
};

bool keep_real_time;
enum vdev_poll_mode poll_mode;

int make(bool sched_batch)
{
	struct vdev_params params = {
		.bdev = fake_bdev_get(fake),
		.blk = &blk,
		.ops = &ops,
		.sched_batch = sched_batch,
		.poll = poll_mode,
		.keep_real_time = keep_real_time,
		.fence_fd = -1,
		.stuck_ms = stuck_ms,
	};

	return vdev_new(&params, &vdev);
}

void new_rings(void)
{
	struct memmap_region regions[QUEUES];
	unsigned int i;

	memmap_unref(map);
	for (i = 0; i < QUEUES; i++) {
		ring_free(rings[i]);
		rings[i] = ring_new(RING_SIZE, ARENA_BYTES, (uint64_t)(i + 1) << 32);
		regions[i] = ring_region(rings[i]);
		conf[i] = (struct vdev_ring){
			.enabled = true,
			.kick_fd = -1,
			.vq = ring_vq_config(rings[i]),
		};
	}
	ck_assert_int_eq(memmap_new(regions, QUEUES, NULL, NULL, &map), 0);
}

void setup(void)
{
	struct bdev_limits limits = fake_bdev_default_limits();
	unsigned int i;

	fake = fake_bdev_new(&limits);
	fake_bdev_set_mode(fake, FAKE_BDEV_SYNC);
	blk_params_init(&blk, &limits, QUEUES, RING_SIZE, "");
	for (i = 0; i < QUEUES; i++)
		irq_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	new_rings();
	ck_assert_int_eq(make(true), 0);
}

void setup_adaptive(void)
{
	poll_mode = VDEV_POLL_ADAPTIVE;
	setup();
}

void setup_polling(void)
{
	poll_mode = VDEV_POLL_ON;
	setup();
}

void pump_until(unsigned int *cnt, unsigned int want)
{
	struct pollfd pfd = { .fd = vdev_event_fd(vdev), .events = POLLIN };

	while (*cnt < want) {
		ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
		vdev_handle_events(vdev);
	}
}

void stop(void)
{
	unsigned int want = stopped_cnt + 1;

	vdev_stop(vdev);
	pump_until(&stopped_cnt, want);
	ck_assert_int_eq(vdev_state(vdev), VDEV_STOPPED);
}

void teardown(void)
{
	unsigned int i;

	/* Its threads and its memory end with the process. */
	if (gave_up)
		return;
	if (vdev_state(vdev) == VDEV_RUNNING)
		stop();
	vdev_free(vdev);
	ck_assert_uint_eq(fake_bdev_queue_cnt(fake), 0);
	for (i = 0; i < QUEUES; i++) {
		ring_free(rings[i]);
		close(irq_fd[i]);
	}
	memmap_unref(map);
	fake_bdev_free(fake);
}

struct ring_blk_req submit_at(unsigned int idx, uint64_t sector)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_IN,
		.sector = sector,
		.seg_cnt = 1,
		.seg_bytes = { 512 },
	};
	struct ring_blk_req req;

	ring_blk_submit(rings[idx], &spec, &req);
	return req;
}

struct ring_blk_req submit(unsigned int idx)
{
	return submit_at(idx, 0);
}

void kick(unsigned int idx)
{
	signal_fd(conf[idx].kick_fd >= 0 ? conf[idx].kick_fd : vdev_kick_fd(vdev, idx));
}

void wait_interrupt(unsigned int idx)
{
	struct pollfd pfd = { .fd = irq_fd[idx], .events = POLLIN };
	uint64_t cnt;

	ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
	ck_assert_int_eq(read(irq_fd[idx], &cnt, sizeof(cnt)), sizeof(cnt));
}

void wait_status(unsigned int idx, struct ring_blk_req *req, uint8_t status)
{
	for (;;) {
		ring_reap(rings[idx]);
		if (ring_blk_is_done(rings[idx], req))
			break;
		wait_interrupt(idx);
	}
	ck_assert_uint_eq(*req->status, status);
	ring_blk_put(rings[idx], req);
	ring_alloc_reset(rings[idx]);
}

void wait_done(unsigned int idx, struct ring_blk_req *req)
{
	wait_status(idx, req, VIRTIO_BLK_S_OK);
}
