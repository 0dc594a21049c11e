/* SPDX-License-Identifier: MIT */
/*
 * A VDUSE device at work: joins the kernel's control messages, rings and
 * memory with a struct vdev.
 *
 * Context: one control thread calls everything. It must call
 * vduse_dev_handle() whenever the descriptor is readable, and never block
 * elsewhere for long: the kernel holds locks of the whole host while it waits
 * for an answer. No function here waits for a backend.
 *
 * Answers: every message is answered OK at once, with three exceptions.
 * FEATURES_OK is refused (the only safe place; and DRIVER_OK of a driver that left it out) when the
 * driver's subset cannot work (no VERSION_1 or ACCESS_PLATFORM, no FLUSH for a volatile cache, bits
 * not on offer) or when an earlier reset could not be drained; status 0 (reset) is answered when
 * all queues are drained, or refused at the deadline; unknown messages are refused.
 */
#ifndef VBLK_VDUSE_VDUSE_DEV_H
#define VBLK_VDUSE_VDUSE_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/bdev/bdev.h"
#include "vblk/bdev/bdev_direct.h"
#include "vblk/blk/blk_config.h"
#include "vblk/util/compiler.h"
#include "vblk/vdev/vdev.h"
#include "vblk/vduse/vduse_sys.h"

enum vduse_umem {
	VDUSE_UMEM_AUTO, /* where it pays: backends that bypass the page cache */
	VDUSE_UMEM_ON,	 /* if the kernel has it */
	VDUSE_UMEM_OFF,
};

/* How much bounce memory of our own a device has; 0 = none. */
uint64_t vduse_umem_bytes(enum vduse_umem umem, const struct blk_params *blk,
			  uint64_t bounce_bytes);

/**
 * vduse_umem_new() - a file of that much memory, for vduse_dev_params.umem_fd
 * Kept by somebody who outlives the process that serves, it spares a successor
 * to allocate and clear the pages while I/O waits.
 * Return: 0, @ret_fd owned by the caller; -ENOMEM; other -errno.
 */
int vduse_umem_new(uint64_t bytes, int *ret_fd) VBLK_MUST_CHECK;

/* What the owner is told, on the control thread. */
enum vduse_event {
	VDUSE_EVENT_DRIVER_OK,	   /* queues serve the driver; again after each restart of them */
	VDUSE_EVENT_RESET,	   /* drained and reset, after the driver had worked with it */
	VDUSE_EVENT_RESET_TIMEOUT, /* a reset was refused: backend I/O did not end in time */
	VDUSE_EVENT_FEATURES_REFUSED, /* the driver lacks something, or is too early after
					 RESET_TIMEOUT */
	VDUSE_EVENT_DRIVER_FAILED,    /* the driver gave up (status FAILED) */
	/* Once for each queue until the driver resets; the other queues go on. arg: its index */
	VDUSE_EVENT_QUEUE_BROKEN,   /* it met a fault, see vdev_queue_info() */
	VDUSE_EVENT_QUEUE_UNUSABLE, /* its ring is no ring, or not in memory of the driver's */
	VDUSE_EVENT_QUEUE_STUCK,    /* arg: queue index; it has a request older than stuck_ms */
	VDUSE_EVENT_QUEUE_UNSTUCK,  /* arg: queue index; it has none any more */
	VDUSE_EVENT_MEMORY,	    /* arg: -errno; see below */
	VDUSE_EVENT_BROKEN,	    /* the kernel gave the device up (a message timed out) */
};

/*
 * VDUSE_EVENT_MEMORY: rings or memory of the driver could not be mapped (or, -EUCLEAN,
 * a ring in use does not fit its in-flight record), so I/O waits in a queue. It is too
 * late to refuse the driver. What may pass (-ENOMEM, -EMFILE, ...) is tried again at
 * growing intervals through vduse_dev_deadline_ns(), for ever and silently;
 * VDUSE_EVENT_DRIVER_OK follows each attempt that gets the rings. -EUCLEAN is final: only
 * a reset by the driver, or a reboot, ends the wait. Told once between two DRIVER_OK
 * statuses.
 */

/**
 * struct vduse_dev_params - what a device needs
 * @fd: of /dev/vduse/NAME, owned by the device from now on, also on failure
 * @blk, @bdev: borrowed until vduse_dev_free(); vduse_dev_set_capacity() changes their capacity
 * @bounce_bytes: size of the kernel's bounce area, for sizing UMEM before the attach
 * @umem_fd: borrowed, of vduse_umem_new(vduse_umem_bytes()); 0 or less: one is made if
 *           needed
 * @inflight: memory of queue_cnt * vq_inflight_bytes(queue_size), which
 *            outlives the process, zeroed when new; NULL: none, no recovery
 * @size_number: any number that stands for the capacity of @blk
 * @size_told: the number of the capacity that the driver knows; outlives the process as well.
 *             While the two differ the driver has to be told. NULL: it knows the capacity
 * @direct: whose the rings are, for a @bdev that can have them (bdev_direct_is_possible());
 * outlives the process like @inflight. NULL: they stay ours. Without UMEM, which ends with the
 *          process: a server would go on in memory that is nobody's
 * @direct_buf_fd: file for what the server has in flight, likewise; borrowed
 * @drain_deadline_ms: how long a reset may wait for backend I/O; below msg_timeout
 * @stuck_ms, @stats, @keep_real_time: as in struct vdev_params
 * @confine: called once all threads exist, and before anything of a driver's is looked at;
 *           -errno ends vduse_dev_new(). NULL: none
 * @event: @arg as the event says, else 0. May be called from within vduse_dev_new()
 */
