/* SPDX-License-Identifier: MIT */
#include "test_vduse_fixture.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/util/clock.h"
#include "vblk/virtqueue/vq_inflight.h"

#define PATIENCE_MS 20000

static void rig_event(void *ctx, enum vduse_event event, int arg)
{
	struct rig *rig = ctx;

	rig->events[event]++;
	rig->last_arg = arg;
}

struct rig *rig_new(unsigned int queue_cnt)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct bdev_limits limits = fake_bdev_default_limits();

	ck_assert_ptr_nonnull(rig);
	rig->k = fake_vduse_new(queue_cnt, RIG_QUEUE_SIZE);
	rig->fake = fake_bdev_new(&limits);
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_SYNC);
	blk_params_init(&rig->blk, &limits, (uint16_t)queue_cnt, RIG_QUEUE_SIZE, "S1");
	rig->inflight = calloc(queue_cnt, vq_inflight_bytes(RIG_QUEUE_SIZE));
	rig->deadline_ms = PATIENCE_MS;
	rig->umem = VDUSE_UMEM_OFF;
	/* Without it every batch is interrupted for, which tests can wait for. */
	rig->features = vduse_features(&rig->blk) & ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	return rig;
}

void rig_free(struct rig *rig)
{
	vduse_dev_free(rig->dev);
	ck_assert_uint_eq(fake_vduse_map_cnt(rig->k), 0);
	ck_assert_uint_eq(fake_vduse_file_cnt(rig->k), 0);
	fake_vduse_free(rig->k);
	fake_bdev_free(rig->fake);
	free(rig->inflight);
	free(rig);
}

int rig_start(struct rig *rig)
{
	struct vduse_dev_params params = {
		.sys = rig->sys ? rig->sys : fake_vduse_sys(rig->k),
		.blk = &rig->blk,
		.bdev = rig->bdev ? rig->bdev : fake_bdev_get(rig->fake),
		.umem = rig->umem,
		.bounce_bytes = FAKE_VDUSE_BOUNCE_BYTES,
		.umem_fd = rig->umem_fd,
		.inflight = rig->inflight,
		.size_number = rig->size_number,
		.size_told = &rig->size_told,
		.drain_deadline_ms = rig->deadline_ms,
		.sched_batch = true,
		.event = rig_event,
		.ctx = rig,
	};

	ck_assert_int_eq(vduse_ctl_open_dev(params.sys, "disk", &params.fd), 0);
	return vduse_dev_new(&params, &rig->dev);
}

int rig_status(struct rig *rig, uint8_t status)
{
	uint32_t id = fake_vduse_send_status(rig->k, status);

	vduse_dev_handle(rig->dev);
	return fake_vduse_answer(rig->k, id);
}

static void pump(struct rig *rig)
{
	struct pollfd pfd = { .fd = vduse_dev_queue_fd(rig->dev), .events = POLLIN };

	ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
	vduse_dev_handle_queues(rig->dev);
}

int rig_wait_answer(struct rig *rig, uint32_t id)
{
	while (fake_vduse_answer(rig->k, id) == FAKE_VDUSE_PENDING)
		pump(rig);
	return fake_vduse_answer(rig->k, id);
}

void rig_wait_event(struct rig *rig, enum vduse_event event, unsigned int cnt)
{
	while (rig->events[event] < cnt)
		pump(rig);
}

void rig_pass_deadline(struct rig *rig)
{
	uint64_t at_ns = vduse_dev_deadline_ns(rig->dev);

	ck_assert_uint_ne(at_ns, 0);
	while (clock_now_ns() < at_ns)
		(void)poll(NULL, 0, 1);
	vduse_dev_handle_deadline(rig->dev);
}

void rig_probe(struct rig *rig, uint16_t size, unsigned int ready_cnt)
{
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	ck_assert_int_eq(rig_status(rig, 0x01), VDUSE_REQ_RESULT_OK);
	ck_assert_int_eq(rig_status(rig, 0x03), VDUSE_REQ_RESULT_OK);
	fake_vduse_set_features(rig->k, rig->features);
	ck_assert_int_eq(rig_status(rig, 0x0b), VDUSE_REQ_RESULT_OK);
	fake_vduse_probe(rig->k, size, ready_cnt, rig->features);
	ck_assert_int_eq(rig_status(rig, 0x0f), VDUSE_REQ_RESULT_OK);
}

struct rig *rig_up(unsigned int queue_cnt)
{
	struct rig *rig = rig_new(queue_cnt);

	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, queue_cnt);
	return rig;
}

int rig_reset(struct rig *rig)
{
	uint32_t id = fake_vduse_send_status(rig->k, 0);

	vduse_dev_handle(rig->dev);
	return rig_wait_answer(rig, id);
}

struct ring_blk_req rig_read(struct rig *rig, unsigned int idx, uint64_t sector)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_IN,
		.sector = sector,
		.seg_cnt = 1,
		.seg_bytes = { 512 },
	};
	struct ring_blk_req req;

	fake_vduse_submit(rig->k, idx, &spec, &req);
	return req;
}

struct ring_blk_req rig_write(struct rig *rig, unsigned int idx, uint64_t sector, uint8_t byte)
{
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_OUT,
		.sector = sector,
		.from_driver = true,
		.seg_cnt = 1,
		.seg_bytes = { 512 },
	};
	struct ring_blk_req req;

	fake_vduse_build(rig->k, idx, &spec, &req);
	memset(req.data[0], byte, 512);
	fake_vduse_publish(rig->k, idx, req.head);
	fake_vduse_kick(rig->k, idx);
	return req;
}

void rig_wait_done(struct rig *rig, unsigned int idx, const struct ring_blk_req *req)
{
	struct ring *r = fake_vduse_ring(rig->k, idx);

	for (;;) {
		unsigned int cnt = fake_vduse_irq_cnt(rig->k, idx);

		ring_reap(r);
		if (ring_blk_is_done(r, req))
			return;
		fake_vduse_wait_irq(rig->k, idx, cnt + 1);
	}
}

void rig_check_io(struct rig *rig, unsigned int idx)
{
	struct ring *r = fake_vduse_ring(rig->k, idx);
	static uint8_t byte = 0x10;
	struct ring_blk_req req;
	unsigned int i;

	byte++;
	req = rig_write(rig, idx, 4 + idx, byte);
	rig_wait_done(rig, idx, &req);
	ck_assert_uint_eq(*req.status, VIRTIO_BLK_S_OK);
	ring_blk_put(r, &req);
	req = rig_read(rig, idx, 4 + idx);
	rig_wait_done(rig, idx, &req);
	ck_assert_uint_eq(*req.status, VIRTIO_BLK_S_OK);
	for (i = 0; i < 512; i++)
		ck_assert_uint_eq(req.data[0][i], byte);
	ring_blk_put(r, &req);
	ring_alloc_reset(r);
}
