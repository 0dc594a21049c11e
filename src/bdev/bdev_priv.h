/* SPDX-License-Identifier: MIT */
/* What the backends share among themselves. */
#ifndef VBLK_BDEV_PRIV_H
#define VBLK_BDEV_PRIV_H

#include "vblk/bdev/bdev.h"

#define BDEV_LOGICAL_BLOCK_MIN_BYTES  512u
#define BDEV_LOGICAL_BLOCK_MAX_BYTES  4096u
#define BDEV_PHYSICAL_BLOCK_MAX_BYTES (1u << 20)

extern const struct bdev_ops bdev_null_ops;
extern const struct bdev_ops bdev_mem_ops;
extern const struct bdev_ops bdev_uring_ops;
extern const struct bdev_ops bdev_fault_ops;
extern const struct bdev_ops bdev_vhost_user_ops;

/* Puts the sentence into @why and returns @err, for "return bdev_why(...)". */
int bdev_why(char why[BDEV_WHY_MAX], int err, const char *fmt, ...) VBLK_PRINTF(3, 4);

/**
 * bdev_set_block_sizes() - settle the two block sizes of @limits
 * @need_bytes: smallest logical block the backend can do
 * @physical_bytes: what it would choose itself, raised to the logical block
 * Return: 0; -EINVAL with @why: the administrator asked for something impossible.
 */
int bdev_set_block_sizes(const struct bdev_params *params, uint32_t need_bytes,
			 uint32_t physical_bytes, struct bdev_limits *limits,
			 char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/**
 * bdev_set_capacity() - @size_bytes rounded down to whole logical blocks
 * Return: 0; -EINVAL with @why: not even one block.
 */
int bdev_set_capacity(const struct bdev_params *params, uint64_t size_bytes,
		      struct bdev_limits *limits, char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/* The size of a block device now. Return: 0; -errno. */
int bdev_block_size(int fd, uint64_t *ret_size_bytes) VBLK_MUST_CHECK;

/* struct bdev_ops.resize of a backend that keeps its bytes in a file. */
int bdev_file_resize(int fd, bool read_only, uint64_t want_bytes,
		     uint64_t *ret_size_bytes) VBLK_MUST_CHECK;

/* Limits of "null:SIZE" and "mem:SIZE", whose size is the spec behind the colon. */
int bdev_set_sized_limits(const struct bdev_params *params, struct bdev_limits *limits,
			  char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

#endif
