/* SPDX-License-Identifier: MIT */
/* The driver's half: its memory, its rings, its requests. */
#include "fake_vduse_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void fake_vduse_need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fake_vduse: %s\n", what);
	abort();
}

void fake_vduse_signal(int fd)
{
	uint64_t one = 1;

	fake_vduse_need(write(fd, &one, sizeof(one)) == (ssize_t)sizeof(one), "eventfd");
}

void fake_vduse_lock(struct fake_vduse *k)
{
	pthread_mutex_lock(&k->lock);
}

void fake_vduse_unlock(struct fake_vduse *k)
{
	pthread_mutex_unlock(&k->lock);
}

uint64_t fake_vduse_ring_iova(unsigned int idx)
{
	/* Page 0 of nothing: above the bounce area, as in the kernel. */
	return FAKE_VDUSE_BOUNCE_BYTES + (uint64_t)(idx + 1) * RING_STRIDE;
}

uint64_t fake_vduse_used_offset(uint16_t size)
{
	return (16ull * size + 6 + 2ull * size + 4095) & ~4095ull;
}

uint64_t fake_vduse_ring_bytes(uint16_t size)
{
	return fake_vduse_used_offset(size) + 6 + 8ull * size;
}

static void domain_new(struct fake_vduse *k)
{
	if (k->domain_fd >= 0)
		close(k->domain_fd);
	k->domain_fd = memfd_create("domain", MFD_CLOEXEC);
	fake_vduse_need(k->domain_fd >= 0 &&
				!ftruncate(k->domain_fd,
					   (off_t)fake_vduse_ring_iova(FAKE_VDUSE_QUEUES_MAX)),
			"no domain");
}

void fake_vduse_queue_drop(struct fake_queue *q)
{
	if (!q->ring)
		return;
	munmap(q->ring_va, RING_STRIDE);
	ring_free(q->ring);
	q->ring = NULL;
}

/*
 * Takes a ring of the builder and moves it: ring into the coherent part,
 * buffers into a slice of the bounce area.
 */
static void queue_build(struct fake_vduse *k, unsigned int idx, uint16_t size)
{
	struct fake_queue *q = &k->queues[idx];
	size_t slice = FAKE_VDUSE_BOUNCE_BYTES / FAKE_VDUSE_QUEUES_MAX;
	struct ring *r = ring_new(size, RING_STRIDE, 0);

	munmap(r->mem, r->mem_bytes);
	close(r->fd);
	r->fd = dup(k->domain_fd);
	/* Page 0 is never given to anybody. */
	r->buf_start_bytes = idx * slice + 4096;
	r->mem_used_bytes = r->buf_start_bytes;
	r->mem_bytes = (idx + 1) * slice;
	r->mem = mmap(NULL, r->mem_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	q->ring_va = mmap(NULL, RING_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
			  (off_t)fake_vduse_ring_iova(idx));
	fake_vduse_need(r->mem != MAP_FAILED && q->ring_va != MAP_FAILED, "no memory");
	r->desc = q->ring_va;
	r->avail = (void *)((uint8_t *)q->ring_va + 16u * size);
	r->used = (void *)((uint8_t *)q->ring_va + fake_vduse_used_offset(size));
	q->ring = r;
	q->size = size;
}

/* What the driver sees as bounce memory from now on. */
void fake_vduse_bounce_move(struct fake_vduse *k, bool to_umem)
{
	unsigned int i;

	for (i = 0; i < k->queue_cnt; i++) {
		struct ring *r = k->queues[i].ring;
		void *umem = k->umem_pages;

		if (!r)
			continue;
		if (to_umem) {
			size_t at = r->buf_start_bytes;

			memcpy((uint8_t *)umem + at, r->mem + at, r->mem_bytes - at);
			/* Whoever goes on using the kernel's pages shall notice. */
			memset(r->mem + at, 0xee, r->mem_bytes - at);
			fake_vduse_need(mremap(umem, 0, r->mem_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
					       r->mem) == r->mem,
					"cannot see the registered memory");
		} else {
			uint8_t *copy = malloc(r->mem_bytes);

			fake_vduse_need(copy != NULL, "no memory");
			memcpy(copy, r->mem, r->mem_bytes);
			fake_vduse_need(mmap(r->mem, r->mem_bytes, PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_FIXED, k->domain_fd, 0) == r->mem,
					"cannot map the domain");
			memcpy(r->mem, copy, r->mem_bytes);
			free(copy);
		}
	}
}

void fake_vduse_probe(struct fake_vduse *k, uint16_t size, unsigned int ready_cnt,
		      uint64_t features)
{
	unsigned int i;

	fake_vduse_lock(k);
	for (i = 0; i < k->queue_cnt; i++)
		fake_vduse_queue_drop(&k->queues[i]);
	domain_new(k);
	for (i = 0; i < k->queue_cnt; i++) {
		queue_build(k, i, size);
		k->queues[i].ready = i < ready_cnt;
		k->queues[i].irq_cnt = 0;
	}
	/* Registered memory stays, and is what new rings use. */
	if (k->umem_uaddr)
		fake_vduse_bounce_move(k, true);
	k->features = features;
	fake_vduse_unlock(k);
}

void fake_vduse_build(struct fake_vduse *k, unsigned int idx, const struct ring_blk_spec *spec,
		      struct ring_blk_req *ret_req)
{
	fake_vduse_lock(k);
	k->bounce_mapped = true;
	ring_blk_build(k->queues[idx].ring, spec, ret_req);
	fake_vduse_unlock(k);
}

void fake_vduse_publish(struct fake_vduse *k, unsigned int idx, uint16_t head)
{
	/* Under the lock, so that memory does not move meanwhile. */
	fake_vduse_lock(k);
	ring_publish(k->queues[idx].ring, head);
	fake_vduse_unlock(k);
}

void fake_vduse_submit_quietly(struct fake_vduse *k, unsigned int idx,
			       const struct ring_blk_spec *spec, struct ring_blk_req *ret_req)
{
	fake_vduse_build(k, idx, spec, ret_req);
	fake_vduse_publish(k, idx, ret_req->head);
}

void fake_vduse_submit(struct fake_vduse *k, unsigned int idx, const struct ring_blk_spec *spec,
		       struct ring_blk_req *ret_req)
{
	fake_vduse_submit_quietly(k, idx, spec, ret_req);
	fake_vduse_kick(k, idx);
}
