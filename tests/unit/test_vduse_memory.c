/* SPDX-License-Identifier: MIT */
#include "test_vduse_fixture.h"

#include <errno.h>
#include <unistd.h>

static struct rig *umem_rig(void)
{
	struct rig *rig = rig_new(2);

	rig->umem = VDUSE_UMEM_ON;
	return rig;
}

static bool has_umem(struct rig *rig)
{
	struct vduse_dev_info info;

	vduse_dev_info(rig->dev, &info);
	ck_assert_int_eq(info.umem, fake_vduse_has_umem(rig->k));
	return info.umem;
}

START_TEST(memory_is_asked_for_at_the_first_request_and_not_before)
{
	struct rig *rig = umem_rig();

	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	/* Spurious kicks: nothing is in the ring. */
	fake_vduse_kick(rig->k, 0);
	fake_vduse_kick(rig->k, 1);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(fake_vduse_call_cnt(rig->k, VDUSE_IOTLB_GET_INFO), 0);
	ck_assert_uint_eq(fake_vduse_call_cnt(rig->k, VDUSE_IOTLB_REG_UMEM), 0);
	/* Three parts of two rings. */
	ck_assert_uint_eq(fake_vduse_call_cnt(rig->k, VDUSE_IOTLB_GET_FD), 6);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	rig_check_io(rig, 0);
	ck_assert_uint_eq(fake_vduse_call_cnt(rig->k, VDUSE_IOTLB_REG_UMEM), 1);
	rig_free(rig);
}
END_TEST

START_TEST(umem_is_registered_once_and_survives_resets)
{
	struct rig *rig = umem_rig();
	unsigned int i;

	ck_assert_int_eq(rig_start(rig), 0);
	for (i = 0; i < 3; i++) {
		rig_probe(rig, RIG_QUEUE_SIZE, 2);
		rig_check_io(rig, 0);
		rig_check_io(rig, 1);
		ck_assert(has_umem(rig));
		ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	}
	ck_assert_uint_eq(fake_vduse_call_cnt(rig->k, VDUSE_IOTLB_REG_UMEM), 1);
	rig_free(rig);
}
END_TEST

START_TEST(umem_in_a_file_that_outlives_the_device)
{
	struct rig *rig = umem_rig();
	char byte = 0;

	ck_assert_int_eq(vduse_umem_new(FAKE_VDUSE_BOUNCE_BYTES, &rig->umem_fd), 0);
	int fd = rig->umem_fd;

	ck_assert_int_lt(ftruncate(fd, 4096), 0);
	ck_assert_int_lt(ftruncate(fd, 2 * FAKE_VDUSE_BOUNCE_BYTES), 0);

	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	rig_check_io(rig, 0);
	ck_assert(has_umem(rig));
	rig_free(rig);
	/* Still there, and it is what was used. */
	for (off_t at = 0; !byte && at < (off_t)FAKE_VDUSE_BOUNCE_BYTES; at++)
		ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	ck_assert_int_ne(byte, 0);
	close(fd);
}
END_TEST

static const struct {
	unsigned long request;
	int err;
} umem_failures[] = {
	{ VDUSE_IOTLB_REG_UMEM, -ENOMEM }, /* RLIMIT_MEMLOCK */
	{ VDUSE_IOTLB_REG_UMEM, -EINVAL },
	{ VDUSE_IOTLB_GET_INFO, -ENOTTY }, /* Linux 5.19 */
};

START_TEST(umem_refused_means_plain_memory)
{
	struct rig *rig = umem_rig();

	ck_assert_int_eq(rig_start(rig), 0);
	fake_vduse_fail(rig->k, umem_failures[_i].request, umem_failures[_i].err, 100);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	rig_check_io(rig, 0);
	rig_check_io(rig, 1);
	ck_assert(!has_umem(rig));
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_MEMORY], 0);
	rig_free(rig);
}
END_TEST

START_TEST(kernel_without_umem_means_plain_memory)
{
	struct rig *rig = umem_rig();

	fake_vduse_no_umem(rig->k);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	rig_check_io(rig, 0);
	ck_assert_uint_eq(fake_vduse_call_cnt(rig->k, VDUSE_IOTLB_REG_UMEM), 0);
	rig_free(rig);
}
END_TEST

START_TEST(umem_of_a_predecessor_is_replaced)
{
	struct rig *rig = umem_rig();

	ck_assert_int_eq(rig_start(rig), 0);
	fake_vduse_foreign_umem(rig->k);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	rig_check_io(rig, 0);
	ck_assert(has_umem(rig));
	ck_assert_uint_eq(fake_vduse_call_cnt(rig->k, VDUSE_IOTLB_DEREG_UMEM), 1);
	rig_free(rig);
}
END_TEST

