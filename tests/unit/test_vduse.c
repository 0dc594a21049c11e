/* SPDX-License-Identifier: MIT */
#include "run_suite.h"
#include "test_vduse_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BIT64(n) (1ull << (n))

START_TEST(probe_in_the_kernels_order_serves_io)
{
	struct rig *rig = rig_up(1);
	struct vduse_dev_info info;

	rig_check_io(rig, 0);
	vduse_dev_info(rig->dev, &info);
	ck_assert_uint_eq(info.status, 0x0f);
	ck_assert_uint_eq(info.features, rig->features);
	ck_assert(!info.broken && !info.draining && !info.umem);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 1);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_RESET], 0);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_RESET], 1);
	rig_free(rig);
}
END_TEST

START_TEST(event_index_lets_requests_through)
{
	struct rig *rig = rig_new(1);
	struct ring_blk_req req;
	unsigned int i;

	rig->features |= BIT64(VIRTIO_RING_F_EVENT_IDX);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	for (i = 0; i < 200; i++) {
		struct ring *r = fake_vduse_ring(rig->k, 0);

		ring_used_event_set(r, r->used_idx);
		req = rig_read(rig, 0, 0);
		rig_wait_done(rig, 0, &req);
		ring_blk_put(r, &req);
		ring_alloc_reset(r);
	}
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	rig_free(rig);
}
END_TEST

static const struct {
	uint64_t set, clear;
} refused[] = {
	{ 0, BIT64(VIRTIO_F_VERSION_1) },      { 0, BIT64(VIRTIO_F_ACCESS_PLATFORM) },
	{ 0, BIT64(VIRTIO_BLK_F_FLUSH) },   /* the backend has a volatile cache */
	{ BIT64(VIRTIO_F_RING_PACKED), 0 }, /* never offered */
	{ BIT64(VIRTIO_BLK_F_CONFIG_WCE), 0 },
};

START_TEST(features_that_cannot_work_are_refused_at_features_ok)
{
	struct rig *rig = rig_new(1);
	struct vduse_dev_info info;

	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_int_eq(rig_status(rig, 0x00), VDUSE_REQ_RESULT_OK);
	ck_assert_int_eq(rig_status(rig, 0x03), VDUSE_REQ_RESULT_OK);
	fake_vduse_set_features(rig->k, (rig->features | refused[_i].set) & ~refused[_i].clear);
	ck_assert_int_eq(rig_status(rig, 0x0b), VDUSE_REQ_RESULT_FAILED);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_FEATURES_REFUSED], 1);
	vduse_dev_info(rig->dev, &info);
	ck_assert_uint_eq(info.status, 0x03);
	ck_assert_int_eq(rig_status(rig, 0x83), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_FAILED], 1);
	/* Another driver does better. */
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	rig_check_io(rig, 0);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	rig_free(rig);
}
END_TEST

START_TEST(features_that_the_kernel_does_not_tell_are_refused)
{
	struct rig *rig = rig_new(1);

	ck_assert_int_eq(rig_start(rig), 0);
	fake_vduse_set_features(rig->k, rig->features);
	fake_vduse_fail(rig->k, VDUSE_DEV_GET_FEATURES, -EIO, 1);
	ck_assert_int_eq(rig_status(rig, 0x0b), VDUSE_REQ_RESULT_FAILED);
	rig_free(rig);
}
END_TEST

START_TEST(unknown_messages_are_refused)
{
	struct rig *rig = rig_up(1);
	uint32_t id = fake_vduse_send(rig->k, 3 + (uint32_t)_i, 0);

	vduse_dev_handle(rig->dev);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), VDUSE_REQ_RESULT_FAILED);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(vq_state_is_the_next_request_to_take)
{
	struct rig *rig = rig_up(1);
	uint32_t id;

	rig_check_io(rig, 0);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	id = fake_vduse_send(rig->k, VDUSE_GET_VQ_STATE, 0);
	vduse_dev_handle(rig->dev);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(fake_vduse_answered_state(rig->k), 2);
	id = fake_vduse_send(rig->k, VDUSE_GET_VQ_STATE, 1);
	vduse_dev_handle(rig->dev);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), VDUSE_REQ_RESULT_FAILED);
	rig_free(rig);
}
END_TEST

START_TEST(driver_ok_sent_again_changes_nothing)
{
	struct rig *rig = rig_up(1);
	struct ring_blk_req req;

	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	req = rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 1, 20000));
	ck_assert_int_eq(rig_status(rig, 0x0f), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 1);
	fake_bdev_complete(rig->fake, 0, 0);
	rig_wait_done(rig, 0, &req);
	rig_free(rig);
}
END_TEST

