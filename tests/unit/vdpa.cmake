# SPDX-License-Identifier: MIT
vblk_unit_test(vdpa
	SOURCES test_vdpa.c
	LIBS vblk_vdpa)
# The message parser is private to the module.
target_include_directories(test_vdpa PRIVATE ${PROJECT_SOURCE_DIR}/src/vdpa)
