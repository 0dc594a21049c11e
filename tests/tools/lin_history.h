/* SPDX-License-Identifier: MIT */
/*
 * Is what was seen of one register possible at all? Gibbons and Korach, "Testing
 * shared memories" (1997): with unique values it is known which read saw which
 * write, and the question is answered by the zones of the clusters (a write and
 * its reads), without any search.
 *
 * A cluster's zone lies between the earliest end and the latest start of its
 * operations. When the end comes first (forward zone) the register must have
 * held the value all that time, so two forward zones cannot overlap. When the
 * start comes first (backward zone) all its operations were under way at once;
 * they can be thought of at any one point, but not inside the forward zone of
 * another value. Together with "no read ends before its write begins" this is
 * necessary and sufficient.
 */
#ifndef TESTS_TOOLS_LIN_HISTORY_H
#define TESTS_TOOLS_LIN_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values are 0 to LIN_VALUES - 1. */
#define LIN_VALUES 256

struct lin_op {
	uint64_t start_ns;
	uint64_t end_ns;
	uint8_t value;
	bool is_write;
};

enum lin_verdict {
	LIN_OK,
	LIN_BAD_HISTORY, /* a value written twice, or an end before its start */
	LIN_NEVER_WRITTEN,
	LIN_FUTURE_READ,
	LIN_CONFLICT, /* stale read, lost write, or an older value come back */
};

struct lin_result {
	enum lin_verdict verdict;
	/* The value that is wrong, and for LIN_CONFLICT the one it contradicts. */
	uint8_t value;
	uint8_t other;
};

/*
 * @ops: of one register, in any order. Times that are equal count as
 * overlapping, so that a coarse clock raises no false alarm.
 */
struct lin_result lin_check(const struct lin_op *ops, size_t cnt);

const char *lin_verdict_str(enum lin_verdict verdict);

#endif
