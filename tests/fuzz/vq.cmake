# SPDX-License-Identifier: MIT
vblk_fuzz_target(NAME vq SOURCES fuzz_vq.c LIBS vblk_virtqueue)
