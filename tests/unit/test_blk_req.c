/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"
#include "vblk/blk/blk_req.h"
#include "vblk/util/iov.h"
#include "vblk/util/math.h"

#define HDR	     16u
#define OK	     VIRTIO_BLK_S_OK
#define IOERR	     VIRTIO_BLK_S_IOERR
#define UNSUPP	     VIRTIO_BLK_S_UNSUPP
#define IO	     0xff /* expected: goes to the backend */
#define IOV_ROOM     600
#define SECTORS	     2048u /* of the default disk: 1 MiB */
#define GET_LIFETIME 10u
#define ZONE_REPORT  16u

enum disk {
	DEFAULT,
	READ_ONLY,
	BLOCK_4K,
	BARE,
	SHORT_RANGES,
	HUGE
};

static struct blk_params params_of(enum disk disk)
{
	struct bdev_limits limits = {
		.capacity_bytes = SECTORS * 512,
		.logical_block_bytes = disk == BLOCK_4K ? 4096 : 512,
		.physical_block_bytes = 4096,
		.buf_align_bytes = 1,
		.volatile_cache = true,
		.write_zeroes_may_unmap = disk != SHORT_RANGES,
		.read_only = disk == READ_ONLY,
	};
	struct blk_params params;

	if (disk == HUGE)
		limits.capacity_bytes = UINT64_MAX & ~511ull;
	if (disk != BARE) {
		limits.max_discard_bytes = disk == SHORT_RANGES ? 8 * 512 : UINT64_MAX;
		limits.max_write_zeroes_bytes = disk == SHORT_RANGES ? 16 * 512 : UINT64_MAX;
		limits.max_secure_erase_bytes = disk == SHORT_RANGES ? 4 * 512 : UINT64_MAX;
	} else {
		limits.volatile_cache = false;
	}
	blk_params_init(&params, &limits, 1, 256, "SERIAL-0123456789XYZ");
	return params;
}

/* A request under construction; each buffer is its own allocation, so ASan guards its ends. */
struct chain {
	struct iovec iov[IOV_ROOM];
	unsigned int readable_cnt;
	unsigned int writable_cnt;
	void *owned[IOV_ROOM];
	struct blk_req req;
};

static struct chain chain;

static void chain_reset(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(chain.owned); i++)
		free(chain.owned[i]);
	memset(&chain, 0, sizeof(chain));
	memset(&chain.req, 0xa5, sizeof(chain.req));
}

static uint8_t *chain_add(const void *bytes, size_t len)
{
	unsigned int i = chain.readable_cnt + chain.writable_cnt;

	ck_assert_uint_lt(i, IOV_ROOM);
	chain.owned[i] = malloc(len ? len : 1);
	ck_assert_ptr_nonnull(chain.owned[i]);
	if (bytes)
		memcpy(chain.owned[i], bytes, len);
	else
		memset(chain.owned[i], 0xee, len);
	chain.iov[i] = (struct iovec){ .iov_base = chain.owned[i], .iov_len = len };
	return chain.owned[i];
}

static void add_readable(const void *bytes, size_t len)
{
	chain_add(bytes, len);
	chain.readable_cnt++;
}

/* Returns the buffer; all readable ones come first. */
static uint8_t *add_writable(size_t len)
{
	uint8_t *p = chain_add(NULL, len);

	chain.writable_cnt++;
	return p;
}

static struct virtio_blk_outhdr header(uint32_t type, uint64_t sector)
{
	return (struct virtio_blk_outhdr){
		.type = htole32(type),
		.ioprio = htole32(0xffffffff), /* means nothing to us */
		.sector = htole64(sector),
	};
}

static void add_header(uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr hdr = header(type, sector);

	add_readable(&hdr, sizeof(hdr));
}

static struct blk_req *parse(enum disk disk)
{
	struct blk_params params = params_of(disk);

	blk_req_parse(&params, chain.iov, chain.readable_cnt, chain.writable_cnt, &chain.req);
	return &chain.req;
}

static void check_answer(const struct blk_req *req, uint8_t expected)
{
	if (expected == IO) {
		ck_assert_int_eq(req->action, BLK_ACTION_IO);
		return;
	}
	ck_assert_int_eq(req->action, BLK_ACTION_REPLY);
	ck_assert_uint_eq(req->status, expected);
	if (expected != OK)
		ck_assert_uint_eq(req->written_bytes, 0);
}

/* --- framing --- */

#define WRITE_STREAM_BYTES (HDR + 1024)

/* Header and 1024 data bytes of a WRITE at sector 5; data byte i is (uint8_t)i. */
static void write_stream(uint8_t stream[WRITE_STREAM_BYTES])
{
	struct virtio_blk_outhdr hdr = header(VIRTIO_BLK_T_OUT, 5);

	memcpy(stream, &hdr, HDR);
	for (unsigned int i = 0; i < 1024; i++)
		stream[HDR + i] = (uint8_t)i;
}