START_TEST(umem_that_cannot_be_replaced_is_an_error_and_tried_again)
{
	struct rig *rig = umem_rig();
	struct ring_blk_req req;

	ck_assert_int_eq(rig_start(rig), 0);
	fake_vduse_foreign_umem(rig->k);
	fake_vduse_fail(rig->k, VDUSE_IOTLB_DEREG_UMEM, -EINVAL, 1);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	req = rig_read(rig, 0, 0);
	rig_wait_event(rig, VDUSE_EVENT_MEMORY, 1);
	ck_assert_int_eq(rig->last_arg, -EEXIST);
	rig_pass_deadline(rig);
	rig_wait_event(rig, VDUSE_EVENT_DRIVER_OK, 2);
	rig_wait_done(rig, 0, &req);
	rig_free(rig);
}
END_TEST

START_TEST(automatic_umem_follows_the_backend)
{
	struct rig *rig = rig_new(2);

	rig->umem = VDUSE_UMEM_AUTO;
	rig->blk.limits.direct = _i;
	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	rig_check_io(rig, 0);
	ck_assert_int_eq(has_umem(rig), _i);
	rig_free(rig);
}
END_TEST

static const struct {
	unsigned long request;
	int err;
} start_failures[] = {
	{ VDUSE_VQ_GET_INFO, -ENOMEM },
	{ VDUSE_IOTLB_GET_FD, -EMFILE },
	{ VDUSE_VQ_SETUP_KICKFD, -ENOMEM },
};

START_TEST(rings_that_cannot_be_mapped_are_tried_again_after_driver_ok)
{
	struct rig *rig = rig_new(2);

	ck_assert_int_eq(rig_start(rig), 0);
	fake_vduse_fail(rig->k, start_failures[_i].request, start_failures[_i].err, 2);
	/* Answered OK all the same, which rig_probe() checks. */
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_MEMORY], 1);
	ck_assert_int_eq(rig->last_arg, start_failures[_i].err);
	ck_assert_uint_eq(fake_vduse_map_cnt(rig->k), 0);
	rig_pass_deadline(rig);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 0);
	rig_pass_deadline(rig);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 1);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_MEMORY], 1);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(reset_ends_the_attempts)
{
	struct rig *rig = rig_new(1);

	ck_assert_int_eq(rig_start(rig), 0);
	fake_vduse_fail(rig->k, VDUSE_VQ_GET_INFO, -ENOMEM, 1);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	ck_assert_uint_ne(vduse_dev_deadline_ns(rig->dev), 0);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(buffers_that_cannot_be_mapped_are_tried_again)
{
	struct rig *rig = rig_new(2);
	struct ring_blk_req req;

	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 2);
	fake_vduse_fail(rig->k, VDUSE_IOTLB_GET_FD, -ENFILE, 1);
	req = rig_read(rig, 0, 0);
	rig_wait_event(rig, VDUSE_EVENT_MEMORY, 1);
	ck_assert_int_eq(rig->last_arg, -ENFILE);
	rig_pass_deadline(rig);
	rig_wait_event(rig, VDUSE_EVENT_DRIVER_OK, 2);
	rig_wait_done(rig, 0, &req);
	ck_assert_uint_eq(*req.status, VIRTIO_BLK_S_OK);
	rig_check_io(rig, 1);
	rig_free(rig);
}
END_TEST

START_TEST(rings_without_permission_are_reported)
{
	struct rig *rig = rig_new(1);

	fake_vduse_set_ring_perm(rig->k, VDUSE_ACCESS_RO);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_QUEUE_UNUSABLE], 1);
	ck_assert_int_eq(rig->last_arg, 0);
	/* Once, however often the driver has it looked at again. */
	for (unsigned int i = 0; i < 3; i++) {
		(void)fake_vduse_send(rig->k, VDUSE_UPDATE_IOTLB, 0);
		vduse_dev_handle(rig->dev);
	}
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_QUEUE_UNUSABLE], 1);
	/* A reset, and a driver that does better. */
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	fake_vduse_set_ring_perm(rig->k, VDUSE_ACCESS_RW);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(iotlb_update_drains_and_goes_on_with_the_same_rings)
{
	struct rig *rig = rig_up(2);
	struct ring_blk_req held, later;
	uint32_t id;

	rig_check_io(rig, 1);
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	held = rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 3, 20000));
	id = fake_vduse_send(rig->k, VDUSE_UPDATE_IOTLB, 0);
	vduse_dev_handle(rig->dev);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), FAKE_VDUSE_PENDING);
	later = rig_read(rig, 0, 1);
	fake_bdev_complete(rig->fake, 2, 0);
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_SYNC);
	ck_assert_int_eq(rig_wait_answer(rig, id), VDUSE_REQ_RESULT_OK);
	rig_wait_done(rig, 0, &held);
	rig_wait_done(rig, 0, &later);
	rig_check_io(rig, 1);
	rig_free(rig);
}
END_TEST

