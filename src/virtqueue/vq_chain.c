/* SPDX-License-Identifier: MIT */
/*
 * From descriptors to buffers. Descriptors are in memory that the driver may
 * change while we look: every field is loaded once into a local.
 * Source: virtio 1.2 s2.7.5 (descriptor table), s2.7.5.3 (indirect descriptors),
 * s2.8.5 and s2.8.7 (the same for packed rings).
 */
#include "vq_internal.h"

#include <string.h>

#include "vblk/util/le.h"
#include "vblk/util/math.h"

/* Of an indirect table that is not mapped: those of all requests that we ask drivers for. */
#define COPY_ENTRIES 128u

/* A descriptor in host byte order, our copy. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

/**
 * struct table - descriptors to follow
 * @direct: the ring's own table, or NULL for an indirect one
 * @iova, @flat, @flat_bytes: an indirect table and how much of it is contiguous
 */
struct table {
	const struct vring_desc *direct;
	uint32_t cnt;
	uint64_t iova;
	const char *flat;
	uint64_t flat_bytes;
};

/* memmap_translate(), without the search where the range is all in the largest region. */
static inline void *translate_hint(const struct memmap_region *hint, uint64_t iova,
				   uint64_t len_bytes, unsigned int perm)
{
	/* Of an address before the region this is larger than any region there. */
	uint64_t at_bytes = iova - hint->iova;

	if (!range_fits(at_bytes, len_bytes, hint->len_bytes) || (hint->perm & perm) != perm)
		return NULL;
	return (char *)hint->va + at_bytes;
}

static void *translate(const struct vq *vq, uint64_t iova, uint64_t len_bytes, unsigned int perm,
		       uint64_t *ret_len_bytes)
{
	void *p = translate_hint(&vq->hint, iova, len_bytes, perm);

	if (!p)
		return memmap_translate(vq->map, iova, len_bytes, perm, ret_len_bytes);
	*ret_len_bytes = len_bytes;
	return p;
}

/* Copies @len bytes of driver memory that may cross regions. */
static bool copy_out(const struct vq *vq, uint64_t iova, void *dst, uint64_t len)
{
	char *out = dst;

	while (len) {
		uint64_t part_bytes;
		const void *src = translate(vq, iova, len, MEMMAP_READ, &part_bytes);

		if (!src)
			return false;
		if (memmap_load(vq->map, out, src, part_bytes) < 0)
			return false;
		out += part_bytes;
		iova += part_bytes;
		len -= part_bytes;
	}
	return true;
}

static struct desc load_direct(const struct vring_desc *p)
{
	return (struct desc){
		.addr = load_le64((const uint64_t *)&p->addr),
		.len = load_le32(&p->len),
		.flags = load_le16(&p->flags),
		.next = load_le16(&p->next),
	};
}

/* The address of an indirect table need not be aligned, hence the byte copy. */
static bool load_indirect(const struct vq *vq, const struct table *t, uint32_t i,
			  struct desc *ret_desc)
{
	uint64_t at_bytes = (uint64_t)i * sizeof(struct vring_desc);
	struct vring_desc wire;

	if (t->flat_bytes >= at_bytes + sizeof(wire))
		memcpy(&wire, t->flat + at_bytes, sizeof(wire));
	else if (!copy_out(vq, t->iova + at_bytes, &wire, sizeof(wire)))
		return false;
	/* The compiler must not read the driver's memory again instead of the copy. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	*ret_desc = (struct desc){
		.addr = le64toh(wire.addr),
		.len = le32toh(wire.len),
		.flags = le16toh(wire.flags),
		.next = le16toh(wire.next),
	};
	return true;
}

static inline bool load_desc(const struct vq *vq, const struct table *t, uint32_t i,
			     struct desc *ret_desc)
{
	if (!t->direct)
		return load_indirect(vq, t, i, ret_desc);
	*ret_desc = load_direct(&t->direct[i]);
	return true;
}

/* A buffer that may cross regions. */
static __attribute__((noinline)) enum vq_fault add_parts(struct walk *w, const struct desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;
	uint64_t iova = d->addr, left_bytes = d->len;

	while (left_bytes) {
		unsigned int at = w->readable_cnt + w->writable_cnt;
		uint64_t part_bytes;
		void *p = translate(w->vq, iova, left_bytes, writable ? MEMMAP_WRITE : MEMMAP_READ,
				    &part_bytes);

		if (!p)
			return VQ_FAULT_ADDRESS;
		if (at == w->iov_max)
			return VQ_FAULT_TOO_MANY_SEGMENTS;
		w->iov[at] = (struct iovec){ .iov_base = p, .iov_len = part_bytes };
		if (writable)
			w->writable_cnt++;
		else
			w->readable_cnt++;
		iova += part_bytes;
		left_bytes -= part_bytes;
	}
	return VQ_FAULT_NONE;
}

/* The WRITE flag of the descriptor that refers to the table means nothing. */
static enum vq_fault open_indirect(const struct vq *vq, const struct desc *d,
				   struct table *ret_table)
{
	uint64_t flat_bytes;
	const void *flat;

