/* SPDX-License-Identifier: MIT */
/* The driver side of a split ring, against the device side of this project and against liars. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"
#include "vblk/mem/memmap.h"
#include "vblk/util/compiler.h"
#include "vblk/util/le.h"
#include "vblk/util/math.h"
#include "vblk/virtqueue/vq.h"
#include "vblk/virtqueue/vq_driver.h"

#define IOVA	  0x40000000u
#define MEM_BYTES (256u * 1024u)
#define AVAIL_AT  0x4000u
#define USED_AT	  0x6000u
#define TABLES_AT 0x8000u
#define DATA_AT	  0x20000u
#define TABLE_LEN 8u
#define SIZE_MAX_ 64u
#define IOV_MAX_  16u

static struct {
	uint8_t *mem;
	struct memmap *map;
	struct vq *vq;
	struct vq_driver *drv;
	struct vq_driver_config cfg;
	struct iovec iov[IOV_MAX_];
	struct vq_chain chain;
} fx;

static void init(uint16_t size, uint16_t base_idx, bool event_idx, bool indirect)
{
	struct memmap_region region = {
		.iova = IOVA,
		.len_bytes = MEM_BYTES,
		.perm = MEMMAP_READ | MEMMAP_WRITE,
		.fd = -1,
	};
	struct vq_config vq_cfg;

	fx.mem = aligned_alloc(4096, MEM_BYTES);
	ck_assert_ptr_nonnull(fx.mem);
	memset(fx.mem, 0xa5, MEM_BYTES);
	region.va = fx.mem;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &fx.map), 0);
	fx.cfg = (struct vq_driver_config){
		.size = size,
		.desc = (struct vring_desc *)(void *)fx.mem,
		.avail = (struct vring_avail *)(void *)(fx.mem + AVAIL_AT),
		.used = (struct vring_used *)(void *)(fx.mem + USED_AT),
		.base_idx = base_idx,
		.event_idx = event_idx,
		.tables = indirect ? (struct vring_desc *)(void *)(fx.mem + TABLES_AT) : NULL,
		.tables_addr = IOVA + TABLES_AT,
		.table_len = TABLE_LEN,
	};
	ck_assert_int_eq(vq_driver_new(SIZE_MAX_, &fx.drv), 0);
	ck_assert_int_eq(vq_driver_start(fx.drv, &fx.cfg), 0);
	ck_assert_int_eq(vq_new(SIZE_MAX_, &fx.vq), 0);
	vq_set_map(fx.vq, fx.map);
	vq_cfg = (struct vq_config){
		.size = size,
		.desc = fx.cfg.desc,
		.avail = fx.cfg.avail,
		.used = fx.cfg.used,
		.event_idx = event_idx,
		.indirect = indirect,
	};
	ck_assert_int_eq(vq_start(fx.vq, &vq_cfg), 0);
}

static void fini(void)
{
	vq_driver_free(fx.drv);
	vq_free(fx.vq);
	memmap_unref(fx.map);
	free(fx.mem);
}

/* @cnt buffers, of which the last is writable; lengths tell who they are. */
static int post(uint16_t token, unsigned int cnt)
{
	struct vq_driver_buf bufs[IOV_MAX_];

	for (unsigned int i = 0; i < cnt; i++)
		bufs[i] = (struct vq_driver_buf){ IOVA + DATA_AT + i * 64, token + i + 1 };
	return vq_driver_post(fx.drv, bufs, cnt - 1, 1, token);
}

static int pop(void)
{
	return vq_pop(fx.vq, fx.iov, IOV_MAX_, &fx.chain);
}

static void check_reaped(uint16_t token, uint32_t written_bytes)
{
	uint32_t bytes;
	uint16_t got;

	ck_assert_int_eq(vq_driver_reap(fx.drv, &got, &bytes), 1);
	ck_assert_uint_eq(got, token);
	ck_assert_uint_eq(bytes, written_bytes);
}

static int reap(void)
{
	uint32_t bytes;
	uint16_t token;

	return vq_driver_reap(fx.drv, &token, &bytes);
}

