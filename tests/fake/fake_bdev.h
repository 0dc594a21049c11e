/* SPDX-License-Identifier: MIT */
/*
 * A backend that the test holds in its hand: it records what was submitted and
 * completes when, in the order and with the result the test says.
 *
 *   struct fake_bdev *fake = fake_bdev_new(NULL);
 *   blk_queue_new(&params, fake_bdev_get(fake), loop, &q);    (loop may be NULL)
 *   ... traffic ...
 *   fake_bdev_complete(fake, 0, -EIO);     the first I/O ever submitted fails
 *   blk_queue_free(q);
 *   fake_bdev_free(fake);
 *
 * Threads: every function may be called by any thread; queue functions (through
 * bdev_*()) by the queue thread as usual. io->done always runs in the queue
 * thread: a queue with a loop is woken through it; a queue made with loop NULL has
 * no thread of its own, and done runs inside fake_bdev_complete().
 *
 * I/Os are numbered 0, 1, 2 ... in the order of submission over all queues.
 */
#ifndef VBLK_TESTS_FAKE_BDEV_H
#define VBLK_TESTS_FAKE_BDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/bdev/bdev.h"

/**
 * enum fake_bdev_mode - who completes
 * FAKE_BDEV_HELD: fake_bdev_complete() only (the state after fake_bdev_new())
 * FAKE_BDEV_SYNC: submit() itself, before it returns
 * FAKE_BDEV_ON_COMMIT: later, but not before commit() was called: a caller
 *                      that forgets to commit hangs. Without a loop: inside commit().
 */
enum fake_bdev_mode {
	FAKE_BDEV_HELD,
	FAKE_BDEV_SYNC,
	FAKE_BDEV_ON_COMMIT,
};

/* One I/O as it was submitted. */
struct fake_bdev_record {
	enum bdev_op op;
	unsigned int flags;
	unsigned int slot_idx;
	unsigned int iov_cnt;
	uint64_t offset_bytes;
	uint64_t len_bytes;
	bool done;
};

struct fake_bdev;

/**
 * fake_bdev_new() - a backend with @limits, or fake_bdev_default_limits() for NULL
 * Content: @limits->capacity_bytes of zeroes that READ, WRITE and WRITE_ZEROES use (when
 * they complete with 0), DISCARD and SECURE_ERASE fill with 0xdd. Beyond 64 MiB there is
 * none: reads leave the buffers alone. The same beyond the end, should the capacity grow.
 * Aborts when out of memory.
 */
struct fake_bdev *fake_bdev_new(const struct bdev_limits *limits);
/* No queue left. NULL is fine. */
void fake_bdev_free(struct fake_bdev *fake);

/* 1 MiB, 512-byte blocks, volatile cache, everything supported. */
struct bdev_limits fake_bdev_default_limits(void);

/* What to hand to the code under test; owned by @fake. */
struct bdev *fake_bdev_get(struct fake_bdev *fake);
/* The content; NULL beyond 64 MiB. Look at it while nothing is in flight. */
uint8_t *fake_bdev_content(struct fake_bdev *fake);

void fake_bdev_set_mode(struct fake_bdev *fake, enum fake_bdev_mode mode);
/* SYNC and ON_COMMIT: I/O number @nr and only it ends with @result, the others with 0. */
void fake_bdev_fail_at(struct fake_bdev *fake, unsigned int nr, int result);
/* Later queue_new() calls return @result, when that is negative. */
void fake_bdev_fail_queue_new(struct fake_bdev *fake, int result);

/* Ends held I/O number @nr; aborts when it was never submitted or has been completed. */
void fake_bdev_complete(struct fake_bdev *fake, unsigned int nr, int result);
/* Ends all that are held now, oldest first; returns how many. */
unsigned int fake_bdev_complete_all(struct fake_bdev *fake, int result);

/* I/Os submitted so far, and of them those not completed. */
unsigned int fake_bdev_submitted_cnt(struct fake_bdev *fake);
unsigned int fake_bdev_held_cnt(struct fake_bdev *fake);
/* Aborts when @nr was never submitted. */
struct fake_bdev_record fake_bdev_record(struct fake_bdev *fake, unsigned int nr);
/* Waits until @cnt I/Os were submitted in all; false after @timeout_ms. */
bool fake_bdev_wait_submitted(struct fake_bdev *fake, unsigned int cnt, unsigned int timeout_ms);

/* Calls of commit(); queues alive; calls of map_changed() and the map of the last one. */
unsigned int fake_bdev_commit_cnt(struct fake_bdev *fake);
unsigned int fake_bdev_queue_cnt(struct fake_bdev *fake);
unsigned int fake_bdev_map_changed_cnt(struct fake_bdev *fake);
const struct memmap *fake_bdev_last_map(struct fake_bdev *fake);

#endif
