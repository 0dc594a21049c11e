/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user-blk device at work: a listening socket on one side, a struct
 * vdev on the other. One client (front-end) at a time.
 *
 * Context: one control thread calls everything. It polls vhu_dev_fd() for input
 * and then calls vhu_dev_handle(), which neither blocks nor waits for a client
 * or a backend. Nothing here logs.
 *
 * A client that breaks the protocol, gives wrong descriptors or goes away costs
 * itself its connection: its requests in flight end, its memory and its
 * descriptors are let go, then the next one is served. While one is served any
 * other is refused by closing its connection; while the requests of one that has
 * gone are still in flight the next one waits unanswered.
 *
 * Needs memguard_install(), and /proc for telling what a descriptor is. The
 * process must not have mlockall(MCL_FUTURE) without MCL_ONFAULT: a client's
 * memory may be larger than the host's.
 */
#ifndef VBLK_VHOST_USER_VHU_DEV_H
#define VBLK_VHOST_USER_VHU_DEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vblk/bdev/bdev.h"
#include "vblk/blk/blk_config.h"
#include "vblk/util/compiler.h"
#include "vblk/vdev/vdev.h"

/*
 * What the owner is told, on the control thread, from within vhu_dev_handle*(), vhu_dev_retire()
 * and vhu_dev_free(), none of which may be called from there.
 */
enum vhu_dev_event {
	VHU_DEV_EVENT_CONNECTED,    /* a client; vhu_dev_info() says who */
	VHU_DEV_EVENT_RUNNING,	    /* its first queue is served */
	VHU_DEV_EVENT_RESET,	    /* by the client; all queues have stopped */
	VHU_DEV_EVENT_DISCONNECTED, /* it closed (arg 0), or its connection was closed: arg -errno,
				       and vhu_dev_why() says what it did wrong */
	VHU_DEV_EVENT_FREE,	    /* all of its requests have ended: the next one is served */
	VHU_DEV_EVENT_REFUSED,	    /* another client, while one is served */
	VHU_DEV_EVENT_REQUEST_REFUSED, /* the client was told so, and stays; vhu_dev_why() */
	VHU_DEV_EVENT_ACCEPT,	       /* arg -errno: connections cannot be accepted; tried again */
	/* arg: the queue's index. Told once each until the client resets or goes. */
	VHU_DEV_EVENT_QUEUE_BROKEN,   /* it met a fault, see vdev_queue_info() */
	VHU_DEV_EVENT_QUEUE_UNUSABLE, /* its ring or its in-flight record is none */
	VHU_DEV_EVENT_QUEUE_MEMORY,  /* memory of its ring or requests is gone: DISCONNECTED follows
				      */
	VHU_DEV_EVENT_QUEUE_MISSING, /* it had requests in flight, for which all queues wait, and
					the client does not start it */
	VHU_DEV_EVENT_QUEUE_STUCK,   /* it has a request older than stuck_ms */
	VHU_DEV_EVENT_QUEUE_UNSTUCK, /* it has none any more */
};

/**
 * struct vhu_dev_params - what a device needs
 * @listen_fd: listening stream socket of the unix domain; borrowed until vhu_dev_free(). Its
 *             flags do not matter, other processes may have it open as well
 * @blk: borrowed until vhu_dev_free(); vhu_dev_set_capacity() changes its capacity. Features that
 *       this transport adds (CONFIG_WCE, packed rings) are no part of blk->features. A client's
 *       rings may have up to blk->queue_size entries; QEMU's have 128 and what its user sets
 * @bdev: borrowed until vhu_dev_free()
 * @fence_fd, @stuck_ms, @sched_batch, @poll, @stats: as in struct vdev_params
 * @confine: called once all threads exist and before a client is accepted; -errno ends
 *           vhu_dev_new(). NULL: none. From then on the control thread makes these system calls
 *           beside those of a VDUSE worker: accept4, epoll_ctl, epoll_wait, fcntl (F_GET_SEALS),
 *           fstat, fstatfs, ftruncate, getsockopt, memfd_create, mmap, munmap, readlinkat,
 *           recvmsg, sendmsg, dup3, tgkill
 * @event: @arg as the event says, else 0
 */
