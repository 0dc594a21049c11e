/* SPDX-License-Identifier: MIT */
/*
 * Results of the kernel that a healthy file never gives. Entries are prepared
 * and never submitted; the test reads them and plays the kernel.
 */
#include "bdev_uring.h"
#include "run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test_bdev_fixture.h"

static struct fx fx;
static struct uring_queue *q;
static char image[300];
static uint8_t buf[64 << 10] __attribute__((aligned(4096)));

static int fake_rw_result; /* of preadv2 and pwritev2, as -errno or a length */
static int fake_rw_calls;

long __wrap_syscall(long call, ...);
long __real_syscall(long call, ...);

static long fake_rw(long flags)
{
	ck_assert_int_eq(flags, RWF_NOWAIT);
	fake_rw_calls++;
	if (fake_rw_result >= 0)
		return fake_rw_result;
	errno = -fake_rw_result;
	return -1;
}

long __wrap_syscall(long call, ...)
{
	long args[6];
	va_list ap;

	va_start(ap, call);
	for (unsigned int i = 0; i < ARRAY_SIZE(args); i++)
		args[i] = va_arg(ap, long);
	va_end(ap);
	if (call == SYS_preadv2 || call == SYS_pwritev2)
		return fake_rw(args[5]);
	return __real_syscall(call, args[0], args[1], args[2], args[3], args[4], args[5]);
}

static void start(struct bdev_params p)
{
	const char *tmp = getenv("TMPDIR");
	int fd;

	(void)snprintf(image, sizeof(image), "%s/vblk-inject-XXXXXX", tmp ? tmp : "/tmp");
	fd = mkstemp(image);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 64 << 20), 0);
	close(fd);
	p.spec = image;
	fx_start(&fx, &p);
	unlink(image);
	q = container_of(fx.bq, struct uring_queue, base);
	/* Also on tmpfs these tests are about the other files. */
	q->dev->is_ram_fs = false;
	fake_rw_result = -EAGAIN;
	fake_rw_calls = 0;
}

static void start_buffered(void)
{
	start((struct bdev_params){ .discard = true });
}

static void stop(void)
{
	fx_stop(&fx);
}

static unsigned int prepared_cnt(void)
{
	return io_uring_sq_ready(&fx.loop.ring);
}

static const struct io_uring_sqe *last_sqe(void)
{
	ck_assert_uint_gt(prepared_cnt(), 0);
	return &fx.loop.ring.sq.sqes[(fx.loop.ring.sq.sqe_tail - 1) & *fx.loop.ring.sq.kring_mask];
}

/* The kernel's answer to the entry prepared last. */
static void answer(int res)
{
	struct loop_op *op = (struct loop_op *)(uintptr_t)last_sqe()->user_data;

	op->complete(op, res, 0);
}

static struct fx_io *begin_range(enum bdev_op op, unsigned int flags, uint64_t len)
{
	struct fx_io *fio = fx_begin(&fx, 0, BDEV_FLUSH, 0, 0, NULL, 0);

	answer(0);
	fio->done_cnt = 0;
	fio->io.op = op;
	fio->io.flags = flags;
	fio->io.len_bytes = len;
	bdev_submit(fx.bq, &fio->io);
	return fio;
}

static struct fx_io *begin_rw(enum bdev_op op, const struct iovec *iov, unsigned int cnt)
{
	return fx_begin(&fx, 0, op, 4096, iov_total_bytes(iov, cnt), iov, cnt);
}