static void check_parsed_write(void)
{
	struct blk_req *req = parse(DEFAULT);
	struct iov_cursor cur;
	uint8_t data[1024];

	check_answer(req, IO);
	ck_assert_int_eq(req->op, BDEV_WRITE);
	ck_assert_uint_eq(req->range_cnt, 1);
	ck_assert_uint_eq(req->ranges[0].offset_bytes, 5 * 512);
	ck_assert_uint_eq(req->ranges[0].len_bytes, 1024);
	ck_assert_uint_eq(req->written_bytes, 0);
	ck_assert_uint_eq(iov_total_bytes(req->data, req->data_cnt), 1024);
	cur = iov_cursor_init(req->data, req->data_cnt);
	ck_assert_uint_eq(iov_copy_out(&cur, data, sizeof(data)), 1024);
	for (unsigned int i = 0; i < 1024; i++)
		ck_assert_uint_eq(data[i], (uint8_t)i);
}

/* Not a loop test: a thousand forks take seconds. */
START_TEST(write_split_anywhere_into_two_buffers)
{
	uint8_t stream[WRITE_STREAM_BYTES], *status;

	write_stream(stream);
	for (size_t split = 0; split <= sizeof(stream); split++) {
		chain_reset();
		add_readable(stream, split);
		add_readable(stream + split, sizeof(stream) - split);
		status = add_writable(1);
		check_parsed_write();
		ck_assert_ptr_eq(chain.req.status_byte, status);
	}
}
END_TEST

START_TEST(write_header_split_anywhere_into_three)
{
	uint8_t stream[WRITE_STREAM_BYTES];

	write_stream(stream);
	for (size_t second = (size_t)_i; second <= HDR + 2; second++) {
		chain_reset();
		add_readable(stream, (size_t)_i);
		add_readable(stream + _i, second - (size_t)_i);
		add_readable(stream + second, sizeof(stream) - second);
		add_writable(1);
		check_parsed_write();
	}
}
END_TEST

START_TEST(write_header_in_single_bytes)
{
	uint8_t stream[WRITE_STREAM_BYTES];

	write_stream(stream);
	for (unsigned int i = 0; i < HDR; i++)
		add_readable(stream + i, 1);
	add_readable(stream + HDR, 1024);
	add_writable(1);
	check_parsed_write();
	ck_assert_uint_eq(chain.req.data_cnt, 1);
}
END_TEST

START_TEST(write_in_one_buffer)
{
	uint8_t stream[WRITE_STREAM_BYTES];

	write_stream(stream);
	add_readable(stream, sizeof(stream));
	add_writable(1);
	check_parsed_write();
	ck_assert_uint_eq(chain.req.data_cnt, 1);
}
END_TEST

/* Lengths of the writable buffers of a READ of 1024 bytes; the status is their last byte. */
static const struct {
	size_t len[5];
	unsigned int cnt;
	unsigned int data_cnt;
} read_framings[] = {
	{ { 1024, 1 }, 2, 1 },	      { { 1025 }, 1, 1 },
	{ { 1023, 2 }, 2, 2 },	      { { 1, 1024 }, 2, 2 },
	{ { 512, 512, 1 }, 3, 2 },    { { 512, 513 }, 2, 2 },
	{ { 300, 724, 1, 0 }, 4, 2 }, { { 0, 1024, 1, 0, 0 }, 5, 2 },
	{ { 1, 1022, 1, 1 }, 4, 3 },
};

START_TEST(read_with_status_alone_or_shared)
{
	unsigned int last = 0;
	struct blk_req *req;
	uint8_t *end = NULL;

	add_header(VIRTIO_BLK_T_IN, 7);
	for (unsigned int i = 0; i < read_framings[_i].cnt; i++) {
		uint8_t *p = add_writable(read_framings[_i].len[i]);

		if (!read_framings[_i].len[i])
			continue;
		last = i;
		end = p + read_framings[_i].len[i];
	}
	req = parse(DEFAULT);
	check_answer(req, IO);
	ck_assert_int_eq(req->op, BDEV_READ);
	ck_assert_uint_eq(req->ranges[0].offset_bytes, 7 * 512);
	ck_assert_uint_eq(req->ranges[0].len_bytes, 1024);
	ck_assert_uint_eq(req->written_bytes, 1024);
	ck_assert_ptr_eq(req->status_byte, end - 1);
	ck_assert_ptr_eq(req->data, chain.iov + 1);
	ck_assert_uint_eq(req->data_cnt, read_framings[_i].data_cnt);
	ck_assert_uint_eq(iov_total_bytes(req->data, req->data_cnt), 1024);
	ck_assert_uint_le(req->data_cnt, last + 1);
}
END_TEST

