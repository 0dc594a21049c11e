/* SPDX-License-Identifier: MIT */
/* Descriptor chains: what is refused and why, and what must not be refused. */
#include "test_virtqueue.h"

#include <errno.h>
#include <string.h>

#include "vblk/util/compiler.h"

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

/* Descriptor @i of the ring at an offset of the arena. */
static void desc(unsigned int i, uint32_t offset, uint32_t len, unsigned int flags,
		 unsigned int next)
{
	ring_desc_set(fx.ring, i, .addr = fx_iova(offset), .len = len, .flags = (uint16_t)flags,
		      .next = (uint16_t)next);
}

/* The same in the table at @table of the arena. */
static void entry(uint32_t table, unsigned int i, uint32_t offset, uint32_t len, unsigned int flags,
		  unsigned int next)
{
	ring_table_set(fx.ring->mem + table, i, .addr = fx_iova(offset), .len = len,
		       .flags = (uint16_t)flags, .next = (uint16_t)next);
}

static void show(uint16_t head)
{
	ring_publish(fx.ring, head);
}

static void loop_of_one(void)
{
	desc(0, FX_BUF, 1, NEXT, 0);
	show(0);
}

static void loop_of_two(void)
{
	desc(0, FX_BUF, 1, NEXT, 5);
	desc(5, FX_BUF, 1, NEXT, 0);
	show(0);
}

static void loop_behind_the_head(void)
{
	desc(0, FX_BUF, 1, NEXT, 1);
	desc(1, FX_BUF, 1, NEXT, 2);
	desc(2, FX_BUF, 1, NEXT, 1);
	show(0);
}

static void head_is_size(void)
{
	show(8);
}

static void head_is_huge(void)
{
	show(0xffff);
}

static void next_is_size(void)
{
	desc(0, FX_BUF, 1, NEXT, 8);
	show(0);
}

static void next_is_huge(void)
{
	desc(0, FX_BUF, 1, NEXT, 0xffff);
	show(0);
}

static void zero_length(void)
{
	desc(0, FX_BUF, 0, 0, 0);
	show(0);
}

static void zero_length_later(void)
{
	desc(0, FX_BUF, 1, NEXT, 1);
	desc(1, FX_BUF, 0, WRITE, 0);
	show(0);
}

static void read_after_write(void)
{
	desc(0, FX_BUF, 1, WRITE | NEXT, 1);
	desc(1, FX_BUF, 1, 0, 0);
	show(0);
}

static void address_in_the_hole(void)
{
	desc(0, FX_HOLE, 1, 0, 0);
	show(0);
}

static void address_below_the_map(void)
{
	ring_desc_set(fx.ring, 0, .addr = 0, .len = 1);
	show(0);
}

static void address_far_away(void)
{
	ring_desc_set(fx.ring, 0, .addr = 1ull << 63, .len = 1);
	show(0);
}

static void length_runs_out_of_the_map(void)
{
	desc(0, FX_RW2 + 0xfff, 2, 0, 0);
	show(0);
}

static void length_of_4g(void)
{
	desc(0, FX_BUF, UINT32_MAX, 0, 0);
	show(0);
}

static void address_wraps(void)
{
	ring_desc_set(fx.ring, 0, .addr = FX_TOP_IOVA + 0x800, .len = 0x801);
	show(0);
}

static void address_wraps_into_the_map(void)
{
	ring_desc_set(fx.ring, 0, .addr = UINT64_MAX, .len = FX_IOVA + 2);
	show(0);
}

static void write_to_read_only(void)
{
	desc(0, FX_RO, 1, WRITE, 0);
	show(0);
}

static void read_of_write_only(void)
{
	desc(0, FX_WO, 1, 0, 0);
	show(0);
}

static void write_crosses_into_read_only(void)
{
	desc(0, FX_RO - 1, 2, WRITE, 0);
	show(0);
}

static void too_many_descriptors(void)
{
	for (unsigned int i = 0; i < 5; i++)
		desc(i, FX_BUF, 1, i < 4 ? NEXT : 0, i + 1);
	show(0);
}

static void too_many_parts(void)
{
	for (unsigned int i = 0; i < 4; i++)
		desc(i, FX_BUF, 1, NEXT, i + 1);
	desc(3, FX_RO - 1, 2, 0, 0); /* one descriptor, two regions */
	show(0);
}

