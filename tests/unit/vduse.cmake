# SPDX-License-Identifier: MIT
vblk_unit_test(vduse
	SOURCES test_vduse.c test_vduse_adopt.c test_vduse_ctl.c test_vduse_memory.c
		test_vduse_reset.c test_vduse_resize.c test_vduse_fixture.c
	LIBS vblk_vduse vblk_fake_vduse vblk_fake_bdev)
vblk_unit_test(vduse_direct
	SOURCES test_vduse_direct.c
	LIBS vblk_vduse vblk_vhost_user vblk_fake_vduse vblk_vhu_child)
