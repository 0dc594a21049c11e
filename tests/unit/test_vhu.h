/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_TEST_VHU_H
#define TESTS_UNIT_TEST_VHU_H

#include <check.h>

Suite *vhu_sock_suite(void);

#endif
