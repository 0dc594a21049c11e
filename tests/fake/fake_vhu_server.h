/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user-blk server in a thread of its own, with a disk in memory, that
 * can die, lie and be slow. One client at a time. Uses the wire and the device
 * side of rings of this project, and no part of the client.
 */
#ifndef TESTS_FAKE_VHU_SERVER_H
#define TESTS_FAKE_VHU_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/virtio_blk.h>

#define FAKE_VHU_LOG_MAX 4096u

/* What it does wrong, each once; then the connection ends, or is ended by the client. */
enum fake_vhu_fault {
	FAKE_VHU_FINE,
	FAKE_VHU_DIE_BEFORE,	/* takes a batch, does nothing, hangs up */
	FAKE_VHU_DIE_AFTER,	/* does the batch, tells nobody, hangs up */
	FAKE_VHU_BAD_USED_ID,	/* says that something has ended that was never begun */
	FAKE_VHU_BAD_USED_IDX,	/* and much more than was */
	FAKE_VHU_UNASKED,	/* talks without having been asked */
	FAKE_VHU_SILENT,	/* answers no message any more */
	FAKE_VHU_REFUSE_MEMORY, /* says no to the memory table */
	FAKE_VHU_BAD_REPLY,	/* answers with the reply of another request */
	FAKE_VHU_BAD_NEWS,	/* sends garbage where it tells of changes */
};

/**
 * struct fake_vhu_options - what it offers
 * @features: 0 = the usual ones
 * @no_protocol: mask of protocol features that it lacks
 * @no_memory: it says no to each memory table
 * @ring_max: most entries of a ring, 0 = any
 */
struct fake_vhu_options {
	uint64_t features;
	uint64_t no_features;
	uint64_t no_protocol;
	unsigned int queue_cnt;
	bool no_memory;
	uint16_t ring_max;
	struct virtio_blk_config config;
};

struct fake_vhu_req {
	uint32_t type;
	uint64_t sector;
	unsigned int connection;
	unsigned int queue;
};

struct fake_vhu;

/* A disk of 1 MiB, 2 queues, blocks of 512 bytes. */
void fake_vhu_usual(struct fake_vhu_options *options);
struct fake_vhu *fake_vhu_new(const char *path, const struct fake_vhu_options *options);
/* Ends it, also while a client is connected. */
void fake_vhu_free(struct fake_vhu *srv);

/* What is on its disk. */
void fake_vhu_peek(struct fake_vhu *srv, uint32_t offset_bytes, void *buf, size_t len_bytes);
void fake_vhu_poke(struct fake_vhu *srv, uint32_t offset_bytes, const void *buf, size_t len_bytes);
/* At the next opportunity. */
void fake_vhu_inject(struct fake_vhu *srv, enum fake_vhu_fault fault);
/* While held, requests stay in their rings; false lets them go. */
void fake_vhu_hold(struct fake_vhu *srv, bool held);
/* Another size, and the client is told. */
void fake_vhu_resize(struct fake_vhu *srv, uint64_t sectors);

/* All requests done so far, in their order. */
unsigned int fake_vhu_log(struct fake_vhu *srv, struct fake_vhu_req *ret_log);
unsigned int fake_vhu_connections(struct fake_vhu *srv);
/* Rings that were told to it and run. */
unsigned int fake_vhu_running(struct fake_vhu *srv);
/* Bytes of memory that it has mapped. */
uint64_t fake_vhu_mapped_bytes(struct fake_vhu *srv);

#endif
