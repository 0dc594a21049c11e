/* SPDX-License-Identifier: MIT */
/*
 * The file of the requests in flight: a page that says which device, driver
 * ring shape and boot it belongs to, then one vq_inflight record a queue. It is
 * mapped by the worker, outlives it, and is checked before it is believed.
 */
#ifndef VBLKD_INFLIGHT_FILE_H
#define VBLKD_INFLIGHT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "vblk/bdev/bdev_direct.h"
#include "vblk/util/compiler.h"
#include "vblk/vdev/vdev.h"

struct inflight_file {
	void *base;
	size_t len_bytes;
};

/**
 * struct inflight_news - how far the news of a resize got, so that each is told once
 * @decided: number of the size that the disk has; the keeper's, counted by resizes
 * @told: number of the size that the driver knows; the worker's
 */
struct inflight_news {
	uint32_t decided;
	uint32_t told;
};

/**
 * inflight_file_create() - a fresh file in the run directory, mapped
 * inflight_file_adopt()  - take over the one a dead keeper left
 *
 * Return: 0; adopt: -ENOENT there is none; -ESTALE it is of another boot, device or
 *         shape (@why says which: the device then cannot be taken over as asked);
 *         -ENODEV it is of an earlier device, which had the same name;
 *         -EPERM it is not ours alone, so anybody may have written it;
 *         other -errno.
 * @device_id: host_vduse_id() of the device; 0 = not known, or it can be no other
 * @ret_capacity_bytes: of the disk as the driver knows it, or is about to. The backend may have
 *         another size by now.
 */
int inflight_file_create(int dir_fd, const struct vblkd_config *config,
			 const struct blk_params *blk, uint64_t device_id,
			 struct inflight_file *ret_file) VBLK_MUST_CHECK;
int inflight_file_adopt(int dir_fd, const struct vblkd_config *config, const struct blk_params *blk,
			uint64_t device_id, struct inflight_file *ret_file,
			uint64_t *ret_capacity_bytes, char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/**
 * inflight_file_without_records() - no file, and only what is known of resizes, shared with workers
 * For a device whose record of requests in flight is kept by its client.
 */
int inflight_file_without_records(struct inflight_file *ret_file) VBLK_MUST_CHECK;

/*
 * The disk has another size from now on, also for a successor, which tells the driver should
 * nobody have done it before. Return: the number of that size.
 */
uint32_t inflight_file_set_capacity(struct inflight_file *file, uint64_t capacity_bytes);
struct inflight_news *inflight_file_news(const struct inflight_file *file);
/* With --direct-rings: whose the rings are, and with them what is in flight. */
struct bdev_direct_record *inflight_file_direct(const struct inflight_file *file);

/**
 * inflight_file_check() - would inflight_file_adopt() take it, as far as the options tell?
 * Needs no backend, so it can be asked while a predecessor still has that locked.
 * Return, @why: as inflight_file_adopt()
 */
int inflight_file_check(int dir_fd, const struct vblkd_config *config, uint64_t device_id,
			char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/* The records, queue after queue. */
void *inflight_file_records(const struct inflight_file *file);

/**
 * inflight_file_oldest() - the oldest request that each queue holds
 * @ret_seq: by queue: a number that no later request of the queue has, 0 = holds none
 * Works whether or not a worker is alive; the answer may be old when it comes.
 */
void inflight_file_oldest(const struct inflight_file *file, const struct blk_params *blk,
			  uint64_t ret_seq[VDEV_QUEUES_MAX]);

void inflight_file_close(struct inflight_file *file);

#endif
