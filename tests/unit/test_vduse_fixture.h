/* SPDX-License-Identifier: MIT */
/* A device between the fake kernel and the fake backend, and shorthand for tests. */
#ifndef TESTS_UNIT_TEST_VDUSE_FIXTURE_H
#define TESTS_UNIT_TEST_VDUSE_FIXTURE_H

#include <check.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <sys/ioctl.h>

#include <linux/vduse.h>

#include "fake_bdev.h"
#include "fake_vduse_sys.h"
#include "vblk/vduse/vduse_ctl.h"
#include "vblk/vduse/vduse_dev.h"

#define RIG_QUEUE_SIZE 64u
#define RIG_EVENTS     (VDUSE_EVENT_BROKEN + 1)

struct rig {
	struct fake_vduse *k;
	struct fake_bdev *fake;
	struct bdev *bdev;	     /* instead of the fake one; not NULL: @blk is its */
	const struct vduse_sys *sys; /* instead of the fake kernel's; may be NULL */
	struct blk_params blk;
	struct vduse_dev *dev;
	uint8_t *inflight;
	uint32_t size_number; /* of the capacity that the device begins with */
	uint32_t size_told;
	unsigned int events[RIG_EVENTS];
	int last_arg;
	uint32_t deadline_ms;
	enum vduse_umem umem;
	int umem_fd;
	uint64_t features; /* what the driver acknowledges */
};

/* The one rig of a test; @queue_cnt queues. The device is not made yet. */
struct rig *rig_new(unsigned int queue_cnt);
void rig_free(struct rig *rig);
/* Returns what vduse_dev_new() does. */
int rig_start(struct rig *rig);
/* Sends a status, handles it at once, returns the answer or FAKE_VDUSE_PENDING. */
int rig_status(struct rig *rig, uint8_t status);
/* Handles queue events until message @id is answered; returns the answer. */
int rig_wait_answer(struct rig *rig, uint32_t id);
/* Handles queue events until @event was seen @cnt times. */
void rig_wait_event(struct rig *rig, enum vduse_event event, unsigned int cnt);
/* Waits for the next deadline and handles it. */
void rig_pass_deadline(struct rig *rig);
/* The whole probe; @size of the rings, the first @ready_cnt of them used. */
void rig_probe(struct rig *rig, uint16_t size, unsigned int ready_cnt);
/* rig_new(), rig_start(), rig_probe() with everything. */
struct rig *rig_up(unsigned int queue_cnt);
/* Status 0 and its answer, whatever it has to wait for. */
int rig_reset(struct rig *rig);

struct ring_blk_req rig_read(struct rig *rig, unsigned int idx, uint64_t sector);
struct ring_blk_req rig_write(struct rig *rig, unsigned int idx, uint64_t sector, uint8_t byte);
void rig_wait_done(struct rig *rig, unsigned int idx, const struct ring_blk_req *req);
/* Writes, reads back, compares, on queue @idx. The backend must complete by itself. */
void rig_check_io(struct rig *rig, unsigned int idx);

Suite *vduse_adopt_suite(void);
Suite *vduse_ctl_suite(void);
Suite *vduse_memory_suite(void);
Suite *vduse_reset_suite(void);
Suite *vduse_resize_suite(void);

#endif
