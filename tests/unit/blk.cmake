# SPDX-License-Identifier: MIT
vblk_unit_test(blk_config SOURCES test_blk_config.c LIBS vblk_blk)
vblk_unit_test(blk_req SOURCES test_blk_req.c LIBS vblk_blk)
vblk_unit_test(blk_queue SOURCES test_blk_queue.c LIBS vblk_blk vblk_fake_bdev vblk_fake_ring)
vblk_unit_test(blk_by_file SOURCES test_blk_by_file.c LIBS vblk_blk vblk_fake_bdev vblk_fake_ring)
vblk_unit_test(blk_held SOURCES test_blk_held.c LIBS vblk_blk vblk_fake_bdev vblk_fake_ring)
vblk_unit_test(blk_stats SOURCES test_blk_stats.c LIBS vblk_blk vblk_fake_bdev vblk_fake_ring)
target_link_options(test_blk_stats PRIVATE -Wl,--wrap=clock_gettime)
