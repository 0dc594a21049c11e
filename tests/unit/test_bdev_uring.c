/* SPDX-License-Identifier: MIT */
/* Files for real: every test runs buffered and direct, on disk and on tmpfs. */
#include "bdev_uring.h"
#include "run_suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test_bdev_fixture.h"
#include "vblk/util/math.h"

#define IMAGE_BYTES (8u << 20)
#define BUF_BYTES   (2u << 20)

static const struct variant {
	const char *name;
	bool on_shm, direct, writethrough;
} variants[] = {
	{ "disk, buffered", false, false, false },
	{ "disk, buffered, write-through", false, false, true },
	{ "disk, direct", false, true, false },
	{ "disk, direct, write-through", false, true, true },
	{ "tmpfs, buffered", true, false, false },
	{ "tmpfs, direct", true, true, false },
};

static struct fx fx;
static int check_fd; /* looks at the file behind the backend's back */
static uint8_t *in, *out;
static uint8_t model[IMAGE_BYTES], seen[IMAGE_BYTES];

static unsigned long alloc_cnt;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t cnt, size_t size);
void *__wrap_calloc(size_t cnt, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

void *__wrap_malloc(size_t size)
{
	alloc_cnt++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t cnt, size_t size)
{
	alloc_cnt++;
	return __real_calloc(cnt, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	alloc_cnt++;
	return __real_aligned_alloc(align, size);
}

/* False when the variant is not possible here; says why. */
static bool start(const struct variant *v)
{
	const char *tmp = getenv("TMPDIR");
	char path[300];
	struct bdev_params p = {
		.spec = path, .direct = v->direct, .writethrough = v->writethrough, .discard = true
	};
	int fd;

	if (v->on_shm)
		tmp = "/dev/shm";
	(void)snprintf(path, sizeof(path), "%s/vblk-uring-XXXXXX", tmp ? tmp : "/tmp");
	check_fd = mkstemp(path);
	if (check_fd < 0) {
		printf("SKIP: %s: no temporary file there\n", v->name);
		return false;
	}
	ck_assert_int_eq(ftruncate(check_fd, IMAGE_BYTES), 0);
	fd = v->direct ? open(path, O_RDWR | O_DIRECT | O_CLOEXEC) : -1;
	if (v->direct && fd < 0) {
		printf("SKIP: %s: the file system has no O_DIRECT\n", v->name);
		unlink(path);
		return false;
	}
	if (fd >= 0)
		close(fd);
	fx_start(&fx, &p);
	unlink(path);
	in = mmap(NULL, BUF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	out = mmap(NULL, BUF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return true;
}

static void stop(void)
{
	fx_stop(&fx);
	close(check_fd);
	munmap(in, BUF_BYTES);
	munmap(out, BUF_BYTES);
}

static void check_file(const char *what)
{
	ck_assert_int_eq(pread(check_fd, seen, IMAGE_BYTES, 0), IMAGE_BYTES);
	ck_assert_msg(!memcmp(model, seen, IMAGE_BYTES), "%s: the file differs", what);
}

START_TEST(written_data_is_in_the_file_and_reads_back)
{
	uint64_t lbs;

	if (!start(&variants[_i]))
		return;
	lbs = fx.bdev->limits.logical_block_bytes;
	fx_pattern(in, BUF_BYTES, 1);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, lbs, in, BUF_BYTES), 0);
	memcpy(model + lbs, in, BUF_BYTES);
	check_file("after a write");
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, lbs, out, BUF_BYTES), 0);
	ck_assert_mem_eq(in, out, BUF_BYTES);
	ck_assert_int_eq(fx_range(&fx, BDEV_FLUSH, 0, 0, 0), 0);
	/* the last block */
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, IMAGE_BYTES - lbs, out, lbs), 0);
	stop();
}
END_TEST