	if (!vq->indirect)
		return VQ_FAULT_INDIRECT_REFUSED;
	if (d->flags & VRING_DESC_F_NEXT)
		return VQ_FAULT_INDIRECT_NEXT;
	if (!d->len || d->len % sizeof(struct vring_desc))
		return VQ_FAULT_INDIRECT_SIZE;
	flat = translate(vq, d->addr, d->len, MEMMAP_READ, &flat_bytes);
	if (!flat)
		return VQ_FAULT_ADDRESS;
	*ret_table = (struct table){
		.cnt = d->len / (uint32_t)sizeof(struct vring_desc),
		.iova = d->addr,
		.flat = flat,
		.flat_bytes = flat_bytes,
	};
	return VQ_FAULT_NONE;
}

/*
 * One descriptor is one buffer, but where it crosses regions. @w and @hint are
 * the caller's own and not pointed to by anybody: then they stay in registers.
 */
static inline __attribute__((always_inline)) enum vq_fault
add_buffer(struct walk *w, const struct memmap_region *hint, const struct desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;
	unsigned int at = w->readable_cnt + w->writable_cnt;
	struct walk slow;
	enum vq_fault fault;
	void *p;

	if (!d->len)
		return VQ_FAULT_ZERO_LENGTH;
	if (!writable && w->writable_cnt)
		return VQ_FAULT_READ_AFTER_WRITE;
	p = translate_hint(hint, d->addr, d->len, writable ? MEMMAP_WRITE : MEMMAP_READ);
	if (!p || at == w->iov_max) {
		slow = *w;
		fault = add_parts(&slow, d);
		*w = slow;
		return fault;
	}
	w->iov[at].iov_base = p;
	w->iov[at].iov_len = d->len;
	w->writable_cnt += writable;
	w->readable_cnt += !writable;
	return VQ_FAULT_NONE;
}

/*
 * Follows the links of @t from @first. Stops with VQ_FAULT_NONE at the last
 * descriptor or at one that refers to an indirect table, then in @ret_indirect.
 */
static inline __attribute__((always_inline)) enum vq_fault
follow(struct walk *ret_walk, const struct table *t, uint32_t first, struct table *ret_indirect)
{
	const struct memmap_region hint = ret_walk->vq->hint;
	enum vq_fault fault = VQ_FAULT_LOOP;
	struct walk w = *ret_walk;
	uint32_t i = first;

	for (uint32_t seen_cnt = 0; seen_cnt < t->cnt; seen_cnt++) {
		struct desc d;

		if (!load_desc(w.vq, t, i, &d))
			return VQ_FAULT_ADDRESS;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			fault = t->direct ? open_indirect(w.vq, &d, ret_indirect)
					  : VQ_FAULT_INDIRECT_NESTED;
			break;
		}
		fault = add_buffer(&w, &hint, &d);
		if (fault || !(d.flags & VRING_DESC_F_NEXT))
			break;
		fault = VQ_FAULT_LOOP;
		if (d.next >= t->cnt)
			return VQ_FAULT_NEXT_RANGE;
		i = d.next;
	}
	*ret_walk = w;
	return fault;
}

/* Apart, so that the usual way stays small. */
static __attribute__((noinline)) enum vq_fault follow_indirect(struct walk *w,
							       const struct table *t)
{
	return follow(w, t, 0, NULL);
}

/* A table in a file is copied first; what does not fit is then loaded entry by entry. */
static __attribute__((noinline)) enum vq_fault follow_copy(struct walk *w, const struct table *t)
{
	struct vring_desc copy[COPY_ENTRIES];
	struct table copied = *t;

	copied.flat = (const char *)copy;
	copied.flat_bytes = MIN(t->flat_bytes, sizeof(copy));
	if (memmap_load(w->vq->map, copy, t->flat, copied.flat_bytes) < 0)
		return VQ_FAULT_ADDRESS;
	return follow_indirect(w, &copied);
}

struct vq_chain vq_walk_chain(const struct walk *w, uint16_t head)
{
	return (struct vq_chain){
		.head = head,
		.readable_cnt = w->readable_cnt,
		.writable_cnt = w->writable_cnt,
		.iov = w->iov,
	};
}

/*
 * Nearly every chain: in the ring's own table, each buffer in the largest region. Of anything
 * else, right or wrong, it knows nothing (false): what was seen so far is not used.
 */
