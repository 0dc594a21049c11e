# SPDX-License-Identifier: MIT
vblk_unit_test(stats SOURCES test_stats.c LIBS vblk_stats)
