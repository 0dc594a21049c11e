/* SPDX-License-Identifier: MIT */
/* A process that succeeds a dead one on rings in use. */
#include "test_vduse_fixture.h"

#include <errno.h>
#include <string.h>

#include "vblk/virtqueue/vq.h"

#define REQS 6u

/* The driver is up and the daemon that brought it up is gone. */
static struct rig *orphan(unsigned int queue_cnt)
{
	struct rig *rig = rig_new(queue_cnt);

	fake_vduse_probe(rig->k, RIG_QUEUE_SIZE, queue_cnt, rig->features);
	fake_vduse_set_status(rig->k, 0x0f);
	return rig;
}

/*
 * A predecessor that took @take requests of queue 0, returned number @return_nr
 * of them, and was killed.
 */
static void live_and_die(struct rig *rig, unsigned int take, unsigned int return_nr)
{
	struct ring *r = fake_vduse_ring(rig->k, 0);
	struct memmap_region region = {
		.len_bytes = r->mem_bytes,
		.va = r->mem,
		.fd = -1,
		.perm = MEMMAP_READ | MEMMAP_WRITE,
	};
	struct vq_config cfg = {
		.size = RIG_QUEUE_SIZE,
		.desc = r->desc,
		.avail = r->avail,
		.used = r->used,
		.indirect = true,
		.inflight = (void *)rig->inflight,
	};
	struct iovec iov[32];
	struct vq_chain chain;
	struct memmap *map;
	struct vq *vq;
	unsigned int i;

	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
	ck_assert_int_eq(vq_new(RIG_QUEUE_SIZE, &vq), 0);
	ck_assert_int_eq(vq_start(vq, &cfg), 0);
	vq_set_map(vq, map);
	for (i = 0; i < take; i++) {
		ck_assert_int_eq(vq_pop(vq, iov, 32, &chain), 1);
		if (i == return_nr) {
			vq_push(vq, chain.head, 0);
			(void)vq_publish(vq);
		}
	}
	vq_free(vq);
	memmap_unref(map);
}

START_TEST(requests_of_a_dead_predecessor_are_finished_exactly_once)
{
	struct rig *rig = orphan(2);
	struct ring *r = fake_vduse_ring(rig->k, 0);
	struct ring_blk_req reqs[REQS];
	struct vduse_dev_info info;
	unsigned int i;

	for (i = 0; i < REQS; i++)
		reqs[i] = rig_read(rig, 0, i);
	live_and_die(rig, 4, 2);
	ck_assert_int_eq(rig_start(rig), 0);
	for (i = 0; i < REQS; i++) {
		rig_wait_done(rig, 0, &reqs[i]);
		ck_assert_int_eq(*reqs[i].status == VIRTIO_BLK_S_OK, i != 2);
	}
	/* Oldest first, then what nobody had taken. */
	for (i = 0; i < REQS - 1; i++)
		ck_assert_uint_eq(fake_bdev_record(rig->fake, i).offset_bytes,
				  512 * (i < 2 ? i : i + 1));
	ck_assert_uint_eq(ring_used_idx(r), REQS);
	ck_assert_uint_eq(r->bad_used_cnt, 0);
	vduse_dev_info(rig->dev, &info);
	ck_assert_uint_eq(info.recovered, 3);
	ck_assert_uint_eq(info.status, 0x0f);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 1);
	rig_check_io(rig, 1);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	rig_free(rig);
}
END_TEST

START_TEST(requests_in_flight_are_redone_without_any_kick)
{
	struct rig *rig = orphan(1);
	struct ring_blk_req req = rig_read(rig, 0, 3);

	live_and_die(rig, 1, UINT32_MAX);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_wait_done(rig, 0, &req);
	ck_assert_uint_eq(*req.status, VIRTIO_BLK_S_OK);
	rig_free(rig);
}
END_TEST

START_TEST(lost_kick_is_made_good)
{
	struct rig *rig = orphan(2);
	struct ring_blk_spec spec = {
		.type = VIRTIO_BLK_T_IN,
		.seg_cnt = 1,
		.seg_bytes = { 512 },
	};
	struct ring_blk_req req;

	live_and_die(rig, 0, UINT32_MAX);
	fake_vduse_submit_quietly(rig->k, 0, &spec, &req);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_wait_done(rig, 0, &req);
	rig_free(rig);
}
END_TEST

