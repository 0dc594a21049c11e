/* SPDX-License-Identifier: MIT */
/*
 * The VDUSE driver of the kernel together with virtio_vdpa, as far as a daemon
 * can see them, in this process: an exclusive device node, messages, IOTLB
 * entries backed by a file, kicks, interrupts, UMEM. It refuses what the
 * kernel refuses (sections 1 to 3 of its source: drivers/vdpa/vdpa_user).
 *
 *	struct fake_vduse *k = fake_vduse_new(2, 64);
 *	... vduse_ctl_open_dev(fake_vduse_sys(k), "disk", &fd), vduse_dev_new() ...
 *	id = fake_vduse_send_status(k, 0x00);
 *	vduse_dev_handle(dev);
 *	ck_assert_int_eq(fake_vduse_answer(k, id), VDUSE_REQ_RESULT_OK);
 *	fake_vduse_probe(k, 64, 2, features);
 *	... FEATURES_OK, DRIVER_OK ...
 *	fake_vduse_submit(k, 0, &spec, &req);
 *	fake_vduse_wait_irq(k, 0, 1);
 *
 * Threads: any, except that each ring belongs to one.
 */
#ifndef TESTS_FAKE_VDUSE_SYS_H
#define TESTS_FAKE_VDUSE_SYS_H

#include <stdbool.h>
#include <stdint.h>

#include "ring_builder.h"
#include "vblk/vduse/vduse_sys.h"

#define FAKE_VDUSE_BOUNCE_BYTES (1u << 20)
#define FAKE_VDUSE_QUEUES_MAX	4u
/* Answers besides VDUSE_REQ_RESULT_*. */
#define FAKE_VDUSE_PENDING (-1)
#define FAKE_VDUSE_LOST	   (-2)

struct fake_vduse;

/* A created device with its queues set up, attached but not probed. */
struct fake_vduse *fake_vduse_new(unsigned int queue_cnt, uint16_t queue_size);
void fake_vduse_free(struct fake_vduse *k);
const struct vduse_sys *fake_vduse_sys(struct fake_vduse *k);

/* Queues a message; returns its id. */
uint32_t fake_vduse_send_status(struct fake_vduse *k, uint8_t status);
uint32_t fake_vduse_send(struct fake_vduse *k, uint32_t type, uint32_t arg);
/* VDUSE_REQ_RESULT_*, FAKE_VDUSE_PENDING, FAKE_VDUSE_LOST. */
int fake_vduse_answer(struct fake_vduse *k, uint32_t id);
/* avail_index of the last answer to VDUSE_GET_VQ_STATE. */
uint16_t fake_vduse_answered_state(struct fake_vduse *k);
/* The kernel loses patience with message @id: broken for ever. */
void fake_vduse_time_out(struct fake_vduse *k, uint32_t id);
/* Whoever waited for message @id was killed. */
void fake_vduse_forget(struct fake_vduse *k, uint32_t id);

/* As if a predecessor had answered up to @status. */
void fake_vduse_set_status(struct fake_vduse *k, uint8_t status);
/* What the driver acknowledged, without its rings. */
void fake_vduse_set_features(struct fake_vduse *k, uint64_t features);
/*
 * The driver's find_vqs: new pages for everything, @ready_cnt rings of @size. The
 * addresses are those of the time before: who kept a mapping sees the old pages.
 */
void fake_vduse_probe(struct fake_vduse *k, uint16_t size, unsigned int ready_cnt,
		      uint64_t features);
/* One more queue is set up late. */
void fake_vduse_set_ready(struct fake_vduse *k, unsigned int idx);
struct ring *fake_vduse_ring(struct fake_vduse *k, unsigned int idx);
/* The driver's own access rights to memory: VDUSE_ACCESS_*. */
void fake_vduse_set_ring_perm(struct fake_vduse *k, uint8_t perm);

/* The driver maps a request, which makes the bounce area appear. */
void fake_vduse_build(struct fake_vduse *k, unsigned int idx, const struct ring_blk_spec *spec,
		      struct ring_blk_req *ret_req);
void fake_vduse_publish(struct fake_vduse *k, unsigned int idx, uint16_t head);
/* Builds, publishes, kicks. The first one makes the bounce area appear. */
void fake_vduse_submit(struct fake_vduse *k, unsigned int idx, const struct ring_blk_spec *spec,
		       struct ring_blk_req *ret_req);
/* The same, but the kick is lost. */
void fake_vduse_submit_quietly(struct fake_vduse *k, unsigned int idx,
			       const struct ring_blk_spec *spec, struct ring_blk_req *ret_req);
void fake_vduse_kick(struct fake_vduse *k, unsigned int idx);
unsigned int fake_vduse_irq_cnt(struct fake_vduse *k, unsigned int idx);
/* Waits until queue @idx was interrupted @cnt times in all; aborts after 20 s. */
void fake_vduse_wait_irq(struct fake_vduse *k, unsigned int idx, unsigned int cnt);
/* Bytes of disk in the configuration space, and as the driver read it at the last interrupt. */
uint64_t fake_vduse_capacity(struct fake_vduse *k);
uint64_t fake_vduse_capacity_seen(struct fake_vduse *k);
unsigned int fake_vduse_config_irq_cnt(struct fake_vduse *k);
bool fake_vduse_has_kickfd(struct fake_vduse *k, unsigned int idx);

/* The next @cnt calls of ioctl @request end with @err. */
void fake_vduse_fail(struct fake_vduse *k, unsigned long request, int err, unsigned int cnt);
/* How often it was called. */
unsigned int fake_vduse_call_cnt(struct fake_vduse *k, unsigned long request);
/* The kernel does not know UMEM. */
void fake_vduse_no_umem(struct fake_vduse *k);
/* Somebody who shares the open file has registered memory of his. */
void fake_vduse_foreign_umem(struct fake_vduse *k);
bool fake_vduse_has_umem(struct fake_vduse *k);
/* Mappings and descriptors handed out and not given back. */
unsigned int fake_vduse_map_cnt(struct fake_vduse *k);
unsigned int fake_vduse_file_cnt(struct fake_vduse *k);

#endif
