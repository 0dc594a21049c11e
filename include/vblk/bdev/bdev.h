/* SPDX-License-Identifier: MIT */
/*
 * Backends: where the bytes are. One table of functions, filled completely;
 * what a backend cannot do is said in its limits, not by a missing function.
 *
 * Life of a backend:
 *
 *   keeper process, privileged      worker process             queue thread
 *   bdev_open()  ------- fork ----> (inherits) --------------> bdev_queue_new()
 *                                                              submit, commit, done ...
 *                                                              bdev_queue_free()
 *   bdev_close() when the device is gone; the worker just exits
 *
 * open() therefore starts no thread and keeps no state that a fork() would
 * split; a worker can be started again from the same open backend.
 */
#ifndef VBLK_BDEV_BDEV_H
#define VBLK_BDEV_BDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vblk/loop/loop.h"
#include "vblk/mem/memmap.h"
#include "vblk/util/compiler.h"

#define BDEV_WHY_MAX 512

enum bdev_op {
	BDEV_READ,
	BDEV_WRITE,
	BDEV_FLUSH,	   /* every write completed before is durable after */
	BDEV_DISCARD,	   /* content of the range becomes undefined */
	BDEV_WRITE_ZEROES, /* the range reads back as zeroes */
	BDEV_SECURE_ERASE, /* the content cannot be recovered afterwards */
};
#define BDEV_OP_CNT 6

const char *bdev_op_str(enum bdev_op op);

/* For BDEV_WRITE_ZEROES: the backend may free the space. */
#define BDEV_IO_MAY_UNMAP 1u

/**
 * struct bdev_limits - what a backend can do; filled by open(), then constant but for one field
 * @capacity_bytes:       > 0, multiple of @logical_block_bytes. May change while queue threads
 *                        work, so it is accessed by bdev_limits_capacity() and its partner only
 * @logical_block_bytes:  power of two, 512..4096; smallest I/O, alignment of offsets
 * @physical_block_bytes: power of two, >= @logical_block_bytes
 * @opt_io_bytes:         preferred I/O size, 0 = none
 * @buf_align_bytes:      memory alignment that avoids a copy, 1 = none
 * @max_discard_bytes:    longest discard of one range, 0 = cannot discard
 * @discard_align_bytes:  granularity that frees space
 * @max_write_zeroes_bytes: 0 = cannot
 * @write_zeroes_may_unmap: WRITE_ZEROES with MAY_UNMAP may free space
 * @max_secure_erase_bytes: 0 = cannot
 * @read_only:            writes, discards and zeroing fail with -EROFS
 * @volatile_cache:       completed writes need BDEV_FLUSH to survive power loss;
 *                        false: every write is durable when it completes
 * @rotational:           seeks cost time
 * @direct:               bypasses the page cache (O_DIRECT)
 * @max_segs:             most buffers of one read or write, 0 = any
 * @max_seg_bytes:        longest of them, 0 = any
 * @max_ranges:           most ranges of one discard or secure erase, 0 = any
 * @remote:               another process moves the data: it gets the files of the driver's
 *                        memory, better one of ours (UMEM) than the kernel's. The backend passes
 *                        addresses on and follows none: they may be no memory (memmap_region's
 *                        by_file)
 */
struct bdev_limits {
	uint64_t capacity_bytes;
	uint32_t logical_block_bytes;
	uint32_t physical_block_bytes;
	uint32_t opt_io_bytes;
	uint32_t buf_align_bytes;
	uint64_t max_discard_bytes;
	uint32_t discard_align_bytes;
	uint64_t max_write_zeroes_bytes;
	bool write_zeroes_may_unmap;
	uint64_t max_secure_erase_bytes;
	bool read_only;
	bool volatile_cache;
	bool rotational;
	bool direct;
	uint32_t max_segs;
	uint32_t max_seg_bytes;
	uint32_t max_ranges;
	bool remote;
};

/*
 * Any thread. A check loads it once and goes by that value; the next request sees a new one.
 * Relaxed is enough: a driver uses a larger size only after it was told, and the way there and
 * back (system calls, its ring) orders both sides.
 */
static inline uint64_t bdev_limits_capacity(const struct bdev_limits *limits)
{
	return __atomic_load_n(&limits->capacity_bytes, __ATOMIC_RELAXED);
}

static inline void bdev_limits_set_capacity(struct bdev_limits *limits, uint64_t capacity_bytes)
{
	__atomic_store_n(&limits->capacity_bytes, capacity_bytes, __ATOMIC_RELAXED);
}