/* Its owner is who tests. Where the file system keeps no access times this proves nothing. */
START_TEST(reads_are_no_access_to_the_image)
{
	const struct timespec times[2] = { { .tv_sec = 1000000 }, { .tv_nsec = UTIME_NOW } };
	struct stat st;

	if (!start(&variants[_i]))
		return;
	ck_assert_int_eq(futimens(check_fd, times), 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, BUF_BYTES), 0);
	ck_assert_int_eq(fstat(check_fd, &st), 0);
	ck_assert_int_eq(st.st_atime, times[0].tv_sec);
	stop();
}
END_TEST

/* Buffers of 512 bytes at odd addresses: O_DIRECT takes none of them. */
START_TEST(misaligned_buffers_work_at_depth)
{
	static struct iovec iov[FX_DEPTH][17];
	struct fx_io *fio[FX_DEPTH];
	uint64_t len = 0;

	if (!start(&variants[_i]))
		return;
	fx_pattern(in, BUF_BYTES, 2);
	for (int round = 0; round < 2; round++) {
		uint8_t *mem = round ? out : in;

		for (unsigned int s = 0; s < FX_DEPTH; s++) {
			uint8_t *p = mem + s * (128 << 10) + 3;

			len = 0;
			for (unsigned int i = 0; i < 17; i++) {
				iov[s][i] = (struct iovec){ p + len, i < 16 ? 509 : 48 };
				len += iov[s][i].iov_len;
			}
			ck_assert_uint_eq(len, 8192);
			fio[s] = fx_begin(&fx, s, round ? BDEV_READ : BDEV_WRITE, s * 8192ull, len,
					  iov[s], 17);
		}
		for (unsigned int s = 0; s < FX_DEPTH; s++)
			ck_assert_int_eq(fx_finish(&fx, fio[s]), 0);
	}
	for (unsigned int s = 0; s < FX_DEPTH; s++) {
		memcpy(model + s * 8192, in + s * (128 << 10) + 3, 8192);
		ck_assert_mem_eq(in + s * (128 << 10) + 3, out + s * (128 << 10) + 3, 8192);
	}
	check_file("after misaligned writes");
	stop();
}
END_TEST

#define DEEP 300u

static unsigned int deep_done_cnt;

static void deep_done(struct bdev_io *io VBLK_UNUSED, int result)
{
	ck_assert_int_eq(result, 0);
	deep_done_cnt++;
}

/* More than the kernel is given at a time: each waits for its turn and ends once. */
START_TEST(deeper_queue_than_the_kernel_is_given)
{
	static struct bdev_io ios[DEEP];
	static struct iovec iov[DEEP];
	struct bdev_queue *deep;

	if (!start(&variants[_i]))
		return;
	ck_assert_uint_gt(DEEP, URING_ISSUED_MAX);
	ck_assert_int_eq(bdev_queue_new(fx.bdev, &fx.loop, DEEP, &deep), 0);
	fx_pattern(in, BUF_BYTES, 9);
	for (int round = 0; round < 2; round++) {
		deep_done_cnt = 0;
		for (unsigned int i = 0; i < DEEP; i++) {
			iov[i] = (struct iovec){ (round ? out : in) + i * 4096, 4096 };
			ios[i] = (struct bdev_io){ .op = round ? BDEV_READ : BDEV_WRITE,
						   .slot_idx = i,
						   .offset_bytes = i * 8192ull,
						   .len_bytes = 4096,
						   .iov = &iov[i],
						   .iov_cnt = 1,
						   .done = deep_done };
			bdev_submit(deep, &ios[i]);
		}
		bdev_commit(deep);
		while (deep_done_cnt < DEEP)
			ck_assert_int_ge(loop_wait(&fx.loop), 0);
	}
	ck_assert_uint_eq(deep_done_cnt, DEEP);
	for (unsigned int i = 0; i < DEEP; i++)
		memcpy(model + i * 8192, in + i * 4096, 4096);
	ck_assert_mem_eq(in, out, DEEP * 4096);
	check_file("after writes at depth");
	bdev_queue_free(deep);
	stop();
}
END_TEST

