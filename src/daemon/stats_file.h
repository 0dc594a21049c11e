/* SPDX-License-Identifier: MIT */
/*
 * Where the statistics of a device are: the file "stats" of its run directory,
 * mapped by keeper and worker. It outlives both, so that figures count from the
 * attach on. A page that says what the layout is, then a stats_queue for each
 * queue, each written by the one thread that serves it.
 *
 * Figures are a convenience: whatever is wrong with the file, a new one from
 * zero takes its place.
 */
#ifndef VBLKD_STATS_FILE_H
#define VBLKD_STATS_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "vblk/stats/stats.h"
#include "vblk/util/compiler.h"

/* @base: NULL while closed; @since_ns: CLOCK_MONOTONIC when it was made */
struct stats_file {
	void *base;
	size_t len_bytes;
	uint64_t since_ns;
};

/**
 * stats_file_create() - a file from zero, mapped; replaces what is there
 * Return: 0; -errno (the filesystem is full, above all).
 */
int stats_file_create(int dir_fd, unsigned int queue_cnt,
		      struct stats_file *ret_file) VBLK_MUST_CHECK;

/* Goes on with the file that is there if it fits, else as stats_file_create(). */
int stats_file_adopt(int dir_fd, unsigned int queue_cnt,
		     struct stats_file *ret_file) VBLK_MUST_CHECK;

/* One for each queue; NULL while it is closed. */
struct stats_queue *stats_file_queues(const struct stats_file *file);

void stats_file_close(struct stats_file *file);

#endif
