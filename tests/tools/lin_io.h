/* SPDX-License-Identifier: MIT */
/* Threads that read and write a few blocks, and the check of what they saw. */
#ifndef TESTS_TOOLS_LIN_IO_H
#define TESTS_TOOLS_LIN_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

/*
 * @overlap: writes of one block at the same time. Not where a worker is killed: a
 *           write in flight is done again by its successor, so of two that are in
 *           flight together either may be the last - even if somebody has read the
 *           one before the other began, which no register does. Nobody who cares
 *           for the data has two such writes in flight.
 */
struct lin_load {
	const char *path;
	uint64_t offset_bytes;
	uint32_t block_bytes;
	uint32_t block_cnt;
	unsigned int thread_cnt;
	unsigned int write_percent;
	unsigned int epoch_ms;
	bool overlap;
};

/* @load: borrowed until lin_load_end(). Return: 0 or -errno. */
int lin_load_start(const struct lin_load *load) VBLK_MUST_CHECK;
/* Ends the load; the last epoch is checked, too. Prints what was done. */
void lin_load_end(void);

/* Says what is wrong and ends the process: data of now says most about it. */
VBLK_NORETURN VBLK_PRINTF(1, 2) void lin_fail(const char *format, ...);

#endif
