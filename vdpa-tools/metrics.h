/* SPDX-License-Identifier: MIT */
/* OpenMetrics text, as Prometheus reads it. */
#ifndef VBLKCTL_METRICS_H
#define VBLKCTL_METRICS_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/**
 * struct metrics_device - one device
 * @status: of GetStatus, or what is left of it; @stats: of GetStats, NULL: nobody answered
 * @node: "/dev/vda" or ""
 */
struct metrics_device {
	const char *name;
	const char *node;
	const json_t *status;
	const json_t *stats;
};

/* All families, each with all devices, and the end mark. */
void metrics_print(FILE *f, const struct metrics_device *devices, size_t cnt);

#endif
