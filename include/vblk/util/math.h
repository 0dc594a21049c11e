/* SPDX-License-Identifier: MIT */
/* Arithmetic that cannot wrap unseen. */
#ifndef VBLK_UTIL_MATH_H
#define VBLK_UTIL_MATH_H

#include <stdbool.h>
#include <stdint.h>

#define SECTOR_SHIFT 9
#define SECTOR_BYTES 512u

#define MIN(a, b)                              \
	({                                     \
		__typeof__(a) min_a = (a);     \
		__typeof__(b) min_b = (b);     \
		min_a < min_b ? min_a : min_b; \
	})
#define MAX(a, b)                              \
	({                                     \
		__typeof__(a) max_a = (a);     \
		__typeof__(b) max_b = (b);     \
		max_a > max_b ? max_a : max_b; \
	})

static inline bool is_power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* True when [@first, @first + @len) lies in [0, @cap); all in one unit. */
static inline bool range_fits(uint64_t first, uint64_t len, uint64_t cap)
{
	return len <= cap && first <= cap - len;
}

/* @align: power of two */
static inline bool is_aligned(uint64_t v, uint64_t align)
{
	return !(v & (align - 1));
}

static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

/* May wrap for v close to 2^64; callers pass sizes of memory. */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return align_down(v + align - 1, align);
}

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *ret_sum)
{
	return !__builtin_add_overflow(a, b, ret_sum);
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *ret_product)
{
	return !__builtin_mul_overflow(a, b, ret_product);
}

/* Base-2 logarithm of a power of two. */
static inline unsigned int log2_of(uint64_t power_of_two)
{
	return (unsigned int)__builtin_ctzll(power_of_two);
}

#endif
