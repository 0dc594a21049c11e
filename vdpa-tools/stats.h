/* SPDX-License-Identifier: MIT */
/* The statistics of a device as vblkctl works with them. */
#ifndef VBLKCTL_STATS_H
#define VBLKCTL_STATS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "vblk/stats/stats.h"
#include "vblk/util/compiler.h"

/* By enum bdev_op, as GetStats names them. */
extern const char *const stats_op_names[STATS_OP_CNT];
enum {
	STATS_READ,
	STATS_WRITE
};

/**
 * stats_ask() - GetStats of device @name
 * Return: 0 and an owned object; -EOPNOTSUPP its daemon is older than this; -errno nobody
 *         answers.
 */
int stats_ask(const char *name, json_t **ret_stats) VBLK_MUST_CHECK;

/* Numbers of an entry of per_queue, or of total; what is missing or odd is 0. */
void stats_read_counters(const json_t *counters, struct stats_queue *ret_stats);
/* total and latency of GetStats' reply. */
void stats_read(const json_t *stats, struct stats_queue *ret_stats);

/* @stats -= @before; false, and nothing changed, when it counts from a later zero. */
bool stats_subtract(struct stats_queue *stats, const struct stats_queue *before);

/* The latency that @percent of these requests stayed below, up to 25 % above it; 0: no request */
uint64_t stats_percentile_ns(const uint64_t latency[STATS_BUCKET_CNT], unsigned int percent);

#define STATS_NUMBER_MAX 16
/* At most five characters and "-" for none: "999", "12.3k"; "850n", "12.3u", "4.5s". Return: @buf
 */
const char *stats_format_rate(double per_second, char buf[STATS_NUMBER_MAX]);
const char *stats_format_ns(double ns, char buf[STATS_NUMBER_MAX]);

void stats_print_head(FILE *f);
/**
 * stats_print_row() - one device, at most 80 columns
 * @stats: what happened in @seconds; NULL: nobody answers
 */
void stats_print_row(FILE *f, const char *name, const struct stats_queue *stats, double seconds);

#endif
