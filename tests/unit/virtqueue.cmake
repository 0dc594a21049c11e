# SPDX-License-Identifier: MIT
vblk_unit_test(virtqueue
	SOURCES test_virtqueue.c test_virtqueue_chain.c test_virtqueue_notify.c
		test_virtqueue_recover.c test_virtqueue_gone.c test_virtqueue_race.c
		test_virtqueue_fixture.c
	LIBS vblk_virtqueue vblk_fake_ring Threads::Threads)

# The module once more, with a hook in front of every store.
set(vq_dir ${PROJECT_SOURCE_DIR}/src/virtqueue)
vblk_unit_test(virtqueue_crash
	SOURCES test_virtqueue_crash.c test_virtqueue_crash_packed.c test_virtqueue_crash_split.c
		${vq_dir}/vq_chain.c ${vq_dir}/vq_notify.c
		${vq_dir}/vq_packed.c ${vq_dir}/vq_packed_notify.c
		${vq_dir}/vq_packed_recover.c ${vq_dir}/vq_recover.c ${vq_dir}/vq_split.c
	LIBS vblk_mem vblk_fake_ring)
target_compile_definitions(test_virtqueue_crash PRIVATE VBLK_VQ_STORE_HOOK)

vblk_unit_test(vq_driver SOURCES test_vq_driver.c LIBS vblk_virtqueue Threads::Threads)