START_TEST(long_misaligned_request_goes_in_chunks)
{
	if (!start(&variants[_i]))
		return;
	fx_pattern(in, BUF_BYTES, 3);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 0, in + 1, 1u << 20), 0);
	memcpy(model, in + 1, 1u << 20);
	check_file("after a long misaligned write");
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out + 5, 1u << 20), 0);
	ck_assert_mem_eq(in + 1, out + 5, 1u << 20);
	stop();
}
END_TEST

START_TEST(zeroing_reads_as_zeroes)
{
	static const unsigned int flags[] = { 0, BDEV_IO_MAY_UNMAP };

	if (!start(&variants[_i]))
		return;
	for (size_t f = 0; f < ARRAY_SIZE(flags); f++) {
		fx_pattern(in, BUF_BYTES, 4);
		ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 0, in, BUF_BYTES), 0);
		ck_assert_int_eq(fx_range(&fx, BDEV_WRITE_ZEROES, flags[f], 4096, 1u << 20), 0);
		memcpy(model, in, BUF_BYTES);
		memset(model + 4096, 0, 1u << 20);
		check_file("after zeroing");
	}
	stop();
}
END_TEST

START_TEST(zeroes_are_written_where_nothing_else_works)
{
	struct uring_queue *q;

	if (!start(&variants[_i]))
		return;
	q = container_of(fx.bq, struct uring_queue, base);
	q->zero_refused = 1u << ZERO_PUNCH | 1u << ZERO_RANGE | 1u << ZERO_IOCTL;
	memset(model, 0xee, IMAGE_BYTES);
	ck_assert_int_eq(pwrite(check_fd, model, IMAGE_BYTES, 0), IMAGE_BYTES);
	ck_assert_int_eq(fx_range(&fx, BDEV_WRITE_ZEROES, 0, 4096, 5u << 20), 0);
	memset(model + 4096, 0, 5u << 20);
	check_file("after writing zeroes");
	stop();
}
END_TEST

START_TEST(discard_gives_space_back)
{
	struct stat before, after;

	if (!start(&variants[_i]))
		return;
	if (!fx.bdev->limits.max_discard_bytes) {
		printf("SKIP: %s: cannot punch holes\n", variants[_i].name);
		stop();
		return;
	}
	fx_pattern(in, BUF_BYTES, 5);
	ck_assert_int_eq(fx_rw(&fx, BDEV_WRITE, 0, in, BUF_BYTES), 0);
	ck_assert_int_eq(fx_range(&fx, BDEV_FLUSH, 0, 0, 0), 0);
	ck_assert_int_eq(fstat(check_fd, &before), 0);
	ck_assert_int_eq(fx_range(&fx, BDEV_DISCARD, 0, 0, 1u << 20), 0);
	ck_assert_int_eq(fstat(check_fd, &after), 0);
	ck_assert_int_le(after.st_blocks + (1 << 20) / 512, before.st_blocks);
	ck_assert_int_eq(after.st_size, IMAGE_BYTES);
	stop();
}
END_TEST

START_TEST(shrunk_file_gives_io_errors)
{
	struct fx_io *fio[FX_DEPTH];
	struct iovec iov = { NULL, 64 << 10 };

	if (!start(&variants[_i]))
		return;
	ck_assert_int_eq(ftruncate(check_fd, 6144), 0);
	iov.iov_base = in;
	for (unsigned int s = 0; s < FX_DEPTH; s++)
		fio[s] = fx_begin(&fx, s, BDEV_READ, s * (64ull << 10), 64 << 10, &iov, 1);
	for (unsigned int s = 0; s < FX_DEPTH; s++)
		ck_assert_int_eq(fx_finish(&fx, fio[s]), -EIO);
	stop();
}
END_TEST

