# SPDX-License-Identifier: MIT
vblk_unit_test(daemon SOURCES test_daemon.c LIBS vblk_daemon)
vblk_unit_test(daemon_resize SOURCES test_daemon_resize.c LIBS vblk_daemon)
vblk_unit_test(handover SOURCES test_handover.c LIBS vblk_daemon)
foreach(test daemon daemon_resize handover)
	target_include_directories(test_${test} PRIVATE ${PROJECT_SOURCE_DIR}/src/daemon)
endforeach()