START_TEST(queues_that_are_not_ready_are_left_alone)
{
	struct rig *rig = rig_new(3);

	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	ck_assert(fake_vduse_has_kickfd(rig->k, 1) && !fake_vduse_has_kickfd(rig->k, 2));
	rig_check_io(rig, 0);
	rig_check_io(rig, 1);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	rig_free(rig);
}
END_TEST

START_TEST(ring_smaller_than_asked_for_is_served)
{
	struct rig *rig = rig_new(1);

	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, 16, 1);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(ring_larger_than_asked_for_is_reported_and_not_touched)
{
	struct rig *rig = rig_new(1);

	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, 2 * RIG_QUEUE_SIZE, 1);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_QUEUE_UNUSABLE], 1);
	ck_assert_int_eq(rig->last_arg, 0);
	ck_assert_uint_eq(fake_vduse_map_cnt(rig->k), 0);
	rig_free(rig);
}
END_TEST

START_TEST(broken_device_is_told_once_and_without_a_message)
{
	struct rig *rig = rig_up(1);
	struct vduse_dev_info info;
	uint32_t id;

	id = fake_vduse_send_status(rig->k, 0x8f);
	fake_vduse_time_out(rig->k, id);
	vduse_dev_handle(rig->dev);
	vduse_dev_handle(rig->dev);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_BROKEN], 1);
	vduse_dev_info(rig->dev, &info);
	ck_assert(info.broken);
	rig_free(rig);
}
END_TEST

START_TEST(wake_without_message_is_harmless)
{
	struct rig *rig = rig_up(1);

	vduse_dev_handle(rig->dev);
	vduse_dev_handle_queues(rig->dev);
	vduse_dev_handle_deadline(rig->dev);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_BROKEN], 0);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(broken_ring_stops_that_queue_only_and_a_reset_brings_it_back)
{
	struct rig *rig = rig_up(2);
	struct vdev_queue_info info;
	struct ring_blk_req held;

	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	held = rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 1, 20000));
	ring_publish(fake_vduse_ring(rig->k, 0), 9999);
	fake_vduse_kick(rig->k, 0);
	rig_wait_event(rig, VDUSE_EVENT_QUEUE_BROKEN, 1);
	ck_assert_int_eq(rig->last_arg, 0);
	vdev_queue_info(vduse_dev_vdev(rig->dev), 0, &info);
	ck_assert_int_eq(info.fault, VQ_FAULT_HEAD_RANGE);
	/* What it held is finished all the same. */
	fake_bdev_complete(rig->fake, 0, 0);
	rig_wait_done(rig, 0, &held);
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_SYNC);
	rig_check_io(rig, 1);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	rig_check_io(rig, 0);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_QUEUE_BROKEN], 1);
	rig_free(rig);
}
END_TEST

START_TEST(failure_to_make_a_queue_is_returned)
{
	struct rig *rig = rig_new(2);

	fake_bdev_fail_queue_new(rig->fake, -ENOMEM);
	ck_assert_int_eq(rig_start(rig), -ENOMEM);
	rig_free(rig);
}
END_TEST

static Suite *vduse_suite(void)
{
	Suite *s = suite_create("vduse");
	TCase *tc = tcase_create("messages");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, probe_in_the_kernels_order_serves_io);
	tcase_add_test(tc, event_index_lets_requests_through);
	tcase_add_loop_test(tc, features_that_cannot_work_are_refused_at_features_ok, 0,
			    sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(tc, features_that_the_kernel_does_not_tell_are_refused);
	tcase_add_loop_test(tc, unknown_messages_are_refused, 0, 2);
	tcase_add_test(tc, vq_state_is_the_next_request_to_take);
	tcase_add_test(tc, driver_ok_sent_again_changes_nothing);
	tcase_add_test(tc, queues_that_are_not_ready_are_left_alone);
	tcase_add_test(tc, ring_smaller_than_asked_for_is_served);
	tcase_add_test(tc, ring_larger_than_asked_for_is_reported_and_not_touched);
	tcase_add_test(tc, broken_device_is_told_once_and_without_a_message);
	tcase_add_test(tc, wake_without_message_is_harmless);
	tcase_add_test(tc, broken_ring_stops_that_queue_only_and_a_reset_brings_it_back);
	tcase_add_test(tc, failure_to_make_a_queue_is_returned);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(vduse_suite());

	srunner_add_suite(sr, vduse_reset_suite());
	srunner_add_suite(sr, vduse_memory_suite());
	srunner_add_suite(sr, vduse_adopt_suite());
	srunner_add_suite(sr, vduse_ctl_suite());
	srunner_add_suite(sr, vduse_resize_suite());
	return run_suites(sr);
}
