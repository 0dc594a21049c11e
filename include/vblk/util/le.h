/* SPDX-License-Identifier: MIT */
/*
 * Loads and stores of little-endian fields in memory that another party may
 * change at any time. Each call is exactly one access: load into a local,
 * check the local, use the local.
 *
 * Source: virtio 1.2 s1.4 (all fields little-endian), s2.7 (split virtqueues).
 */
#ifndef VBLK_UTIL_LE_H
#define VBLK_UTIL_LE_H

#include <endian.h>
#include <stdint.h>

static inline uint16_t load_le16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static inline uint32_t load_le32(const uint32_t *p)
{
	return le32toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static inline uint64_t load_le64(const uint64_t *p)
{
	return le64toh(__atomic_load_n(p, __ATOMIC_RELAXED));
}

static inline uint16_t load_acquire_le16(const uint16_t *p)
{
	return le16toh(__atomic_load_n(p, __ATOMIC_ACQUIRE));
}

static inline void store_le16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELAXED);
}

static inline void store_le32(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, htole32(v), __ATOMIC_RELAXED);
}

static inline void store_release_le16(uint16_t *p, uint16_t v)
{
	__atomic_store_n(p, htole16(v), __ATOMIC_RELEASE);
}

/*
 * Orders everything, also an earlier store against a later load. Not written as
 * __atomic_thread_fence(), which gcc refuses to build for the thread sanitizer.
 */
static inline void fence_full(void)
{
	__sync_synchronize();
}

#endif
