# SPDX-License-Identifier: MIT
vblk_unit_test(mem SOURCES test_mem.c LIBS vblk_mem Threads::Threads)
