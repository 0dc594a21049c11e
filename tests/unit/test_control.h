/* SPDX-License-Identifier: MIT */
#ifndef VBLK_TEST_CONTROL_H
#define VBLK_TEST_CONTROL_H

#include <check.h>

TCase *control_conn_case(void);
TCase *control_hostile_case(void);
TCase *control_client_case(void);

#endif