START_TEST(every_queue_is_interrupted_after_the_takeover)
{
	struct rig *rig = orphan(2);

	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_ge(fake_vduse_irq_cnt(rig->k, 0), 1);
	ck_assert_uint_ge(fake_vduse_irq_cnt(rig->k, 1), 1);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(refused_interrupt_is_tolerated)
{
	struct rig *rig = orphan(2);

	fake_vduse_fail(rig->k, VDUSE_VQ_INJECT_IRQ, -EINVAL, 4);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(message_left_unanswered_comes_again)
{
	struct rig *rig = rig_new(1);
	uint32_t id;
	struct vduse_dev_request req;
	const struct vduse_sys *sys = fake_vduse_sys(rig->k);
	int fd;

	fake_vduse_probe(rig->k, RIG_QUEUE_SIZE, 1, rig->features);
	fake_vduse_set_status(rig->k, 0x0b);
	id = fake_vduse_send_status(rig->k, 0x0f);
	/* The predecessor reads it and dies. */
	ck_assert_int_eq(vduse_ctl_open_dev(sys, "disk", &fd), 0);
	ck_assert_int_eq(sys->read(sys->ctx, fd, &req, sizeof(req)), sizeof(req));
	ck_assert_int_eq(vduse_ctl_open_dev(sys, "disk", &fd), -EBUSY);
	sys->close(sys->ctx, fd);
	ck_assert_int_eq(rig_start(rig), 0);
	vduse_dev_handle(rig->dev);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 1);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(queue_set_up_after_the_takeover_is_served)
{
	struct rig *rig = rig_new(2);

	fake_vduse_probe(rig->k, RIG_QUEUE_SIZE, 1, rig->features);
	fake_vduse_set_status(rig->k, 0x0b);
	ck_assert_int_eq(rig_start(rig), 0);
	fake_vduse_set_ready(rig->k, 1);
	ck_assert_int_eq(rig_status(rig, 0x0f), VDUSE_REQ_RESULT_OK);
	rig_wait_event(rig, VDUSE_EVENT_DRIVER_OK, 2);
	rig_check_io(rig, 0);
	rig_check_io(rig, 1);
	rig_free(rig);
}
END_TEST

START_TEST(driver_that_has_no_rings_yet_is_waited_for)
{
	struct rig *rig = rig_new(1);

	fake_vduse_set_features(rig->k, rig->features);
	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 0);
	ck_assert_int_eq(rig_status(rig, 0x0b), VDUSE_REQ_RESULT_OK);
	fake_vduse_probe(rig->k, RIG_QUEUE_SIZE, 1, rig->features);
	ck_assert_int_eq(rig_status(rig, 0x0f), VDUSE_REQ_RESULT_OK);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(lost_record_is_no_harm_when_the_driver_waits_for_nothing)
{
	struct rig *rig = orphan(1);

	ring_set_start_idx(fake_vduse_ring(rig->k, 0), 700);
	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_MEMORY], 0);
	rig_check_io(rig, 0);
	ck_assert_uint_eq(ring_used_idx(fake_vduse_ring(rig->k, 0)), 702);
	rig_free(rig);
}
END_TEST

/* A record that says nothing, and one of another ring. */
START_TEST(record_that_does_not_fit_is_refused_and_a_reset_ends_it)
{
	struct rig *rig = orphan(1);
	struct ring *r = fake_vduse_ring(rig->k, 0);

	ring_set_start_idx(r, 700);
	(void)rig_read(rig, 0, 0);
	if (_i) {
		struct vq_inflight *rec = (void *)rig->inflight;

		rec->size = RIG_QUEUE_SIZE;
		rec->used_idx = 9;
	}
	ck_assert_int_eq(rig_start(rig), 0);
	rig_wait_event(rig, VDUSE_EVENT_MEMORY, 1);
	ck_assert_int_eq(rig->last_arg, -EUCLEAN);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	ck_assert_uint_eq(ring_used_idx(r), 700);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(device_that_the_kernel_gave_up_cannot_be_adopted)
{
	struct rig *rig = rig_new(1);

	fake_vduse_time_out(rig->k, fake_vduse_send_status(rig->k, 0x0f));
	ck_assert_int_eq(rig_start(rig), -EPERM);
	rig_free(rig);
}
END_TEST

START_TEST(takeover_without_memory_is_tried_again)
{
	struct rig *rig = orphan(1);

	fake_vduse_fail(rig->k, VDUSE_IOTLB_GET_FD, -EMFILE, 1);
	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_MEMORY], 1);
	rig_pass_deadline(rig);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 1);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

Suite *vduse_adopt_suite(void)
{
	Suite *s = suite_create("vduse_adopt");
	TCase *tc = tcase_create("adopt");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, requests_of_a_dead_predecessor_are_finished_exactly_once);
	tcase_add_test(tc, requests_in_flight_are_redone_without_any_kick);
	tcase_add_test(tc, lost_kick_is_made_good);
	tcase_add_test(tc, every_queue_is_interrupted_after_the_takeover);
	tcase_add_test(tc, refused_interrupt_is_tolerated);
	tcase_add_test(tc, message_left_unanswered_comes_again);
	tcase_add_test(tc, queue_set_up_after_the_takeover_is_served);
	tcase_add_test(tc, driver_that_has_no_rings_yet_is_waited_for);
	tcase_add_test(tc, lost_record_is_no_harm_when_the_driver_waits_for_nothing);
	tcase_add_loop_test(tc, record_that_does_not_fit_is_refused_and_a_reset_ends_it, 0, 2);
	tcase_add_test(tc, device_that_the_kernel_gave_up_cannot_be_adopted);
	tcase_add_test(tc, takeover_without_memory_is_tried_again);
	suite_add_tcase(s, tc);
	return s;
}
