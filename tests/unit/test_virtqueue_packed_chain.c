/* SPDX-License-Identifier: MIT */
/* Chains of packed rings: what is refused and why, and what must not be refused. */
#include "test_virtqueue.h"

#include <errno.h>

#include "vblk/util/compiler.h"

#define RING_SIZE 6u
#define START	  4u
#define NEXT	  VRING_DESC_F_NEXT
#define WRITE	  VRING_DESC_F_WRITE
#define INDIRECT  VRING_DESC_F_INDIRECT
#define AVAIL	  (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED	  (1u << VRING_PACKED_DESC_F_USED)

/* Descriptors as they will stand in the ring; offsets in the arena. */
#define D(offset, length, flag)                                              \
	{                                                                    \
		.addr = FX_IOVA + (offset), .len = (length), .flags = (flag) \
	}
#define AT(address, length, flag)                                   \
	{                                                           \
		.addr = (address), .len = (length), .flags = (flag) \
	}

/* Entry @i of the table at @table of the arena. */
static void entry(uint32_t table, unsigned int i, uint32_t offset, uint32_t len, unsigned int flags)
{
	packed_table_set(fx.ring->mem + table, i, .addr = fx_iova(offset), .len = len,
			 .id = (uint16_t)~i, .flags = (uint16_t)flags);
}

static void table_of_one(void)
{
	entry(FX_BUF, 0, FX_BUF, 1, 0);
}

static void table_with_empty_buffer(void)
{
	entry(FX_BUF, 0, FX_BUF, 1, 0);
	entry(FX_BUF, 1, FX_BUF, 0, 0);
}

static void table_with_bad_address(void)
{
	entry(FX_BUF, 0, FX_HOLE, 1, 0);
}

static void table_that_reads_after_write(void)
{
	entry(FX_BUF, 0, FX_BUF, 1, WRITE);
	entry(FX_BUF, 1, FX_BUF, 1, 0);
}

static void table_of_64(void)
{
	for (unsigned int i = 0; i < 64; i++)
		entry(FX_BUF, i, FX_BUF, 1, 0);
}

static void table_at_the_edge(void)
{
	entry(FX_RW2 + 0xff0, 0, FX_BUF, 1, 0);
}

/* All of the ring is with the device already. */
static void take_all(void)
{
	for (uint16_t i = 0; i < RING_SIZE; i++)
		fx_packed_make(i);
	for (uint16_t i = 0; i < RING_SIZE; i++)
		(void)fx_take();
}

/* Two of six are free. */
static void take_four(void)
{
	for (uint16_t i = 0; i < 4; i++)
		fx_packed_make(i);
	for (uint16_t i = 0; i < 4; i++)
		(void)fx_take();
}

/* The second of three has not been made available. */
static void spoil_the_second(void)
{
	fx.packed->desc[(START + 1) % RING_SIZE].flags = NEXT;
}

/* It looks as if it were used. */
static void spoil_the_second_with_used(void)
{
	fx.packed->desc[(START + 1) % RING_SIZE].flags = NEXT | AVAIL | USED;
}

/* The third is in the next lap, with the flags of this one. */
static void spoil_the_third(void)
{
	fx.packed->desc[(START + 2) % RING_SIZE].flags = AVAIL;
}

#define BUFS(...)                \
	.bufs = { __VA_ARGS__ }, \
	.cnt = sizeof((struct packed_buf[]){ __VA_ARGS__ }) / sizeof(struct packed_buf)

/**
 * struct bad_case - a chain that breaks the queue
 * @before: what happens before it, or what it refers to
 * @bufs: @cnt descriptors, flags as they are in the ring but for the owner
 * @after: what happens to it before the device looks
 */