struct vhu_dev_params {
	int listen_fd;
	struct blk_params *blk;
	struct bdev *bdev;
	int fence_fd;
	unsigned int stuck_ms;
	bool sched_batch;
	enum vdev_poll_mode poll;
	struct stats_queue *stats;
	int (*confine)(void *ctx);
	void (*event)(void *ctx, enum vhu_dev_event event, int arg);
	void *ctx;
};

struct vhu_dev;

/**
 * vhu_dev_new() - threads and all that is needed to serve; then clients are accepted
 * Return: 0; -ENOMEM; -errno of vdev_new(), of @confine, of epoll, or because /proc is missing.
 */
int vhu_dev_new(const struct vhu_dev_params *params, struct vhu_dev **ret_dev) VBLK_MUST_CHECK;

/* Closes the connection and waits for requests in flight: retire first. NULL is fine. */
void vhu_dev_free(struct vhu_dev *dev);

/* Poll for input, then call vhu_dev_handle(). Constant. */
int vhu_dev_fd(const struct vhu_dev *dev);
void vhu_dev_handle(struct vhu_dev *dev);

/* CLOCK_MONOTONIC time at which vhu_dev_handle_deadline() must be called; 0 = none. */
uint64_t vhu_dev_deadline_ns(const struct vhu_dev *dev);
void vhu_dev_handle_deadline(struct vhu_dev *dev);

/**
 * vhu_dev_set_capacity() - the disk has another size from now on
 * @capacity_bytes: multiple of the logical block, > 0
 *
 * Requests go on meanwhile. The data path serves new blocks before the client hears of them; of
 * blocks that go the client hears first, and requests for them that are on the way fail. A
 * client without VHOST_USER_PROTOCOL_F_BACKEND_REQ sees it when it reads the configuration.
 */
void vhu_dev_set_capacity(struct vhu_dev *dev, uint64_t capacity_bytes);

/**
 * vhu_dev_retire() - no client any more, for a successor or for the end
 * Requests in flight end and are answered, then the connection is closed. A client that kept its
 * in-flight buffer goes on with the successor. vhu_dev_is_retired() is true when nothing is in
 * flight: then vhu_dev_free() does not wait.
 */
void vhu_dev_retire(struct vhu_dev *dev);
bool vhu_dev_is_retired(const struct vhu_dev *dev);

/* As vdev_give_up(); no client is accepted from now on, and vhu_dev_free() forbidden. */
void vhu_dev_give_up(struct vhu_dev *dev);

/*
 * What the last client did wrong, or which request was refused it: a phrase without a full stop,
 * such as "SET_MEM_TABLE: regions overlap"; "" when nothing was wrong. Valid until the next call
 * of vhu_dev_handle().
 */
const char *vhu_dev_why(const struct vhu_dev *dev);

/**
 * struct vhu_dev_info - for status displays
 * @connected: a client is served; the fields below are 0 otherwise
 * @draining: requests of a client that has gone are in flight
 * @client_pid, @client_uid: of the process that connected
 * @features, @protocol_features: acknowledged by the client
 * @status: virtio device status, as far as the client tells
 * @write_through: every write is made durable before it completes
 * @running_cnt: queues that are served
 * @region_cnt, @memory_bytes: of the client's memory
 * @client_cnt: clients accepted so far
 * @recovered: requests that clients brought along in flight
 */
struct vhu_dev_info {
	bool connected;
	bool draining;
	pid_t client_pid;
	uid_t client_uid;
	uint64_t features;
	uint64_t protocol_features;
	uint8_t status;
	bool write_through;
	unsigned int running_cnt;
	unsigned int region_cnt;
	uint64_t memory_bytes;
	uint64_t client_cnt;
	unsigned int recovered;
};

void vhu_dev_info(const struct vhu_dev *dev, struct vhu_dev_info *ret_info);
const struct vdev *vhu_dev_vdev(const struct vhu_dev *dev);

#endif