static void avail_idx_one_too_far(void)
{
	ring_avail_idx_set(fx.ring, (uint16_t)(fx.ring->avail_idx + 9));
}

static void avail_idx_backwards(void)
{
	ring_avail_idx_set(fx.ring, (uint16_t)(fx.ring->avail_idx - 1));
}

static void indirect_with_next(void)
{
	entry(FX_BUF, 0, FX_BUF, 1, 0, 0);
	desc(0, FX_BUF, 16, INDIRECT | NEXT, 1);
	desc(1, FX_BUF, 1, 0, 0);
	show(0);
}

static void indirect_good(void)
{
	entry(FX_BUF, 0, FX_BUF, 1, 0, 0);
	desc(0, FX_BUF, 16, INDIRECT, 0);
	show(0);
}

static void indirect_empty(void)
{
	desc(0, FX_BUF, 0, INDIRECT, 0);
	show(0);
}

static void indirect_size_15(void)
{
	desc(0, FX_BUF, 15, INDIRECT, 0);
	show(0);
}

static void indirect_size_17(void)
{
	desc(0, FX_BUF, 17, INDIRECT, 0);
	show(0);
}

static void indirect_nested(void)
{
	entry(FX_BUF, 0, FX_BUF + 64, 16, INDIRECT, 0);
	entry(FX_BUF + 64, 0, FX_BUF, 1, 0, 0);
	desc(0, FX_BUF, 16, INDIRECT, 0);
	show(0);
}

static void indirect_nested_later(void)
{
	entry(FX_BUF, 0, FX_BUF, 1, NEXT, 1);
	entry(FX_BUF, 1, FX_BUF, 32, INDIRECT, 0); /* itself */
	desc(0, FX_BUF, 32, INDIRECT, 0);
	show(0);
}

static void indirect_outside(void)
{
	desc(0, FX_HOLE, 16, INDIRECT, 0);
	show(0);
}

static void indirect_runs_out_of_the_map(void)
{
	entry(FX_RW2 + 0xff0, 0, FX_BUF, 1, NEXT, 1);
	desc(0, FX_RW2 + 0xff0, 32, INDIRECT, 0);
	show(0);
}

static void indirect_cut_by_the_map(void)
{
	desc(0, FX_RW2 + 0xff8, 16, INDIRECT, 0);
	show(0);
}

static void indirect_wraps(void)
{
	ring_desc_set(fx.ring, 0, .addr = UINT64_MAX - 7, .len = 16, .flags = INDIRECT);
	show(0);
}

static void indirect_in_write_only(void)
{
	desc(0, FX_WO, 16, INDIRECT, 0);
	show(0);
}

static void indirect_crosses_into_write_only(void)
{
	entry(FX_RO + 0xff0, 0, FX_BUF, 1, NEXT, 1);
	desc(0, FX_RO + 0xff0, 32, INDIRECT, 0);
	show(0);
}

static void indirect_next_is_size(void)
{
	entry(FX_BUF, 0, FX_BUF, 1, NEXT, 2);
	desc(0, FX_BUF, 32, INDIRECT, 0);
	show(0);
}

static void indirect_loop(void)
{
	entry(FX_BUF, 0, FX_BUF, 1, NEXT, 1);
	entry(FX_BUF, 1, FX_BUF, 1, NEXT, 0);
	desc(0, FX_BUF, 32, INDIRECT, 0);
	show(0);
}

static void indirect_zero_length(void)
{
	entry(FX_BUF, 0, FX_BUF, 0, 0, 0);
	desc(0, FX_BUF, 16, INDIRECT, 0);
	show(0);
}

static void indirect_bad_address(void)
{
	entry(FX_BUF, 0, FX_HOLE, 1, 0, 0);
	desc(0, FX_BUF, 16, INDIRECT, 0);
	show(0);
}

static void indirect_reads_after_direct_write(void)
{
	desc(0, FX_BUF, 1, WRITE | NEXT, 1);
	entry(FX_BUF, 0, FX_BUF, 1, 0, 0);
	desc(1, FX_BUF, 16, INDIRECT, 0);
	show(0);
}