static inline bool walk_plain(const struct vq *vq, uint16_t head, struct iovec *iov,
			      unsigned int iov_max, struct vq_chain *ret_chain)
{
	const struct memmap_region hint = vq->hint;
	const struct vring_desc *table = vq->desc;
	unsigned int cnt_max = MIN(iov_max, (unsigned int)vq->size);
	unsigned int cnt = 0, readable_cnt = 0;
	uint16_t i = head, flags;

	if (hint.perm != (MEMMAP_READ | MEMMAP_WRITE))
		return false;
	do {
		struct desc d = {
			.addr = load_le64((const uint64_t *)&table[i].addr),
			.len = load_le32(&table[i].len),
		};
		uint64_t at_bytes = d.addr - hint.iova;

		flags = load_le16(&table[i].flags);
		i = load_le16(&table[i].next);
		if (!d.len || !range_fits(at_bytes, d.len, hint.len_bytes) || cnt == cnt_max ||
		    (flags & VRING_DESC_F_INDIRECT))
			return false;
		iov[cnt].iov_base = (char *)hint.va + at_bytes;
		iov[cnt].iov_len = d.len;
		if (!(flags & VRING_DESC_F_WRITE) && readable_cnt++ != cnt)
			return false;
		cnt++;
	} while ((flags & VRING_DESC_F_NEXT) && i < vq->size);
	if (flags & VRING_DESC_F_NEXT)
		return false;
	ret_chain->head = head;
	ret_chain->readable_cnt = readable_cnt;
	ret_chain->writable_cnt = cnt - readable_cnt;
	ret_chain->iov = iov;
	return true;
}

static __attribute__((noinline)) enum vq_fault walk_any(const struct vq *vq, uint16_t head,
							struct iovec *iov, unsigned int iov_max,
							struct vq_chain *ret_chain)
{
	struct walk w = { .vq = vq, .iov = iov, .iov_max = iov_max };
	struct table ring = { .direct = vq->desc, .cnt = vq->size };
	struct table indirect = { .cnt = 0 };
	enum vq_fault fault;

	fault = follow(&w, &ring, head, &indirect);
	if (!fault && indirect.cnt)
		fault = VBLK_UNLIKELY(vq->by_file) ? follow_copy(&w, &indirect)
						   : follow_indirect(&w, &indirect);
	if (fault)
		return fault;
	*ret_chain = vq_walk_chain(&w, head);
	return VQ_FAULT_NONE;
}

enum vq_fault vq_chain_walk(const struct vq *vq, uint16_t head, struct iovec *iov,
			    unsigned int iov_max, struct vq_chain *ret_chain)
{
	if (walk_plain(vq, head, iov, iov_max, ret_chain))
		return VQ_FAULT_NONE;
	return walk_any(vq, head, iov, iov_max, ret_chain);
}

enum vq_fault vq_walk_add(struct walk *w, uint64_t addr, uint32_t len, uint16_t flags)
{
	const struct desc d = { .addr = addr, .len = len, .flags = flags };

	return add_buffer(w, &w->vq->hint, &d);
}

enum vq_fault vq_walk_add_table(struct walk *w, uint64_t addr, uint32_t len, uint16_t flags)
{
	const struct desc d = { .addr = addr, .len = len, .flags = flags };
	struct table t;
	enum vq_fault fault = open_indirect(w->vq, &d, &t);

	if (!fault && w->vq->by_file)
		t.flat_bytes = 0;
	/* Entries of no bytes are refused, so there are at most iov_max laps and one. */
	for (uint32_t i = 0; !fault && i < t.cnt; i++) {
		struct desc entry;

		if (!load_indirect(w->vq, &t, i, &entry))
			return VQ_FAULT_ADDRESS;
		/* Of packed descriptors the flags are last, where split ones have next. */
		entry.flags = entry.next;
		fault = add_buffer(w, &w->vq->hint, &entry);
	}
	return fault;
}

const char *vq_fault_str(enum vq_fault fault)
{
	switch (fault) {
	case VQ_FAULT_NONE:
		return "none";
	case VQ_FAULT_AVAIL_IDX:
		return "avail index ran ahead by more than the queue size";
	case VQ_FAULT_HEAD_RANGE:
		return "head outside the descriptor table";
	case VQ_FAULT_HEAD_BUSY:
		return "head made available again before it was used";
	case VQ_FAULT_NEXT_RANGE:
		return "next outside the descriptor table";
	case VQ_FAULT_LOOP:
		return "loop in a descriptor chain";
	case VQ_FAULT_TOO_MANY_SEGMENTS:
		return "too many buffers in a descriptor chain";
	case VQ_FAULT_ADDRESS:
		return "address outside the mapped memory or without permission";
	case VQ_FAULT_ZERO_LENGTH:
		return "descriptor of zero length";
	case VQ_FAULT_READ_AFTER_WRITE:
		return "device-readable buffer behind a device-writable one";
	case VQ_FAULT_INDIRECT_SIZE:
		return "bad size of an indirect table";
	case VQ_FAULT_INDIRECT_NESTED:
		return "indirect descriptor inside an indirect table";
	case VQ_FAULT_INDIRECT_NEXT:
		return "indirect descriptor with a next one";
	case VQ_FAULT_INDIRECT_REFUSED:
		return "indirect descriptor without the feature";
	case VQ_FAULT_OVERRUN:
		return "more descriptors made available than the ring has free";
	case VQ_FAULT_NOT_AVAILABLE:
		return "descriptor of a chain not made available";
	case VQ_FAULT_MEMORY:
		return "memory of the driver is gone";
	}
	return "unknown";
}
