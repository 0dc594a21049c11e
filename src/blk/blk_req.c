/* SPDX-License-Identifier: MIT */
#include "vblk/blk/blk_req.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdbool.h>
#include <string.h>

#include "vblk/util/iov.h"
#include "vblk/util/math.h"

/*
 * One request while it is taken apart. The device-readable side keeps only
 * what follows the header, the device-writable side what precedes the status.
 * @map: NULL: all buffers are memory
 */
struct parser {
	const struct memmap *map;
	const struct blk_params *params;
	struct blk_req *req;
	uint32_t type;
	uint64_t sector;
	struct iovec *readable;
	unsigned int readable_cnt;
	uint64_t readable_bytes;
	struct iovec *writable;
	unsigned int writable_cnt;
	uint64_t writable_bytes;
};

static void reply(struct blk_req *req, uint8_t status)
{
	req->action = BLK_ACTION_REPLY;
	req->status = status;
	req->written_bytes = 0;
}

/*
 * The status is the last device-writable byte, wherever buffers begin and end (virtio 1.2
 * s5.2.6, s2.6.4). Empty buffers cannot come out of a virtqueue; here they are harmless.
 */
static bool cut_status(struct parser *p)
{
	struct iovec *last;

	while (p->writable_cnt && !p->writable[p->writable_cnt - 1].iov_len)
		p->writable_cnt--;
	if (!p->writable_cnt)
		return false;

	last = &p->writable[p->writable_cnt - 1];
	last->iov_len--;
	p->req->status_byte = (uint8_t *)last->iov_base + last->iov_len;
	if (!last->iov_len)
		p->writable_cnt--;
	p->writable_bytes = iov_total_bytes(p->writable, p->writable_cnt);
	return true;
}

static size_t copy_out(const struct parser *p, struct iov_cursor *cur, void *dst, size_t len)
{
	size_t done = 0, n;
	char *va;

	if (!p->map)
		return iov_copy_out(cur, dst, len);
	while (done < len && (n = iov_take(cur, len - done, &va))) {
		/* Who asked for it looks at memguard_hits(). */
		(void)memmap_load(p->map, (char *)dst + done, va, n);
		done += n;
	}
	return done;
}

static size_t copy_in(const struct parser *p, struct iov_cursor *cur, const void *src, size_t len)
{
	size_t done = 0, n;
	char *va;

	if (!p->map)
		return iov_copy_in(cur, src, len);
	while (done < len && (n = iov_take(cur, len - done, &va))) {
		if (memmap_store(p->map, va, (const char *)src + done, n) < 0)
			break;
		done += n;
	}
	return done;
}

