# SPDX-License-Identifier: MIT
vblk_fuzz_target(NAME vq_packed SOURCES fuzz_vq_packed.c fuzz_vq_common.c LIBS vblk_virtqueue)