START_TEST(read_into_single_bytes)
{
	struct blk_req *req;
	uint8_t *last = NULL;

	add_header(VIRTIO_BLK_T_IN, 0);
	for (unsigned int i = 0; i < 513; i++)
		last = add_writable(1);
	req = parse(DEFAULT);
	check_answer(req, IO);
	ck_assert_uint_eq(req->data_cnt, 512);
	ck_assert_ptr_eq(req->status_byte, last);
}
END_TEST

START_TEST(header_too_short_is_an_error)
{
	struct virtio_blk_outhdr hdr = header(VIRTIO_BLK_T_FLUSH, 0);
	uint8_t *status;

	add_readable(&hdr, (size_t)_i);
	status = add_writable(1);
	check_answer(parse(DEFAULT), IOERR);
	ck_assert_ptr_eq(chain.req.status_byte, status);
}
END_TEST

START_TEST(no_readable_buffer_is_an_error)
{
	add_writable(513);
	check_answer(parse(DEFAULT), IOERR);
}
END_TEST

START_TEST(no_status_byte_discards_the_chain)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
					  VIRTIO_BLK_T_DISCARD, 0x12345678 };

	for (unsigned int empty_cnt = 0; empty_cnt < 3; empty_cnt++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(types); i++) {
			chain_reset();
			add_header(types[i], 0);
			for (unsigned int e = 0; e < empty_cnt; e++)
				add_writable(0);
			ck_assert_int_eq(parse(DEFAULT)->action, BLK_ACTION_DISCARD_CHAIN);
		}
	}
}
END_TEST

START_TEST(empty_chain_is_discarded)
{
	ck_assert_int_eq(parse(DEFAULT)->action, BLK_ACTION_DISCARD_CHAIN);
}
END_TEST

/* --- every type with every wrong form --- */

