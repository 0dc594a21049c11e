# SPDX-License-Identifier: MIT
# vdpa-tools is added before tests.
if(TARGET vblkctl_parts)
	vblk_unit_test(vblkctl
		SOURCES test_vblkctl.c
		LIBS vblkctl_parts)
	vblk_unit_test(doctor
		SOURCES test_doctor.c
		LIBS vblkctl_parts)
	vblk_unit_test(vblkctl_stats
		SOURCES test_vblkctl_stats.c
		LIBS vblkctl_parts openmetrics)
endif()
