/* SPDX-License-Identifier: MIT */
/* Another size at run time: who hears of it, in which order, and when it is too early. */
#include "test_vduse_fixture.h"

#include <errno.h>

#define OLD_BYTES   (1u << 20) /* fake_bdev_default_limits() */
#define OLD_SECTORS (OLD_BYTES / 512)

static uint8_t status_at(struct rig *rig, uint64_t sector)
{
	struct ring_blk_req req = rig_read(rig, 0, sector);
	uint8_t status;

	rig_wait_done(rig, 0, &req);
	status = *req.status;
	ring_blk_put(fake_vduse_ring(rig->k, 0), &req);
	ring_alloc_reset(fake_vduse_ring(rig->k, 0));
	return status;
}

START_TEST(grown_disk_is_told_to_the_driver_and_served)
{
	struct rig *rig = rig_up(1);

	ck_assert_uint_eq(status_at(rig, OLD_SECTORS), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(vduse_dev_set_capacity(rig->dev, 2 * OLD_BYTES, 1), 0);
	ck_assert_uint_eq(fake_vduse_capacity_seen(rig->k), 2 * OLD_BYTES);
	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 1);
	ck_assert_uint_eq(rig->size_told, 1);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	ck_assert_uint_eq(status_at(rig, OLD_SECTORS), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(status_at(rig, 2 * OLD_SECTORS - 1), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(status_at(rig, 2 * OLD_SECTORS), VIRTIO_BLK_S_IOERR);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(shrunk_disk_refuses_what_is_behind_its_end)
{
	struct rig *rig = rig_up(1);

	ck_assert_int_eq(vduse_dev_set_capacity(rig->dev, OLD_BYTES / 2, 1), 0);
	ck_assert_uint_eq(fake_vduse_capacity_seen(rig->k), OLD_BYTES / 2);
	ck_assert_uint_eq(status_at(rig, OLD_SECTORS / 2), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(status_at(rig, OLD_SECTORS / 2 - 1), VIRTIO_BLK_S_OK);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

START_TEST(same_size_tells_the_driver_once_more)
{
	struct rig *rig = rig_up(1);

	ck_assert_int_eq(vduse_dev_set_capacity(rig->dev, OLD_BYTES, 1), 0);
	ck_assert_int_eq(vduse_dev_set_capacity(rig->dev, OLD_BYTES, 2), 0);
	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 2);
	rig_free(rig);
}
END_TEST

/* The kernel has the answer to DRIVER_OK but did not note it yet. */
START_TEST(driver_that_cannot_hear_yet_is_told_again)
{
	struct rig *rig = rig_up(1);

	fake_vduse_fail(rig->k, VDUSE_DEV_INJECT_CONFIG_IRQ, -EINVAL, 2);
	ck_assert_int_eq(vduse_dev_set_capacity(rig->dev, 2 * OLD_BYTES, 1), 0);
	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 0);
	rig_pass_deadline(rig);
	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 0);
	ck_assert_uint_eq(rig->size_told, 0);
	rig_pass_deadline(rig);
	ck_assert_uint_eq(fake_vduse_capacity_seen(rig->k), 2 * OLD_BYTES);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	rig_free(rig);
}
END_TEST

/* Between the driver's reading of the capacity and its DRIVER_OK. */
START_TEST(driver_on_its_way_up_is_told_when_it_is_up)
{
	struct rig *rig = rig_new(1);

	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_int_eq(rig_reset(rig), VDUSE_REQ_RESULT_OK);
	fake_vduse_set_features(rig->k, rig->features);
	ck_assert_int_eq(rig_status(rig, 0x0b), VDUSE_REQ_RESULT_OK);
	fake_vduse_probe(rig->k, RIG_QUEUE_SIZE, 1, rig->features);
	ck_assert_int_eq(vduse_dev_set_capacity(rig->dev, 2 * OLD_BYTES, 1), 0);
	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 0);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	ck_assert_int_eq(rig_status(rig, 0x0f), VDUSE_REQ_RESULT_OK);
	ck_assert_uint_eq(fake_vduse_capacity_seen(rig->k), 2 * OLD_BYTES);
	rig_free(rig);
}
END_TEST

START_TEST(next_driver_needs_no_telling)
{
	struct rig *rig = rig_up(1);

	fake_vduse_fail(rig->k, VDUSE_DEV_INJECT_CONFIG_IRQ, -EINVAL, 1);
	ck_assert_int_eq(vduse_dev_set_capacity(rig->dev, 2 * OLD_BYTES, 1), 0);
	rig_probe(rig, RIG_QUEUE_SIZE, 1);
	ck_assert_uint_eq(rig->size_told, 1);
	ck_assert_uint_eq(vduse_dev_deadline_ns(rig->dev), 0);
	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 0);
	ck_assert_uint_eq(fake_vduse_capacity(rig->k), 2 * OLD_BYTES);
	rig_free(rig);
}
END_TEST

/* A rig whose driver was at work under a predecessor that was killed. */
static struct rig *rig_orphaned(uint64_t decided_bytes)
{
	struct rig *rig = rig_new(1);

