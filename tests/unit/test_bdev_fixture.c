/* SPDX-License-Identifier: MIT */
#include "test_bdev_fixture.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fx_skip_without_uring(void)
{
	struct loop loop;
	int r = loop_init(&loop, 8);

	if (r == -ENOSYS || r == -EPERM) {
		printf("SKIP: io_uring is not allowed here\n");
		exit(77);
	}
	loop_fini(&loop);
}

void fx_start(struct fx *fx, const struct bdev_params *params)
{
	int r;

	memset(fx, 0, sizeof(*fx));
	ck_assert_int_eq(loop_init(&fx->loop, 32), 0);
	r = bdev_open(params, &fx->bdev, fx->why);
	ck_assert_msg(r == 0, "open '%s': %d: %s", params->spec, r, fx->why);
	ck_assert_int_eq(bdev_queue_new(fx->bdev, &fx->loop, FX_DEPTH, &fx->bq), 0);
}

void fx_stop(struct fx *fx)
{
	for (unsigned int i = 0; i < FX_DEPTH; i++)
		ck_assert_int_le(fx->ios[i].done_cnt, 1);
	bdev_queue_free(fx->bq);
	bdev_close(fx->bdev);
	loop_fini(&fx->loop);
}

static void fx_done(struct bdev_io *io, int result)
{
	struct fx_io *fio = container_of(io, struct fx_io, io);

	fio->done_cnt++;
	fio->result = result;
}

struct fx_io *fx_begin(struct fx *fx, unsigned int slot_idx, enum bdev_op op, uint64_t offset_bytes,
		       uint64_t len_bytes, const struct iovec *iov, unsigned int iov_cnt)
{
	struct fx_io *fio = &fx->ios[slot_idx];

	*fio = (struct fx_io){
		.io = { .op = op,
			.slot_idx = slot_idx,
			.offset_bytes = offset_bytes,
			.len_bytes = len_bytes,
			.iov = iov,
			.iov_cnt = iov_cnt,
			.done = fx_done },
	};
	bdev_submit(fx->bq, &fio->io);
	return fio;
}

int fx_finish(struct fx *fx, struct fx_io *fio)
{
	bdev_commit(fx->bq);
	while (!fio->done_cnt)
		ck_assert_int_ge(loop_wait(&fx->loop), 0);
	ck_assert_int_eq(fio->done_cnt, 1);
	return fio->result;
}

int fx_rw(struct fx *fx, enum bdev_op op, uint64_t offset_bytes, void *buf, size_t len_bytes)
{
	struct iovec iov = { buf, len_bytes };

	return fx_finish(fx, fx_begin(fx, 0, op, offset_bytes, len_bytes, &iov, 1));
}

int fx_range(struct fx *fx, enum bdev_op op, unsigned int flags, uint64_t offset_bytes,
	     uint64_t len_bytes)
{
	struct fx_io *fio = &fx->ios[0];

	*fio = (struct fx_io){
		.io = { .op = op,
			.flags = flags,
			.offset_bytes = offset_bytes,
			.len_bytes = len_bytes,
			.done = fx_done },
	};
	bdev_submit(fx->bq, &fio->io);
	return fx_finish(fx, fio);
}

void fx_pattern(void *buf, size_t len, unsigned int seed)
{
	uint8_t *p = buf;
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = (uint8_t)(x >> 24);
	}
}