START_TEST(short_transfer_goes_on_where_it_stopped)
{
	struct iovec iov[3] = { { buf, 512 }, { buf + 8192, 1024 }, { buf + 16384, 512 } };
	const struct iovec *next;
	struct fx_io *fio;

	start_buffered();
	fio = begin_rw(BDEV_READ, iov, 3);
	ck_assert_uint_eq(last_sqe()->opcode, IORING_OP_READV);
	ck_assert_uint_eq(last_sqe()->len, 3);
	answer(700);
	ck_assert_int_eq(fio->done_cnt, 0);
	ck_assert_uint_eq(last_sqe()->off, 4096 + 700);
	ck_assert_uint_eq(last_sqe()->len, 2);
	next = (const struct iovec *)(uintptr_t)last_sqe()->addr;
	ck_assert_ptr_eq(next[0].iov_base, buf + 8192 + 188);
	ck_assert_uint_eq(next[0].iov_len, 1024 - 188);
	ck_assert_ptr_eq(next[1].iov_base, buf + 16384);
	answer(1024 - 188 + 12);
	ck_assert_uint_eq(last_sqe()->opcode, IORING_OP_READ);
	ck_assert_uint_eq(last_sqe()->addr, (uintptr_t)(buf + 16384 + 12));
	ck_assert_uint_eq(last_sqe()->len, 500);
	answer(500);
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, 0);
	stop();
}
END_TEST

static const struct {
	enum bdev_op op;
	int res, result;
} final_cases[] = {
	{ BDEV_READ, 0, -EIO }, /* shrunk */
	{ BDEV_READ, -EIO, -EIO },	  { BDEV_READ, -ENODEV, -ENODEV },
	{ BDEV_WRITE, -ENOSPC, -ENOSPC }, { BDEV_WRITE, -EINVAL, -EINVAL },
};

START_TEST(errors_of_the_file_end_the_request_once)
{
	struct iovec iov = { buf, 4096 };
	struct fx_io *fio;

	start_buffered();
	fio = begin_rw(final_cases[_i].op, &iov, 1);
	answer(final_cases[_i].res);
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, final_cases[_i].result);
	ck_assert_uint_eq(prepared_cnt(), 1);
	stop();
}
END_TEST

START_TEST(endless_retry_becomes_an_io_error)
{
	static const int again[] = { -EAGAIN, -EINTR };
	struct iovec iov = { buf, 4096 };
	struct fx_io *fio;

	start_buffered();
	fio = begin_rw(BDEV_WRITE, &iov, 1);
	for (unsigned int i = 0; i < URING_RETRY_MAX; i++) {
		answer(again[_i]);
		ck_assert_int_eq(fio->done_cnt, 0);
		ck_assert_int_eq(!!(last_sqe()->flags & IOSQE_ASYNC), again[_i] == -EAGAIN);
	}
	answer(again[_i]);
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, -EIO);
	stop();
}
END_TEST

START_TEST(progress_resets_the_count_of_retries)
{
	struct iovec iov = { buf, 4096 };
	struct fx_io *fio;

	start_buffered();
	fio = begin_rw(BDEV_WRITE, &iov, 1);
	for (unsigned int i = 0; i < URING_RETRY_MAX; i++)
		answer(-EINTR);
	answer(1);
	answer(-EINTR);
	ck_assert_int_eq(fio->done_cnt, 0);
	answer(4095);
	ck_assert_int_eq(fio->result, 0);
	ck_assert_int_eq(fio->done_cnt, 1);
	stop();
}
END_TEST

START_TEST(write_through_marks_writes_and_syncs_ranges)
{
	struct iovec iov = { buf, 4096 };
	struct fx_io *fio;

	start((struct bdev_params){ .discard = true, .writethrough = true });
	ck_assert(!fx.bdev->limits.volatile_cache);
	fio = begin_rw(BDEV_WRITE, &iov, 1);
	ck_assert_int_eq(last_sqe()->rw_flags, RWF_DSYNC);
	ck_assert_int_eq(fake_rw_calls, 0);
	answer(4096);
	ck_assert_int_eq(fio->done_cnt, 1);

	(void)begin_rw(BDEV_READ, &iov, 1);
	ck_assert_int_eq(last_sqe()->rw_flags, 0);
	answer(4096);

	fio = begin_range(BDEV_WRITE_ZEROES, 0, 4096);
	ck_assert_uint_eq(last_sqe()->opcode, IORING_OP_FALLOCATE);
	answer(0);
	ck_assert_int_eq(fio->done_cnt, 0);
	ck_assert_uint_eq(last_sqe()->opcode, IORING_OP_FSYNC);
	ck_assert_uint_eq(last_sqe()->fsync_flags, IORING_FSYNC_DATASYNC);
	answer(-EIO);
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, -EIO);
	stop();
}
END_TEST

