# SPDX-License-Identifier: MIT
vblk_unit_test(vhost_user
	SOURCES test_vhost_user.c test_vhost_user_fixture.c
	LIBS vblk_vhost_user vblk_vhu_client vblk_fake_ring vblk_fake_bdev)
vblk_unit_test(vhost_user_hostile
	SOURCES test_vhost_user_hostile.c test_vhost_user_fixture.c
	LIBS vblk_vhost_user vblk_fake_ring vblk_fake_bdev)
vblk_unit_test(vhost_user_inflight
	SOURCES test_vhost_user_inflight.c test_vhost_user_fixture.c
	LIBS vblk_vhost_user vblk_fake_ring vblk_fake_bdev)
vblk_unit_test(vhost_user_loopback
	SOURCES test_vhost_user_loopback.c test_bdev_fixture.c
	LIBS vblk_vhost_user vblk_bdev)
