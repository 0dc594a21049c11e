/* SPDX-License-Identifier: MIT */
/*
 * Regular file or block device on io_uring: what its files share.
 *
 *   bdev_uring.c      open, queue, dispatch of a request to one of:
 *   bdev_inline.c       an attempt that cannot sleep, without io_uring
 *   bdev_xfer.c         read or write of a contiguous piece of the file
 *   bdev_warm.c         lets the kernel allocate in advance
 *   bdev_fixed.c        the same on memory registered with the ring
 *   bdev_uring_copy.c   the same through aligned buffers of ours
 *   bdev_range.c        discard, zeroing, erasing
 *   bdev_offload.c      ioctls that block
 *   bdev_probe.c, bdev_lock.c   only while opening
 *   bdev_resize.c               only for bdev_resize()
 *
 * A request holds its slot from uring_submit() until uring_slot_end(), which
 * is the only place that calls io->done().
 */
#ifndef VBLK_BDEV_URING_H
#define VBLK_BDEV_URING_H

#include "bdev_offload.h"
#include "bdev_priv.h"
#include "vblk/util/iov.h"

#define URING_XFERS_PER_SLOT 4u
#define URING_XFER_IOVS	     4u
#define URING_COPY_BUFS	     4u
#define URING_COPY_BUF_BYTES (256u << 10)
#define URING_ZERO_BUF_BYTES (256u << 10)
/* Bounds the time of one operation; splitting more costs nothing that counts. */
#define URING_DISCARD_MAX_BYTES (1ull << 30)
#define URING_ZEROES_MAX_BYTES	(256ull << 20)
/*
 * Transfers of a queue that the kernel has at a time, more wait here. It keeps
 * what so many need (IO_ALLOC_CACHE_MAX) and allocates for those beyond.
 */
#define URING_ISSUED_MAX 128u
/* Attempts in a row without progress before a request fails. */
#define URING_RETRY_MAX 16u

struct uring_bdev {
	struct bdev base;
	int fd;
	int *queue_fds; /* [queue_cnt], one for each queue that comes */
	unsigned int queue_cnt;
	unsigned int queue_next; /* of queue_fds; queue threads count it up */
	bool is_block;
	bool is_ram_fs; /* tmpfs or ramfs: I/O never waits for a device */
	bool writethrough;
	bool discard;
	/* what O_DIRECT asks of memory addresses and of lengths; 1 without */
	uint32_t dio_mem_align_bytes;
	uint32_t dio_len_align_bytes;
};

struct uring_slot;

/**
 * struct uring_xfer - moves bytes between one range of the file and some buffers
 * @cur, @pos_bytes, @left_bytes: what is still to do
 * @buf_idx: registered buffer that holds all of it, or -1
 * @iov: a single buffer, or the rest after a short transfer
 * @done: once, 0 or -errno
 */
struct uring_xfer {
	struct loop_op op;
	struct uring_slot *slot;
	struct iov_cursor cur;
	uint64_t pos_bytes;
	uint64_t left_bytes;
	int buf_idx;
	bool is_write;
	bool force_async;
	unsigned int retry_cnt;
	struct uring_xfer *next_waiting;
	struct iovec iov[URING_XFER_IOVS];
	void (*done)(struct uring_xfer *x, int result);
};

/* How a range is made zero, cheapest first; one that is refused is not asked again. */
enum zero_method {
	ZERO_PUNCH,
	ZERO_RANGE,
	ZERO_IOCTL,
	ZERO_WRITE,
};

struct uring_slot {
	struct uring_queue *q;
	struct bdev_io *io;
	struct loop_op op; /* fallocate, fsync */
	struct offload_job job;
	unsigned int xfer_cnt; /* not yet done */
	unsigned int retry_cnt;
	int result; /* first error */
	enum zero_method zero_method;
	/* copying: */
	unsigned int copy_buf_idx;
	uint32_t chunk_bytes;
	struct iov_cursor copy_cur;
	uint64_t copied_bytes;
	struct uring_slot *next_waiting;

	struct uring_xfer xfers[URING_XFERS_PER_SLOT];
};

/* What attempts without sleeping taught us; one for reads, one for writes. */
struct inline_verdict {
	bool never;
	unsigned int refused_cnt; /* in a row */
	unsigned int skip_cnt;	  /* requests to go before the next attempt */
};

struct uring_queue {
	struct bdev_queue base;
	struct uring_bdev *dev;
	struct loop *loop;
	unsigned int depth;
	/*
	 * An open file of its own for data and flushes, else dev->fd. Ranges go
	 * through dev->fd: only the exclusive opener of a block device may drop
	 * its dirty pages, others get EBUSY.
	 */
	int fd;
	bool owns_fd;
	int sqe_fd;		      /* fd, or its index as registered file */
	int range_sqe_fd;	      /* dev->fd, or its index */
	int file_idx, range_file_idx; /* as registered files, < 0 = not */
	bool file_registered;
	struct inline_verdict inline_verdict[2]; /* [is_write] */
	bool write_is_refused; /* one is with the ring for that; until it ends the others are held
				*/
	struct uring_slot *held_first, *held_last;
	unsigned int zero_refused; /* mask of 1 << enum zero_method */
	struct offload *offload;   /* NULL when never needed */
	char *zero_buf;