START_TEST(write_back_writes_are_not_marked_and_flush_syncs_the_whole_file)
{
	struct iovec iov = { buf, 4096 };
	struct fx_io *fio;

	start_buffered();
	ck_assert(fx.bdev->limits.volatile_cache);
	(void)begin_rw(BDEV_WRITE, &iov, 1);
	ck_assert_int_eq(last_sqe()->rw_flags, 0);
	answer(4096);
	fio = fx_begin(&fx, 1, BDEV_FLUSH, 0, 0, NULL, 0);
	ck_assert_uint_eq(last_sqe()->opcode, IORING_OP_FSYNC);
	ck_assert_uint_eq(last_sqe()->fsync_flags, IORING_FSYNC_DATASYNC);
	ck_assert_uint_eq(last_sqe()->off, 0);
	ck_assert_uint_eq(last_sqe()->len, 0);
	answer(-EINTR);
	ck_assert_int_eq(fio->done_cnt, 0);
	answer(-EIO);
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, -EIO);
	stop();
}
END_TEST

START_TEST(refused_ways_of_zeroing_are_not_asked_again)
{
	uint64_t len = 3ull * URING_ZERO_BUF_BYTES * URING_XFER_IOVS / 2;
	struct fx_io *fio;

	start_buffered();
	fio = begin_range(BDEV_WRITE_ZEROES, BDEV_IO_MAY_UNMAP, len);
	ck_assert_uint_eq(last_sqe()->len, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	answer(-EOPNOTSUPP);
	ck_assert_uint_eq(last_sqe()->len, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
	answer(-EOPNOTSUPP);
	ck_assert_uint_eq(last_sqe()->opcode, IORING_OP_WRITEV);
	answer(100); /* short */
	ck_assert_uint_eq(last_sqe()->off, 100);
	answer(200);
	ck_assert_uint_eq(last_sqe()->off, 300);
	ck_assert_uint_eq(iov_total_bytes((const struct iovec *)(uintptr_t)last_sqe()->addr,
					  last_sqe()->len),
			  URING_ZERO_BUF_BYTES * URING_XFER_IOVS - 300);
	answer((int)URING_ZERO_BUF_BYTES); /* into the second buffer */
	ck_assert_uint_eq(iov_total_bytes((const struct iovec *)(uintptr_t)last_sqe()->addr,
					  last_sqe()->len),
			  URING_ZERO_BUF_BYTES * (URING_XFER_IOVS - 1) - 300);
	answer((int)(URING_ZERO_BUF_BYTES * (URING_XFER_IOVS - 1)) - 300);
	ck_assert_uint_eq(last_sqe()->off, URING_ZERO_BUF_BYTES * URING_XFER_IOVS);
	ck_assert_int_eq(fio->done_cnt, 0);
	answer((int)(len - (uint64_t)URING_ZERO_BUF_BYTES * URING_XFER_IOVS));
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, 0);

	fio = begin_range(BDEV_WRITE_ZEROES, 0, 4096);
	ck_assert_uint_eq(last_sqe()->opcode, IORING_OP_WRITE);
	answer(-ENOSPC);
	ck_assert_int_eq(fio->result, -ENOSPC);
	stop();
}
END_TEST

START_TEST(discard_errors_reach_the_caller_once)
{
	struct fx_io *fio;

	start_buffered();
	if (!fx.bdev->limits.max_discard_bytes) {
		printf("SKIP: the file system cannot punch holes\n");
		stop();
		return;
	}
	fio = begin_range(BDEV_DISCARD, 0, 4096);
	answer(-EINTR);
	ck_assert_int_eq(fio->done_cnt, 0);
	answer(-EOPNOTSUPP);
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, -EOPNOTSUPP);
	stop();
}
END_TEST

