/* SPDX-License-Identifier: MIT */
/* The fault backend: its rules, and what becomes of requests under them. */
#include "bdev_fault.h"
#include "run_suite.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_bdev_fixture.h"
#include "vblk/util/clock.h"

static struct fx fx;
static uint8_t buf[64 << 10] __attribute__((aligned(4096)));

/* --- rules --- */

static int parse(const char *text, struct fault_rules *ret_rules, char why[BDEV_WHY_MAX])
{
	why[0] = '\0';
	return fault_rules_parse(text, strlen(text), ret_rules, why);
}

#define ALL 0x3fu
static const struct {
	const char *text;
	struct fault_rule rule;
} good_rules[] = {
	{ "eio", { .kind = FAULT_ERROR, .op_mask = ALL, .error = -EIO } },
	{ "read=eio@1M+64K",
	  { .kind = FAULT_ERROR,
	    .op_mask = 1u << BDEV_READ,
	    .error = -EIO,
	    .offset_bytes = 1 << 20,
	    .len_bytes = 64 << 10 } },
	{ "write=enospc/100",
	  { .kind = FAULT_ERROR, .op_mask = 1u << BDEV_WRITE, .error = -ENOSPC, .nth = 100 } },
	{ "write-zeroes=eopnotsupp",
	  { .kind = FAULT_ERROR, .op_mask = 1u << BDEV_WRITE_ZEROES, .error = -EOPNOTSUPP } },
	{ "delay=20ms",
	  { .kind = FAULT_DELAY, .op_mask = ALL, .min_ns = 20000000, .max_ns = 20000000 } },
	{ "flush=delay=0us-2s%50",
	  { .kind = FAULT_DELAY,
	    .op_mask = 1u << BDEV_FLUSH,
	    .max_ns = 2000000000,
	    .percent = 50 } },
	{ "hang@8M+4K#1",
	  { .kind = FAULT_HANG,
	    .op_mask = ALL,
	    .offset_bytes = 8 << 20,
	    .len_bytes = 4096,
	    .limit = 1 } },
	{ "read=hang=3s",
	  { .kind = FAULT_HANG,
	    .op_mask = 1u << BDEV_READ,
	    .min_ns = 3000000000,
	    .max_ns = 3000000000 } },
	{ "reorder", { .kind = FAULT_REORDER, .op_mask = ALL, .window = 8 } },
	{ "write=reorder=64/2",
	  { .kind = FAULT_REORDER, .op_mask = 1u << BDEV_WRITE, .window = 64, .nth = 2 } },
	{ "short", { .kind = FAULT_SHORT, .op_mask = 3, .error = -EIO } },
};

START_TEST(good_rule_is_understood)
{
	const struct fault_rule *want = &good_rules[_i].rule, *got;
	struct fault_rules rules;
	char why[BDEV_WHY_MAX];

	ck_assert_msg(parse(good_rules[_i].text, &rules, why) == 0, "%s", why);
	ck_assert_uint_eq(rules.cnt, 1);
	got = &rules.rule[0];
	ck_assert_int_eq(got->kind, want->kind);
	ck_assert_uint_eq(got->op_mask, want->op_mask);
	ck_assert_int_eq(got->error, want->error);
	ck_assert_uint_eq(got->min_ns, want->min_ns);
	ck_assert_uint_eq(got->max_ns, want->max_ns);
	ck_assert_uint_eq(got->window, want->window);
	ck_assert_uint_eq(got->offset_bytes, want->offset_bytes);
	ck_assert_uint_eq(got->len_bytes, want->len_bytes);
	ck_assert_uint_eq(got->nth, want->nth);
	ck_assert_uint_eq(got->percent, want->percent);
	ck_assert_uint_eq(got->limit, want->limit);
}
END_TEST

