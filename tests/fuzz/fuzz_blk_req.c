/* SPDX-License-Identifier: MIT */
/*
 * The request core over any framing and any content.
 *
 * Input: one byte of disk properties, number of readable and of writable buffers (a byte
 * each), a little-endian 16-bit length for each buffer, then what the readable
 * buffers hold (zeroes where the input ends). The corpus is made by this layout.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/blk/blk_req.h"
#include "vblk/util/math.h"

#define BUFFERS_MAX    32u
#define BUFFER_LEN_MAX 8192u

#define DISK_READ_ONLY	 1u
#define DISK_BLOCK_4K	 2u
#define DISK_NO_RANGES	 4u
#define DISK_HUGE	 8u
#define DISK_SHORT_RANGE 16u

#define REQUIRE(cond)            \
	do {                     \
		if (!(cond))     \
			abort(); \
	} while (0)

struct input {
	const uint8_t *data;
	size_t len;
};

static uint8_t take_u8(struct input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

static struct blk_params take_disk(struct input *in)
{
	uint8_t bits = take_u8(in);
	struct bdev_limits limits = {
		.capacity_bytes = bits & DISK_HUGE ? UINT64_MAX & ~4095ull : 1 << 20,
		.logical_block_bytes = bits & DISK_BLOCK_4K ? 4096 : 512,
		.physical_block_bytes = 4096,
		.buf_align_bytes = 1,
		.read_only = bits & DISK_READ_ONLY,
		.volatile_cache = true,
		.write_zeroes_may_unmap = !(bits & DISK_SHORT_RANGE),
	};
	uint64_t max_bytes = bits & DISK_SHORT_RANGE ? 64 * 1024 : UINT64_MAX;
	struct blk_params params;

	if (!(bits & DISK_NO_RANGES)) {
		limits.max_discard_bytes = max_bytes;
		limits.max_write_zeroes_bytes = max_bytes;
		limits.max_secure_erase_bytes = max_bytes;
	}
	blk_params_init(&params, &limits, 1, 256, "fuzz");
	return params;
}

static void take_buffers(struct input *in, struct iovec *iov, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++) {
		size_t len = take_u8(in);

		len |= (size_t)take_u8(in) << 8;
		len %= BUFFER_LEN_MAX + 1;
		/* Each alone, so that ASan sees a step outside. */
		iov[i].iov_base = calloc(1, len ? len : 1);
		iov[i].iov_len = len;
		REQUIRE(iov[i].iov_base);
	}
}

static void fill_buffers(struct input *in, const struct iovec *iov, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++) {
		size_t n = MIN(iov[i].iov_len, in->len);

		memcpy(iov[i].iov_base, in->data, n);
		in->data += n;
		in->len -= n;
	}
}

static bool lies_in(const void *p, size_t len, const struct iovec *iov, unsigned int cnt)
{
	for (unsigned int i = 0; i < cnt; i++) {
		uintptr_t first = (uintptr_t)iov[i].iov_base, at = (uintptr_t)p;

		if (at >= first && range_fits(at - first, len, iov[i].iov_len))
			return true;
	}
	return false;
}

/* @iov: the buffers as they were given, of the side that the data must be on */
static void check_data(const struct blk_req *req, const struct iovec *iov, unsigned int cnt)
{
	uintptr_t status = (uintptr_t)req->status_byte;
	uint64_t total = 0;

	for (unsigned int i = 0; i < req->data_cnt; i++) {
		uintptr_t at = (uintptr_t)req->data[i].iov_base;
		size_t len = req->data[i].iov_len;

		total += len;
		if (!len)
			continue;
		REQUIRE(lies_in(req->data[i].iov_base, len, iov, cnt));
		REQUIRE(status < at || status >= at + len);
	}
	REQUIRE(total == req->ranges[0].len_bytes);
}

