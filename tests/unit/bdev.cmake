# SPDX-License-Identifier: MIT
vblk_unit_test(bdev SOURCES test_bdev.c test_bdev_fixture.c LIBS vblk_bdev)
