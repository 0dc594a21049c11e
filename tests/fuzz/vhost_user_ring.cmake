# SPDX-License-Identifier: MIT
vblk_fuzz_target(NAME vhost_user_ring SOURCES fuzz_vhost_user_ring.c fuzz_vhost_user_common.c
	LIBS vblk_vhost_user vblk_bdev)