START_TEST(registered_memory_gives_the_same_bytes)
{
	struct memmap_region region = {
		.len_bytes = BUF_BYTES, .perm = MEMMAP_READ | MEMMAP_WRITE, .pinned = true, .fd = -1
	};
	struct iovec iov[3];
	struct memmap *map;
	struct uring_queue *q;

	if (!start(&variants[_i]))
		return;
	q = container_of(fx.bq, struct uring_queue, base);
	region.va = in;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &map), 0);
	bdev_map_changed(fx.bq, map);
	ck_assert_int_eq(q->fixed_cnt > 0, variants[_i].direct);
	fx_pattern(in, BUF_BYTES, 6);
	for (unsigned int i = 0; i < 3; i++)
		iov[i] = (struct iovec){ in + i * 65536, 8192 };
	ck_assert_int_eq(fx_finish(&fx, fx_begin(&fx, 0, BDEV_WRITE, 0, 3 * 8192, iov, 3)), 0);
	for (unsigned int i = 0; i < 3; i++)
		memcpy(model + i * 8192, in + i * 65536, 8192);
	check_file("after a write from registered memory");
	memset(in, 0, BUF_BYTES);
	ck_assert_int_eq(fx_finish(&fx, fx_begin(&fx, 0, BDEV_READ, 0, 3 * 8192, iov, 3)), 0);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_mem_eq(model + i * 8192, in + i * 65536, 8192);
	/* memory outside goes by its address */
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, out, 8192), 0);
	ck_assert_mem_eq(model, out, 8192);
	bdev_map_changed(fx.bq, NULL);
	ck_assert_uint_eq(q->fixed_cnt, 0);
	ck_assert_int_eq(fx_rw(&fx, BDEV_READ, 0, in, 8192), 0);
	memmap_unref(map);
	stop();
}
END_TEST

static unsigned long data_path_alloc_cnt;

/* One I/O without the test framework, which allocates itself. */
static int counted_io(enum bdev_op op, unsigned int flags, uint64_t off, uint8_t *mem, uint64_t len)
{
	struct iovec iov = { mem, len };
	struct fx_io *fio = &fx.ios[1];
	unsigned long before = alloc_cnt;

	fio->io.flags = flags;
	fio->io.slot_idx = 1;
	fio->io.op = op;
	fio->io.offset_bytes = off;
	fio->io.len_bytes = len;
	fio->io.iov = mem ? &iov : NULL;
	fio->io.iov_cnt = mem ? 1 : 0;
	fio->done_cnt = 0;
	bdev_submit(fx.bq, &fio->io);
	bdev_commit(fx.bq);
	while (!fio->done_cnt && loop_wait(&fx.loop) >= 0)
		;
	data_path_alloc_cnt += alloc_cnt - before;
	return fio->done_cnt == 1 ? fio->result : -EPROTO;
}

/* One random request of the kinds that change or read data; keeps the model right. */
static void random_io(unsigned int *seed)
{
	uint64_t lbs = fx.bdev->limits.logical_block_bytes;
	uint64_t off = (uint64_t)rand_r(seed) % (IMAGE_BYTES / lbs) * lbs;
	uint64_t len = ((uint64_t)rand_r(seed) % 64 + 1) * lbs;
	unsigned int misalign = rand_r(seed) % 4 ? 0 : 1;

	len = MIN(len, IMAGE_BYTES - off);
	switch (rand_r(seed) % 8) {
	case 0:
		ck_assert_int_eq(counted_io(BDEV_WRITE_ZEROES, rand_r(seed) % 2, off, NULL, len),
				 0);
		memset(model + off, 0, len);
		break;
	case 1:
		ck_assert_int_eq(counted_io(BDEV_FLUSH, 0, 0, NULL, 0), 0);
		break;
	case 2:
	case 3:
	case 4:
		fx_pattern(in + misalign, len, (unsigned int)rand_r(seed));
		ck_assert_int_eq(counted_io(BDEV_WRITE, 0, off, in + misalign, len), 0);
		memcpy(model + off, in + misalign, len);
		break;
	default:
		ck_assert_int_eq(counted_io(BDEV_READ, 0, off, out + misalign, len), 0);
		ck_assert_int_eq(memcmp(model + off, out + misalign, len), 0);
		break;
	}
}