/* @out_bytes follow the header; @in_bytes include the status */
static const struct form_case {
	const char *what;
	enum disk disk;
	uint32_t type;
	uint64_t sector;
	size_t out_bytes, in_bytes;
	uint8_t expected;
} form_cases[] = {
	{ "read", DEFAULT, VIRTIO_BLK_T_IN, 0, 0, 513, IO },
	{ "read of the last sector", DEFAULT, VIRTIO_BLK_T_IN, SECTORS - 1, 0, 513, IO },
	{ "read across the end", DEFAULT, VIRTIO_BLK_T_IN, SECTORS - 1, 0, 1025, IOERR },
	{ "read behind the end", DEFAULT, VIRTIO_BLK_T_IN, SECTORS, 0, 513, IOERR },
	{ "read at 2^55: bytes wrap to 0", DEFAULT, VIRTIO_BLK_T_IN, 1ull << 55, 0, 513, IOERR },
	{ "read at 2^55 + 1", DEFAULT, VIRTIO_BLK_T_IN, (1ull << 55) + 1, 0, 513, IOERR },
	{ "read at 2^64 - 1", DEFAULT, VIRTIO_BLK_T_IN, UINT64_MAX, 0, 513, IOERR },
	{ "read at 2^64 - 2, end wraps", DEFAULT, VIRTIO_BLK_T_IN, UINT64_MAX - 1, 0, 1537, IOERR },
	{ "huge: last sector", HUGE, VIRTIO_BLK_T_IN, (1ull << 55) - 2, 0, 513, IO },
	{ "huge: behind it", HUGE, VIRTIO_BLK_T_IN, (1ull << 55) - 1, 0, 513, IOERR },
	{ "huge: across the end", HUGE, VIRTIO_BLK_T_IN, (1ull << 55) - 2, 0, 1025, IOERR },
	{ "read of nothing", DEFAULT, VIRTIO_BLK_T_IN, 0, 0, 1, IOERR },
	{ "read of 511", DEFAULT, VIRTIO_BLK_T_IN, 0, 0, 512, IOERR },
	{ "read of 513", DEFAULT, VIRTIO_BLK_T_IN, 0, 0, 514, IOERR },
	{ "read with readable data", DEFAULT, VIRTIO_BLK_T_IN, 0, 512, 513, IOERR },
	{ "read with one readable byte", DEFAULT, VIRTIO_BLK_T_IN, 0, 1, 513, IOERR },
	{ "read, read-only", READ_ONLY, VIRTIO_BLK_T_IN, 0, 0, 513, IO },
	{ "4k read", BLOCK_4K, VIRTIO_BLK_T_IN, 8, 0, 4097, IO },
	{ "4k read, length 512", BLOCK_4K, VIRTIO_BLK_T_IN, 8, 0, 513, IOERR },
	{ "4k read, sector 1", BLOCK_4K, VIRTIO_BLK_T_IN, 1, 0, 4097, IOERR },
	{ "write", DEFAULT, VIRTIO_BLK_T_OUT, 0, 512, 1, IO },
	{ "write of the last sector", DEFAULT, VIRTIO_BLK_T_OUT, SECTORS - 1, 512, 1, IO },
	{ "write across the end", DEFAULT, VIRTIO_BLK_T_OUT, SECTORS - 1, 1024, 1, IOERR },
	{ "write behind the end", DEFAULT, VIRTIO_BLK_T_OUT, SECTORS, 512, 1, IOERR },
	{ "write at 2^55", DEFAULT, VIRTIO_BLK_T_OUT, 1ull << 55, 512, 1, IOERR },
	{ "write at 2^64 - 1", DEFAULT, VIRTIO_BLK_T_OUT, UINT64_MAX, 512, 1, IOERR },
	{ "write of nothing", DEFAULT, VIRTIO_BLK_T_OUT, 0, 0, 1, IOERR },
	{ "write of 511", DEFAULT, VIRTIO_BLK_T_OUT, 0, 511, 1, IOERR },
	{ "write of 1", DEFAULT, VIRTIO_BLK_T_OUT, 0, 1, 1, IOERR },
	{ "write with room", DEFAULT, VIRTIO_BLK_T_OUT, 0, 512, 2, IOERR },
	{ "write, read-only", READ_ONLY, VIRTIO_BLK_T_OUT, 0, 512, 1, IOERR },
	{ "write of nothing, read-only", READ_ONLY, VIRTIO_BLK_T_OUT, 0, 0, 1, IOERR },
	{ "4k write", BLOCK_4K, VIRTIO_BLK_T_OUT, 16, 8192, 1, IO },
	{ "4k write, length", BLOCK_4K, VIRTIO_BLK_T_OUT, 16, 4608, 1, IOERR },
	{ "4k write, sector", BLOCK_4K, VIRTIO_BLK_T_OUT, 15, 4096, 1, IOERR },
	{ "flush", DEFAULT, VIRTIO_BLK_T_FLUSH, 0, 0, 1, IO },
	{ "flush with a sector", DEFAULT, VIRTIO_BLK_T_FLUSH, UINT64_MAX, 0, 1, IO },
	{ "flush, not on offer", BARE, VIRTIO_BLK_T_FLUSH, 0, 0, 1, IO },
	{ "flush, read-only", READ_ONLY, VIRTIO_BLK_T_FLUSH, 0, 0, 1, IO },
	{ "flush with data", DEFAULT, VIRTIO_BLK_T_FLUSH, 0, 512, 1, IOERR },
	{ "flush with room", DEFAULT, VIRTIO_BLK_T_FLUSH, 0, 0, 2, IOERR },
	{ "id", DEFAULT, VIRTIO_BLK_T_GET_ID, 0, 0, 21, OK },
	{ "id, sector means nothing", DEFAULT, VIRTIO_BLK_T_GET_ID, UINT64_MAX, 0, 21, OK },
	{ "id without room", DEFAULT, VIRTIO_BLK_T_GET_ID, 0, 0, 1, IOERR },
	{ "id with data", DEFAULT, VIRTIO_BLK_T_GET_ID, 0, 20, 21, IOERR },
	{ "discard, no range", DEFAULT, VIRTIO_BLK_T_DISCARD, 0, 0, 1, IOERR },
	{ "zeroes, no range", DEFAULT, VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, 1, IOERR },
	{ "erase, no range", DEFAULT, VIRTIO_BLK_T_SECURE_ERASE, 0, 0, 1, IOERR },
	{ "discard, not on offer", BARE, VIRTIO_BLK_T_DISCARD, 0, 16, 1, UNSUPP },
	{ "zeroes, not on offer", BARE, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 1, UNSUPP },
	{ "erase, not on offer", BARE, VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 1, UNSUPP },
	{ "discard, read-only", READ_ONLY, VIRTIO_BLK_T_DISCARD, 0, 16, 1, IOERR },
	{ "zeroes, read-only", READ_ONLY, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 1, IOERR },
	{ "erase, read-only", READ_ONLY, VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 1, IOERR },
	{ "SCSI command", DEFAULT, 2, 0, 0, 1, UNSUPP },
	{ "lifetime", DEFAULT, GET_LIFETIME, 0, 0, 513, UNSUPP },
	{ "zone append", DEFAULT, 15, 0, 512, 9, UNSUPP },
	{ "zone report", DEFAULT, ZONE_REPORT, 0, 0, 513, UNSUPP },
	{ "zone reset all", DEFAULT, 26, 0, 0, 1, UNSUPP },
	{ "legacy barrier bit", DEFAULT, 0x80000000u, 0, 0, 513, UNSUPP },
	{ "no such type", DEFAULT, UINT32_MAX, 0, 512, 513, UNSUPP },
	{ "no such type, status only", DEFAULT, 3, 0, 0, 1, UNSUPP },
};

