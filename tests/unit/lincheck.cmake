# SPDX-License-Identifier: MIT
# Not a module of the product: the judge of the kernel tests is tested, too.
vblk_unit_test(lincheck
	SOURCES test_lincheck.c ${PROJECT_SOURCE_DIR}/tests/tools/lin_data.c
	LIBS lin_history)