START_TEST(inline_refused_for_good_is_never_tried_again_in_that_direction)
{
	struct iovec iov = { buf, 4096 };

	start_buffered();
	fake_rw_result = -EOPNOTSUPP;
	(void)begin_rw(BDEV_WRITE, &iov, 1);
	answer(4096);
	(void)begin_rw(BDEV_WRITE, &iov, 1);
	answer(4096);
	ck_assert_int_eq(fake_rw_calls, 1);
	fake_rw_result = 4096;
	ck_assert_int_eq(begin_rw(BDEV_READ, &iov, 1)->done_cnt, 1);
	ck_assert_int_eq(fake_rw_calls, 2);
	stop();
}
END_TEST

START_TEST(inline_refusals_in_a_row_make_attempts_rare)
{
	struct iovec iov = { buf, 4096 };
	int requests = 2000;

	start_buffered();
	for (int i = 0; i < requests; i++) {
		(void)begin_rw(BDEV_READ, &iov, 1);
		answer(4096);
		/* keeps the submission queue from filling: nothing may be submitted */
		fx.loop.ring.sq.sqe_tail = fx.loop.ring.sq.sqe_head;
	}
	ck_assert_int_gt(fake_rw_calls, 4);
	ck_assert_int_lt(fake_rw_calls, 20);
	stop();
}
END_TEST

static struct fx_io *begin_write(unsigned int slot_idx)
{
	static const struct iovec iov = { buf, 4096 };

	return fx_begin(&fx, slot_idx, BDEV_WRITE, 4096, 4096, &iov, 1);
}

START_TEST(writes_behind_a_refused_one_are_held_until_it_ends)
{
	struct iovec iov = { buf, 4096 };
	struct fx_io *refused, *held[2], *read;

	start_buffered();
	refused = begin_write(0);
	held[0] = begin_write(1);
	held[1] = begin_write(2);
	ck_assert_int_eq(fake_rw_calls, 1);
	ck_assert_uint_eq(prepared_cnt(), 1);
	fake_rw_result = 4096;
	read = fx_begin(&fx, 3, BDEV_READ, 0, 4096, &iov, 1);
	ck_assert_int_eq(read->done_cnt, 1);
	ck_assert_int_eq(held[0]->done_cnt + held[1]->done_cnt, 0);
	answer(4096);
	ck_assert_int_eq(refused->done_cnt, 1);
	ck_assert_int_eq(held[0]->done_cnt, 1);
	ck_assert_int_eq(held[1]->done_cnt, 1);
	ck_assert_int_eq(fake_rw_calls, 4);
	/* And so are those to come. */
	ck_assert_int_eq(begin_write(4)->done_cnt, 1);
	stop();
}
END_TEST

START_TEST(writes_are_not_held_when_one_after_the_other_is_refused)
{
	struct fx_io *ios[8];
	unsigned int done_cnt = 0;

	start_buffered();
	for (unsigned int i = 0; i < ARRAY_SIZE(ios); i++)
		ios[i] = begin_write(i);
	/* Each that ends lets one more be refused, until it is enough. */
	for (unsigned int i = 1; i < 4; i++) {
		ck_assert_uint_eq(prepared_cnt(), i);
		answer(i == 2 ? -EIO : 4096);
	}
	ck_assert_uint_eq(prepared_cnt(), ARRAY_SIZE(ios));
	ck_assert_int_eq(fake_rw_calls, 4);
	for (unsigned int i = 0; i < ARRAY_SIZE(ios); i++)
		done_cnt += (unsigned int)ios[i]->done_cnt;
	ck_assert_uint_eq(done_cnt, 3);
	ck_assert_int_eq(ios[1]->result, -EIO);
	stop();
}
END_TEST