static const struct bad_case {
	const char *name;
	enum vq_fault fault;
	void (*before)(void);
	struct packed_buf bufs[8];
	unsigned int cnt;
	void (*after)(void);
	unsigned int iov_max;
	bool no_indirect;
	unsigned int held_cnt;
} bad_cases[] = {
	{ "all descriptors go on", VQ_FAULT_OVERRUN,
	  BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT),
	       D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT)) },
	{ "chain into what is in flight", VQ_FAULT_OVERRUN, .before = take_four, .held_cnt = 4,
	  BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT), D(FX_BUF, 1, 0)) },
	{ "more than the ring has", VQ_FAULT_OVERRUN, .before = take_all, .held_cnt = 6,
	  BUFS(D(FX_BUF, 1, 0)) },
	{ "second not available", VQ_FAULT_NOT_AVAILABLE, .after = spoil_the_second,
	  BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT), D(FX_BUF, 1, 0)) },
	{ "second used", VQ_FAULT_NOT_AVAILABLE, .after = spoil_the_second_with_used,
	  BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT), D(FX_BUF, 1, 0)) },
	{ "third of the wrong lap", VQ_FAULT_NOT_AVAILABLE, .after = spoil_the_third,
	  BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT), D(FX_BUF, 1, 0)) },
	{ "empty", VQ_FAULT_ZERO_LENGTH, BUFS(D(FX_BUF, 0, 0)) },
	{ "empty later", VQ_FAULT_ZERO_LENGTH, BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 0, WRITE)) },
	{ "read after write", VQ_FAULT_READ_AFTER_WRITE,
	  BUFS(D(FX_BUF, 1, WRITE | NEXT), D(FX_BUF, 1, 0)) },
	{ "hole", VQ_FAULT_ADDRESS, BUFS(D(FX_HOLE, 1, 0)) },
	{ "below the map", VQ_FAULT_ADDRESS, BUFS(AT(0, 1, 0)) },
	{ "far away", VQ_FAULT_ADDRESS, BUFS(AT(1ull << 63, 1, 0)) },
	{ "out of the map", VQ_FAULT_ADDRESS, BUFS(D(FX_RW2 + 0xfff, 2, 0)) },
	{ "4 GiB", VQ_FAULT_ADDRESS, BUFS(D(FX_BUF, UINT32_MAX, 0)) },
	{ "wraps", VQ_FAULT_ADDRESS, BUFS(AT(FX_TOP_IOVA + 0x800, 0x801, 0)) },
	{ "write to read only", VQ_FAULT_ADDRESS, BUFS(D(FX_RO, 1, WRITE)) },
	{ "read of write only", VQ_FAULT_ADDRESS, BUFS(D(FX_WO, 1, 0)) },
	{ "too many", VQ_FAULT_TOO_MANY_SEGMENTS, .iov_max = 2,
	  BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 1, NEXT), D(FX_BUF, 1, 0)) },
	{ "indirect and next", VQ_FAULT_INDIRECT_NEXT, .before = table_of_one,
	  BUFS(D(FX_BUF, 16, INDIRECT | NEXT), D(FX_BUF, 1, 0)) },
	{ "indirect behind direct", VQ_FAULT_INDIRECT_NEXT, .before = table_of_one,
	  BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 16, INDIRECT)) },
	{ "indirect not negotiated", VQ_FAULT_INDIRECT_REFUSED, .before = table_of_one,
	  .no_indirect = true, BUFS(D(FX_BUF, 16, INDIRECT)) },
	{ "indirect empty", VQ_FAULT_INDIRECT_SIZE, BUFS(D(FX_BUF, 0, INDIRECT)) },
	{ "indirect 15", VQ_FAULT_INDIRECT_SIZE, .before = table_of_one,
	  BUFS(D(FX_BUF, 15, INDIRECT)) },
	{ "indirect 17", VQ_FAULT_INDIRECT_SIZE, .before = table_of_one,
	  BUFS(D(FX_BUF, 17, INDIRECT)) },
	{ "indirect outside", VQ_FAULT_ADDRESS, BUFS(D(FX_HOLE, 16, INDIRECT)) },
	{ "indirect out of the map", VQ_FAULT_ADDRESS, .before = table_at_the_edge,
	  BUFS(D(FX_RW2 + 0xff0, 32, INDIRECT)) },
	{ "indirect wraps", VQ_FAULT_ADDRESS, BUFS(AT(UINT64_MAX - 7, 16, INDIRECT)) },
	{ "indirect in write only", VQ_FAULT_ADDRESS, BUFS(D(FX_WO, 16, INDIRECT)) },
	{ "indirect, empty buffer", VQ_FAULT_ZERO_LENGTH, .before = table_with_empty_buffer,
	  BUFS(D(FX_BUF, 32, INDIRECT)) },
	{ "indirect, bad address", VQ_FAULT_ADDRESS, .before = table_with_bad_address,
	  BUFS(D(FX_BUF, 16, INDIRECT)) },
	{ "indirect, read after write", VQ_FAULT_READ_AFTER_WRITE,
	  .before = table_that_reads_after_write, BUFS(D(FX_BUF, 32, INDIRECT)) },
	{ "indirect, too many", VQ_FAULT_TOO_MANY_SEGMENTS, .before = table_of_64,
	  BUFS(D(FX_BUF, 64 * 16, INDIRECT)) },
};

