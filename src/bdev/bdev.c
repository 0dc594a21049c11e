/* SPDX-License-Identifier: MIT */
#include "vblk/bdev/bdev.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bdev_priv.h"
#include "vblk/util/iov.h"
#include "vblk/util/math.h"

#define KNOWN_SCHEMES "null:SIZE, mem:SIZE, file:PATH, vhost-user:PATH, fault:RULES:BACKEND"

static const struct {
	const char *scheme;
	const struct bdev_ops *ops;
} registry[] = {
	{ "null", &bdev_null_ops },   { "mem", &bdev_mem_ops },
	{ "file", &bdev_uring_ops },  { "vhost-user", &bdev_vhost_user_ops },
	{ "fault", &bdev_fault_ops },
};

const char *bdev_op_str(enum bdev_op op)
{
	switch (op) {
	case BDEV_READ:
		return "read";
	case BDEV_WRITE:
		return "write";
	case BDEV_FLUSH:
		return "flush";
	case BDEV_DISCARD:
		return "discard";
	case BDEV_WRITE_ZEROES:
		return "write-zeroes";
	case BDEV_SECURE_ERASE:
		return "secure-erase";
	}
	return "unknown";
}

/* Length of a leading "scheme:" without the colon; 0 when there is none. */
static size_t scheme_len(const char *spec)
{
	size_t len = 0;

	while (isalnum((unsigned char)spec[len]) || spec[len] == '-')
		len++;
	return spec[len] == ':' ? len : 0;
}

static int find_ops(const char *spec, const struct bdev_ops **ret_ops, char why[BDEV_WHY_MAX])
{
	size_t len = scheme_len(spec);

	for (size_t i = 0; len && i < ARRAY_SIZE(registry); i++) {
		if (strlen(registry[i].scheme) == len && !memcmp(spec, registry[i].scheme, len)) {
			*ret_ops = registry[i].ops;
			return 0;
		}
	}
	/* A file may well be called "a:b"; one that exists is meant. */
	if (len && access(spec, F_OK) < 0)
		return bdev_why(why, -EINVAL,
				"'%s' is neither a file nor a known kind of backend (" KNOWN_SCHEMES
				", or a path)",
				spec);
	*ret_ops = &bdev_uring_ops;
	return 0;
}

bool bdev_is_connected(const char *spec)
{
	while (!strncmp(spec, "fault:", strlen("fault:"))) {
		spec = strchr(spec + strlen("fault:"), ':');
		if (!spec)
			return false;
		spec++;
	}
	return !strncmp(spec, "vhost-user:", strlen("vhost-user:"));
}

int bdev_open(const struct bdev_params *params, struct bdev **ret_bdev, char why[BDEV_WHY_MAX])
{
	const struct bdev_ops *ops = NULL;
	int r;

	if (!params->spec || !*params->spec)
		return bdev_why(why, -EINVAL, "no backend given (a path, " KNOWN_SCHEMES ")");
	r = find_ops(params->spec, &ops, why);
	if (!ops)
		return r;
	return ops->open(params, ret_bdev, why);
}

void bdev_close(struct bdev *bdev)
{
	if (bdev)
		bdev->ops->close(bdev);
}

int bdev_resize(struct bdev *bdev, const char *spec, uint64_t want_bytes, uint64_t *ret_size_bytes,
		char why[BDEV_WHY_MAX])
{
	uint32_t block_bytes = bdev->limits.logical_block_bytes;
	uint64_t size_bytes = 0;
	int r;

	r = bdev->ops->resize(bdev, want_bytes, &size_bytes);
	if (r == -EROFS)
		return bdev_why(why, r,
				"'%s' is attached read-only and not that long, so it would have to "
				"be grown first by somebody else",
				spec);
	if (r < 0 && want_bytes)
		return bdev_why(why, r, "cannot grow '%s' to %" PRIu64 " bytes: %s", spec,
				want_bytes, strerror(-r));
	if (r < 0)
		return bdev_why(why, r, "cannot ask '%s' for its size: %s", spec, strerror(-r));
	size_bytes = align_down(size_bytes, block_bytes);
	if (size_bytes < want_bytes)
		return bdev_why(why, -ENOSPC, "'%s' has only %" PRIu64 " bytes; grow it first",
				spec, size_bytes);
	if (!size_bytes)
		return bdev_why(why, -EINVAL, "'%s' has not even one block of %" PRIu32 " bytes",
				spec, block_bytes);
	*ret_size_bytes = size_bytes;
	return 0;
}

int bdev_news_fd(const struct bdev *bdev)
{
	return bdev->ops->news_fd ? bdev->ops->news_fd(bdev) : -1;
}