static void indirect_too_many(void)
{
	for (unsigned int i = 0; i < 64; i++)
		entry(FX_BUF, i, FX_BUF, 1, i < 63 ? NEXT : 0, i + 1);
	desc(0, FX_BUF, 64 * 16, INDIRECT, 0);
	show(0);
}

#define BAD(build, why)                                         \
	{                                                       \
#build, build, VQ_FAULT_##why, FX_IOV_MAX, true \
	}
#define BAD_AT(build, why, max)                          \
	{                                                \
#build, build, VQ_FAULT_##why, max, true \
	}

static const struct {
	const char *name;
	void (*build)(void);
	enum vq_fault fault;
	unsigned int iov_max;
	bool indirect;
} bad_cases[] = {
	BAD(loop_of_one, LOOP),
	BAD(loop_of_two, LOOP),
	BAD(loop_behind_the_head, LOOP),
	BAD_AT(loop_of_two, TOO_MANY_SEGMENTS, 4),
	BAD(head_is_size, HEAD_RANGE),
	BAD(head_is_huge, HEAD_RANGE),
	BAD(next_is_size, NEXT_RANGE),
	BAD(next_is_huge, NEXT_RANGE),
	BAD(zero_length, ZERO_LENGTH),
	BAD(zero_length_later, ZERO_LENGTH),
	BAD(read_after_write, READ_AFTER_WRITE),
	BAD(address_in_the_hole, ADDRESS),
	BAD(address_below_the_map, ADDRESS),
	BAD(address_far_away, ADDRESS),
	BAD(length_runs_out_of_the_map, ADDRESS),
	BAD(length_of_4g, ADDRESS),
	BAD(address_wraps, ADDRESS),
	BAD(address_wraps_into_the_map, ADDRESS),
	BAD(write_to_read_only, ADDRESS),
	BAD(read_of_write_only, ADDRESS),
	BAD(write_crosses_into_read_only, ADDRESS),
	BAD_AT(too_many_descriptors, TOO_MANY_SEGMENTS, 4),
	BAD_AT(too_many_parts, TOO_MANY_SEGMENTS, 4),
	BAD(avail_idx_one_too_far, AVAIL_IDX),
	BAD(avail_idx_backwards, AVAIL_IDX),
	BAD(indirect_with_next, INDIRECT_NEXT),
	{ "indirect_not_negotiated", indirect_good, VQ_FAULT_INDIRECT_REFUSED, 4, false },
	BAD(indirect_empty, INDIRECT_SIZE),
	BAD(indirect_size_15, INDIRECT_SIZE),
	BAD(indirect_size_17, INDIRECT_SIZE),
	BAD(indirect_nested, INDIRECT_NESTED),
	BAD(indirect_nested_later, INDIRECT_NESTED),
	BAD(indirect_outside, ADDRESS),
	BAD(indirect_runs_out_of_the_map, ADDRESS),
	BAD(indirect_cut_by_the_map, ADDRESS),
	BAD(indirect_wraps, ADDRESS),
	BAD(indirect_in_write_only, ADDRESS),
	BAD(indirect_crosses_into_write_only, ADDRESS),
	BAD(indirect_next_is_size, NEXT_RANGE),
	BAD(indirect_loop, LOOP),
	BAD(indirect_zero_length, ZERO_LENGTH),
	BAD(indirect_bad_address, ADDRESS),
	BAD(indirect_reads_after_direct_write, READ_AFTER_WRITE),
	BAD(indirect_too_many, TOO_MANY_SEGMENTS),
};

START_TEST(malformed_ring_breaks_the_queue)
{
	uint16_t before;

	fx_init(8, 0xfffe);
	fx.cfg.indirect = bad_cases[_i].indirect;
	fx_start();
	before = vq_last_avail_idx(fx.vq);
	bad_cases[_i].build();
	ck_assert_int_eq(vq_pop(fx.vq, fx.iov, bad_cases[_i].iov_max, &fx.chain), -EBADMSG);
	ck_assert_msg(vq_fault(fx.vq) == bad_cases[_i].fault, "%s: expected '%s', got '%s'",
		      bad_cases[_i].name, vq_fault_str(bad_cases[_i].fault),
		      vq_fault_str(vq_fault(fx.vq)));
	/* Not taken, and sticky. */
	ck_assert_uint_eq(vq_last_avail_idx(fx.vq), before);
	ck_assert_uint_eq(vq_inflight_cnt(fx.vq), 0);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert(!vq_kick_enable(fx.vq));
	fx_fini();
}
END_TEST