static const struct {
	const char *text, *says;
} bad_rules[] = {
	{ "", "is empty" },
	{ "eio,", "is empty" },
	{ ",eio", "is empty" },
	{ "reads=eio", "'reads=eio': unknown operation or action" },
	{ "read", "'read': unknown operation or action" },
	{ "read=", "'': unknown operation or action" },
	{ "EIO", "unknown operation or action" },
	{ "read=write=eio", "'write=eio': unknown" },
	{ "delay", "delay takes a time" },
	{ "delay=20", "delay takes a time" },
	{ "delay=ms", "delay takes a time" },
	{ "delay=-5ms", "delay takes a time" },
	{ "delay=5ms-", "delay takes a time" },
	{ "delay=5ms-1ms", "delay takes a time" },
	{ "delay=0ms", "delay takes a time" },
	{ "delay=2h", "delay takes a time" },
	{ "delay=3601s", "delay takes a time" },
	{ "delay=99999999999999999999s", "delay takes a time" },
	{ "hang=", "hang takes nothing, for ever, or a time" },
	{ "hang=0s", "hang takes" },
	{ "reorder=1", "reorder takes" },
	{ "reorder=65", "reorder takes" },
	{ "flush=short", "short takes" },
	{ "short=5", "short takes" },
	{ "eio=5", "unknown operation or action" },
	{ "eio@", "'@' does not fit: it takes offset and length" },
	{ "eio@1M", "'@1M' does not fit" },
	{ "eio@1M+", "'@1M+' does not fit" },
	{ "eio@+4K", "'@+4K' does not fit" },
	{ "eio@1M+0", "does not fit" },
	{ "eio@1Q+4K", "does not fit" },
	{ "eio/0", "'/0' does not fit" },
	{ "eio/x", "'/x' does not fit" },
	{ "eio%0", "'%0' does not fit: it takes 1 to 100" },
	{ "eio%101", "does not fit" },
	{ "eio#", "'#' does not fit" },
	{ "eio@@", "'@' does not fit" },
	{ "seed=x", "seed takes a number" },
	{ "seed", "unknown operation or action" },
	{ "1,2,3", "unknown operation or action" },
	{ "eio,eio,eio,eio,eio,eio,eio,eio,eio,eio,eio,eio,eio,eio,eio,eio,eio",
	  "more than 16 fault rules" },
	{ "0123456789012345678901234567890123456789012345678901234567890123456789", "too long" },
	{ "eio@1234567890123456789012345678901234567890123456789012345678901234567890",
	  "too long" },
};

START_TEST(bad_rule_is_refused_with_a_reason)
{
	struct fault_rules rules;
	char why[BDEV_WHY_MAX];

	ck_assert_int_eq(parse(bad_rules[_i].text, &rules, why), -EINVAL);
	ck_assert_msg(strstr(why, bad_rules[_i].says), "'%s' does not say '%s'", why,
		      bad_rules[_i].says);
}
END_TEST

/* What a fuzzer would try: pieces of rules in any order must end in one of the two ways. */
START_TEST(any_text_is_taken_or_refused)
{
	static const char *const pieces[] = { "read",  "write", "=",	  "eio", "delay", "20ms",
					      "-",     "@",	"+",	  "1M",	 "/",	  "%",
					      "#",     "9",	"hang",	  ",",	 "seed",  "s",
					      "short", "\xff",	"reorder" };
	unsigned int taken_cnt = 0;
	uint64_t random = 4711;

	for (unsigned int round = 0; round < 30000; round++) {
		char text[256] = "", why[BDEV_WHY_MAX] = "";
		struct fault_rules rules;
		unsigned int cnt = (unsigned int)(fault_random(&random) % 12);

		while (cnt--)
			strcat(text, pieces[fault_random(&random) % ARRAY_SIZE(pieces)]);
		if (fault_rules_parse(text, strlen(text), &rules, why) == 0)
			taken_cnt++;
		else if (!why[0])
			ck_abort_msg("no reason for '%s'", text);
	}
	ck_assert_uint_gt(taken_cnt, 100);
}
END_TEST

/* --- requests --- */

static void start(const char *rules)
{
	struct bdev_params params = { .discard = true };
	char spec[256];

	(void)snprintf(spec, sizeof(spec), "fault:%s:mem:1M", rules);
	params.spec = spec;
	fx_start(&fx, &params);
}

static int rw(enum bdev_op op, uint64_t offset, size_t len)
{
	return fx_rw(&fx, op, offset, buf, len);
}

START_TEST(errors_meet_their_requests_and_no_others)
{
	start("write=enospc@64K+4K,read=eio/3");
	ck_assert_int_eq(rw(BDEV_WRITE, 60 << 10, 4096), 0);
	ck_assert_int_eq(rw(BDEV_WRITE, 68 << 10, 4096), 0);
	ck_assert_int_eq(rw(BDEV_WRITE, 64 << 10, 512), -ENOSPC);
	ck_assert_int_eq(rw(BDEV_WRITE, (68 << 10) - 512, 512), -ENOSPC);
	ck_assert_int_eq(rw(BDEV_WRITE, 0, 64 << 10), 0);
	ck_assert_int_eq(rw(BDEV_WRITE, 60 << 10, 8192), -ENOSPC);
	for (unsigned int i = 1; i < 10; i++)
		ck_assert_int_eq(rw(BDEV_READ, 0, 512), i % 3 ? 0 : -EIO);
	ck_assert_int_eq(fx_range(&fx, BDEV_FLUSH, 0, 0, 0), 0);
	ck_assert_int_eq(fx_range(&fx, BDEV_DISCARD, 0, 64 << 10, 4096), 0);
	fx_stop(&fx);
}
END_TEST

