# SPDX-License-Identifier: MIT
vblk_unit_test(vdev
	SOURCES test_vdev.c test_vdev_fixture.c
	LIBS vblk_vdev vblk_fake_ring vblk_fake_bdev)
target_include_directories(test_vdev PRIVATE ${PROJECT_SOURCE_DIR}/src/vdev)
vblk_unit_test(vdev_single
	SOURCES test_vdev_single.c
	LIBS vblk_vdev vblk_fake_ring vblk_fake_bdev)
vblk_unit_test(vdev_wake
	SOURCES test_vdev_wake.c
	LIBS vblk_vdev)
target_include_directories(test_vdev_wake PRIVATE ${PROJECT_SOURCE_DIR}/src/vdev)
vblk_unit_test(vdev_poll
	SOURCES test_vdev_poll.c
	LIBS vblk_vdev vblk_fake_ring vblk_fake_bdev)
target_include_directories(test_vdev_poll PRIVATE ${PROJECT_SOURCE_DIR}/src/vdev)