static void finish(uint16_t head, uint32_t written_bytes)
{
	vq_push(fx.vq, head, written_bytes);
	(void)vq_publish(fx.vq);
}

START_TEST(a_chain_arrives_as_it_was_posted)
{
	init(16, 0, false, _i);
	ck_assert_int_eq(post(7, 5), 0);
	ck_assert_int_eq(pop(), 0); /* not published */
	ck_assert(vq_driver_publish(fx.drv));
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(fx.chain.readable_cnt, 4);
	ck_assert_uint_eq(fx.chain.writable_cnt, 1);
	for (unsigned int i = 0; i < 5; i++) {
		ck_assert_ptr_eq(fx.iov[i].iov_base, fx.mem + DATA_AT + i * 64);
		ck_assert_uint_eq(fx.iov[i].iov_len, 7 + i + 1);
	}
	ck_assert_int_eq(reap(), 0);
	finish(fx.chain.head, 3);
	check_reaped(7, 3);
	ck_assert_int_eq(reap(), 0);
	ck_assert_uint_eq(vq_driver_inflight_cnt(fx.drv), 0);
	fini();
}
END_TEST

START_TEST(only_writable_or_only_readable_buffers)
{
	const struct vq_driver_buf buf = { IOVA + DATA_AT, 8 };

	init(4, 0, false, _i);
	ck_assert_int_eq(vq_driver_post(fx.drv, &buf, 1, 0, 1), 0);
	ck_assert_int_eq(vq_driver_post(fx.drv, &buf, 0, 1, 2), 0);
	ck_assert_int_eq(vq_driver_post(fx.drv, &buf, 0, 0, 3), -EINVAL);
	(void)vq_driver_publish(fx.drv);
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(fx.chain.readable_cnt, 1);
	ck_assert_uint_eq(fx.chain.writable_cnt, 0);
	finish(fx.chain.head, 0);
	ck_assert_int_eq(pop(), 1);
	ck_assert_uint_eq(fx.chain.readable_cnt, 0);
	ck_assert_uint_eq(fx.chain.writable_cnt, 1);
	finish(fx.chain.head, 0);
	fini();
}
END_TEST

START_TEST(room_is_counted_in_descriptors_or_tables)
{
	bool indirect = _i;

	init(8, 0, false, indirect);
	ck_assert_int_eq(post(0, indirect ? TABLE_LEN + 1 : 9), -EINVAL);
	ck_assert_int_eq(post(0, 3), 0);
	ck_assert_int_eq(post(1, 3), 0);
	ck_assert(vq_driver_has_room(fx.drv, 2));
	ck_assert_int_eq(vq_driver_has_room(fx.drv, 3), indirect);
	ck_assert_int_eq(post(2, 3), indirect ? 0 : -EAGAIN);
	for (uint16_t i = 3; indirect && i < 8; i++)
		ck_assert_int_eq(post(i, 3), 0);
	if (indirect)
		ck_assert_int_eq(post(8, 3), -EAGAIN);
	(void)vq_driver_publish(fx.drv);
	ck_assert_int_eq(pop(), 1);
	finish(fx.chain.head, 0);
	check_reaped(0, 0);
	ck_assert_int_eq(post(9, 3), 0);
	fini();
}
END_TEST

