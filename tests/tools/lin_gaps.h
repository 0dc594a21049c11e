/* SPDX-License-Identifier: MIT */
/* How long I/O stood still around what was done to the daemon. */
#ifndef TESTS_TOOLS_LIN_GAPS_H
#define TESTS_TOOLS_LIN_GAPS_H

#include <stdbool.h>
#include <stdint.h>

#define LIN_GAPS_MAX 100000u

/* The gap begins. An I/O that is submitted from now on, and completes, ends it. */
void lin_gap_begin(void);
/* It must be submitted from now on: what did harm needed a moment to take effect. */
void lin_gap_submitted_from_now(void);
/* An I/O has ended without error. Any thread. */
void lin_gap_io(uint64_t start_ns, uint64_t end_ns);
/* Return: false when no I/O came back within @patience_ms. */
bool lin_gap_wait(unsigned int patience_ms);
/* The gap that has ended goes into the figures. */
void lin_gap_count(void);

unsigned int lin_gap_cnt(void);
/* Prints the distribution; appends the gaps in microseconds, one a line, to @path if any. */
int lin_gap_report(const char *path);
/* The slowest I/O of all, in ms. */
unsigned int lin_gap_slowest_ms(void);

#endif
