/* SPDX-License-Identifier: MIT */
/* Attacks that are a table of numbers: bad chains, bad requests. */
#include "hostile.h"

#include <string.h>

#define N VRING_DESC_F_NEXT
#define W VRING_DESC_F_WRITE
#define I VRING_DESC_F_INDIRECT

#define RO_IOVA	    0x10000000u
#define WO_IOVA	    0x20000000u
#define VICTIM_IOVA 0x30000000u
#define HOLE_IOVA   0x60000000u

static void fill_area(struct drv *d, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr *hdr = drv_va(d, AREA_IOVA);

	*hdr = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	*(uint8_t *)drv_va(d, AREA_IOVA + 16) = DRV_NO_ANSWER;
}

/* As they are, from descriptor 0 on. */
static void run_direct(struct drv *d, const struct attack *a)
{
	fill_area(d, VIRTIO_BLK_T_IN, 0);
	memcpy(d->q[0].desc, a->desc, a->cnt * sizeof(a->desc[0]));
	drv_add(&d->q[0], 0);
	drv_kick(&d->q[0]);
}

/* As a table that descriptor 0 refers to. */
static void run_indirect(struct drv *d, const struct attack *a)
{
	fill_area(d, VIRTIO_BLK_T_IN, 0);
	memcpy(drv_va(d, TABLE_IOVA), a->desc, a->cnt * sizeof(a->desc[0]));
	d->q[0].desc[0] = (struct vring_desc){ .addr = TABLE_IOVA, .len = a->cnt * 16, .flags = I };
	drv_add(&d->q[0], 0);
	drv_kick(&d->q[0]);
}

/* 4096 descriptors of one byte. */
static void run_long_table(struct drv *d, const struct attack *a)
{
	struct vring_desc *table = drv_va(d, DATA_IOVA);

	(void)a;
	for (unsigned int i = 0; i < 4096; i++)
		table[i] = (struct vring_desc){ AREA_IOVA, 1, N, (uint16_t)(i + 1) };
	d->q[0].desc[0] = (struct vring_desc){ .addr = DATA_IOVA, .len = 4096 * 16, .flags = I };
	drv_add(&d->q[0], 0);
	drv_kick(&d->q[0]);
}

static void run_without_feature(struct drv *d, const struct attack *a)
{
	drv_reset(d);
	drv_start(d, FEATURES_BASIC);
	run_indirect(d, a);
}

#define DIRECT(what, why, n, ...)                                                          \
	{                                                                                  \
		.name = what, .run = run_direct, .outcome = BROKEN, .text = why, .cnt = n, \
		.desc = {                                                                  \
			__VA_ARGS__                                                        \
		}                                                                          \
	}
#define TABLE(what, why, n, ...)                                                             \
	{                                                                                    \
		.name = what, .run = run_indirect, .outcome = BROKEN, .text = why, .cnt = n, \
		.desc = {                                                                    \
			__VA_ARGS__                                                          \
		}                                                                            \
	}