/* The largest region, which is looked at before all others, forbids one direction. */
static const struct {
	unsigned int perm;
	unsigned int flags;
	bool good;
} one_way_cases[] = {
	{ MEMMAP_READ, 0, true },	 { MEMMAP_READ, WRITE, false },
	{ MEMMAP_WRITE, WRITE, true },	 { MEMMAP_WRITE, 0, false },
	{ MEMMAP_READ, INDIRECT, true }, { MEMMAP_WRITE, INDIRECT, false },
};

START_TEST(largest_region_keeps_its_permission)
{
	struct memmap_region region = { .len_bytes = FX_RO, .fd = -1 };
	struct memmap *map;

	fx_init(8, 0);
	region.iova = fx.ring->iova;
	region.va = fx.ring->mem;
	region.perm = one_way_cases[_i].perm;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
	vq_set_map(fx.vq, map);
	fx_start();
	entry(FX_BUF, 0, FX_BUF, 1, 0, 0);
	desc(0, FX_BUF, 16, one_way_cases[_i].flags, 0);
	show(0);
	if (one_way_cases[_i].good) {
		ck_assert_int_eq(fx_pop(), 1);
	} else {
		ck_assert_int_eq(fx_pop(), -EBADMSG);
		ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_ADDRESS);
	}
	memmap_unref(map);
	fx_fini();
}
END_TEST

/* Expected buffers as offsets in the arena; 0 length ends the list. */
struct want {
	uint32_t offset, len;
};

static void good_single(void)
{
	desc(3, FX_BUF, 16, 0, 0);
	show(3);
}

static void good_both(void)
{
	desc(0, FX_BUF, 16, NEXT, 7);
	desc(7, FX_BUF + 64, 512, WRITE | NEXT, 2);
	desc(2, FX_BUF + 9, 1, WRITE, 0xffff); /* next means nothing here */
	show(0);
}

static void good_crossing(void)
{
	desc(0, FX_RO - 4, 12, 0, 0);
	show(0);
}

static void good_at_the_top(void)
{
	ring_desc_set(fx.ring, 0, .addr = FX_TOP_IOVA, .len = 4096, .flags = WRITE);
	show(0);
}

static void good_indirect(void)
{
	entry(FX_BUF, 0, FX_BUF + 256, 16, NEXT, 2);
	entry(FX_BUF, 2, FX_BUF + 512, 32, WRITE, 0);
	desc(1, FX_BUF, 48, INDIRECT | WRITE, 0); /* WRITE is to be ignored */
	show(1);
}

static void good_indirect_behind_direct(void)
{
	desc(0, FX_BUF + 1024, 16, NEXT, 1);
	entry(FX_BUF, 0, FX_BUF + 256, 16, WRITE, 0);
	desc(1, FX_BUF, 16, INDIRECT, 0);
	show(0);
}

/* The second entry lies with 4 bytes in one region and 12 in the next. */
static void good_indirect_across_regions(void)
{
	uint32_t table = FX_RO - 20;

	entry(table, 0, FX_BUF, 8, NEXT, 1);
	entry(table, 1, FX_BUF + 8, 8, NEXT, 2);
	entry(table, 2, FX_BUF + 16, 8, WRITE, 0);
	desc(0, table, 48, INDIRECT, 0);
	show(0);
}

static void good_indirect_unaligned(void)
{
	entry(FX_BUF + 3, 0, FX_BUF + 256, 16, 0, 0);
	desc(0, FX_BUF + 3, 16, INDIRECT, 0);
	show(0);
}

static void good_indirect_longer_than_ring(void)
{
	for (unsigned int i = 0; i < 12; i++)
		entry(FX_BUF, i, FX_BUF + 1024 + i, 1, i < 11 ? NEXT : 0, i + 1);
	desc(0, FX_BUF, 12 * 16, INDIRECT, 0);
	show(0);
}

