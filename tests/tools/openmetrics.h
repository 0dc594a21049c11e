/* SPDX-License-Identifier: MIT */
/* A strict reader of OpenMetrics text, written from its specification and not from ours. */
#ifndef TESTS_TOOLS_OPENMETRICS_H
#define TESTS_TOOLS_OPENMETRICS_H

#define OPENMETRICS_WHY_MAX 512

/**
 * openmetrics_check() - is @text a complete and right exposition?
 * Of types it knows those that vblkctl uses: gauge, counter, info, histogram. No timestamps, no
 * exemplars.
 * Return: number of samples; -1 with line and reason in @why.
 */
int openmetrics_check(const char *text, char why[OPENMETRICS_WHY_MAX]);

#endif