uint64_t bdev_size_told(struct bdev *bdev)
{
	return align_down(bdev->ops->size_told(bdev), bdev->limits.logical_block_bytes);
}

int bdev_server(const struct bdev *bdev, char why[BDEV_WHY_MAX])
{
	return bdev->ops->server ? bdev->ops->server(bdev, why) : 0;
}

int bdev_hand_over(const struct bdev *bdev, struct bdev_handover *ret_handover)
{
	if (!bdev->ops->hand_over || !bdev->ops->take_over)
		return -EOPNOTSUPP;
	*ret_handover = (struct bdev_handover){
		.kind = bdev->ops->name,
		.limits = bdev->limits,
		.length_align_bytes = 1,
	};
	bdev->ops->hand_over(bdev, ret_handover);
	return 0;
}

int bdev_take_over(const struct bdev_params *params, const struct bdev_handover *handover,
		   struct bdev **ret_bdev)
{
	for (size_t i = 0; i < ARRAY_SIZE(registry); i++) {
		const struct bdev_ops *ops = registry[i].ops;

		if (strcmp(ops->name, handover->kind) != 0)
			continue;
		if (!ops->take_over)
			return -EOPNOTSUPP;
		return ops->take_over(params, handover, ret_bdev);
	}
	return -EINVAL;
}

int bdev_queue_new(struct bdev *bdev, struct loop *loop, unsigned int depth,
		   struct bdev_queue **ret_bq)
{
	struct bdev_queue *bq;
	int r;

	if (!depth)
		return -EINVAL;
	r = bdev->ops->queue_new(bdev, loop, depth, &bq);
	if (r < 0)
		return r;
	bq->bdev = bdev;
	bq->loop = loop;
	bq->depth = depth;
	*ret_bq = bq;
	return 0;
}

void bdev_queue_free(struct bdev_queue *bq)
{
	if (bq)
		bq->bdev->ops->queue_free(bq);
}

void bdev_map_changed(struct bdev_queue *bq, const struct memmap *map)
{
	bq->bdev->ops->map_changed(bq, map);
}

static inline __attribute__((always_inline)) int check_range(const struct bdev_limits *lim,
							     const struct bdev_io *io)
{
	if (!io->len_bytes ||
	    !is_aligned(io->offset_bytes | io->len_bytes, lim->logical_block_bytes))
		return -EINVAL;
	return range_fits(io->offset_bytes, io->len_bytes, bdev_limits_capacity(lim)) ? 0 : -EINVAL;
}

static int check_data(const struct bdev_limits *lim, const struct bdev_io *io)
{
	/* Buffers longer than the range would reach blocks nobody asked for. */
	if (iov_total_bytes(io->iov, io->iov_cnt) != io->len_bytes)
		return -EINVAL;
	return check_range(lim, io);
}

static int check_ranged_op(const struct bdev_limits *lim, const struct bdev_io *io,
			   uint64_t max_bytes)
{
	if (lim->read_only)
		return -EROFS;
	if (!max_bytes)
		return -EOPNOTSUPP;
	return io->len_bytes <= max_bytes ? check_range(lim, io) : -EINVAL;
}

/* Apart, so that the usual way stays small. */
static __attribute__((noinline)) int check_other(const struct bdev_limits *lim,
						 const struct bdev_io *io)
{
	switch (io->op) {
	case BDEV_READ:
		break;
	case BDEV_WRITE:
		return -EROFS;
	case BDEV_FLUSH:
		return 0;
	case BDEV_DISCARD:
		return check_ranged_op(lim, io, lim->max_discard_bytes);
	case BDEV_WRITE_ZEROES:
		return check_ranged_op(lim, io, lim->max_write_zeroes_bytes);
	case BDEV_SECURE_ERASE:
		return check_ranged_op(lim, io, lim->max_secure_erase_bytes);
	}
	return -EOPNOTSUPP;
}

static int check_io(const struct bdev_limits *lim, const struct bdev_io *io)
{
	if (io->op == BDEV_READ || (io->op == BDEV_WRITE && !lim->read_only))
		return check_data(lim, io);
	return check_other(lim, io);
}

void bdev_submit(struct bdev_queue *bq, struct bdev_io *io)
{
	int r = io->slot_idx < bq->depth ? check_io(&bq->bdev->limits, io) : -EINVAL;

	if (r < 0)
		io->done(io, r);
	else
		bq->bdev->ops->submit(bq, io);
}

void bdev_commit(struct bdev_queue *bq)
{
	bq->bdev->ops->commit(bq);
}
