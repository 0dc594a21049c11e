/* SPDX-License-Identifier: MIT */
/* Attributes and small macros that the compiler helps with. */
#ifndef VBLK_UTIL_COMPILER_H
#define VBLK_UTIL_COMPILER_H

#include <stddef.h>

#define VBLK_PRINTF(fmt_idx, arg_idx) __attribute__((format(printf, fmt_idx, arg_idx)))
#define VBLK_MUST_CHECK		      __attribute__((warn_unused_result))
#define VBLK_UNUSED		      __attribute__((unused))
#define VBLK_NORETURN		      __attribute__((noreturn))
#define VBLK_UNLIKELY(cond)	      __builtin_expect(!!(cond), 0)
/* Keeps data of different threads on different cache lines. */
#define VBLK_CACHE_ALIGNED __attribute__((aligned(64)))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
