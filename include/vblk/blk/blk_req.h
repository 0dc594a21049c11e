/* SPDX-License-Identifier: MIT */
/*
 * The request core: buffers in, facts out. No ring, no socket, and no system call but where
 * the driver's memory is reached by its file.
 * Requests are read as a byte stream (virtio 1.2 s2.6.4: message framing is the
 * driver's choice), never by counting descriptors.
 * Source: virtio 1.2 s5.2.6 (device operation).
 */
#ifndef VBLK_BLK_BLK_REQ_H
#define VBLK_BLK_BLK_REQ_H

#include <stdint.h>
#include <sys/uio.h>

#include "vblk/bdev/bdev.h"
#include "vblk/blk/blk_config.h"

enum blk_action {
	BLK_ACTION_IO,		  /* hand to the backend: op, ranges, data */
	BLK_ACTION_REPLY,	  /* finished: @status, @written_bytes */
	BLK_ACTION_DISCARD_CHAIN, /* no status byte to write: return it with 0 bytes */
};

struct blk_range {
	uint64_t offset_bytes;
	uint64_t len_bytes;
	unsigned int flags; /* BDEV_IO_* */
};

/**
 * struct blk_req - a parsed request
 * @status_byte: where the status goes: the last device-writable byte
 * @ranges: @range_cnt entries; exactly 1 for READ, WRITE and FLUSH
 * @data: points into the caller's iov array; READ and WRITE only
 * @status: VIRTIO_BLK_S_*, for BLK_ACTION_REPLY
 * @is_get_id: the reply is the serial, for statistics
 * @written_bytes: device-writable bytes that a success fills, without the status byte
 */
struct blk_req {
	enum blk_action action;
	enum bdev_op op;
	uint8_t status;
	bool is_get_id;
	unsigned int range_cnt;
	unsigned int data_cnt;
	uint32_t written_bytes;
	uint8_t *status_byte;
	struct iovec *data;
	struct blk_range ranges[BLK_RANGES_MAX];
};

/**
 * blk_req_parse() - understand one request
 * @iov: @readable_cnt device-readable buffers, then @writable_cnt device-writable
 *       ones; edited in place (header and status are cut off)
 *
 * Every input gives a well-formed result. Malformed or impossible requests
 * become BLK_ACTION_REPLY with IOERR or UNSUPP. GET_ID is answered here.
 */
void blk_req_parse(const struct blk_params *params, struct iovec *iov, unsigned int readable_cnt,
		   unsigned int writable_cnt, struct blk_req *ret_req);

/*
 * The same where header, ranges and room for the serial may be in a region of @map that is
 * by_file. Where that is gone the request is one of zeroes, and memguard_hits() has grown.
 */
void blk_req_parse_by_file(const struct blk_params *params, const struct memmap *map,
			   struct iovec *iov, unsigned int readable_cnt, unsigned int writable_cnt,
			   struct blk_req *ret_req);

/* VIRTIO_BLK_S_* for a backend's result (0 or -errno). */
uint8_t blk_status_from_result(int result);

#endif
