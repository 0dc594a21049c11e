# SPDX-License-Identifier: MIT
vblk_unit_test(bdev SOURCES test_bdev.c test_bdev_fixture.c LIBS vblk_bdev)

# These look behind the contract, so they see the private headers.
foreach(name bdev_blk bdev_uring bdev_open bdev_offload bdev_inject bdev_fault)
	vblk_unit_test(${name} SOURCES test_${name}.c test_bdev_fixture.c LIBS vblk_bdev)
	target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/src/bdev)
endforeach()
# Counts allocations of everything that is linked in.
target_link_options(test_bdev_uring PRIVATE
	-Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=aligned_alloc)
# Answers of the kernel that a healthy file never gives.
target_link_options(test_bdev_inject PRIVATE -Wl,--wrap=syscall)
vblk_unit_test(bdev_vhost_user
	SOURCES test_bdev_vhost_user.c test_bdev_fixture.c test_vhu_bdev_fixture.c
		test_vhu_bdev_rig.c
	LIBS vblk_bdev vblk_fake_vhu_server)
vblk_unit_test(bdev_vhost_user_news
	SOURCES test_bdev_vhost_user_news.c test_bdev_fixture.c test_vhu_bdev_fixture.c
		test_vhu_bdev_rig.c
	LIBS vblk_bdev vblk_fake_vhu_server)
vblk_unit_test(bdev_vhost_user_open
	SOURCES test_bdev_vhost_user_open.c test_vhu_bdev_fixture.c
	LIBS vblk_bdev vblk_fake_vhu_server)

# The whole way from the kernel to another server.
vblk_unit_test(bridge
	SOURCES test_bridge.c test_vduse_fixture.c
	LIBS vblk_vduse vblk_bdev vblk_fake_vduse vblk_fake_bdev vblk_fake_vhu_server)