/**
 * struct bdev_params - what the administrator asked for
 * @spec: "null:SIZE", "mem:SIZE", "file:PATH", a PATH, "vhost-user:PATH", or "fault:RULES:"
 *        before one of these
 * @logical_block_bytes, @physical_block_bytes: 0 = as suits the backend
 * @queue_cnt: queues to come; what each needs is opened now, while there are privileges.
 *            0: each opens it itself
 * @writethrough: every write durable when it completes; limits.volatile_cache is then false
 * @discard: pass discards and unmapping on; off leaves max_discard_bytes 0
 * @direct_rings: the server behind "vhost-user:PATH" shall be able to work on the driver's rings
 *            of @queue_size, see bdev_direct.h; refused where it could not
 */
struct bdev_params {
	const char *spec;
	uint32_t logical_block_bytes;
	uint32_t physical_block_bytes;
	unsigned int queue_cnt;
	bool read_only;
	bool direct;
	bool writethrough;
	bool discard;
	bool direct_rings;
	uint16_t queue_size;
};

#define BDEV_HANDOVER_FDS_MAX 65u /* the file, and once more for each queue */

/**
 * struct bdev_handover - an open backend on its way into another program
 * @kind: of the backend, bdev_ops.name; static string or borrowed
 * @limits: as they were found when it was opened; the disk has them for its whole life
 * @length_align_bytes: what O_DIRECT asks of lengths; 1 without
 * @fds: open files, the same numbers in both programs
 */
struct bdev_handover {
	const char *kind;
	struct bdev_limits limits;
	uint32_t length_align_bytes;
	unsigned int fd_cnt;
	int fds[BDEV_HANDOVER_FDS_MAX];
};

struct bdev_io;
struct bdev_queue;
struct bdev;

/**
 * struct bdev_ops - a backend; required are all functions that do not say otherwise
 *
 * @open:  keeper, may block. On failure returns -errno and puts a sentence into
 *         @why that says what is wrong and what to do (no trailing full stop).
 * @close: releases everything; NULL and half-built objects are fine.
 * @resize: any process that has it open; may block for as long as the backing store takes.
 *         Grows a store that is shorter than @want_bytes, if it can grow, and tells its
 *         size in bytes. Changes nothing of @bdev. 0; -errno, -EROFS: not a store of ours to
 *         grow. See bdev_resize().
 * @news_fd, @size_told: keeper; NULL: the store never tells anything by itself. See
 *         bdev_news_fd() and bdev_size_told().
 * @server: any process that has it open; NULL: there is none. See bdev_server().
 * @hand_over, @take_over: keeper; NULL: the backend cannot go into another program. What
 *         take_over() is given came from hand_over() of the same kind of backend, perhaps of an
 *         older version; on success it owns the descriptors, on failure they stay the caller's.
 * @queue_new: queue thread. @depth: most requests in flight, so io->slot_idx < @depth.
 *         Allocates here what submit() will need. 0; -ENOMEM; other -errno.
 * @queue_free: queue thread, nothing in flight.
 * @map_changed: queue thread, nothing in flight: the memory that io->iov will
 *         point into from now on (NULL: none). A chance to register it; cannot fail.
 * @submit: queue thread; must not block, allocate or log. Calls io->done exactly
 *         once, now or later (from within loop_wait/loop_poll).
 * @commit: queue thread: hand on what submit() has only prepared.
 */
struct bdev_ops {
	const char *name;
	int (*open)(const struct bdev_params *params, struct bdev **ret_bdev,
		    char why[BDEV_WHY_MAX]);
	void (*close)(struct bdev *bdev);
	int (*resize)(struct bdev *bdev, uint64_t want_bytes, uint64_t *ret_size_bytes);
	int (*news_fd)(const struct bdev *bdev);
	uint64_t (*size_told)(struct bdev *bdev);
	int (*server)(const struct bdev *bdev, char why[BDEV_WHY_MAX]);
	void (*hand_over)(const struct bdev *bdev, struct bdev_handover *ret_handover);
	int (*take_over)(const struct bdev_params *params, const struct bdev_handover *handover,
			 struct bdev **ret_bdev);
	int (*queue_new)(struct bdev *bdev, struct loop *loop, unsigned int depth,
			 struct bdev_queue **ret_bq);
	void (*queue_free)(struct bdev_queue *bq);
	void (*map_changed)(struct bdev_queue *bq, const struct memmap *map);
	void (*submit)(struct bdev_queue *bq, struct bdev_io *io);
	void (*commit)(struct bdev_queue *bq);
};

/* First member of every backend's own structure. */
struct bdev {
	const struct bdev_ops *ops;
	struct bdev_limits limits;
};

/* First member of every backend's own queue structure. */
struct bdev_queue {
	struct bdev *bdev;
	struct loop *loop;
	unsigned int depth; /* set by bdev_queue_new() after ops->queue_new() */
};

