# SPDX-License-Identifier: MIT
vblk_unit_test(vhu_client
	SOURCES test_vhu_client.c
	LIBS vblk_vhu_client vblk_fake_vhu_server)
