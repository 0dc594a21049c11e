/* SPDX-License-Identifier: MIT */
/* How every test program ends: runs its suites and says so by its exit code. */
#ifndef TESTS_UNIT_RUN_SUITE_H
#define TESTS_UNIT_RUN_SUITE_H

#include <check.h>
#include <stdlib.h>

/* @runner: taken. Environment (CK_VERBOSITY and others) as check documents it. */
static inline int run_suites(SRunner *runner)
{
	int failed_cnt;

	srunner_run_all(runner, CK_ENV);
	failed_cnt = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed_cnt ? EXIT_FAILURE : EXIT_SUCCESS;
}

static inline int run_suite(Suite *suite)
{
	return run_suites(srunner_create(suite));
}

#endif