static const struct {
	void (*build)(void);
	unsigned int readable_cnt, writable_cnt;
	struct want want[12];
} good_cases[] = {
	{ good_single, 1, 0, { { FX_BUF, 16 } } },
	{ good_both, 1, 2, { { FX_BUF, 16 }, { FX_BUF + 64, 512 }, { FX_BUF + 9, 1 } } },
	{ good_crossing, 2, 0, { { FX_RO - 4, 4 }, { FX_RO, 8 } } },
	{ good_at_the_top, 0, 1, { { FX_TOP, 4096 } } },
	{ good_indirect, 1, 1, { { FX_BUF + 256, 16 }, { FX_BUF + 512, 32 } } },
	{ good_indirect_behind_direct, 1, 1, { { FX_BUF + 1024, 16 }, { FX_BUF + 256, 16 } } },
	{ good_indirect_across_regions,
	  2,
	  1,
	  { { FX_BUF, 8 }, { FX_BUF + 8, 8 }, { FX_BUF + 16, 8 } } },
	{ good_indirect_unaligned, 1, 0, { { FX_BUF + 256, 16 } } },
	{ good_indirect_longer_than_ring, 12, 0, { { FX_BUF + 1024, 1 }, { FX_BUF + 1025, 1 } } },
};

START_TEST(well_formed_chain_becomes_buffers)
{
	fx_init(8, 0);
	fx_start();
	good_cases[_i].build();
	ck_assert_int_eq(fx_pop(), 1);
	ck_assert_uint_eq(fx.chain.readable_cnt, good_cases[_i].readable_cnt);
	ck_assert_uint_eq(fx.chain.writable_cnt, good_cases[_i].writable_cnt);
	ck_assert_ptr_eq(fx.chain.iov, fx.iov);
	for (unsigned int i = 0; good_cases[_i].want[i].len; i++) {
		ck_assert_ptr_eq(fx.iov[i].iov_base, fx.ring->mem + good_cases[_i].want[i].offset);
		ck_assert_uint_eq(fx.iov[i].iov_len, good_cases[_i].want[i].len);
	}
	fx_fini();
}
END_TEST

START_TEST(chain_of_the_whole_ring_is_no_loop)
{
	fx_init(8, 0);
	fx_start();
	for (unsigned int i = 0; i < 8; i++)
		desc(i, FX_BUF, 1, i < 7 ? NEXT : 0, i + 1);
	show(0);
	ck_assert_int_eq(fx_pop(), 1);
	ck_assert_uint_eq(fx.chain.readable_cnt, 8);
	fx_fini();
}
END_TEST

START_TEST(exactly_iov_max_buffers_fit)
{
	fx_init(8, 0);
	fx_start();
	for (unsigned int i = 0; i < 4; i++)
		desc(i, FX_BUF, 1, i < 3 ? NEXT : 0, i + 1);
	show(0);
	ck_assert_int_eq(vq_pop(fx.vq, fx.iov, 4, &fx.chain), 1);
	fx_fini();
}
END_TEST

START_TEST(every_fault_has_words)
{
	for (int i = 0; i <= VQ_FAULT_MEMORY; i++) {
		ck_assert_str_ne(vq_fault_str((enum vq_fault)i), "unknown");
		for (int j = 0; j < i; j++)
			ck_assert_str_ne(vq_fault_str((enum vq_fault)i),
					 vq_fault_str((enum vq_fault)j));
	}
	ck_assert_str_eq(vq_fault_str((enum vq_fault)9999), "unknown");
}
END_TEST

void fx_suite_chain(Suite *s)
{
	TCase *tc = tcase_create("chain");

	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, malformed_ring_breaks_the_queue, 0, ARRAY_SIZE(bad_cases));
	tcase_add_loop_test(tc, largest_region_keeps_its_permission, 0, ARRAY_SIZE(one_way_cases));
	tcase_add_loop_test(tc, well_formed_chain_becomes_buffers, 0, ARRAY_SIZE(good_cases));
	tcase_add_test(tc, chain_of_the_whole_ring_is_no_loop);
	tcase_add_test(tc, exactly_iov_max_buffers_fit);
	tcase_add_test(tc, every_fault_has_words);
}