const struct attack hostile_chains[] = {
	DIRECT("next beyond the table", "next outside", 1, { AREA_IOVA, 16, N, DRV_RING_SIZE }),
	DIRECT("next 65535", "next outside", 1, { AREA_IOVA, 16, N, 0xffff }),
	DIRECT("descriptor that follows itself", "", 1, { AREA_IOVA, 16, N, 0 }),
	DIRECT("two that follow each other", "", 2, { AREA_IOVA, 16, N, 1 },
	       { AREA_IOVA, 1, N, 0 }),
	DIRECT("length 0", "zero length", 1, { AREA_IOVA, 0, 0, 0 }),
	DIRECT("length 4 GiB - 1", "address outside", 1, { 0, 0xffffffff, 0, 0 }),
	DIRECT("length 2 GiB, written", "address outside", 1, { 0, 0x80000000, W, 0 }),
	DIRECT("address plus length wraps", "address outside", 1,
	       { UINT64_MAX - 15, 0xffffff00, 0, 0 }),
	DIRECT("address of nothing", "address outside", 1, { HOLE_IOVA, 16, 0, 0 }),
	DIRECT("address of our own memory", "address outside", 1, { 0x7fff00000000, 16, 0, 0 }),
	DIRECT("one byte too far", "address outside", 1,
	       { VICTIM_IOVA + 16 * DRV_PAGE - 15, 16, 0, 0 }),
	DIRECT("one byte before", "address outside", 1, { VICTIM_IOVA - 1, 16, 0, 0 }),
	DIRECT("to be written, read-only", "without permission", 1, { RO_IOVA, 16, W, 0 }),
	DIRECT("to be read, write-only", "without permission", 1, { WO_IOVA, 16, 0, 0 }),
	DIRECT("readable behind writable", "readable buffer behind", 2, { AREA_IOVA, 16, W | N, 1 },
	       { AREA_IOVA, 16, 0, 0 }),
	DIRECT("table of 15 bytes", "size of an indirect", 1, { TABLE_IOVA, 15, I, 0 }),
	DIRECT("table of nothing", "size of an indirect", 1, { TABLE_IOVA, 0, I, 0 }),
	DIRECT("table with a next", "with a next one", 1, { TABLE_IOVA, 16, I | N, 1 }),
	DIRECT("table outside", "address outside", 1, { HOLE_IOVA, 64, I, 0 }),
	DIRECT("table of 4 GiB - 16", "", 1, { TABLE_IOVA, 0xfffffff0, I, 0 }),
	DIRECT("table that may not be read", "address outside", 1, { WO_IOVA, 64, I, 0 }),
	TABLE("table in a table", "inside an indirect", 1, { TABLE_IOVA, 16, I, 0 }),
	TABLE("next beyond an indirect table", "next outside", 1, { AREA_IOVA, 16, N, 1 }),
	TABLE("loop in a table", "", 2, { AREA_IOVA, 16, N, 1 }, { AREA_IOVA, 1, N, 0 }),
	{ .name = "table of 4096", .run = run_long_table, .outcome = BROKEN, .text = "too many" },
	{ .name = "table without the feature",
	  .run = run_without_feature,
	  .outcome = BROKEN,
	  .text = "without the feature",
	  .cnt = 1,
	  .desc = { { AREA_IOVA, 16, 0, 0 } } },
	{ .name = "no descriptor to write",
	  .run = run_direct,
	  .outcome = UNUSED,
	  .cnt = 2,
	  .desc = { { AREA_IOVA, 16, N, 1 }, { AREA_IOVA + 16, 1, 0, 0 } } },
	{ .name = "header of 8 bytes",
	  .run = run_direct,
	  .outcome = ANSWERED,
	  .status = VIRTIO_BLK_S_IOERR,
	  .cnt = 2,
	  .desc = { { AREA_IOVA, 8, N, 1 }, { AREA_IOVA + 16, 1, W, 0 } } },
	{ .name = "no header",
	  .run = run_direct,
	  .outcome = ANSWERED,
	  .status = VIRTIO_BLK_S_IOERR,
	  .cnt = 1,
	  .desc = { { AREA_IOVA + 16, 1, W, 0 } } },
	/* READs into the rings themselves, of a disk that is zero there. */
	{ .name = "own used ring as buffer",
	  .run = run_direct,
	  .outcome = ANY,
	  .cnt = 3,
	  .desc = { { AREA_IOVA, 16, N, 1 },
		    { 0x40000000 + 8192, 512, W | N, 2 },
		    { AREA_IOVA + 16, 1, W, 0 } } },
	{ .name = "own available ring as buffer",
	  .run = run_direct,
	  .outcome = ANY,
	  .cnt = 3,
	  .desc = { { AREA_IOVA, 16, N, 1 },
		    { 0x40000000 + 4096, 512, W | N, 2 },
		    { AREA_IOVA + 16, 1, W, 0 } } },
	{ .name = "own descriptors as buffer",
	  .run = run_direct,
	  .outcome = ANY,
	  .cnt = 3,
	  .desc = { { AREA_IOVA, 16, N, 1 },
		    { 0x40000000, 1024, W | N, 2 },
		    { AREA_IOVA + 16, 1, W, 0 } } },
};
const unsigned int hostile_chains_cnt = sizeof(hostile_chains) / sizeof(hostile_chains[0]);

/* ---- requests in good chains ---- */

/* Header, len[0] bytes to read, len[1] bytes to write, status. */
static void run_request(struct drv *d, const struct attack *a)
{
	struct drv_queue *q = &d->q[0];
	struct drv_seg segs[4] = { { AREA_IOVA, 16, false } };
	unsigned int cnt = 1;

	fill_area(d, a->type, a->sector);
	memcpy(drv_va(d, DATA_IOVA), a->desc, sizeof(a->desc));
	if (a->len[0])
		segs[cnt++] = (struct drv_seg){ DATA_IOVA, a->len[0], false };
	if (a->len[1])
		segs[cnt++] = (struct drv_seg){ DATA_IOVA + 4096, a->len[1], true };
	segs[cnt++] = (struct drv_seg){ AREA_IOVA + 16, 1, true };
	drv_chain(q, 0, segs, cnt);
	drv_add(q, 0);
	drv_kick(q);
}

