# SPDX-License-Identifier: MIT
vblk_unit_test(loop SOURCES test_loop.c LIBS vblk_loop)