/* Random depths, lengths and order of completion, over the wrap of the indexes. */
START_TEST(long_runs_in_any_order)
{
	bool event_idx = _i & 1, indirect = _i & 2;
	uint16_t heads[SIZE_MAX_], tokens[SIZE_MAX_], by_head[SIZE_MAX_];
	unsigned int held = 0, posted = 0, reaped = 0;
	bool busy[SIZE_MAX_] = { false };
	unsigned int seed = (unsigned int)_i + 1;

	init(16, 65500, event_idx, indirect);
	while (reaped < 20000) {
		uint16_t token = (uint16_t)(rand_r(&seed) % SIZE_MAX_), got;
		uint32_t bytes;

		if (!busy[token] && posted < 20000 &&
		    post(token, 1 + (unsigned int)rand_r(&seed) % TABLE_LEN) == 0) {
			busy[token] = true;
			posted++;
		}
		if (rand_r(&seed) % 3 == 0)
			(void)vq_driver_publish(fx.drv);
		while (rand_r(&seed) % 2 && pop() == 1) {
			/* the first buffer's length is the token and 1 */
			tokens[held] = (uint16_t)(fx.iov[0].iov_len - 1);
			by_head[fx.chain.head] = tokens[held];
			heads[held++] = fx.chain.head;
		}
		if (held && rand_r(&seed) % 2) {
			unsigned int i = (unsigned int)rand_r(&seed) % held;

			vq_push(fx.vq, heads[i], by_head[heads[i]]);
			heads[i] = heads[--held];
		}
		if (rand_r(&seed) % 3 == 0)
			(void)vq_publish(fx.vq);
		while (vq_driver_reap(fx.drv, &got, &bytes) == 1) {
			ck_assert(busy[got]);
			ck_assert_uint_eq(bytes, got);
			busy[got] = false;
			reaped++;
		}
		ck_assert(!vq_driver_is_broken(fx.drv));
		ck_assert_int_eq(vq_fault(fx.vq), VQ_FAULT_NONE);
	}
	ck_assert_uint_eq(vq_driver_inflight_cnt(fx.drv), 0);
	fini();
}
END_TEST

START_TEST(first_publish_kicks_whatever_was_asked)
{
	init(8, 9, _i, false);
	vq_kick_suppress(fx.vq);
	store_le16(&fx.cfg.used->flags, VRING_USED_F_NO_NOTIFY);
	store_le16((uint16_t *)(void *)&fx.cfg.used->ring[8], 3000);
	ck_assert(!vq_driver_publish(fx.drv)); /* nothing to tell */
	ck_assert_int_eq(post(0, 1), 0);
	ck_assert(vq_driver_publish(fx.drv));
	ck_assert_int_eq(post(1, 1), 0);
	ck_assert(!vq_driver_publish(fx.drv));
	fini();
}
END_TEST

START_TEST(kicks_are_asked_for_and_not)
{
	init(8, 65530, _i, false);
	for (uint16_t i = 0; i < 40; i++) {
		ck_assert(!vq_kick_enable(fx.vq));
		ck_assert_int_eq(post(i, 1), 0);
		ck_assert(vq_driver_publish(fx.drv));
		vq_kick_suppress(fx.vq);
		ck_assert_int_eq(post(i, 1), 0);
		ck_assert(!vq_driver_publish(fx.drv));
		for (unsigned int n = 0; n < 2; n++) {
			ck_assert_int_eq(pop(), 1);
			finish(fx.chain.head, 0);
			check_reaped(i, 0);
		}
	}
	fini();
}
END_TEST

START_TEST(interrupts_are_asked_for_and_not)
{
	init(8, 65530, _i, false);
	for (uint16_t i = 0; i < 40; i++) {
		ck_assert_int_eq(post(i, 1), 0);
		ck_assert_int_eq(post(i, 1), 0);
		(void)vq_driver_publish(fx.drv);
		ck_assert(!vq_driver_irq_enable(fx.drv));
		ck_assert_int_eq(pop(), 1);
		vq_push(fx.vq, fx.chain.head, 0);
		ck_assert(vq_publish(fx.vq));
		ck_assert(vq_driver_irq_enable(fx.drv)); /* one is there */
		vq_driver_irq_suppress(fx.drv);
		if (_i)
			check_reaped(i, 0);
		ck_assert_int_eq(pop(), 1);
		vq_push(fx.vq, fx.chain.head, 0);
		/* With EVENT_IDX it was asked for at the entry that has passed. */
		ck_assert(!vq_publish(fx.vq) || _i);
		while (reap() == 1)
			;
		ck_assert(!vq_driver_irq_enable(fx.drv));
	}
	fini();
}
END_TEST