	unsigned int issued_cnt; /* transfers that the kernel has */
	struct uring_xfer *issue_first, *issue_last;

	/* registered memory, ascending by address */
	struct iovec *fixed;
	unsigned int fixed_cnt;

	char *copy_bufs;
	unsigned int copy_free_mask;
	struct uring_slot *copy_wait_first, *copy_wait_last;

	struct uring_slot slots[];
};

static inline struct uring_bdev *uring_bdev_of(struct bdev *bdev)
{
	return container_of(bdev, struct uring_bdev, base);
}

static inline bool uring_io_is_write(const struct bdev_io *io)
{
	return io->op == BDEV_WRITE;
}

/* --- bdev_uring.c --- */

/* The one way a request ends; the slot may be in use again afterwards. */
void uring_slot_end(struct uring_slot *slot, int result);
/* As uring_slot_end(), but makes a change of the file durable first where that is promised. */
void uring_slot_end_durable(struct uring_slot *slot, int result);
/* An entry for the file of the queue: call io_uring_prep_*() with q->sqe_fd, then ..._bind(). */
static inline void uring_sqe_bind(struct uring_queue *q, struct io_uring_sqe *sqe,
				  struct loop_op *op)
{
	if (q->file_registered)
		sqe->flags |= IOSQE_FIXED_FILE;
	loop_sqe_bind(sqe, op);
}
/* True for results that say "again"; counts them in @retry_cnt against URING_RETRY_MAX. */
bool uring_retry(int result, unsigned int *retry_cnt);
/* A result that may be shown outside: "again" without end is a medium error. */
int uring_final_error(int result);

/* --- bdev_warm.c --- */

/*
 * What the kernel needs for requests in flight is allocated by it at their first time and kept.
 * Later memory may be short, and what would free some be waiting for this very disk. While
 * nothing is in flight; what cannot be had now is had later. Return: 0; -errno of the ring.
 */
int uring_warm(struct uring_queue *q);

/* --- bdev_xfer.c --- */

/* RWF_ flags of a transfer: writes of a write-through backend are durable when they complete. */
int uring_rw_flags(const struct uring_bdev *dev, bool is_write);
/* @cur: borrowed buffers of at least @len_bytes. Ends in x->done(), never within the call. */
void uring_xfer_start(struct uring_xfer *x, struct uring_slot *slot, bool is_write,
		      struct iov_cursor cur, uint64_t pos_bytes, uint64_t len_bytes);
/* The same for one buffer; @buf_idx: registered buffer it lies in, or -1. */
void uring_xfer_start_buf(struct uring_xfer *x, struct uring_slot *slot, bool is_write,
			  struct iovec buf, int buf_idx, uint64_t pos_bytes);

/* --- bdev_inline.c --- */

/* Bytes read or written without sleeping; 0 when it was not possible or not tried. */
uint64_t uring_inline_try(struct uring_queue *q, const struct bdev_io *io);
/* After an attempt that brought nothing: would the next one bring more once this I/O has ended? */
bool uring_inline_is_passing(const struct uring_queue *q, const struct bdev_io *io);

/* --- bdev_fixed.c --- */

void uring_fixed_register(struct uring_queue *q, const struct memmap *map);
void uring_fixed_unregister(struct uring_queue *q);
/* Starts a READ or WRITE on registered memory. False: not possible, nothing done. */
bool uring_fixed_start(struct uring_slot *slot, void (*done)(struct uring_xfer *x, int result));

/* --- bdev_uring_copy.c --- */

int uring_copy_init(struct uring_queue *q);
void uring_copy_fini(struct uring_queue *q);
bool uring_copy_is_needed(const struct uring_bdev *dev, const struct bdev_io *io);
/* READ or WRITE through our own buffers; waits for a free one. */
void uring_copy_start(struct uring_slot *slot);

/* --- bdev_range.c --- */

int uring_range_init(struct uring_queue *q);
void uring_range_fini(struct uring_queue *q);
/* DISCARD, WRITE_ZEROES or SECURE_ERASE. */
void uring_range_start(struct uring_slot *slot);

/* --- bdev_probe.c --- */

/* Fills dev->base.limits and what else dev says about the open file dev->fd. */
int uring_probe(struct uring_bdev *dev, const struct bdev_params *params, const char *path,
		char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/* Fills what kind of file dev->fd is. Return: 0 or -errno. */
int uring_probe_type(struct uring_bdev *dev) VBLK_MUST_CHECK;

/* --- bdev_lock.c --- */

/* Return: 0; -EBUSY or other -errno with @why. The lock lasts as long as the open file. */
int uring_lock(int fd, const char *path, bool read_only, char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

#endif