START_TEST(malformed_packed_ring_breaks_the_queue)
{
	const struct bad_case *c = &bad_cases[_i];
	struct vq_inflight_packed *rec;
	uint32_t before;

	fx_init_packed(RING_SIZE, START, true);
	fx.cfg.indirect = !c->no_indirect;
	fx.cfg.inflight = fx.rec;
	fx_start();
	if (c->before)
		c->before();
	before = vq_base(fx.vq);
	packed_ring_add_raw(fx.packed, 77, c->bufs, c->cnt);
	if (c->after)
		c->after();
	ck_assert_int_eq(vq_pop(fx.vq, fx.iov, c->iov_max ? c->iov_max : FX_IOV_MAX, &fx.chain),
			 -EBADMSG);
	ck_assert_msg(vq_fault(fx.vq) == c->fault, "%s: expected '%s', got '%s'", c->name,
		      vq_fault_str(c->fault), vq_fault_str(vq_fault(fx.vq)));
	/* Not taken, and sticky. */
	ck_assert_uint_eq(vq_base(fx.vq), before);
	ck_assert_uint_eq(vq_inflight_cnt(fx.vq), c->held_cnt);
	rec = (void *)fx.rec;
	for (unsigned int i = 0; i < RING_SIZE; i++)
		c->held_cnt > i ? ck_assert_uint_ne(rec->desc[i].seq, 0)
				: ck_assert_uint_eq(rec->desc[i].seq, 0);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert(!vq_kick_enable(fx.vq));
	fx_fini();
}
END_TEST

/* Expected buffers as offsets in the arena; 0 length ends the list. */
struct want {
	uint32_t offset, len;
};

/* Flags that mean nothing in a table, as they would be in the ring. */
static void table_with_meaningless_flags(void)
{
	entry(FX_BUF, 0, FX_BUF + 256, 16, INDIRECT);
	entry(FX_BUF, 1, FX_BUF + 512, 32, WRITE | NEXT | AVAIL);
	entry(FX_BUF, 2, FX_BUF + 640, 1, WRITE | USED);
}

/* The second entry lies with 4 bytes in one region and 12 in the next. */
static void table_across_regions(void)
{
	entry(FX_RO - 20, 0, FX_BUF, 8, 0);
	entry(FX_RO - 20, 1, FX_BUF + 8, 8, 0);
	entry(FX_RO - 20, 2, FX_BUF + 16, 8, WRITE);
}

static void table_unaligned(void)
{
	entry(FX_BUF + 3, 0, FX_BUF + 256, 16, 0);
}