static void check_form(const struct form_case *c, bool one_buffer)
{
	uint8_t stream[HDR + 8192] = { 0 }, *in;
	struct virtio_blk_outhdr hdr = header(c->type, c->sector);

	chain_reset();
	memcpy(stream, &hdr, HDR);
	if (one_buffer) {
		add_readable(stream, HDR + c->out_bytes);
	} else {
		add_readable(stream, HDR);
		if (c->out_bytes)
			add_readable(stream + HDR, c->out_bytes);
	}
	in = add_writable(c->in_bytes);
	check_answer(parse(c->disk), c->expected);
	ck_assert_ptr_eq(chain.req.status_byte, in + c->in_bytes - 1);
	ck_assert_uint_eq(*chain.req.status_byte, 0xee);
}

START_TEST(forms_of_every_type)
{
	ck_assert_msg(form_cases[_i].what, "case %d", _i);
	check_form(&form_cases[_i], false);
	check_form(&form_cases[_i], true);
}
END_TEST

START_TEST(unknown_types_are_unsupported)
{
	static const uint32_t known[] = { 0, 1, 4, 8, 11, 13, 14 };

	for (uint32_t type = 0; type < 300; type++) {
		bool is_known = false;

		for (unsigned int i = 0; i < ARRAY_SIZE(known); i++)
			is_known |= known[i] == type;
		if (is_known)
			continue;
		chain_reset();
		add_header(type, 0);
		add_writable(1);
		check_answer(parse(DEFAULT), UNSUPP);
	}
}
END_TEST

START_TEST(data_longer_than_used_len_can_say_is_an_error)
{
	static const size_t lens[] = { UINT32_MAX - 511, UINT32_MAX, 1ull << 32,
				       (1ull << 32) - 512 };
	struct blk_req *req;

	/* Parsing never looks at data, so the buffer need not be that long. */
	for (unsigned int write = 0; write < 2; write++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
			size_t len = align_up(lens[i], 512);
			unsigned int at = 1;

			chain_reset();
			add_header(write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 0);
			if (write)
				add_readable(NULL, 1);
			else
				add_writable(1);
			add_writable(1);
			chain.iov[at].iov_len = len;
			req = parse(HUGE);
			check_answer(req, len < UINT32_MAX ? IO : IOERR);
		}
	}
}
END_TEST

/* --- GET_ID --- */

static const struct {
	size_t len[3]; /* writable buffers; the last byte is the status */
	unsigned int cnt;
	uint32_t written_bytes;
} id_cases[] = {
	{ { 20, 1 }, 2, 20 }, { { 21 }, 1, 20 },     { { 7, 13, 1 }, 3, 20 },
	{ { 7, 14 }, 2, 20 }, { { 64, 1 }, 2, 20 },  { { 5, 1 }, 2, 5 },
	{ { 2 }, 1, 1 },      { { 1, 1, 1 }, 3, 2 }, { { 19, 2, 100 }, 3, 20 },
};

START_TEST(get_id_fills_what_fits)
{
	uint8_t all[256], *p[3];
	struct blk_req *req;
	size_t total = 0;

	add_header(VIRTIO_BLK_T_GET_ID, 0);
	for (unsigned int i = 0; i < id_cases[_i].cnt; i++)
		p[i] = add_writable(id_cases[_i].len[i]);
	req = parse(DEFAULT);
	check_answer(req, OK);
	ck_assert_uint_eq(req->written_bytes, id_cases[_i].written_bytes);

	for (unsigned int i = 0; i < id_cases[_i].cnt; i++) {
		memcpy(all + total, p[i], id_cases[_i].len[i]);
		total += id_cases[_i].len[i];
	}
	ck_assert_mem_eq(all, "SERIAL-0123456789XYZ", req->written_bytes);
	for (size_t i = req->written_bytes; i < total; i++)
		ck_assert_uint_eq(all[i], 0xee);
}
END_TEST

/* --- ranges --- */

#define NO_OP 0xfe /* expected: OK at once, nothing to do */
#define UNMAP VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP

struct wire_range {
	uint64_t sector;
	uint32_t num_sectors;
	uint32_t flags;
};

static void add_ranges(uint32_t type, const struct wire_range *ranges, unsigned int cnt)
{
	struct virtio_blk_discard_write_zeroes wire[BLK_RANGES_MAX + 2] = { 0 };

	for (unsigned int i = 0; i < cnt; i++) {
		wire[i].sector = htole64(ranges[i].sector);
		wire[i].num_sectors = htole32(ranges[i].num_sectors);
		wire[i].flags = htole32(ranges[i].flags);
	}
	add_header(type, 0x7777); /* the header's sector means nothing here */
	add_readable(wire, cnt * sizeof(wire[0]));
	add_writable(1);
}