START_TEST(failed_write_changes_nothing)
{
	start("write=eio@4K+4K");
	memset(buf, 0x11, 4096);
	ck_assert_int_eq(rw(BDEV_WRITE, 4096, 4096), -EIO);
	ck_assert_int_eq(rw(BDEV_READ, 4096, 4096), 0);
	ck_assert_uint_eq(buf[0], 0);
	fx_stop(&fx);
}
END_TEST

START_TEST(limit_holds_for_all_queues)
{
	struct bdev_queue *second;

	start("flush=eio#2");
	ck_assert_int_eq(bdev_queue_new(fx.bdev, &fx.loop, FX_DEPTH, &second), 0);
	ck_assert_int_eq(fx_range(&fx, BDEV_FLUSH, 0, 0, 0), -EIO);
	fx.ios[1].io = fx.ios[0].io;
	bdev_submit(second, &fx.ios[1].io);
	ck_assert_int_eq(fx.ios[1].result, -EIO);
	ck_assert_int_eq(fx_range(&fx, BDEV_FLUSH, 0, 0, 0), 0);
	bdev_queue_free(second);
	fx_stop(&fx);
}
END_TEST

START_TEST(short_write_reaches_the_backend_in_part)
{
	unsigned int written = 0;

	start("write=short");
	for (unsigned int i = 0; i < 20; i++) {
		struct iovec iov[3] = { { buf, 1024 }, { buf + 1024, 256 }, { buf + 1280, 768 } };

		memset(buf, 0x55, 2048);
		ck_assert_int_eq(fx_finish(&fx, fx_begin(&fx, 0, BDEV_WRITE, 0, 2048, iov, 3)),
				 -EIO);
		ck_assert_int_eq(rw(BDEV_READ, 0, 2048), 0);
		written = 0;
		while (written < 2048 && buf[written] == 0x55)
			written++;
		ck_assert_uint_eq(written % 512, 0);
		ck_assert_uint_lt(written, 2048);
		for (unsigned int j = written; j < 2048; j++)
			ck_assert_uint_eq(buf[j], 0);
	}
	ck_assert_uint_gt(written, 0);
	fx_stop(&fx);
}
END_TEST

START_TEST(delayed_request_is_done_later_and_others_are_not)
{
	uint64_t began_ns = clock_now_ns();
	struct fx_io *late;

	start("write=delay=30ms-60ms@0+4K");
	memset(buf, 0x77, 512);
	late = fx_begin(&fx, 1, BDEV_WRITE, 0, 512, &(struct iovec){ buf, 512 }, 1);
	ck_assert_int_eq(rw(BDEV_WRITE, 4096, 512), 0);
	ck_assert_int_eq(late->done_cnt, 0);
	ck_assert_int_eq(fx_finish(&fx, late), 0);
	ck_assert_uint_ge(clock_now_ns() - began_ns, 30 * NSEC_PER_MSEC);
	memset(buf, 0, 512);
	ck_assert_int_eq(rw(BDEV_READ, 0, 512), 0);
	ck_assert_uint_eq(buf[0], 0x77);
	fx_stop(&fx);
}
END_TEST

START_TEST(hanging_request_holds_up_nobody_and_ends_when_its_time_is_over)
{
	struct fx_io *hung;

	/* Others wait for a full window, but never for one that hangs. */
	start("read=hang=50ms@0+512,reorder=4");
	hung = fx_begin(&fx, 5, BDEV_READ, 0, 512, &(struct iovec){ buf, 512 }, 1);
	for (unsigned int i = 1; i < 20; i++)
		ck_assert_int_eq(rw(BDEV_READ, 512 * i, 512), 0);
	ck_assert_int_eq(hung->done_cnt, 0);
	ck_assert_int_eq(fx_finish(&fx, hung), 0);
	fx_stop(&fx);
}
END_TEST

static unsigned int order[FX_DEPTH], order_cnt;

static void note_order(struct bdev_io *io, int result)
{
	ck_assert_int_eq(result, 0);
	order[order_cnt++] = io->slot_idx;
}

