# SPDX-License-Identifier: MIT
vblk_unit_test(vhu
	SOURCES test_vhu_wire.c test_vhu_sock.c
	LIBS vblk_vhu)