struct vduse_dev_params {
	const struct vduse_sys *sys;
	int fd;
	struct blk_params *blk;
	struct bdev *bdev;
	enum vduse_umem umem;
	uint64_t bounce_bytes;
	int umem_fd;
	void *inflight;
	uint32_t size_number;
	uint32_t *size_told;
	struct bdev_direct_record *direct;
	int direct_buf_fd;
	uint32_t drain_deadline_ms;
	unsigned int stuck_ms;
	struct stats_queue *stats;
	bool sched_batch;
	enum vdev_poll_mode poll;
	bool keep_real_time;
	int (*confine)(void *ctx);
	void (*event)(void *ctx, enum vduse_event event, int arg);
	void *ctx;
};

struct vduse_dev;

/**
 * vduse_dev_new() - threads, memory, and where the driver is at work already
 * (this process succeeds a dead one), the rings taken over and served
 * The kernel is given the capacity, since a predecessor may have died while it changed, and the
 * driver is told if it was not before.
 * Return: 0; -ENOMEM; -errno of vdev_new() or of @confine; -EPERM the kernel gave the device up.
 */
int vduse_dev_new(const struct vduse_dev_params *params,
		  struct vduse_dev **ret_dev) VBLK_MUST_CHECK;

/**
 * vduse_dev_free() - give the device back: closes the descriptor
 * Only after the device was detached from the bus (or before it ever was attached, or retired):
 * without the driver's reset it waits for backend I/O.
 * NULL is fine.
 */
void vduse_dev_free(struct vduse_dev *dev);

/*
 * The first part of vduse_dev_free(), which must follow: all but giving memory back, which
 * takes longer than a successor that waits for the device should have to wait.
 */
void vduse_dev_close(struct vduse_dev *dev);

/**
 * vduse_dev_set_capacity() - the disk has another size from now on
 * @capacity_bytes: multiple of the logical block, > 0
 * @size_number: from now on what struct vduse_dev_params says
 *
 * Requests go on meanwhile. The data path serves new blocks before the driver hears of them; of
 * blocks that go the driver hears first, and requests for them that are on the way fail.
 * With the size it has already, the driver is told once more.
 *
 * Return: 0; -errno of the kernel: it keeps the size it knew (-EPERM: it gave the device up).
 */
int vduse_dev_set_capacity(struct vduse_dev *dev, uint64_t capacity_bytes,
			   uint32_t size_number) VBLK_MUST_CHECK;

/* As vdev_give_up(); the driver is refused from now on, and vduse_dev_free() forbidden. */
void vduse_dev_give_up(struct vduse_dev *dev);

/**
 * vduse_dev_retire() - give the device up for a successor, with the driver at work
 * Requests in flight end, no more are taken; messages are answered all the while.
 * vduse_dev_is_retired() is true when nothing is in flight: then vduse_dev_free() does not wait,
 * and whoever opens the device next finds it as after a crash in an idle moment.
 */
void vduse_dev_retire(struct vduse_dev *dev);
bool vduse_dev_is_retired(const struct vduse_dev *dev);

/* Poll for input (POLLIN, POLLERR), then call vduse_dev_handle(). */
int vduse_dev_fd(const struct vduse_dev *dev);
/* Reads and answers all messages that wait. */
void vduse_dev_handle(struct vduse_dev *dev);

/* Poll for input, then call vduse_dev_handle_queues(). */
int vduse_dev_queue_fd(const struct vduse_dev *dev);
void vduse_dev_handle_queues(struct vduse_dev *dev);

/*
 * With vduse_dev_params.direct, else -1: poll for input, then call vduse_dev_handle_direct(); also
 * whenever record->wanted has changed.
 */
int vduse_dev_direct_fd(const struct vduse_dev *dev);
void vduse_dev_handle_direct(struct vduse_dev *dev);

/* CLOCK_MONOTONIC time at which vduse_dev_handle_deadline() must be called; 0 = none. */
uint64_t vduse_dev_deadline_ns(const struct vduse_dev *dev);
void vduse_dev_handle_deadline(struct vduse_dev *dev);

/**
 * struct vduse_dev_info - for status displays
 * @status: virtio device status bits the driver set last
 * @features: negotiated, 0 before FEATURES_OK
 * @umem: bounce memory is ours
 * @data_mapped: this process can read the driver's data; false only with limits.remote
 * @recovered: requests taken over from a predecessor
 * @direct: the server works on the driver's rings
 */
struct vduse_dev_info {
	uint8_t status;
	uint64_t features;
	bool umem;
	bool data_mapped;
	bool broken;
	bool draining;
	unsigned int recovered;
	bool direct;
};

void vduse_dev_info(const struct vduse_dev *dev, struct vduse_dev_info *ret_info);
const struct vdev *vduse_dev_vdev(const struct vduse_dev *dev);

#endif
