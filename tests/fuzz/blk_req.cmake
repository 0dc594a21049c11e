# SPDX-License-Identifier: MIT
vblk_fuzz_target(NAME blk_req SOURCES fuzz_blk_req.c LIBS vblk_blk)
