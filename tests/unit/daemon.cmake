# SPDX-License-Identifier: MIT
vblk_unit_test(daemon SOURCES test_daemon.c LIBS vblk_daemon)
target_include_directories(test_daemon PRIVATE ${PROJECT_SOURCE_DIR}/src/daemon)
vblk_unit_test(daemon_resize SOURCES test_daemon_resize.c LIBS vblk_daemon)
target_include_directories(test_daemon_resize PRIVATE ${PROJECT_SOURCE_DIR}/src/daemon)