/* Expected for DISCARD, WRITE_ZEROES, SECURE_ERASE of one range. */
static const struct {
	const char *what;
	enum disk disk;
	struct wire_range range;
	uint8_t expected[3];
} range_cases[] = {
	{ "one sector", DEFAULT, { 0, 1, 0 }, { IO, IO, IO } },
	{ "all", DEFAULT, { 0, SECTORS, 0 }, { IO, IO, IO } },
	{ "last", DEFAULT, { SECTORS - 1, 1, 0 }, { IO, IO, IO } },
	{ "across the end", DEFAULT, { SECTORS - 1, 2, 0 }, { IOERR, IOERR, IOERR } },
	{ "one too long", DEFAULT, { 0, SECTORS + 1, 0 }, { IOERR, IOERR, IOERR } },
	{ "behind the end", DEFAULT, { SECTORS, 1, 0 }, { IOERR, IOERR, IOERR } },
	{ "2^64 - 1", DEFAULT, { UINT64_MAX, 1, 0 }, { IOERR, IOERR, IOERR } },
	{ "2^64 - 1, sum wraps", DEFAULT, { UINT64_MAX, 2, 0 }, { IOERR, IOERR, IOERR } },
	{ "2^55", DEFAULT, { 1ull << 55, 1, 0 }, { IOERR, IOERR, IOERR } },
	{ "2^55 - 1, bytes wrap", DEFAULT, { (1ull << 55) - 1, 2, 0 }, { IOERR, IOERR, IOERR } },
	{ "length whose bytes wrap 32 bits", DEFAULT, { 0, 1u << 23, 0 }, { IOERR, IOERR, IOERR } },
	{ "longest length", DEFAULT, { 0, UINT32_MAX, 0 }, { IOERR, IOERR, IOERR } },
	{ "2 GiB", HUGE, { 0, 1u << 22, 0 }, { IO, IO, IO } },
	{ "more than 2 GiB", HUGE, { 0, (1u << 22) + 1, 0 }, { IOERR, IOERR, IOERR } },
	{ "empty", DEFAULT, { 0, 0, 0 }, { NO_OP, NO_OP, NO_OP } },
	{ "empty at the end", DEFAULT, { SECTORS, 0, 0 }, { NO_OP, NO_OP, NO_OP } },
	{ "empty behind it", DEFAULT, { SECTORS + 1, 0, 0 }, { IOERR, IOERR, IOERR } },
	{ "empty at 2^64 - 1", DEFAULT, { UINT64_MAX, 0, 0 }, { IOERR, IOERR, IOERR } },
	{ "unmap", DEFAULT, { 8, 8, UNMAP }, { UNSUPP, IO, UNSUPP } },
	{ "reserved flag", DEFAULT, { 8, 8, 2 }, { UNSUPP, UNSUPP, UNSUPP } },
	{ "unmap and reserved", DEFAULT, { 8, 8, UNMAP | 1u << 31 }, { UNSUPP, UNSUPP, UNSUPP } },
	{ "bad flag and bad range", DEFAULT, { UINT64_MAX, 8, 4 }, { UNSUPP, UNSUPP, UNSUPP } },
	{ "bad flag, empty", DEFAULT, { 0, 0, 4 }, { UNSUPP, UNSUPP, UNSUPP } },
	{ "4k block", BLOCK_4K, { 8, 8, 0 }, { IO, IO, IO } },
	{ "4k, part of a block", BLOCK_4K, { 8, 4, 0 }, { IOERR, IOERR, IOERR } },
	{ "4k, beside a block", BLOCK_4K, { 4, 8, 0 }, { IOERR, IOERR, IOERR } },
	{ "4k, empty beside a block", BLOCK_4K, { 4, 0, 0 }, { IOERR, IOERR, IOERR } },
	{ "4 sectors", SHORT_RANGES, { 0, 4, 0 }, { IO, IO, IO } },
	{ "5 sectors", SHORT_RANGES, { 0, 5, 0 }, { IO, IO, IOERR } },
	{ "9 sectors", SHORT_RANGES, { 0, 9, 0 }, { IOERR, IO, IOERR } },
	{ "17 sectors", SHORT_RANGES, { 0, 17, 0 }, { IOERR, IOERR, IOERR } },
};

static const uint32_t range_types[3] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES,
					 VIRTIO_BLK_T_SECURE_ERASE };
static const enum bdev_op range_ops[3] = { BDEV_DISCARD, BDEV_WRITE_ZEROES, BDEV_SECURE_ERASE };

