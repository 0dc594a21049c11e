# SPDX-License-Identifier: MIT
vblk_unit_test(host
	SOURCES test_host.c
	LIBS vblk_host)
