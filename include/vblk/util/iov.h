/* SPDX-License-Identifier: MIT */
/*
 * A cursor over an array of buffers. The array is not changed; every function
 * stops at the end and says how far it got. Buffers may lie in shared memory:
 * each byte is read or written once.
 */
#ifndef VBLK_UTIL_IOV_H
#define VBLK_UTIL_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/**
 * struct iov_cursor - position in @iov[@cnt]
 * @skip_bytes: bytes of @iov[0] already consumed, < iov[0].iov_len unless @cnt is 0
 */
struct iov_cursor {
	const struct iovec *iov;
	unsigned int cnt;
	size_t skip_bytes;
};

struct iov_cursor iov_cursor_init(const struct iovec *iov, unsigned int cnt);

/* Bytes between the cursor and the end. */
uint64_t iov_remaining_bytes(const struct iov_cursor *cur);

/* Sum of the lengths of @iov[@cnt]. */
uint64_t iov_total_bytes(const struct iovec *iov, unsigned int cnt);

/* The next contiguous bytes, at most @len; advances; returns how many, 0 at the end. */
size_t iov_take(struct iov_cursor *cur, uint64_t len, char **ret_ptr);

/* Copies up to @len bytes out of the buffers, advances; returns bytes copied. */
size_t iov_copy_out(struct iov_cursor *cur, void *dst, size_t len);

/* Copies up to @len bytes into the buffers, advances; returns bytes copied. */
size_t iov_copy_in(struct iov_cursor *cur, const void *src, size_t len);

/* Stores @byte into up to @len bytes, advances; returns bytes stored. */
size_t iov_fill(struct iov_cursor *cur, int byte, size_t len);

/* Advances by up to @len bytes; returns bytes skipped. */
uint64_t iov_skip(struct iov_cursor *cur, uint64_t len);

/**
 * iov_slice() - describe the next @len bytes of @cur as buffers of their own
 * @ret_iov: room for @max entries; written from index 0
 *
 * Does not advance @cur. Zero-length buffers are left out.
 *
 * Return: number of entries; -ERANGE when fewer than @len bytes remain;
 *         -E2BIG when @max entries do not suffice.
 */
int iov_slice(const struct iov_cursor *cur, uint64_t len, struct iovec *ret_iov, unsigned int max);

#endif