static const struct good_case {
	void (*before)(void);
	struct packed_buf bufs[8];
	unsigned int cnt;
	unsigned int readable_cnt, writable_cnt;
	struct want want[8];
} good_cases[] = {
	{ BUFS(D(FX_BUF, 16, 0)), .readable_cnt = 1, .want = { { FX_BUF, 16 } } },
	{ BUFS(D(FX_BUF, 16, NEXT), D(FX_BUF + 64, 512, WRITE | NEXT), D(FX_BUF + 9, 1, WRITE)),
	  .readable_cnt = 1, .writable_cnt = 2,
	  .want = { { FX_BUF, 16 }, { FX_BUF + 64, 512 }, { FX_BUF + 9, 1 } } },
	{ BUFS(D(FX_RO - 4, 12, 0)), .readable_cnt = 2,
	  .want = { { FX_RO - 4, 4 }, { FX_RO, 8 } } },
	{ BUFS(AT(FX_TOP_IOVA, 4096, WRITE)), .writable_cnt = 1, .want = { { FX_TOP, 4096 } } },
	{ BUFS(D(FX_BUF, 1, NEXT), D(FX_BUF, 2, NEXT), D(FX_BUF, 3, NEXT), D(FX_BUF, 4, NEXT),
	       D(FX_BUF, 5, NEXT), D(FX_BUF, 6, 0)),
	  .readable_cnt = 6, .want = { { FX_BUF, 1 }, { FX_BUF, 2 }, { FX_BUF, 3 } } },
	/* WRITE of the descriptor that refers to a table means nothing. */
	{ .before = table_with_meaningless_flags,
	  BUFS(D(FX_BUF, 48, INDIRECT | WRITE)),
	  .readable_cnt = 1,
	  .writable_cnt = 2,
	  .want = { { FX_BUF + 256, 16 }, { FX_BUF + 512, 32 }, { FX_BUF + 640, 1 } } },
	{ .before = table_across_regions,
	  BUFS(D(FX_RO - 20, 48, INDIRECT)),
	  .readable_cnt = 2,
	  .writable_cnt = 1,
	  .want = { { FX_BUF, 8 }, { FX_BUF + 8, 8 }, { FX_BUF + 16, 8 } } },
	{ .before = table_unaligned,
	  BUFS(D(FX_BUF + 3, 16, INDIRECT)),
	  .readable_cnt = 1,
	  .want = { { FX_BUF + 256, 16 } } },
	/* A table may be longer than the ring. */
	{ .before = table_of_64,
	  BUFS(D(FX_BUF, 12 * 16, INDIRECT)),
	  .readable_cnt = 12,
	  .want = { { FX_BUF, 1 }, { FX_BUF, 1 } } },
};

static void check_good_case(const struct good_case *c)
{
	ck_assert_uint_eq(fx.chain.readable_cnt, c->readable_cnt);
	ck_assert_uint_eq(fx.chain.writable_cnt, c->writable_cnt);
	ck_assert_ptr_eq(fx.chain.iov, fx.iov);
	for (unsigned int i = 0; i < 8 && c->want[i].len; i++) {
		ck_assert_ptr_eq(fx.iov[i].iov_base, fx.ring->mem + c->want[i].offset);
		ck_assert_uint_eq(fx.iov[i].iov_len, c->want[i].len);
	}
}

/* Taken from the ring, and by a successor from the record, the ring being overwritten. */
START_TEST(well_formed_packed_chain_becomes_buffers_again_and_again)
{
	const struct good_case *c = &good_cases[_i];

	fx_init_packed(RING_SIZE, START, false);
	fx.cfg.inflight = fx.rec;
	fx_start();
	if (c->before)
		c->before();
	packed_ring_add_raw(fx.packed, 1234, c->bufs, c->cnt);
	ck_assert_int_eq(fx_pop(), 1);
	check_good_case(c);
	for (int i = 0; i < 2; i++) {
		fx_die();
		for (unsigned int j = 0; j < RING_SIZE; j++)
			fx.packed->desc[j].addr = 0;
		fx_start();
		ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 1);
		ck_assert_int_eq(fx_pop(), 1);
		check_good_case(c);
	}
	vq_push(fx.vq, fx.chain.head, 0);
	(void)vq_publish(fx.vq);
	ck_assert_uint_eq(fx.packed->desc[START].id, 1234);
	ck_assert_uint_eq(vq_base(fx.vq), packed_pos_word(fx.packed->avail) * 0x10001u);
	fx_fini();
}
END_TEST

void fx_suite_packed_chain(Suite *s)
{
	TCase *tc = tcase_create("chain");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, malformed_packed_ring_breaks_the_queue, 0, ARRAY_SIZE(bad_cases));
	tcase_add_loop_test(tc, well_formed_packed_chain_becomes_buffers_again_and_again, 0,
			    ARRAY_SIZE(good_cases));
}