#define IN    VIRTIO_BLK_T_IN
#define OUT   VIRTIO_BLK_T_OUT
#define TRIM  VIRTIO_BLK_T_DISCARD
#define ZERO  VIRTIO_BLK_T_WRITE_ZEROES
#define OK    VIRTIO_BLK_S_OK
#define IOERR VIRTIO_BLK_S_IOERR
#define NO    VIRTIO_BLK_S_UNSUPP

/* Content of the readable bytes: a range of discard or write-zeroes, which has this shape. */
#define RANGE(sector, cnt, flags)                                  \
	{                                                          \
		{                                                  \
			sector, cnt, (flags)&0xffff, (flags) >> 16 \
		}                                                  \
	}
#define REQUEST(what, t, s, in, out, answer, ...)                                              \
	{                                                                                      \
		.name = what, .run = run_request, .outcome = ANSWERED, .type = t, .sector = s, \
		.len = { in, out }, .status = answer, .desc = __VA_ARGS__                      \
	}

const struct attack hostile_requests[] = {
	REQUEST("unknown type", 0xdeadbeef, 0, 0, 0, NO, { { 0 } }),
	REQUEST("SCSI command", 2, 0, 16, 96, NO, { { 0 } }),
	REQUEST("read at the last sector of 2^64", IN, UINT64_MAX, 0, 512, IOERR, { { 0 } }),
	REQUEST("write at sector 2^63", OUT, 1ull << 63, 512, 0, IOERR, { { 0 } }),
	REQUEST("write where sector times 512 is 0", OUT, 1ull << 55, 512, 0, IOERR, { { 0 } }),
	REQUEST("read beyond the end", IN, 1ull << 40, 0, 512, IOERR, { { 0 } }),
	REQUEST("read of 100 bytes", IN, 0, 0, 100, IOERR, { { 0 } }),
	REQUEST("write of nothing", OUT, 0, 0, 0, IOERR, { { 0 } }),
	REQUEST("write with room to read", OUT, 0, 512, 512, IOERR, { { 0 } }),
	REQUEST("read with data", IN, 0, 512, 512, IOERR, { { 0 } }),
	REQUEST("flush with data", VIRTIO_BLK_T_FLUSH, 0, 512, 0, IOERR, { { 0 } }),
	REQUEST("serial of 1 byte", VIRTIO_BLK_T_GET_ID, 0, 0, 1, OK, { { 0 } }),
	REQUEST("serial of nothing", VIRTIO_BLK_T_GET_ID, 0, 0, 0, IOERR, { { 0 } }),
	REQUEST("discard of 15 bytes", TRIM, 0, 15, 0, IOERR, { { 0 } }),
	REQUEST("discard of nothing", TRIM, 0, 0, 0, IOERR, { { 0 } }),
	REQUEST("discard of 4096 ranges", TRIM, 0, 65536, 0, IOERR, { { 0 } }),
	REQUEST("discard with unmap", TRIM, 0, 16, 0, NO, RANGE(0, 8, 1)),
	REQUEST("discard, unknown flags", TRIM, 0, 16, 0, NO, RANGE(0, 8, 0x80000000)),
	REQUEST("discard beyond the end", TRIM, 0, 16, 0, IOERR, RANGE(1ull << 40, 8, 0)),
	REQUEST("discard at 2^64", TRIM, 0, 16, 0, IOERR, RANGE(UINT64_MAX, 8, 0)),
	REQUEST("discard of 2 TiB", TRIM, 0, 16, 0, IOERR, RANGE(0, 0xffffffff, 0)),
	REQUEST("second range bad", TRIM, 0, 32, 0, IOERR,
		{ { 0, 8, 0, 0 }, { 1ull << 40, 8, 0, 0 } }),
	REQUEST("zeroes of 2 TiB", ZERO, 0, 16, 0, IOERR, RANGE(0, 0xffffffff, 0)),
	REQUEST("zeroes, unknown flags", ZERO, 0, 16, 0, NO, RANGE(0, 8, 2)),
};
const unsigned int hostile_requests_cnt = sizeof(hostile_requests) / sizeof(hostile_requests[0]);
