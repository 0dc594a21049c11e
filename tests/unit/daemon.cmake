# SPDX-License-Identifier: MIT
vblk_unit_test(daemon SOURCES test_daemon.c LIBS vblk_daemon)
vblk_unit_test(ballast SOURCES test_ballast.c LIBS vblk_daemon)
vblk_unit_test(config_file SOURCES test_config_file.c LIBS vblk_daemon)
vblk_unit_test(daemon_resize SOURCES test_daemon_resize.c LIBS vblk_daemon)
vblk_unit_test(handover SOURCES test_handover.c LIBS vblk_daemon)
vblk_unit_test(worker_mark SOURCES test_worker_mark.c LIBS vblk_daemon)
vblk_unit_test(sandbox SOURCES test_sandbox.c LIBS vblk_daemon)
vblk_unit_test(serve_socket SOURCES test_serve_socket.c LIBS vblk_daemon)
vblk_unit_test(daemon_stats SOURCES test_daemon_stats.c LIBS vblk_daemon vblk_fake_bdev)
foreach(test ballast config_file daemon daemon_resize daemon_stats handover sandbox
	serve_socket worker_mark)
	target_include_directories(test_${test} PRIVATE ${PROJECT_SOURCE_DIR}/src/daemon)
endforeach()
