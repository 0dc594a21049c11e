/* SPDX-License-Identifier: MIT */
/* Queues of the backend vhost-user:PATH, memory of a driver, and I/O with it. */
#ifndef TESTS_UNIT_TEST_VHU_BDEV_RIG_H
#define TESTS_UNIT_TEST_VHU_BDEV_RIG_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "test_bdev_fixture.h"
#include "test_vhu_bdev_fixture.h"
#include "vblk/bdev/bdev.h"

#define QUEUES	    FX_QUEUES
#define DEPTH	    16u
#define DATA_BYTES  (256u * 1024u)
#define PATIENCE_MS 10000

struct test_io {
	struct bdev_io io;
	struct iovec iov[64];
	int done_cnt;
	int result;
};

/*
 * @data: how this process sees the driver's memory; @forbidden: what the backend is given as
 * its address, where nothing can be read or written.
 */
extern struct vhu_bdev_rig {
	struct loop loops[QUEUES];
	struct bdev_queue *bqs[QUEUES];
	struct test_io ios[QUEUES][DEPTH];
	uint8_t *data, *forbidden;
	int data_fd;
	struct memmap *map;
} rig;

void rig_setup(void);
/* The server, the backend and its queues. */
void rig_start(void);
void rig_teardown(void);

/* @at: in the driver's memory. Not committed. */
struct test_io *rig_begin(unsigned int queue, unsigned int slot, enum bdev_op op,
			  uint64_t offset_bytes, uint64_t len_bytes, uint32_t at);
void rig_commit(void);
/* The end of one that a test has made itself. */
void rig_io_done(struct bdev_io *io, int result);
/* Until it is done. Returns its result. */
int rig_finish(struct test_io *tio);
/* All of it, in slot 0. */
int rig_io(unsigned int queue, enum bdev_op op, uint64_t offset_bytes, uint64_t len_bytes);
void rig_check_write_read(unsigned int queue, unsigned int seed);

void rig_nap(void);
/* What has come to the queues, and a nap. */
void rig_run(void);
/* Long enough for something to happen that must not. */
void rig_run_a_while(void);

/* What the server has. */
void rig_check_disk(uint32_t offset_bytes, const void *want, size_t len_bytes);
uint8_t rig_disk_byte(uint32_t offset_bytes);

/* Return: false: there was no news. */
bool rig_was_told(int timeout_ms);

#endif