START_TEST(single_ranges)
{
	const struct wire_range *range = &range_cases[_i].range;

	for (unsigned int t = 0; t < 3; t++) {
		uint8_t expected = range_cases[_i].expected[t];
		struct blk_req *req;

		chain_reset();
		add_ranges(range_types[t], range, 1);
		req = parse(range_cases[_i].disk);
		check_answer(req, expected == NO_OP ? OK : expected);
		if (expected != IO) {
			ck_assert_uint_eq(req->range_cnt, 0);
			continue;
		}
		ck_assert_int_eq(req->op, range_ops[t]);
		ck_assert_uint_eq(req->range_cnt, 1);
		ck_assert_uint_eq(req->data_cnt, 0);
		ck_assert_uint_eq(req->written_bytes, 0);
		ck_assert_uint_eq(req->ranges[0].offset_bytes, range->sector * 512);
		ck_assert_uint_eq(req->ranges[0].len_bytes, range->num_sectors * 512ull);
		ck_assert_uint_eq(req->ranges[0].flags,
				  range->flags & UNMAP ? BDEV_IO_MAY_UNMAP : 0);
	}
}
END_TEST

/* @odd_bytes are cut off or added to whole ranges. */
static const struct {
	unsigned int range_cnt;
	int odd_bytes;
	uint8_t expected;
} payload_cases[] = {
	{ 1, 0, IO },	 { 2, 0, IO },	   { 16, 0, IO },     { 17, 0, IOERR }, { 1, -1, IOERR },
	{ 1, 1, IOERR }, { 16, 1, IOERR }, { 2, -15, IOERR }, { 1, 8, IOERR },	{ 16, -1, IOERR },
};

START_TEST(payload_sizes)
{
	struct wire_range ranges[BLK_RANGES_MAX + 2] = { 0 };
	struct blk_req *req;

	for (unsigned int i = 0; i < ARRAY_SIZE(ranges); i++)
		ranges[i] = (struct wire_range){ 8 * i, 8, 0 };
	for (unsigned int t = 0; t < 3; t++) {
		chain_reset();
		add_ranges(range_types[t], ranges, payload_cases[_i].range_cnt + 1);
		chain.iov[1].iov_len -= (size_t)(16 - payload_cases[_i].odd_bytes);
		req = parse(DEFAULT);
		check_answer(req, payload_cases[_i].expected);
		if (payload_cases[_i].expected != IO)
			continue;
		ck_assert_uint_eq(req->range_cnt, payload_cases[_i].range_cnt);
		for (unsigned int i = 0; i < req->range_cnt; i++) {
			ck_assert_uint_eq(req->ranges[i].offset_bytes, 4096 * i);
			ck_assert_uint_eq(req->ranges[i].len_bytes, 4096);
		}
	}
}
END_TEST

START_TEST(payload_split_anywhere)
{
	struct virtio_blk_discard_write_zeroes wire[2] = {
		{ .sector = htole64(8), .num_sectors = htole32(16) },
		{ .sector = htole64(0x123), .num_sectors = htole32(3) },
	};
	struct virtio_blk_outhdr hdr = header(VIRTIO_BLK_T_WRITE_ZEROES, 0);
	uint8_t stream[HDR + sizeof(wire)];
	struct blk_req *req;

	memcpy(stream, &hdr, HDR);
	memcpy(stream + HDR, wire, sizeof(wire));
	add_readable(stream, (size_t)_i);
	add_readable(stream + _i, sizeof(stream) - (size_t)_i);
	add_writable(1);
	req = parse(DEFAULT);
	check_answer(req, IO);
	ck_assert_uint_eq(req->range_cnt, 2);
	ck_assert_uint_eq(req->ranges[0].offset_bytes, 8 * 512);
	ck_assert_uint_eq(req->ranges[1].offset_bytes, 0x123 * 512);
	ck_assert_uint_eq(req->ranges[1].len_bytes, 3 * 512);
}
END_TEST

START_TEST(one_bad_range_refuses_all)
{
	struct wire_range ranges[3] = { { 0, 8, 0 }, { SECTORS, 8, 0 }, { 16, 8, 0 } };

	add_ranges(VIRTIO_BLK_T_DISCARD, ranges, 3);
	check_answer(parse(DEFAULT), IOERR);
	ck_assert_uint_eq(chain.req.range_cnt, 0);
}
END_TEST

START_TEST(bad_flag_in_a_later_range_wins_over_a_bad_range)
{
	struct wire_range ranges[3] = { { SECTORS, 8, 0 }, { 0, 8, 0 }, { 16, 8, 0x10 } };

	add_ranges(VIRTIO_BLK_T_WRITE_ZEROES, ranges, 3);
	check_answer(parse(DEFAULT), UNSUPP);
}
END_TEST

START_TEST(empty_ranges_are_left_out)
{
	struct wire_range ranges[4] = { { 0, 0, 0 }, { 8, 8, UNMAP }, { 5, 0, 0 }, { 16, 8, 0 } };
	struct blk_req *req;

	add_ranges(VIRTIO_BLK_T_WRITE_ZEROES, ranges, 4);
	req = parse(DEFAULT);
	check_answer(req, IO);
	ck_assert_uint_eq(req->range_cnt, 2);
	ck_assert_uint_eq(req->ranges[0].offset_bytes, 4096);
	ck_assert_uint_eq(req->ranges[0].flags, BDEV_IO_MAY_UNMAP);
	ck_assert_uint_eq(req->ranges[1].offset_bytes, 8192);
	ck_assert_uint_eq(req->ranges[1].flags, 0);
}
END_TEST

