/* SPDX-License-Identifier: MIT */
/* Settling sizes with the administrator, in sentences. */
#include "bdev_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vblk/util/math.h"
#include "vblk/util/parse.h"

int bdev_why(char why[BDEV_WHY_MAX], int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, BDEV_WHY_MAX, fmt, ap);
	va_end(ap);
	return err;
}

static int check_logical(const struct bdev_params *params, uint32_t need_bytes,
			 char why[BDEV_WHY_MAX])
{
	uint32_t asked = params->logical_block_bytes;

	if (!is_power_of_two(asked) || asked < BDEV_LOGICAL_BLOCK_MIN_BYTES ||
	    asked > BDEV_LOGICAL_BLOCK_MAX_BYTES)
		return bdev_why(why, -EINVAL,
				"block size %" PRIu32 " is not 512, 1024, 2048 or 4096", asked);
	if (asked < need_bytes)
		return bdev_why(why, -EINVAL,
				"block size %" PRIu32 " is too small for '%s': it needs at least "
				"%" PRIu32 "%s",
				asked, params->spec, need_bytes,
				params->direct ? " (without --direct it may need less)" : "");
	return 0;
}

static int check_physical(uint32_t asked, uint32_t logical_bytes, char why[BDEV_WHY_MAX])
{
	if (!is_power_of_two(asked) || asked > BDEV_PHYSICAL_BLOCK_MAX_BYTES)
		return bdev_why(why, -EINVAL,
				"physical block size %" PRIu32 " is not a power of two up to 1M",
				asked);
	if (asked < logical_bytes)
		return bdev_why(why, -EINVAL,
				"physical block size %" PRIu32
				" is smaller than the block size %" PRIu32,
				asked, logical_bytes);
	return 0;
}

int bdev_set_block_sizes(const struct bdev_params *params, uint32_t need_bytes,
			 uint32_t physical_bytes, struct bdev_limits *limits,
			 char why[BDEV_WHY_MAX])
{
	uint32_t logical = MAX(need_bytes, BDEV_LOGICAL_BLOCK_MIN_BYTES);
	int r;

	if (params->logical_block_bytes) {
		r = check_logical(params, need_bytes, why);
		if (r < 0)
			return r;
		logical = params->logical_block_bytes;
	}
	if (logical > BDEV_LOGICAL_BLOCK_MAX_BYTES)
		return bdev_why(why, -EOPNOTSUPP,
				"'%s' needs blocks of %" PRIu32 " bytes; at most 4096 can be shown",
				params->spec, logical);

	physical_bytes = MAX(physical_bytes, logical);
	if (params->physical_block_bytes) {
		r = check_physical(params->physical_block_bytes, logical, why);
		if (r < 0)
			return r;
		physical_bytes = params->physical_block_bytes;
	}
	limits->logical_block_bytes = logical;
	limits->physical_block_bytes = physical_bytes;
	return 0;
}

int bdev_set_capacity(const struct bdev_params *params, uint64_t size_bytes,
		      struct bdev_limits *limits, char why[BDEV_WHY_MAX])
{
	limits->capacity_bytes = align_down(size_bytes, limits->logical_block_bytes);
	if (!limits->capacity_bytes)
		return bdev_why(why, -EINVAL,
				"'%s' has %" PRIu64 " bytes, less than one block of %" PRIu32,
				params->spec, size_bytes, limits->logical_block_bytes);
	return 0;
}

int bdev_set_sized_limits(const struct bdev_params *params, struct bdev_limits *limits,
			  char why[BDEV_WHY_MAX])
{
	const char *size = strchr(params->spec, ':');
	uint64_t size_bytes;
	int r;

	r = size ? parse_size_bytes(size + 1, &size_bytes) : -EINVAL;
	if (r < 0)
		return bdev_why(why, -EINVAL,
				"'%s': the size is not a number with K, M, G or T, for example 10G",
				params->spec);
	r = bdev_set_block_sizes(params, BDEV_LOGICAL_BLOCK_MIN_BYTES, 4096, limits, why);
	if (r < 0)
		return r;
	limits->buf_align_bytes = 1;
	limits->read_only = params->read_only;
	return bdev_set_capacity(params, size_bytes, limits, why);
}
