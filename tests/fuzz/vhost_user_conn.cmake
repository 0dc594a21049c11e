# SPDX-License-Identifier: MIT
vblk_fuzz_target(NAME vhost_user_conn SOURCES fuzz_vhost_user_conn.c fuzz_vhost_user_common.c
	LIBS vblk_vhost_user vblk_bdev)
