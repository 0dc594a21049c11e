/* SPDX-License-Identifier: MIT */
/*
 * The data path process: no capability, serves the kernel's control messages,
 * the queues and the control socket. When it dies the keeper starts another,
 * which takes over what was in flight.
 */
#ifndef VBLKD_WORKER_H
#define VBLKD_WORKER_H

#include <sys/types.h>
#include <time.h>

#include "config.h"
#include "vblk/bdev/bdev.h"
#include "vblk/bdev/bdev_direct.h"
#include "vblk/blk/blk_config.h"
#include "vblk/stats/stats.h"

/**
 * struct worker_params - inherited from the keeper by fork
 * @door_fd: /dev/vduse/NAME, or the fence (keeper_serve.c) of a worker that serves on @serve_fd
 * @link_fd: to the keeper; @listen_fd: control socket
 * @inflight: records, shared with the successor
 * @size_number: of the capacity in @blk; @size_told: where the number that the driver knows is kept
 * @stats: one for each queue, likewise, and since when (CLOCK_MONOTONIC); NULL: none
 * @umem_fd: memory of the device, kept for the successor; 0 or less = none
 * @direct, @direct_fd: with --direct-rings whose the rings are, and what the server has in flight;
 *           shared as well. NULL: without
 * @is_swap: the host swaps to the disk: inherited real time is kept
 */
struct worker_params {
	const struct vblkd_config *config;
	struct blk_params *blk;
	struct bdev *bdev;
	int door_fd;
	int link_fd;
	int listen_fd;
	int serve_fd;
	void *inflight;
	uint32_t size_number;
	uint32_t *size_told;
	struct stats_queue *stats;
	uint64_t stats_since_ns;
	uint64_t bounce_bytes;
	int umem_fd;
	struct bdev_direct_record *direct;
	int direct_fd;
	bool is_swap;
	pid_t keeper_pid;
	time_t started_at;
	unsigned int upgrades;
};

/* Runs until the keeper says so. Return: exit code. */
int worker_main(const struct worker_params *params);

#endif