START_TEST(unmap_is_dropped_where_space_cannot_be_freed)
{
	struct wire_range range = { 8, 8, UNMAP };

	add_ranges(VIRTIO_BLK_T_WRITE_ZEROES, &range, 1);
	check_answer(parse(SHORT_RANGES), IO);
	ck_assert_uint_eq(chain.req.ranges[0].flags, 0);
}
END_TEST

START_TEST(ranges_with_room_for_data_are_refused)
{
	struct wire_range range = { 8, 8, 0 };

	add_ranges(VIRTIO_BLK_T_DISCARD, &range, 1);
	add_writable(1);
	check_answer(parse(DEFAULT), IOERR);
}
END_TEST

static const struct {
	int result;
	uint8_t status;
} status_cases[] = {
	{ 0, OK },	   { -EOPNOTSUPP, UNSUPP }, { -EIO, IOERR },	{ -ENOSPC, IOERR },
	{ -EROFS, IOERR }, { -EINVAL, IOERR },	    { -ENOMEM, IOERR }, { -ESTALE, IOERR },
	{ 512, IOERR }, /* no backend may say so; certainly not OK */
};

/* The last sector before and behind the end, as the end moves. */
START_TEST(end_of_the_disk_may_move)
{
	static const uint64_t ends[] = { SECTORS, 2 * SECTORS, SECTORS / 2 };
	struct blk_params params = params_of(DEFAULT);

	bdev_limits_set_capacity(&params.limits, ends[_i / 2] * 512);
	add_header(VIRTIO_BLK_T_IN, ends[_i / 2] - 1 + (uint64_t)_i % 2);
	add_writable(513);
	blk_req_parse(&params, chain.iov, chain.readable_cnt, chain.writable_cnt, &chain.req);
	check_answer(&chain.req, _i % 2 ? IOERR : IO);
}
END_TEST

START_TEST(results_become_statuses)
{
	ck_assert_uint_eq(blk_status_from_result(status_cases[_i].result), status_cases[_i].status);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("blk_req");
	TCase *framing = tcase_create("framing"), *forms = tcase_create("forms");
	TCase *ranges = tcase_create("ranges");

	tcase_add_checked_fixture(framing, chain_reset, chain_reset);
	tcase_add_test(framing, write_split_anywhere_into_two_buffers);
	tcase_add_loop_test(framing, write_header_split_anywhere_into_three, 0, HDR + 3);
	tcase_add_test(framing, write_header_in_single_bytes);
	tcase_add_test(framing, write_in_one_buffer);
	tcase_add_loop_test(framing, read_with_status_alone_or_shared, 0,
			    ARRAY_SIZE(read_framings));
	tcase_add_test(framing, read_into_single_bytes);
	tcase_add_loop_test(framing, header_too_short_is_an_error, 0, HDR);
	tcase_add_test(framing, no_readable_buffer_is_an_error);
	tcase_add_test(framing, no_status_byte_discards_the_chain);
	tcase_add_test(framing, empty_chain_is_discarded);
	suite_add_tcase(suite, framing);

	tcase_add_checked_fixture(forms, chain_reset, chain_reset);
	tcase_add_loop_test(forms, forms_of_every_type, 0, ARRAY_SIZE(form_cases));
	tcase_add_test(forms, unknown_types_are_unsupported);
	tcase_add_test(forms, data_longer_than_used_len_can_say_is_an_error);
	tcase_add_loop_test(forms, get_id_fills_what_fits, 0, ARRAY_SIZE(id_cases));
	tcase_add_loop_test(forms, results_become_statuses, 0, ARRAY_SIZE(status_cases));
	suite_add_tcase(suite, forms);

	tcase_add_checked_fixture(ranges, chain_reset, chain_reset);
	tcase_add_loop_test(ranges, single_ranges, 0, ARRAY_SIZE(range_cases));
	tcase_add_loop_test(ranges, payload_sizes, 0, ARRAY_SIZE(payload_cases));
	tcase_add_loop_test(ranges, payload_split_anywhere, 0, HDR + 32 + 1);
	tcase_add_loop_test(ranges, end_of_the_disk_may_move, 0, 6);
	tcase_add_test(ranges, one_bad_range_refuses_all);
	tcase_add_test(ranges, bad_flag_in_a_later_range_wins_over_a_bad_range);
	tcase_add_test(ranges, empty_ranges_are_left_out);
	tcase_add_test(ranges, unmap_is_dropped_where_space_cannot_be_freed);
	tcase_add_test(ranges, ranges_with_room_for_data_are_refused);
	suite_add_tcase(suite, ranges);

	return run_suite(suite);
}
