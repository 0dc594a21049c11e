/* SPDX-License-Identifier: MIT */
#ifndef TEST_UTIL_H
#define TEST_UTIL_H

#include <check.h>

void util_suite_iov(Suite *s);

#endif