/* Nobody asks for an interrupt for longer than an index lasts. */
START_TEST(used_event_left_behind_never_looks_like_the_future)
{
	unsigned int irqs = 0;

	init(8, 0, true, false);
	for (unsigned int i = 0; i < 200000; i++) {
		ck_assert_int_eq(post(1, 1), 0);
		(void)vq_driver_publish(fx.drv);
		ck_assert_int_eq(pop(), 1);
		vq_push(fx.vq, fx.chain.head, 0);
		irqs += vq_publish(fx.vq);
		check_reaped(1, 0);
	}
	ck_assert_uint_lt(irqs, 10);
	fini();
}
END_TEST

static void publish_three(void)
{
	for (uint16_t i = 0; i < 3; i++)
		ck_assert_int_eq(post(i, 2), 0);
	(void)vq_driver_publish(fx.drv);
}

static void check_broken(void)
{
	ck_assert_int_eq(reap(), -EBADMSG);
	ck_assert(vq_driver_is_broken(fx.drv));
	/* Also when it looks fine afterwards. */
	fx.cfg.used->ring[0].id = 0;
	store_le16(&fx.cfg.used->idx, 1);
	ck_assert_int_eq(reap(), -EBADMSG);
	ck_assert(!vq_driver_irq_enable(fx.drv));
	ck_assert_int_eq(vq_driver_start(fx.drv, &fx.cfg), 0);
	ck_assert_int_eq(reap(), 0);
	ck_assert_uint_eq(vq_driver_inflight_cnt(fx.drv), 0);
	fini();
}

START_TEST(more_used_than_published_is_refused)
{
	init(8, 0, true, _i);
	publish_three();
	ck_assert_int_eq(post(3, 2), 0); /* not shown to it */
	store_le16(&fx.cfg.used->idx, 4);
	check_broken();
}
END_TEST

/* Descriptors 0, 2 and 4 begin a chain. */
static const uint32_t bad_ids[] = { 1, 3, 5, 7, 8, 0x10000, 0xffffffff };

START_TEST(used_id_that_is_no_head_is_refused)
{
	init(8, 0, true, false);
	publish_three();
	store_le32(&fx.cfg.used->ring[0].id, bad_ids[_i]);
	store_le16(&fx.cfg.used->idx, 1);
	check_broken();
}
END_TEST

START_TEST(used_twice_is_refused)
{
	init(8, 0, true, _i);
	publish_three();
	store_le32(&fx.cfg.used->ring[0].id, 0);
	store_le32(&fx.cfg.used->ring[1].id, 0);
	store_le16(&fx.cfg.used->idx, 2);
	ck_assert_int_eq(reap(), 1);
	check_broken();
}
END_TEST

/* What it needs of its descriptors is not read back from them. */
START_TEST(device_that_scribbles_over_descriptors)
{
	uint16_t heads[3];

	init(8, 0, false, _i);
	for (unsigned int round = 0; round < 50; round++) {
		publish_three();
		for (unsigned int i = 0; i < 3; i++) {
			ck_assert_int_eq(pop(), 1);
			heads[i] = fx.chain.head;
		}
		memset(fx.cfg.desc, (int)round, vq_driver_desc_bytes(8));
		for (unsigned int i = 0; i < 3; i++)
			finish(heads[2 - i], 0);
		for (uint16_t i = 0; i < 3; i++)
			check_reaped((uint16_t)(2 - i), 0);
	}
	fini();
}
END_TEST

START_TEST(senseless_configurations)
{
	struct vq_driver_config cfg;
	struct vq_driver *drv;

	init(8, 0, false, true);
	cfg = fx.cfg;
	cfg.size = 7;
	ck_assert_int_eq(vq_driver_start(fx.drv, &cfg), -EINVAL);
	cfg.size = SIZE_MAX_ * 2;
	ck_assert_int_eq(vq_driver_start(fx.drv, &cfg), -EINVAL);
	cfg = fx.cfg;
	cfg.desc = (struct vring_desc *)(void *)(fx.mem + 8);
	ck_assert_int_eq(vq_driver_start(fx.drv, &cfg), -EINVAL);
	cfg = fx.cfg;
	cfg.table_len = 0;
	ck_assert_int_eq(vq_driver_start(fx.drv, &cfg), -EINVAL);
	cfg = fx.cfg;
	cfg.used = NULL;
	ck_assert_int_eq(vq_driver_start(fx.drv, &cfg), -EINVAL);
	ck_assert_int_eq(vq_driver_new(0, &drv), -EINVAL);
	ck_assert_int_eq(vq_driver_new(48, &drv), -EINVAL);
	fini();
}
END_TEST