START_TEST(reordered_requests_all_end_once_and_in_another_order)
{
	struct bdev_io ios[FX_DEPTH];
	unsigned int seen, moved = 0;

	start("reorder=4,seed=7");
	for (unsigned int round = 0; round < 50; round++) {
		order_cnt = 0;
		seen = 0;
		for (unsigned int i = 0; i < FX_DEPTH; i++) {
			ios[i] = (struct bdev_io){ .op = BDEV_FLUSH,
						   .slot_idx = i,
						   .done = note_order };
			bdev_submit(fx.bq, &ios[i]);
		}
		bdev_commit(fx.bq);
		ck_assert_uint_eq(order_cnt, FX_DEPTH);
		for (unsigned int i = 0; i < FX_DEPTH; i++) {
			seen |= 1u << order[i];
			moved += order[i] != i;
		}
		ck_assert_uint_eq(seen, (1u << FX_DEPTH) - 1);
	}
	ck_assert_uint_gt(moved, 100);
	fx_stop(&fx);
}
END_TEST

START_TEST(limits_are_those_of_the_backend_behind)
{
	struct bdev_params params = { .spec = "mem:1M" };
	struct bdev *inner;
	char why[BDEV_WHY_MAX];

	start("eio%1");
	params.discard = true;
	ck_assert_int_eq(bdev_open(&params, &inner, why), 0);
	ck_assert_mem_eq(&fx.bdev->limits, &inner->limits, sizeof(inner->limits));
	bdev_close(inner);
	fx_stop(&fx);
}
END_TEST

START_TEST(grown_backend_is_served_to_its_new_end)
{
	uint64_t size_bytes = 0;

	start("read=eio");
	ck_assert_int_eq(rw(BDEV_WRITE, 1 << 20, 512), -EINVAL);
	ck_assert_int_eq(bdev_resize(fx.bdev, "x", 2 << 20, &size_bytes, fx.why), 0);
	ck_assert_uint_eq(size_bytes, 2 << 20);
	bdev_limits_set_capacity(&fx.bdev->limits, size_bytes);
	ck_assert_int_eq(rw(BDEV_WRITE, (2 << 20) - 512, 512), 0);
	fx_stop(&fx);
}
END_TEST

static const struct {
	const char *spec, *says;
} bad_specs[] = {
	{ "fault:eio", "names no backend behind its rules" },
	{ "fault::mem:1M", "is empty" },
	{ "fault:eio:", "no backend given" },
	{ "fault:oops:mem:1M", "unknown operation or action" },
	{ "fault:eio:/no/such/file", "does not exist" },
};

START_TEST(bad_spec_is_refused_with_a_reason)
{
	struct bdev_params params = { .spec = bad_specs[_i].spec };
	struct bdev *bdev;
	char why[BDEV_WHY_MAX] = "";

	ck_assert_int_lt(bdev_open(&params, &bdev, why), 0);
	ck_assert_msg(strstr(why, bad_specs[_i].says), "'%s'", why);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bdev_fault");
	TCase *rules = tcase_create("rules"), *requests = tcase_create("requests");

	fx_skip_without_uring();
	tcase_add_loop_test(rules, good_rule_is_understood, 0, (int)ARRAY_SIZE(good_rules));
	tcase_add_loop_test(rules, bad_rule_is_refused_with_a_reason, 0,
			    (int)ARRAY_SIZE(bad_rules));
	tcase_add_test(rules, any_text_is_taken_or_refused);
	suite_add_tcase(s, rules);
	tcase_add_test(requests, errors_meet_their_requests_and_no_others);
	tcase_add_test(requests, failed_write_changes_nothing);
	tcase_add_test(requests, limit_holds_for_all_queues);
	tcase_add_test(requests, short_write_reaches_the_backend_in_part);
	tcase_add_test(requests, delayed_request_is_done_later_and_others_are_not);
	tcase_add_test(requests, hanging_request_holds_up_nobody_and_ends_when_its_time_is_over);
	tcase_add_test(requests, reordered_requests_all_end_once_and_in_another_order);
	tcase_add_test(requests, limits_are_those_of_the_backend_behind);
	tcase_add_test(requests, grown_backend_is_served_to_its_new_end);
	tcase_add_loop_test(requests, bad_spec_is_refused_with_a_reason, 0,
			    (int)ARRAY_SIZE(bad_specs));
	suite_add_tcase(s, requests);
	return run_suite(s);
}