START_TEST(mixed_requests_keep_the_content_and_allocate_nothing)
{
	const char *text = getenv("VBLK_TEST_SEED");
	unsigned int seed = text ? (unsigned int)strtoul(text, NULL, 10) : 1;

	printf("%s: seed %u\n", variants[_i].name, seed);
	if (!start(&variants[_i]))
		return;
	/* Borrows the callback of the fixture. */
	ck_assert_int_eq(fx_finish(&fx, fx_begin(&fx, 1, BDEV_FLUSH, 0, 0, NULL, 0)), 0);
	for (int i = 0; i < 1000; i++)
		random_io(&seed);
	ck_assert_uint_eq(data_path_alloc_cnt, 0);
	check_file("after mixed requests");
	stop();
}
END_TEST

/*
 * As in a worker: its queues come after the privileges have gone, and an image
 * of another user cannot be opened any more. Still each has a file of its own,
 * so that no queue takes another's report of a failed write-back away.
 */
START_TEST(queues_have_their_own_file_without_permission_to_open_it)
{
	char path[] = "/tmp/vblk-queues-XXXXXX";
	struct bdev_params p = { .spec = path, .queue_cnt = 2 };
	char why[BDEV_WHY_MAX] = "";
	struct bdev_queue *bq[2];
	struct bdev *bdev;
	struct loop loop;
	int fd = mkstemp(path);
	bool is_root = geteuid() == 0;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	ck_assert_int_eq(bdev_open(&p, &bdev, why), 0);
	ck_assert_int_eq(fchmod(fd, 0), 0);
	if (is_root)
		ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(loop_init(&loop, 8), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(bdev_queue_new(bdev, &loop, 4, &bq[i]), 0);
	ck_assert_int_ne(((struct uring_queue *)bq[0])->fd, ((struct uring_queue *)bq[1])->fd);
	for (int i = 0; i < 2; i++) {
		int queue_fd = ((struct uring_queue *)bq[i])->fd;

		ck_assert_int_ne(queue_fd, uring_bdev_of(bdev)->fd);
		ck_assert_int_eq(pwrite(queue_fd, "x", 1, 0), 1);
		bdev_queue_free(bq[i]);
	}
	if (is_root)
		ck_assert_int_eq(seteuid(0), 0);
	loop_fini(&loop);
	bdev_close(bdev);
	close(fd);
	unlink(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bdev_uring");
	TCase *tc = tcase_create("uring");
	int cnt = (int)ARRAY_SIZE(variants);

	fx_skip_without_uring();
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, written_data_is_in_the_file_and_reads_back, 0, cnt);
	tcase_add_loop_test(tc, reads_are_no_access_to_the_image, 0, cnt);
	tcase_add_loop_test(tc, misaligned_buffers_work_at_depth, 0, cnt);
	tcase_add_loop_test(tc, deeper_queue_than_the_kernel_is_given, 0, cnt);
	tcase_add_loop_test(tc, long_misaligned_request_goes_in_chunks, 0, cnt);
	tcase_add_loop_test(tc, zeroing_reads_as_zeroes, 0, cnt);
	tcase_add_loop_test(tc, zeroes_are_written_where_nothing_else_works, 0, cnt);
	tcase_add_loop_test(tc, discard_gives_space_back, 0, cnt);
	tcase_add_loop_test(tc, shrunk_file_gives_io_errors, 0, cnt);
	tcase_add_test(tc, queues_have_their_own_file_without_permission_to_open_it);
	tcase_add_loop_test(tc, registered_memory_gives_the_same_bytes, 0, cnt);
	tcase_add_loop_test(tc, mixed_requests_keep_the_content_and_allocate_nothing, 0, cnt);
	suite_add_tcase(s, tc);

	return run_suite(s);
}