/* ---- both sides at once: nobody may sleep for ever ---- */

#define RACE_REQUESTS 200000u

static unsigned int kicks, irqs; /* what a sleeper waits for: a number that has changed */

static void signal_add(unsigned int *signal)
{
	__atomic_fetch_add(signal, 1, __ATOMIC_SEQ_CST);
}

static void sleep_until_changed(const unsigned int *signal, unsigned int seen)
{
	while (__atomic_load_n(signal, __ATOMIC_SEQ_CST) == seen)
		(void)sched_yield();
}

static void *device(void *arg VBLK_UNUSED)
{
	unsigned int done = 0;

	while (done < RACE_REQUESTS) {
		unsigned int seen = __atomic_load_n(&kicks, __ATOMIC_SEQ_CST), n = 0;

		while (pop() == 1) {
			vq_push(fx.vq, fx.chain.head, (uint32_t)fx.iov[0].iov_len);
			n++;
		}
		done += n;
		if (vq_publish(fx.vq))
			signal_add(&irqs);
		if (!n && !vq_kick_enable(fx.vq))
			sleep_until_changed(&kicks, seen);
	}
	return NULL;
}

START_TEST(neither_side_sleeps_for_ever)
{
	bool event_idx = _i & 1, indirect = _i & 2;
	unsigned int posted = 0, reaped = 0;
	pthread_t thread;

	init(16, 60000, event_idx, indirect);
	kicks = irqs = 0;
	ck_assert_int_eq(pthread_create(&thread, NULL, device, NULL), 0);
	while (reaped < RACE_REQUESTS) {
		unsigned int seen = __atomic_load_n(&irqs, __ATOMIC_SEQ_CST);
		bool progress = false;

		while (posted < RACE_REQUESTS && post((uint16_t)(posted % 1000), 2) == 0)
			posted++;
		if (vq_driver_publish(fx.drv))
			signal_add(&kicks);
		while (reap() == 1) {
			reaped++;
			progress = true;
		}
		ck_assert(!vq_driver_is_broken(fx.drv));
		if (!progress && reaped < RACE_REQUESTS && !vq_driver_irq_enable(fx.drv))
			sleep_until_changed(&irqs, seen);
		else
			vq_driver_irq_suppress(fx.drv);
	}
	(void)pthread_join(thread, NULL);
	fini();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vq_driver");
	TCase *tc = tcase_create("vq_driver");

	tcase_add_loop_test(tc, a_chain_arrives_as_it_was_posted, 0, 2);
	tcase_add_loop_test(tc, only_writable_or_only_readable_buffers, 0, 2);
	tcase_add_loop_test(tc, room_is_counted_in_descriptors_or_tables, 0, 2);
	tcase_add_loop_test(tc, long_runs_in_any_order, 0, 4);
	tcase_add_loop_test(tc, first_publish_kicks_whatever_was_asked, 0, 2);
	tcase_add_loop_test(tc, kicks_are_asked_for_and_not, 0, 2);
	tcase_add_loop_test(tc, interrupts_are_asked_for_and_not, 0, 2);
	tcase_add_test(tc, used_event_left_behind_never_looks_like_the_future);
	tcase_add_loop_test(tc, more_used_than_published_is_refused, 0, 2);
	tcase_add_loop_test(tc, used_id_that_is_no_head_is_refused, 0, ARRAY_SIZE(bad_ids));
	tcase_add_loop_test(tc, used_twice_is_refused, 0, 2);
	tcase_add_loop_test(tc, device_that_scribbles_over_descriptors, 0, 2);
	tcase_add_test(tc, senseless_configurations);
	tcase_add_loop_test(tc, neither_side_sleeps_for_ever, 0, 4);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
