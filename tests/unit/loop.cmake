# SPDX-License-Identifier: MIT
vblk_unit_test(loop SOURCES test_loop.c LIBS vblk_loop)
# Refuses submissions, which a healthy kernel hardly ever does.
target_link_options(test_loop PRIVATE -Wl,--wrap=io_uring_submit)
