# SPDX-License-Identifier: MIT
vblk_unit_test(util SOURCES test_util.c test_util_iov.c LIBS vblk_util)
vblk_unit_test(log SOURCES test_log.c LIBS vblk_util)