static void check_io(const struct blk_params *params, const struct blk_req *req)
{
	const struct bdev_limits *limits = &params->limits;

	REQUIRE(req->op < BDEV_OP_CNT);
	REQUIRE(req->range_cnt >= 1 && req->range_cnt <= BLK_RANGES_MAX);
	if (req->op <= BDEV_FLUSH)
		REQUIRE(req->range_cnt == 1);
	if (limits->read_only)
		REQUIRE(req->op == BDEV_READ || req->op == BDEV_FLUSH);
	for (unsigned int i = 0; i < req->range_cnt; i++) {
		const struct blk_range *range = &req->ranges[i];

		REQUIRE(range_fits(range->offset_bytes, range->len_bytes, limits->capacity_bytes));
		REQUIRE(is_aligned(range->offset_bytes | range->len_bytes,
				   limits->logical_block_bytes));
		REQUIRE((range->len_bytes == 0) == (req->op == BDEV_FLUSH));
		REQUIRE(!range->flags ||
			(req->op == BDEV_WRITE_ZEROES && range->flags == BDEV_IO_MAY_UNMAP));
	}
	if (req->op == BDEV_READ)
		REQUIRE(req->written_bytes == req->ranges[0].len_bytes);
	else
		REQUIRE(req->written_bytes == 0);
}

static void check(const struct blk_params *params, const struct blk_req *req,
		  const struct iovec *iov, unsigned int readable_cnt, unsigned int writable_cnt)
{
	const struct iovec *writable = iov + readable_cnt;

	if (req->action == BLK_ACTION_DISCARD_CHAIN) {
		for (unsigned int i = 0; i < writable_cnt; i++)
			REQUIRE(!writable[i].iov_len);
		return;
	}
	REQUIRE(lies_in(req->status_byte, 1, writable, writable_cnt));
	if (req->action == BLK_ACTION_REPLY) {
		REQUIRE(req->status <= VIRTIO_BLK_S_UNSUPP);
		REQUIRE(req->written_bytes <= BLK_SERIAL_BYTES);
		return;
	}
	REQUIRE(req->action == BLK_ACTION_IO);
	check_io(params, req);
	if (req->op == BDEV_READ)
		check_data(req, writable, writable_cnt);
	else if (req->op == BDEV_WRITE)
		check_data(req, iov, readable_cnt);
	else
		REQUIRE(!req->data_cnt);
}

/* Of all bytes in the buffers. */
static uint64_t hash_of(const struct iovec *iov, unsigned int cnt)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (unsigned int i = 0; i < cnt; i++) {
		const uint8_t *p = iov[i].iov_base;

		for (size_t at = 0; at < iov[i].iov_len; at++)
			hash = (hash ^ p[at]) * 0x100000001b3ull;
	}
	return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	struct blk_params params = take_disk(&in);
	unsigned int readable_cnt = take_u8(&in) % (BUFFERS_MAX + 1);
	unsigned int writable_cnt = take_u8(&in) % (BUFFERS_MAX + 1);
	struct iovec given[2 * BUFFERS_MAX], iov[2 * BUFFERS_MAX];
	struct blk_req req;
	uint64_t readable_hash;

	take_buffers(&in, given, readable_cnt + writable_cnt);
	fill_buffers(&in, given, readable_cnt);
	memcpy(iov, given, sizeof(iov[0]) * (readable_cnt + writable_cnt));
	memset(&req, 0xa5, sizeof(req));
	readable_hash = hash_of(given, readable_cnt);

	blk_req_parse(&params, iov, readable_cnt, writable_cnt, &req);
	check(&params, &req, given, readable_cnt, writable_cnt);
	if (req.action != BLK_ACTION_DISCARD_CHAIN)
		*req.status_byte = req.status;
	REQUIRE(hash_of(given, readable_cnt) == readable_hash);
	for (unsigned int i = 0; i < readable_cnt + writable_cnt; i++)
		free(given[i].iov_base);
	return 0;
}