START_TEST(iotlb_update_that_takes_too_long_is_refused_and_the_queues_go_on)
{
	struct rig *rig = rig_new(1);
	struct ring_blk_req held;
	uint32_t id;

	rig->deadline_ms = 0;
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	ck_assert_int_eq(rig_start(rig), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	held = rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 1, 20000));
	id = fake_vduse_send(rig->k, VDUSE_UPDATE_IOTLB, 0);
	vduse_dev_handle(rig->dev);
	rig_pass_deadline(rig);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), VDUSE_REQ_RESULT_FAILED);
	fake_bdev_complete(rig->fake, 0, 0);
	fake_bdev_set_mode(rig->fake, FAKE_BDEV_SYNC);
	rig_wait_event(rig, VDUSE_EVENT_DRIVER_OK, 2);
	rig_wait_done(rig, 0, &held);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(iotlb_update_and_reset_together_are_both_answered)
{
	struct rig *rig = rig_up(1);
	uint32_t update, reset;

	fake_bdev_set_mode(rig->fake, FAKE_BDEV_HELD);
	(void)rig_read(rig, 0, 0);
	ck_assert(fake_bdev_wait_submitted(rig->fake, 1, 20000));
	update = fake_vduse_send(rig->k, VDUSE_UPDATE_IOTLB, 0);
	reset = fake_vduse_send_status(rig->k, 0);
	vduse_dev_handle(rig->dev);
	fake_bdev_complete(rig->fake, 0, 0);
	ck_assert_int_eq(rig_wait_answer(rig, reset), VDUSE_REQ_RESULT_OK);
	ck_assert_int_eq(fake_vduse_answer(rig->k, update), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(rig->events[VDUSE_EVENT_DRIVER_OK], 1);
	ck_assert_uint_eq(fake_vduse_map_cnt(rig->k), 0);
	rig_free(rig);
}
END_TEST

START_TEST(iotlb_update_of_an_idle_device_is_answered_at_once)
{
	struct rig *rig = rig_new(1);
	uint32_t id;

	ck_assert_int_eq(rig_start(rig), 0);
	id = fake_vduse_send(rig->k, VDUSE_UPDATE_IOTLB, 0);
	vduse_dev_handle(rig->dev);
	ck_assert_int_eq(fake_vduse_answer(rig->k, id), VDUSE_REQ_RESULT_OK);
	rig_free(rig);
}
END_TEST

Suite *vduse_memory_suite(void)
{
	Suite *s = suite_create("vduse_memory");
	TCase *tc = tcase_create("memory");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, memory_is_asked_for_at_the_first_request_and_not_before);
	tcase_add_test(tc, umem_is_registered_once_and_survives_resets);
	tcase_add_test(tc, umem_in_a_file_that_outlives_the_device);
	tcase_add_loop_test(tc, umem_refused_means_plain_memory, 0,
			    sizeof(umem_failures) / sizeof(umem_failures[0]));
	tcase_add_test(tc, kernel_without_umem_means_plain_memory);
	tcase_add_test(tc, umem_of_a_predecessor_is_replaced);
	tcase_add_test(tc, umem_that_cannot_be_replaced_is_an_error_and_tried_again);
	tcase_add_loop_test(tc, automatic_umem_follows_the_backend, 0, 2);
	tcase_add_loop_test(tc, rings_that_cannot_be_mapped_are_tried_again_after_driver_ok, 0,
			    sizeof(start_failures) / sizeof(start_failures[0]));
	tcase_add_test(tc, reset_ends_the_attempts);
	tcase_add_test(tc, buffers_that_cannot_be_mapped_are_tried_again);
	tcase_add_test(tc, rings_without_permission_are_reported);
	tcase_add_test(tc, iotlb_update_drains_and_goes_on_with_the_same_rings);
	tcase_add_test(tc, iotlb_update_that_takes_too_long_is_refused_and_the_queues_go_on);
	tcase_add_test(tc, iotlb_update_and_reset_together_are_both_answered);
	tcase_add_test(tc, iotlb_update_of_an_idle_device_is_answered_at_once);
	suite_add_tcase(s, tc);
	return s;
}