/* Copies the header once, into memory the driver cannot change, and steps behind it. */
static bool cut_header(struct parser *p)
{
	struct virtio_blk_outhdr wire;
	struct iov_cursor cur;

	if (!p->map && p->readable_cnt && p->readable[0].iov_len == sizeof(wire)) {
		/* As every known driver has it. */
		memcpy(&wire, p->readable[0].iov_base, sizeof(wire));
		p->readable++;
		p->readable_cnt--;
	} else {
		cur = iov_cursor_init(p->readable, p->readable_cnt);
		if (copy_out(p, &cur, &wire, sizeof(wire)) != sizeof(wire))
			return false;
		p->readable += p->readable_cnt - cur.cnt;
		p->readable_cnt = cur.cnt;
		if (cur.cnt) {
			p->readable[0].iov_base = (char *)p->readable[0].iov_base + cur.skip_bytes;
			p->readable[0].iov_len -= cur.skip_bytes;
		}
	}
	/* The compiler must not read the driver's memory again instead of the copy. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	p->type = le32toh(wire.type);
	p->sector = le64toh(wire.sector);
	p->readable_bytes = iov_total_bytes(p->readable, p->readable_cnt);
	return true;
}

/* Sectors of 512 bytes that lie on the disk and on block borders, as bytes. */
static inline __attribute__((always_inline)) bool range_init(const struct blk_params *params,
							     uint64_t sector, uint64_t len_bytes,
							     struct blk_range *ret_range)
{
	const struct bdev_limits *limits = &params->limits;
	uint64_t offset_bytes;

	if (!checked_mul(sector, SECTOR_BYTES, &offset_bytes) ||
	    !range_fits(offset_bytes, len_bytes, bdev_limits_capacity(limits)) ||
	    !is_aligned(offset_bytes | len_bytes, limits->logical_block_bytes))
		return false;
	ret_range->offset_bytes = offset_bytes;
	ret_range->len_bytes = len_bytes;
	ret_range->flags = 0;
	return true;
}

/*
 * READ and WRITE. No data is an error: s5.2.6.1 gives such a request no meaning, no known
 * driver sends one, and if a driver loses the buffers of a write it should hear of it. A
 * chain is at most 2^32 bytes (s2.7.5.1), and used->len must hold data and status.
 *
 * A READ that fails leaves stale bytes of earlier requests in the driver's bounce buffer.
 * They are not wiped: the status tells the driver to drop the data.
 */
static void parse_rw(struct parser *p, enum bdev_op op, uint64_t data_bytes)
{
	struct blk_req *req = p->req;

	if (!data_bytes || data_bytes >= UINT32_MAX ||
	    !range_init(p->params, p->sector, data_bytes, &req->ranges[0])) {
		reply(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	req->action = BLK_ACTION_IO;
	req->op = op;
	req->range_cnt = 1;
}

static void parse_in(struct parser *p)
{
	if (p->readable_bytes) {
		reply(p->req, VIRTIO_BLK_S_IOERR);
		return;
	}
	parse_rw(p, BDEV_READ, p->writable_bytes);
	p->req->data = p->writable;
	p->req->data_cnt = p->writable_cnt;
	if (p->req->action == BLK_ACTION_IO)
		p->req->written_bytes = (uint32_t)p->writable_bytes;
}

static void parse_out(struct parser *p)
{
	/* s5.2.6.2: IOERR for a write when RO was offered, and nothing is written. */
	if (p->writable_bytes || p->params->limits.read_only) {
		reply(p->req, VIRTIO_BLK_S_IOERR);
		return;
	}
	parse_rw(p, BDEV_WRITE, p->readable_bytes);
	p->req->data = p->readable;
	p->req->data_cnt = p->readable_cnt;
}

/*
 * Runs also where FLUSH is not on offer. The specification leaves that open: the driver
 * should not send one, and no status is prescribed. With every write durable on completion
 * success is the truth, while an error would make a file system give up that began under
 * a predecessor with a cache. The sector has no meaning (s5.2.6.1: the driver sets it to 0).
 */
static void parse_flush(struct parser *p)
{
	/* s5.2.6.1: a flush carries no data. */
	if (p->readable_bytes || p->writable_bytes) {
		reply(p->req, VIRTIO_BLK_S_IOERR);
		return;
	}
	p->req->action = BLK_ACTION_IO;
	p->req->op = BDEV_FLUSH;
	p->req->range_cnt = 1;
	p->req->ranges[0] = (struct blk_range){ 0 };
}

/* The serial, cut short if the driver has less room than the 20 bytes of s5.2.6.1. */
static void parse_get_id(struct parser *p)
{
	struct iov_cursor cur = iov_cursor_init(p->writable, p->writable_cnt);

	if (p->readable_bytes || !p->writable_bytes) {
		reply(p->req, VIRTIO_BLK_S_IOERR);
		return;
	}
	reply(p->req, VIRTIO_BLK_S_OK);
	p->req->is_get_id = true;
	p->req->written_bytes =
		(uint32_t)copy_in(p, &cur, p->params->serial, sizeof(p->params->serial));
}

static uint64_t max_range_bytes(const struct bdev_limits *limits, enum bdev_op op)
{
	switch (op) {
	case BDEV_DISCARD:
		return limits->max_discard_bytes;
	case BDEV_WRITE_ZEROES:
		return limits->max_write_zeroes_bytes;
	case BDEV_SECURE_ERASE:
		return limits->max_secure_erase_bytes;
	case BDEV_READ:
	case BDEV_WRITE:
	case BDEV_FLUSH:
		break;
	}
	return 0;
}

/*
 * Checks one range of the payload. A range of no sectors asks for nothing and is left
 * out; discard_sector_alignment is advice for the driver (s5.2.6.1), not a rule.
 */
static uint8_t add_range(struct parser *p, enum bdev_op op,
			 const struct virtio_blk_discard_write_zeroes *wire)
{
	uint64_t len_bytes = (uint64_t)le32toh(wire->num_sectors) << SECTOR_SHIFT;
	const struct bdev_limits *limits = &p->params->limits;
	struct blk_req *req = p->req;
	struct blk_range range;

	if (len_bytes > max_range_bytes(limits, op) ||
	    !range_init(p->params, le64toh(wire->sector), len_bytes, &range))
		return VIRTIO_BLK_S_IOERR;

	if ((le32toh(wire->flags) & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) &&
	    limits->write_zeroes_may_unmap)
		range.flags = BDEV_IO_MAY_UNMAP;
	if (len_bytes)
		req->ranges[req->range_cnt++] = range;
	return VIRTIO_BLK_S_OK;
}

/* s5.2.6.2: UNSUPP when any range has an unknown flag, or unmap without WRITE_ZEROES. */
static bool flags_are_known(enum bdev_op op, const struct virtio_blk_discard_write_zeroes *wire)
{
	uint32_t known = op == BDEV_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

	return !(le32toh(wire->flags) & ~known);
}

static uint8_t read_ranges(struct parser *p, enum bdev_op op)
{
	struct virtio_blk_discard_write_zeroes wire[BLK_RANGES_MAX];
	struct iov_cursor cur = iov_cursor_init(p->readable, p->readable_cnt);
	unsigned int cnt;

	if (p->writable_bytes || !p->readable_bytes || p->readable_bytes > sizeof(wire) ||
	    p->readable_bytes % sizeof(wire[0]))
		return VIRTIO_BLK_S_IOERR;
	copy_out(p, &cur, wire, (size_t)p->readable_bytes);
	cnt = (unsigned int)(p->readable_bytes / sizeof(wire[0]));

	/* All flags before any range: a MUST that a bad range elsewhere does not undo. */
	for (unsigned int i = 0; i < cnt; i++) {
		if (!flags_are_known(op, &wire[i]))
			return VIRTIO_BLK_S_UNSUPP;
	}
	for (unsigned int i = 0; i < cnt; i++) {
		if (add_range(p, op, &wire[i]) != VIRTIO_BLK_S_OK)
			return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_OK;
}

/* DISCARD, WRITE_ZEROES and SECURE_ERASE; nothing is done unless all ranges are good. */
static void parse_ranges(struct parser *p, enum bdev_op op)
{
	struct blk_req *req = p->req;
	uint8_t status;

	if (p->params->limits.read_only) {
		reply(req, VIRTIO_BLK_S_IOERR);
		return;
	}
	if (!max_range_bytes(&p->params->limits, op)) {
		reply(req, VIRTIO_BLK_S_UNSUPP);
		return;
	}

	status = read_ranges(p, op);
	if (status != VIRTIO_BLK_S_OK || !req->range_cnt) {
		req->range_cnt = 0;
		reply(req, status);
		return;
	}
	req->action = BLK_ACTION_IO;
	req->op = op;
}

static void parse_type(struct parser *p)
{
	switch (p->type) {
	case VIRTIO_BLK_T_IN:
		parse_in(p);
		break;
	case VIRTIO_BLK_T_OUT:
		parse_out(p);
		break;
	case VIRTIO_BLK_T_FLUSH:
		parse_flush(p);
		break;
	case VIRTIO_BLK_T_GET_ID:
		parse_get_id(p);
		break;
	case VIRTIO_BLK_T_DISCARD:
		parse_ranges(p, BDEV_DISCARD);
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		parse_ranges(p, BDEV_WRITE_ZEROES);
		break;
	case VIRTIO_BLK_T_SECURE_ERASE:
		parse_ranges(p, BDEV_SECURE_ERASE);
		break;
	default:
		/* GET_LIFETIME, zones, SCSI and whatever comes: not offered (s5.2.6). */
		reply(p->req, VIRTIO_BLK_S_UNSUPP);
	}
}

/*
 * Nearly every request: READ or WRITE, with header and status in buffers of their own, and
 * nothing wrong. Of any other it knows nothing (false), and what it read is not used.
 */
static inline bool parse_plain(const struct blk_params *params, struct iovec *iov,
			       unsigned int readable_cnt, unsigned int writable_cnt,
			       struct blk_req *ret_req)
{
	struct iovec *status = iov + readable_cnt + writable_cnt - 1;
	unsigned int data_cnt = readable_cnt + writable_cnt - 2;
	struct virtio_blk_outhdr wire;
	uint64_t data_bytes;
	bool is_read;

	if (!readable_cnt || !writable_cnt || !data_cnt || iov->iov_len != sizeof(wire) ||
	    status->iov_len != 1)
		return false;
	memcpy(&wire, iov->iov_base, sizeof(wire));
	/* The compiler must not read the driver's memory again instead of the copy. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	is_read = readable_cnt == 1;
	if (le32toh(wire.type) != (is_read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT))
		return false;
	if (!is_read && (writable_cnt != 1 || params->limits.read_only))
		return false;
	data_bytes = iov_total_bytes(iov + 1, data_cnt);
	if (!data_bytes || data_bytes >= UINT32_MAX ||
	    !range_init(params, le64toh(wire.sector), data_bytes, &ret_req->ranges[0]))
		return false;
	ret_req->action = BLK_ACTION_IO;
	ret_req->op = is_read ? BDEV_READ : BDEV_WRITE;
	ret_req->status = VIRTIO_BLK_S_OK;
	ret_req->is_get_id = false;
	ret_req->range_cnt = 1;
	ret_req->data_cnt = data_cnt;
	ret_req->written_bytes = is_read ? (uint32_t)data_bytes : 0;
	ret_req->status_byte = status->iov_base;
	ret_req->data = iov + 1;
	return true;
}

static __attribute__((noinline)) void parse_any(const struct blk_params *params,
						const struct memmap *map, struct iovec *iov,
						unsigned int readable_cnt,
						unsigned int writable_cnt, struct blk_req *ret_req)
{
	struct parser p = {
		.map = map,
		.params = params,
		.req = ret_req,
		.readable = iov,
		.readable_cnt = readable_cnt,
		.writable = iov + readable_cnt,
		.writable_cnt = writable_cnt,
	};

	/* Not the array of ranges: it is most of the structure and range_cnt guards it. */
	memset(ret_req, 0, offsetof(struct blk_req, ranges));

	if (!cut_status(&p)) {
		ret_req->action = BLK_ACTION_DISCARD_CHAIN;
		return;
	}
	if (!cut_header(&p)) {
		reply(ret_req, VIRTIO_BLK_S_IOERR);
		return;
	}
	parse_type(&p);
}

void blk_req_parse(const struct blk_params *params, struct iovec *iov, unsigned int readable_cnt,
		   unsigned int writable_cnt, struct blk_req *ret_req)
{
	if (!parse_plain(params, iov, readable_cnt, writable_cnt, ret_req))
		parse_any(params, NULL, iov, readable_cnt, writable_cnt, ret_req);
}

void blk_req_parse_by_file(const struct blk_params *params, const struct memmap *map,
			   struct iovec *iov, unsigned int readable_cnt, unsigned int writable_cnt,
			   struct blk_req *ret_req)
{
	parse_any(params, map, iov, readable_cnt, writable_cnt, ret_req);
}

uint8_t blk_status_from_result(int result)
{
	switch (result) {
	case 0:
		return VIRTIO_BLK_S_OK;
	case -EOPNOTSUPP:
		return VIRTIO_BLK_S_UNSUPP;
	default:
		/* Also -ENOSPC and -EROFS: virtio-blk has no status of their own for them. */
		return VIRTIO_BLK_S_IOERR;
	}
}
