/* SPDX-License-Identifier: MIT */
/* Queue threads between raw rings and the fake backend, with a transport of nothing. */
#ifndef TESTS_UNIT_TEST_VDEV_FIXTURE_H
#define TESTS_UNIT_TEST_VDEV_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "fake_bdev.h"
#include "ring_region.h"
#include "vblk/vdev/vdev.h"

#define QUEUES	    2u
#define RING_SIZE   16u
#define PATIENCE_MS 20000
#define ARENA_BYTES (1u << 20)

extern struct vdev *vdev;
extern struct fake_bdev *fake;
extern struct blk_params blk;
extern struct ring *rings[QUEUES];
extern struct memmap *map;
extern struct vdev_ring conf[QUEUES];
extern int map_err;
extern unsigned int stopped_cnt, broken_cnt, failed_cnt, map_get_cnt, stuck_cnt, unstuck_cnt;
extern unsigned int stuck_ms;
extern int last_err;
extern bool gave_up;
extern bool keep_real_time;
/* In the thread of the queue, which a driver on the same CPU interrupts. True: nobody waits. */
extern bool (*driver_goes_on)(unsigned int idx);

int make(bool sched_batch);
void new_rings(void);
void setup(void);
void setup_adaptive(void);
void setup_polling(void);
extern enum vdev_poll_mode poll_mode;
void pump_until(unsigned int *cnt, unsigned int want);
void stop(void);
void teardown(void);
struct ring_blk_req submit_at(unsigned int idx, uint64_t sector);
struct ring_blk_req submit(unsigned int idx);
void kick(unsigned int idx);
/* Touches no ring. */
void wait_interrupt(unsigned int idx);
void wait_status(unsigned int idx, struct ring_blk_req *req, uint8_t status);
void wait_done(unsigned int idx, struct ring_blk_req *req);

#endif
