/* SPDX-License-Identifier: MIT */
/*
 * Every store into the ring and into the in-flight record. One place, so that
 * a test can stop the program before any of them: with VBLK_VQ_STORE_HOOK the
 * test defines vq_store_hook(), which may longjmp() away and so plays a crash.
 *
 * Record fields are in host byte order: only this machine reads them.
 */
#ifndef VQ_STORE_H
#define VQ_STORE_H

#include <stdint.h>

#include "vblk/util/le.h"

#ifdef VBLK_VQ_STORE_HOOK
void vq_store_hook(void);
#else
static inline void vq_store_hook(void)
{
}
#endif

static inline void vq_store_le16(uint16_t *p, uint16_t v)
{
	vq_store_hook();
	store_le16(p, v);
}

static inline void vq_store_le32(uint32_t *p, uint32_t v)
{
	vq_store_hook();
	store_le32(p, v);
}

static inline void vq_store_release_le16(uint16_t *p, uint16_t v)
{
	vq_store_hook();
	store_release_le16(p, v);
}

/* Release: all earlier stores are in memory when this one is. */
static inline void vq_store_record16(uint16_t *p, uint16_t v)
{
	vq_store_hook();
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline void vq_store_record64(uint64_t *p, uint64_t v)
{
	vq_store_hook();
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

#endif
