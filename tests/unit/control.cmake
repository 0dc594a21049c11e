# SPDX-License-Identifier: MIT
vblk_unit_test(control
	SOURCES test_control.c test_control_client.c test_control_conn.c
	LIBS vblk_control Threads::Threads)
