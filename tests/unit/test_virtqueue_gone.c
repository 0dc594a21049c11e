/* SPDX-License-Identifier: MIT */
/* The driver's memory goes away: nothing is done for what was read from nowhere. */
#include "test_virtqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"

#define PAGE 4096u

static struct {
	int fd;
	uint8_t *page;
} gone;

/* A page of a file, in a map of its own. */
static void page_new(void)
{
	memguard_install();
	gone.fd = memfd_create("page", MFD_CLOEXEC);
	ck_assert_int_ge(gone.fd, 0);
	ck_assert_int_eq(ftruncate(gone.fd, PAGE), 0);
	gone.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, gone.fd, 0);
	ck_assert_ptr_ne(gone.page, MAP_FAILED);
	ck_assert_int_eq(memguard_add(gone.page, PAGE), 0);
}

static void page_free(void)
{
	memguard_remove(gone.page);
	munmap(gone.page, PAGE);
	close(gone.fd);
}

static void page_goes(void)
{
	ck_assert_int_eq(ftruncate(gone.fd, 0), 0);
}

static void page_returns(void)
{
	memguard_remove(gone.page);
	munmap(gone.page, PAGE);
	close(gone.fd);
	page_new();
}

static void start_recorded(void)
{
	fx_init(8, 0);
	fx.cfg.inflight = fx.rec;
	fx_start();
}

START_TEST(request_whose_table_is_gone_is_not_taken)
{
	struct memmap_region region = {
		.iova = 0, .len_bytes = PAGE, .perm = MEMMAP_READ | MEMMAP_WRITE, .fd = -1
	};
	struct memmap *map;

	page_new();
	region.va = gone.page;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
	start_recorded();
	vq_set_map(fx.vq, map);
	ring_table_set(gone.page, 0, .addr = 64, .len = 16);
	ring_desc_set(fx.ring, 3, .addr = 0, .len = 16, .flags = VRING_DESC_F_INDIRECT);
	ring_publish(fx.ring, 3);
	page_goes();
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_MEMORY);
	ck_assert_uint_eq(fx.rec->seq[3], 0);
	ck_assert_uint_eq(vq_inflight_cnt(fx.vq), 0);
	memmap_unref(map);
	fx_fini();
	page_free();
}
END_TEST

/* What is read of a page that is gone is head 0, which is free and has a good chain. */
START_TEST(head_from_a_ring_that_is_gone_is_not_believed)
{
	page_new();
	start_recorded();
	vq_stop(fx.vq);
	fx.ring->avail = (void *)gone.page;
	fx.cfg.avail = (void *)gone.page;
	ring_desc_set(fx.ring, 0, .addr = fx_iova(FX_BUF), .len = 16);
	fx_start();
	fx_make(1);
	fx_make(2);
	ck_assert_uint_eq(fx_take(), 1);
	/* The queue knows of the second one without another look at the index. */
	page_goes();
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_MEMORY);
	ck_assert_uint_eq(fx.rec->seq[0], 0);
	ck_assert_uint_eq(fx.rec->seq[2], 0);
	ck_assert_uint_eq(vq_inflight_cnt(fx.vq), 1);
	fx_fini();
	page_free();
}
END_TEST

START_TEST(hit_while_nothing_waits_breaks_the_queue)
{
	page_new();
	start_recorded();
	ck_assert_int_eq(fx_pop(), 0);
	ck_assert(!vq_memory_is_gone(fx.vq));
	page_goes();
	ck_assert_uint_eq(*(volatile uint8_t *)gone.page, 0);
	ck_assert(vq_memory_is_gone(fx.vq));
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_MEMORY);
	/* The next start begins anew. */
	vq_stop(fx.vq);
	fx_start();
	fx_turn(1);
	fx_fini();
	page_free();
}
END_TEST

START_TEST(abandoned_request_comes_again)
{
	start_recorded();
	fx_make(5);
	fx_make(6);
	ck_assert_uint_eq(fx_take(), 5);
	ck_assert_uint_eq(fx_take(), 6);
	vq_abandon(fx.vq, 5);
	ck_assert_uint_eq(vq_inflight_cnt(fx.vq), 1);
	ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_MEMORY);
	ck_assert_int_eq(fx_pop(), -EBADMSG);
	/* The others end as usual. */
	vq_push(fx.vq, 6, 0);
	(void)vq_publish(fx.vq);
	vq_stop(fx.vq);
	fx.cfg.recover = true;
	fx_start();
	ck_assert_uint_eq(vq_recovered_cnt(fx.vq), 1);
	ck_assert_uint_eq(fx_take(), 5);
	fx_fini();
}
END_TEST

/* 0: the used ring; 1: the available ring. A record that fits zeroes by chance. */
START_TEST(recovery_from_a_ring_that_is_gone_stores_nothing)
{
	struct vq_inflight *copy = malloc(vq_inflight_bytes(8));

	ck_assert_ptr_nonnull(copy);
	page_new();
	start_recorded();
	fx_die();
	if (_i)
		fx.cfg.avail = (void *)gone.page;
	else
		fx.cfg.used = (void *)gone.page;
	fx.rec->used_idx = 65535;
	fx.rec->seq[0] = 7;
	memcpy(copy, fx.rec, vq_inflight_bytes(8));
	page_goes();
	ck_assert_int_lt(vq_start(fx.vq, &fx.cfg), 0);
	ck_assert_mem_eq(copy, fx.rec, vq_inflight_bytes(8));
	page_returns();
	free(copy);
	fx_fini();
	page_free();
}
END_TEST

START_TEST(clean_record_is_kept_when_the_ring_is_gone)
{
	page_new();
	start_recorded();
	fx_die();
	fx.rec->size = VQ_INFLIGHT_CLEAN;
	fx.cfg.used = (void *)gone.page;
	page_goes();
	ck_assert_int_lt(vq_start(fx.vq, &fx.cfg), 0);
	ck_assert_uint_eq(fx.rec->size, VQ_INFLIGHT_CLEAN);
	fx_fini();
	page_free();
}
END_TEST

void fx_suite_gone(Suite *s)
{
	TCase *tc = tcase_create("gone");

	suite_add_tcase(s, tc);
	tcase_add_test(tc, request_whose_table_is_gone_is_not_taken);
	tcase_add_test(tc, head_from_a_ring_that_is_gone_is_not_believed);
	tcase_add_test(tc, hit_while_nothing_waits_breaks_the_queue);
	tcase_add_test(tc, abandoned_request_comes_again);
	tcase_add_loop_test(tc, recovery_from_a_ring_that_is_gone_stores_nothing, 0, 2);
	tcase_add_test(tc, clean_record_is_kept_when_the_ring_is_gone);
}
