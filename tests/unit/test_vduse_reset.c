/* SPDX-License-Identifier: MIT */
#include "test_vduse_fixture.h"

#include <errno.h>

START_TEST(reset_waits_for_outstanding_io_and_delivers_it)
{
	struct rig *rig = rig_up(2);
	struct ring_blk_req a, b;
	struct vduse_dev_info info;
	uint32_t id;

	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	a = rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 1, 20000));
	b = rig_read(rig, 1, 1);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 2, 20000));
	id = fake_vduse_send_status(rig->k, 0);
	vduse_dev_handle(rig->dev);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), FAKE_VDUSE_PENDING);
	ck_assert_uint_ne(vduse_dev_deadline_ns(rig->dev), 0);
	vduse_dev_info(rig->dev, &info);
	ck_assert(info.draining);
	/* Other messages are answered all the while. */
	ck_assert_int_eq(fake_vduse_send(rig->k, VDUSE_GET_VQ_STATE, 0), id + 1);
	vduse_dev_handle(rig->dev);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id + 1), VDUSE_REQ_RESULT_OK);
	fake_bdev_complete(rig->fake, 1, 0);
	rig_wait_done(rig, 1, &b);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), FAKE_VDUSE_PENDING);
	fake_bdev_complete(rig->fake, 0, -EIO);
	rig_wait_done(rig, 0, &a);
	ck_assert_uint_eq(*a.status, VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(rig_wait_answer(rig, id), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	ck_assert_uint_eq(fake_vduse_map_cnt(rig->k), 0);
	ck_assert_uint_eq(fake_vduse_file_cnt(rig->k), 0);
	rig_free(rig);
}
END_TEST

START_TEST(reset_past_its_deadline_is_refused_until_the_backend_comes_back)
{
	struct rig *rig = rig_new(1);
	struct ring_blk_req req;
	unsigned int held_maps;

	rig->deadline_ms = 0;
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	req = rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 1, 20000));
	ck_assert_int_eq(rig_status(rig, 0), FAKE_VDUSE_PENDING);
	held_maps = fake_vduse_map_cnt(rig->k);
	rig_pass_deadline(rig);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_RESET_TIMEOUT], 1);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	/* The old request still points into the old rings. */
	ck_assert_uint_eq(fake_vduse_map_cnt(rig->k), held_maps);

	/* A driver that probes again is refused where it is safe. */
	ck_assert_int_eq(rig_status(rig, 0), FAKE_VDUSE_PENDING);
	rig_pass_deadline(rig);
	ck_assert_int_eq(rig_status(rig, 0x03), VDUSE_REQ_RESULT_OK);
	fake_vduse_set_features(rig->k, rig->features);
	ck_assert_int_eq(rig_status(rig, 0x0b), VDUSE_REQ_RESULT_FAILED);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_FEATURES_REFUSED], 1);

	fake_bdev_complete(rig->fake, 0, 0);
	rig_wait_event(rig, VDUSE_EVENT_RESET, 1);
	ck_assert_uint_eq(fake_vduse_map_cnt(rig->k), 0);
	(void)req;
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_SYNC);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	rig_check_io(rig, 0);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	rig_free(rig);
}
END_TEST

START_TEST(reset_whose_sender_was_killed_gives_way_to_the_next)
{
	struct rig *rig = rig_up(1);
	uint32_t first, second;

	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	(void)rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 1, 20000));
	first = fake_vduse_send_status(rig->k, 0);
	vduse_dev_handle(rig->dev);
	fake_vduse_forget(rig->k, first);
	second = fake_vduse_send_status(rig->k, 0);
	vduse_dev_handle(rig->dev);
	fake_bdev_complete(rig->fake, 0, 0);
	ck_assert_int_eq(rig_wait_answer(rig, second), VDUSE_REQ_RESULT_OK);
	ck_assert_int_eq(fake_vduse_answer(rig->k, first), FAKE_VDUSE_LOST);
	rig_free(rig);
}
END_TEST

START_TEST(driver_that_comes_back_gets_its_new_pages_and_kicks)
{
	struct rig *rig = rig_up(2);
	unsigned int i;

	for (i = 0; i < 10; i++) {
		rig_check_io(rig, i % 2);
		ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
		ck_assert(!fake_vduse_has_kickfd(rig->k, 0));
		ck_assert_uint_eq(fake_vduse_map_cnt(rig->k), 0);
		rig_probe(rig, i % 3 ? RIG_QUEUE_SIZE : 16, 2);
		ck_assert(fake_vduse_has_kickfd(rig->k, 0) && fake_vduse_has_kickfd(rig->k, 1));
	}
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(driver_ok_without_features_ok_waits_for_the_drain)
{
	struct rig *rig = rig_new(1);

	rig->deadline_ms = 0;
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	(void)rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 1, 20000));
	ck_assert_int_eq(rig_status(rig, 0), FAKE_VDUSE_PENDING);
	rig_pass_deadline(rig);
	fake_vduse_probe(rig->k, RIG_QUEUE_SIZE, 1, rig->features);
	/* Refusing would not reach the driver. */
	ck_assert_int_eq(rig_status(rig, 0x0f), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 1);
	fake_bdev_complete(rig->fake, 0, 0);
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_SYNC);
	rig_wait_event(rig, VDUSE_EVENT_DRIVER_OK, 2);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(stop_and_start_under_load_loses_nothing)
{
	struct rig *rig = rig_up(2);
	unsigned int round, i;

	for (round = 0; round < 60; round++) {
		struct ring_blk_req reqs[2][8];
		uint32_t id;

		fake_bdev_set_mode(rig->fake, round % 2 ? FAKE_BDEV_ON_COMMIT : FAKE_BDEV_SYNC);
		for (i = 0; i < 16; i++)
			reqs[i % 2][i / 2] = rig_read(rig, i % 2, i);
		if (round % 3) {
			/* Restart with the same rings: all must come through. */
			id = fake_vduse_send(rig->k, VDUSE_UPDATE_IOTLB, 0);
			vduse_dev_handle(rig->dev);
			ck_assert_int_eq(rig_wait_answer(rig, id), VDUSE_REQ_RESULT_OK);
			for (i = 0; i < 16; i++) {
				rig_wait_done(rig, i % 2, &reqs[i % 2][i / 2]);
				ring_blk_put(fake_vduse_ring(rig->k, i % 2), &reqs[i % 2][i / 2]);
			}
			ring_alloc_reset(fake_vduse_ring(rig->k, 0));
			ring_alloc_reset(fake_vduse_ring(rig->k, 1));
		} else {
			rig_probe(rig, RIG_QUEUE_SIZE, 2);
		}
	}
	rig_check_io(rig, 0);
	rig_check_io(rig, 1);
	rig_free(rig);
}
END_TEST

Suite *vduse_reset_suite(void)
{
	Suite *s = suite_create("vduse_reset");
	TCase *tc = tcase_create("reset");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, reset_waits_for_outstanding_io_and_delivers_it);
	tcase_add_test(tc, reset_past_its_deadline_is_refused_until_the_backend_comes_back);
	tcase_add_test(tc, reset_whose_sender_was_killed_gives_way_to_the_next);
	tcase_add_test(tc, driver_that_comes_back_gets_its_new_pages_and_kicks);
	tcase_add_test(tc, driver_ok_without_features_ok_waits_for_the_drain);
	tcase_add_test(tc, stop_and_start_under_load_loses_nothing);
	suite_add_tcase(s, tc);
	return s;
}
