# SPDX-License-Identifier: MIT
vblk_fuzz_target(NAME vq SOURCES fuzz_vq.c fuzz_vq_common.c LIBS vblk_virtqueue)
