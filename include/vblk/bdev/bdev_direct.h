/* SPDX-License-Identifier: MIT */
/*
 * A backend that is another process ("vhost-user:PATH") on the driver's own rings: it takes
 * requests off them and completes them by itself; what is left to us is to pass its interrupts on.
 *
 *   bdev_direct_start()        the control thread hands the rings over
 *        ...                   a thread of the backend connects, tells the server of memory and
 *                              rings, and connects again when the server is gone
 *   bdev_direct_stop()         asks for them back
 *   bdev_direct_is_over()      they are: the server has ended what it took, or is gone
 *
 * Whose the rings are is said by a record that outlives the process (struct bdev_direct_record),
 * because what is in flight then is known to the server's buffer alone, or to our own in-flight
 * record alone, never to both. src/README.md, "Rings of the driver in the hands of a server", has
 * the reasoning for each way to crash.
 *
 * Context: one control thread, which never waits here; struct bdev_direct_params.inject is called
 * by threads of the backend.
 */
#ifndef VBLK_BDEV_BDEV_DIRECT_H
#define VBLK_BDEV_BDEV_DIRECT_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/bdev/bdev.h"
#include "vblk/util/compiler.h"

/**
 * struct bdev_direct_record - whose the rings are; zeroed when new
 * @wanted: they shall be the server's; written by whoever decides that, read by the transport
 * @is_servers: they are, and requests in flight stand in the buffer; otherwise in vq_inflight
 *          records. Changes only while nothing is in flight
 * @len_bytes, @queue_cnt, @queue_size: of the buffer, valid while @is_servers
 */
struct bdev_direct_record {
	uint32_t wanted;
	uint32_t is_servers;
	uint64_t len_bytes;
	uint16_t queue_cnt;
	uint16_t queue_size;
	uint32_t padding;
};

/**
 * struct bdev_direct_ring - a split ring of the driver's
 * @size: 0: not in use
 * @desc_addr, @avail_addr, @used_addr: as the driver calls them
 * @avail_idx, @used_idx: how far they are, readable until bdev_direct_is_over(); guarded
 *          (memguard.h)
 */
struct bdev_direct_ring {
	uint16_t size;
	uint64_t desc_addr;
	uint64_t avail_addr;
	uint64_t used_addr;
	const uint16_t *avail_idx;
	const uint16_t *used_idx;
};

/**
 * struct bdev_direct_params - what is handed over
 * @features: as negotiated with the driver; what concerns the transport alone does no harm
 * @mem_fd, @mem_bytes: all of the driver's memory, from address and offset 0 on; borrowed until
 *          the call returns
 * @rings: for each queue of the backend
 * @record, @buf_fd: outlive the process; borrowed until bdev_direct_is_over(). The buffer is a
 *          file that the server gets
 * @inject: any thread: the driver is to look at ring @idx
 */
struct bdev_direct_params {
	uint64_t features;
	int mem_fd;
	uint64_t mem_bytes;
	uint16_t queue_cnt;
	uint16_t queue_size;
	const struct bdev_direct_ring *rings;
	struct bdev_direct_record *record;
	int buf_fd;
	void (*inject)(void *ctx, unsigned int idx);
	void *ctx;
};

enum bdev_direct_stop {
	/* The server ends what it took; one that is gone is waited for if it took anything. */
	BDEV_DIRECT_DRAIN,
	/* The same, but of a server that is gone nothing more is wanted: the driver forgets it. */
	BDEV_DIRECT_FORGET,
};

/* Was the backend opened for it (bdev_params.direct_rings)? */
bool bdev_direct_is_possible(const struct bdev *bdev);
/* The kick eventfd that the driver must have of queue @idx while the rings are the server's. */
int bdev_direct_kick_fd(const struct bdev *bdev, unsigned int idx);
/*
 * With queues that hold nothing, see bdev_queue_new(). Either nothing is in flight in the rings,
 * or record->is_servers. Return: 0; -errno.
 */
int bdev_direct_start(struct bdev *bdev, const struct bdev_direct_params *params) VBLK_MUST_CHECK;
/* May be called again, with FORGET after DRAIN. */
void bdev_direct_stop(struct bdev *bdev, enum bdev_direct_stop how);
/* After each event of bdev_direct_event_fd(), and after bdev_direct_stop(). */
bool bdev_direct_is_over(struct bdev *bdev);
/* Readable: call bdev_direct_handle(), then see bdev_direct_is_over(). */
int bdev_direct_event_fd(const struct bdev *bdev);
void bdev_direct_handle(struct bdev *bdev);
/* A server is at work on the rings. */
bool bdev_direct_is_up(const struct bdev *bdev);

#endif