START_TEST(inline_part_is_completed_through_the_ring)
{
	struct iovec iov = { buf, 4096 };
	struct fx_io *fio;

	start_buffered();
	fake_rw_result = 1000;
	fio = begin_rw(BDEV_READ, &iov, 1);
	ck_assert_int_eq(fio->done_cnt, 0);
	ck_assert_uint_eq(last_sqe()->off, 4096 + 1000);
	ck_assert_uint_eq(last_sqe()->len, 3096);
	ck_assert_uint_eq(last_sqe()->addr, (uintptr_t)(buf + 1000));
	answer(3096);
	ck_assert_int_eq(fio->done_cnt, 1);
	stop();
}
END_TEST

START_TEST(direct_refusal_of_alignment_goes_through_aligned_memory)
{
	struct iovec iov = { buf, 4096 };
	struct iovec odd[2] = { { buf, 4096 - 100 }, { buf + 8192, 100 } };
	struct fx_io *fio;

	start_buffered();
	/* A file of O_DIRECT kind, wherever the test runs. */
	fx.bdev->limits.direct = true;
	q->dev->dio_len_align_bytes = 512;
	q->dev->dio_mem_align_bytes = 512;
	ck_assert_int_eq(uring_copy_init(q), 0);
	fio = begin_rw(BDEV_READ, &iov, 1);
	ck_assert_uint_eq(last_sqe()->addr, (uintptr_t)buf);
	answer(-EINVAL);
	ck_assert_int_eq(fio->done_cnt, 0);
	ck_assert_uint_eq(last_sqe()->addr, (uintptr_t)q->copy_bufs);
	answer(700); /* short, and only whole blocks can be built upon */
	ck_assert_uint_eq(last_sqe()->off, 4096 + 512);
	memset(q->copy_bufs, 0x5a, 4096);
	answer(4096 - 512);
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, 0);
	ck_assert_uint_eq(buf[0], 0x5a);
	ck_assert_uint_eq(buf[4095], 0x5a);

	/* What is known not to suit is not even tried. */
	fio = begin_rw(BDEV_WRITE, odd, 2);
	ck_assert_uint_eq(last_sqe()->addr, (uintptr_t)q->copy_bufs);
	answer(4096);
	ck_assert_int_eq(fio->done_cnt, 1);
	iov.iov_base = buf + 16;
	fio = begin_rw(BDEV_READ, &iov, 1);
	ck_assert_uint_eq(last_sqe()->addr, (uintptr_t)q->copy_bufs);
	answer(-EIO);
	ck_assert_int_eq(fio->done_cnt, 1);
	ck_assert_int_eq(fio->result, -EIO);
	ck_assert_uint_eq(q->copy_free_mask, (1u << URING_COPY_BUFS) - 1);
	stop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bdev_inject");
	TCase *tc = tcase_create("inject");

	fx_skip_without_uring();
	tcase_add_test(tc, short_transfer_goes_on_where_it_stopped);
	tcase_add_loop_test(tc, errors_of_the_file_end_the_request_once, 0,
			    (int)ARRAY_SIZE(final_cases));
	tcase_add_loop_test(tc, endless_retry_becomes_an_io_error, 0, 2);
	tcase_add_test(tc, progress_resets_the_count_of_retries);
	tcase_add_test(tc, write_through_marks_writes_and_syncs_ranges);
	tcase_add_test(tc, write_back_writes_are_not_marked_and_flush_syncs_the_whole_file);
	tcase_add_test(tc, refused_ways_of_zeroing_are_not_asked_again);
	tcase_add_test(tc, discard_errors_reach_the_caller_once);
	tcase_add_test(tc, inline_refused_for_good_is_never_tried_again_in_that_direction);
	tcase_add_test(tc, inline_refusals_in_a_row_make_attempts_rare);
	tcase_add_test(tc, writes_behind_a_refused_one_are_held_until_it_ends);
	tcase_add_test(tc, writes_are_not_held_when_one_after_the_other_is_refused);
	tcase_add_test(tc, inline_part_is_completed_through_the_ring);
	tcase_add_test(tc, direct_refusal_of_alignment_goes_through_aligned_memory);
	suite_add_tcase(s, tc);

	return run_suite(s);
}
