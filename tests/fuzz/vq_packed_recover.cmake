# SPDX-License-Identifier: MIT
vblk_fuzz_target(NAME vq_packed_recover SOURCES fuzz_vq_packed_recover.c fuzz_vq_recover_common.c
	LIBS vblk_virtqueue)