/**
 * struct bdev_io - one I/O
 * @slot_idx: the caller's number for it, unique among those in flight
 * @offset_bytes, @len_bytes: multiples of logical_block_bytes; 0 for BDEV_FLUSH
 * @iov: for READ and WRITE, @iov_cnt buffers of @len_bytes in sum; borrowed until done. With
 *        limits.remote these are addresses in the map, and perhaps nothing is there
 * @done: result 0, or -errno: -EIO medium; -ENOSPC; -EROFS; -EOPNOTSUPP; others of the file.
 *        May submit the same io again.
 */
struct bdev_io {
	enum bdev_op op;
	unsigned int flags;
	unsigned int slot_idx;
	unsigned int iov_cnt;
	uint64_t offset_bytes;
	uint64_t len_bytes;
	const struct iovec *iov;
	void (*done)(struct bdev_io *io, int result);
};

/**
 * bdev_check_faults() - the rules of a spec that begins with "fault:"; any other is right
 * Opens nothing, so that a mistake in them can be told from a backend that is not there.
 * Return: 0; -EINVAL and a sentence in @why.
 */
int bdev_check_faults(const char *spec, char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/*
 * Is @spec reached by connecting to it? Workers do that again, as the user that they run as; so
 * bdev_open() had better be called as that user, too, and they need sockets.
 */
bool bdev_is_connected(const char *spec);

/**
 * bdev_open() - pick the backend by params->spec and open it
 * Context, errors: as ops->open; -EINVAL also for a spec or block size that makes no sense.
 * @why is written on failure only, always a sentence that names the backend.
 */
int bdev_open(const struct bdev_params *params, struct bdev **ret_bdev,
	      char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;
void bdev_close(struct bdev *bdev);

/**
 * bdev_resize() - how large is the backing store now, and can it hold @want_bytes?
 * @spec: of the params it was opened with, for @why
 * @want_bytes: a file or memory that is shorter is grown to it; nothing is ever made
 *              shorter. 0: only look
 * @ret_size_bytes: whole logical blocks; at least one, and @want_bytes or more
 *
 * Context: blocks as long as the store does (a network filesystem may hang), so it belongs
 * into a process that nobody waits for without a deadline. The capacity that is served does
 * not change: the caller decides, then uses bdev_limits_set_capacity().
 *
 * Return: 0; with a sentence in @why that names the backend: -EROFS it is attached read-only
 *         and would have to grow; -ENOSPC it is smaller and does not grow; -EINVAL it has not
 *         even one block; other -errno.
 */
int bdev_resize(struct bdev *bdev, const char *spec, uint64_t want_bytes, uint64_t *ret_size_bytes,
		char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/*
 * For a store that says by itself when it has another size, or whose server comes and goes:
 * readable once there is news. -1: this one does not. Borrowed; opened with the backend, so it
 * tells of what a worker has heard.
 */
int bdev_news_fd(const struct bdev *bdev);
/*
 * The size that was told last, in whole logical blocks, 0 included; bdev_news_fd() is readable
 * again with the next news. Never blocks.
 */
uint64_t bdev_size_told(struct bdev *bdev);
/**
 * bdev_server() - is the server there that the backend is a client of?
 * As the last worker that tried has found; its requests wait as long as it is not. Never blocks.
 *
 * Return: 1 it is; 0 there is none to be; -errno it is not, with a sentence in @why that says what
 *         is wrong and names the backend.
 */
int bdev_server(const struct bdev *bdev, char why[BDEV_WHY_MAX]);

/**
 * bdev_hand_over() - describe an open backend for another program that inherits its files
 * bdev_take_over() - go on with one, without opening anything (there are no privileges any more)
 * Return: 0; -EOPNOTSUPP this kind of backend cannot; take_over: -EINVAL there is no such kind,
 *         or it has other files; -ENOMEM; -errno of a descriptor that is not what it should be.
 */
int bdev_hand_over(const struct bdev *bdev, struct bdev_handover *ret_handover) VBLK_MUST_CHECK;
int bdev_take_over(const struct bdev_params *params, const struct bdev_handover *handover,
		   struct bdev **ret_bdev) VBLK_MUST_CHECK;

/* All ioctl requests that queues make, for a list of what a process may do. Static. */
const unsigned long *bdev_ioctls(unsigned int *ret_cnt);

int bdev_queue_new(struct bdev *bdev, struct loop *loop, unsigned int depth,
		   struct bdev_queue **ret_bq) VBLK_MUST_CHECK;
void bdev_queue_free(struct bdev_queue *bq);
void bdev_map_changed(struct bdev_queue *bq, const struct memmap *map);

/**
 * bdev_submit() - start one I/O; never fails to the caller
 * Checks @io against the limits first (slot, range, alignment, sum of the buffers,
 * operation, read-only) and completes it with -EINVAL, -EOPNOTSUPP or -EROFS itself
 * where it does not fit, so a backend sees only what it can do.
 */
void bdev_submit(struct bdev_queue *bq, struct bdev_io *io);
void bdev_commit(struct bdev_queue *bq);

#endif