	fake_vduse_probe(rig->k, RIG_QUEUE_SIZE, 1, rig->features);
	fake_vduse_set_status(rig->k, 0x0f);
	bdev_limits_set_capacity(&rig->blk.limits, decided_bytes);
	bdev_limits_set_capacity(&fake_bdev_get(rig->fake)->limits, decided_bytes);
	return rig;
}

/* Killed after the decision and before the kernel heard of it. */
START_TEST(successor_brings_the_kernel_in_line)
{
	struct rig *rig = rig_orphaned(3 * OLD_BYTES);

	rig->size_number = 1;
	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_eq(fake_vduse_capacity_seen(rig->k), 3 * OLD_BYTES);
	ck_assert_uint_eq(rig->size_told, 1);
	ck_assert_uint_eq(status_at(rig, 3 * OLD_SECTORS - 1), VIRTIO_BLK_S_OK);
	rig_free(rig);
}
END_TEST

START_TEST(successor_tells_nothing_that_is_known)
{
	struct rig *rig = rig_orphaned(3 * OLD_BYTES);

	rig->size_number = 7;
	rig->size_told = 7;
	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 0);
	/* The configuration is written all the same: it costs nothing. */
	ck_assert_uint_eq(fake_vduse_capacity(rig->k), 3 * OLD_BYTES);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

/* It could not be told, again and again, and we die before it can. */
START_TEST(what_a_predecessor_could_not_tell_is_owed)
{
	struct rig *rig = rig_orphaned(3 * OLD_BYTES);

	rig->size_number = 1;
	fake_vduse_fail(rig->k, VDUSE_DEV_INJECT_CONFIG_IRQ, -EINVAL, 1);
	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_eq(rig->size_told, 0);
	vduse_dev_free(rig->dev);
	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_eq(fake_vduse_capacity_seen(rig->k), 3 * OLD_BYTES);
	ck_assert_uint_eq(rig->size_told, 1);
	rig_free(rig);
}
END_TEST

static struct rig *rig_orphaned_in_the_probe(uint32_t size_number)
{
	struct rig *rig = rig_new(1);

	fake_vduse_set_features(rig->k, rig->features);
	fake_vduse_set_status(rig->k, 0x0b);
	rig->size_number = size_number;
	ck_assert_int_eq(rig_start(rig), 0);
	ck_assert_uint_eq(fake_vduse_capacity(rig->k), OLD_BYTES);
	fake_vduse_probe(rig->k, RIG_QUEUE_SIZE, 1, rig->features);
	ck_assert_int_eq(rig_status(rig, 0x0f), VDUSE_REQ_RESULT_OK);
	return rig;
}

START_TEST(successor_of_one_killed_in_the_probe_tells_at_driver_ok)
{
	struct rig *rig = rig_orphaned_in_the_probe(1);

	ck_assert_uint_eq(fake_vduse_capacity_seen(rig->k), OLD_BYTES);
	ck_assert_uint_eq(rig->size_told, 1);
	rig_free(rig);
}
END_TEST

START_TEST(successor_of_one_killed_in_the_probe_tells_no_old_news)
{
	struct rig *rig = rig_orphaned_in_the_probe(0);

	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 0);
	rig_free(rig);
}
END_TEST

START_TEST(kernel_that_refuses_is_reported)
{
	struct rig *rig = rig_up(1);

	fake_vduse_fail(rig->k, VDUSE_DEV_SET_CONFIG, -EPERM, 1);
	ck_assert_int_eq(vduse_dev_set_capacity(rig->dev, 2 * OLD_BYTES, 1), -EPERM);
	ck_assert_uint_eq(fake_vduse_config_irq_cnt(rig->k), 0);
	ck_assert_uint_eq(rig->size_told, 0);
	rig_check_io(rig, 0);
	rig_free(rig);
}
END_TEST

Suite *vduse_resize_suite(void)
{
	Suite *s = suite_create("vduse_resize");
	TCase *tc = tcase_create("resize");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, grown_disk_is_told_to_the_driver_and_served);
	tcase_add_test(tc, shrunk_disk_refuses_what_is_behind_its_end);
	tcase_add_test(tc, same_size_tells_the_driver_once_more);
	tcase_add_test(tc, driver_that_cannot_hear_yet_is_told_again);
	tcase_add_test(tc, driver_on_its_way_up_is_told_when_it_is_up);
	tcase_add_test(tc, next_driver_needs_no_telling);
	tcase_add_test(tc, successor_brings_the_kernel_in_line);
	tcase_add_test(tc, successor_tells_nothing_that_is_known);
	tcase_add_test(tc, what_a_predecessor_could_not_tell_is_owed);
	tcase_add_test(tc, successor_of_one_killed_in_the_probe_tells_at_driver_ok);
	tcase_add_test(tc, successor_of_one_killed_in_the_probe_tells_no_old_news);
	tcase_add_test(tc, kernel_that_refuses_is_reported);
	suite_add_tcase(s, tc);
	return s;
}
