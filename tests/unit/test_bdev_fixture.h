/* SPDX-License-Identifier: MIT */
/* One open backend with one queue, and a synchronous way to use it. */
#ifndef TEST_BDEV_FIXTURE_H
#define TEST_BDEV_FIXTURE_H

#include "vblk/bdev/bdev.h"

#define FX_DEPTH 16u

struct fx_io {
	struct bdev_io io;
	int done_cnt;
	int result;
};

struct fx {
	struct loop loop;
	struct bdev *bdev;
	struct bdev_queue *bq;
	char why[BDEV_WHY_MAX];
	struct fx_io ios[FX_DEPTH];
};

/* For main(): ends the program with a reason where the system forbids io_uring. */
void fx_skip_without_uring(void);

/* Fails the test when the backend does not open. */
void fx_start(struct fx *fx, const struct bdev_params *params);
void fx_stop(struct fx *fx);

/* Starts an I/O on a slot without waiting. */
struct fx_io *fx_begin(struct fx *fx, unsigned int slot_idx, enum bdev_op op, uint64_t offset_bytes,
		       uint64_t len_bytes, const struct iovec *iov, unsigned int iov_cnt);
/* Runs the loop until it is done, exactly once; returns the result. */
int fx_finish(struct fx *fx, struct fx_io *fio);

int fx_rw(struct fx *fx, enum bdev_op op, uint64_t offset_bytes, void *buf, size_t len_bytes);
int fx_range(struct fx *fx, enum bdev_op op, unsigned int flags, uint64_t offset_bytes,
	     uint64_t len_bytes);

/* Repeatable bytes that differ between seeds. */
void fx_pattern(void *buf, size_t len, unsigned int seed);

#endif
