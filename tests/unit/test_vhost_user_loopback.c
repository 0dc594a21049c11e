/* SPDX-License-Identifier: MIT */
/*
 * This repository's server and its client, against each other: the backend
 * vhost-user:PATH on a server in a process of its own, which is killed in the middle
 * of the work and started again by a third one.
 */
#include "run_suite.h"
#include "test_bdev_fixture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/clock.h"
#include "vblk/util/compiler.h"
#include "vblk/vhost_user/vhu_dev.h"

#define QUEUES	    2u
#define DEPTH	    16u
#define RING_SIZE   32u
#define BLOCK	    4096u
#define BLOCKS	    1024u /* of the disk */
#define IOS	    (QUEUES * DEPTH)
#define DATA_BYTES  (2 * IOS * BLOCK) /* what is written, then what is read */
#define ROUNDS	    100u
#define GROWN_BYTES (2ull * BLOCKS * BLOCK)

/* What the keeper of the servers is told, a byte each; it answers with the same. */
enum order {
	ORDER_KILL = 'k',
	ORDER_GROW = 'g',
};

struct test_io {
	struct bdev_io io;
	struct iovec iov;
	int done_cnt;
	int result;
};

/*
 * @forbidden: the address that the backend is given for @data; nothing can be read there
 * @version: of each block, 0: zeroes
 */
static struct {
	char dir[64], path[108], spec[128];
	int listen_fd;
	struct bdev *disk;
	struct blk_params blk;
	pid_t keeper;
	int order_fd, answer_fd;

	struct bdev_params params;
	struct bdev *bdev;
	struct loop loops[QUEUES];
	struct bdev_queue *bqs[QUEUES];
	struct test_io ios[IOS];
	uint8_t *data, *forbidden;
	int data_fd;
	struct memmap *map;
	unsigned int version[BLOCKS];
} lb;

/* --- the server's process --- */

static void on_event(void *ctx VBLK_UNUSED, enum vhu_dev_event event VBLK_UNUSED,
		     int arg VBLK_UNUSED)
{
}

static void server_grow(struct vhu_dev *dev)
{
	char why[BDEV_WHY_MAX];
	uint64_t bytes;

	if (bdev_resize(lb.disk, "mem", GROWN_BYTES, &bytes, why) < 0)
		_exit(2);
	vhu_dev_set_capacity(dev, bytes);
}

static void server_main(int order_fd, int answer_fd)
{
	struct vhu_dev_params params = {
		.listen_fd = lb.listen_fd,
		.blk = &lb.blk,
		.bdev = lb.disk,
		.fence_fd = -1,
		.event = on_event,
	};
	struct pollfd fds[2] = { { .events = POLLIN }, { .fd = order_fd, .events = POLLIN } };
	struct vhu_dev *dev;
	char order;

	memguard_install();
	if (vhu_dev_new(&params, &dev) < 0)
		_exit(1);
	fds[0].fd = vhu_dev_fd(dev);
	for (;;) {
		(void)poll(fds, 2, 100);
		vhu_dev_handle(dev);
		if (vhu_dev_deadline_ns(dev) && vhu_dev_deadline_ns(dev) <= clock_now_ns())
			vhu_dev_handle_deadline(dev);
		if (!fds[1].revents)
			continue;
		if (read(order_fd, &order, 1) != 1)
			_exit(0);
		server_grow(dev);
		if (write(answer_fd, &order, 1) != 1)
			_exit(3);
	}
}

/* --- the keeper's: without threads, so that it can go on forking --- */

static pid_t server_start(int answer_fd, int *ret_order_fd)
{
	int fds[2];
	pid_t pid;

	if (pipe(fds) < 0)
		_exit(4);
	pid = fork();
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(fds[1]);
		server_main(fds[0], answer_fd);
	}
	(void)close(fds[0]);
	*ret_order_fd = fds[1];
	return pid;
}

static void keeper_main(int order_fd, int answer_fd)
{
	int server_fd;
	pid_t pid = server_start(answer_fd, &server_fd);
	char order;

	while (read(order_fd, &order, 1) == 1) {
		ssize_t n;

		if (order == ORDER_GROW) {
			n = write(server_fd, &order, 1);
		} else {
			(void)kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
			(void)close(server_fd);
			pid = server_start(answer_fd, &server_fd);
			n = write(answer_fd, &order, 1);
		}
		if (n != 1)
			break;
	}
	(void)kill(pid, SIGKILL);
	_exit(0);
}

static void keeper_start(void)
{
	int orders[2], answers[2];

	ck_assert_int_eq(pipe(orders), 0);
	ck_assert_int_eq(pipe(answers), 0);
	lb.keeper = fork();
	ck_assert_int_ge(lb.keeper, 0);
	if (!lb.keeper) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(orders[1]);
		close(answers[0]);
		keeper_main(orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	lb.order_fd = orders[1];
	lb.answer_fd = answers[0];
}

static void give_order(char order)
{
	ck_assert_int_eq(write(lb.order_fd, &order, 1), 1);
}

static void await_answer(char order)
{
	char answer;

	ck_assert_int_eq(read(lb.answer_fd, &answer, 1), 1);
	ck_assert_int_eq(answer, order);
}

/* --- the client's --- */

static void listen_at_path(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(lb.dir, "/tmp/vblk-loop-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(lb.dir));
	snprintf(lb.path, sizeof(lb.path), "%s/sock", lb.dir);
	snprintf(lb.spec, sizeof(lb.spec), "vhost-user:%s", lb.path);
	memcpy(addr.sun_path, lb.path, sizeof(lb.path));
	lb.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(bind(lb.listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(lb.listen_fd, 8), 0);
}

static void make_memory(void)
{
	struct memmap_region region = {
		.iova = 0x10000,
		.len_bytes = DATA_BYTES,
		.perm = MEMMAP_READ | MEMMAP_WRITE,
	};

	region.fd = lb.data_fd = memfd_create("loopback", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(region.fd, DATA_BYTES), 0);
	lb.data = mmap(NULL, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0);
	lb.forbidden = mmap(NULL, DATA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(lb.data != MAP_FAILED && lb.forbidden != MAP_FAILED);
	region.va = lb.forbidden;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &lb.map), 0);
}

static void setup(void)
{
	struct bdev_params disk = { .spec = "mem:4M", .discard = true };
	struct bdev_limits limits;
	char why[BDEV_WHY_MAX];

	memset(&lb, 0, sizeof(lb));
	listen_at_path();
	ck_assert_int_eq(bdev_open(&disk, &lb.disk, why), 0);
	limits = lb.disk->limits;
	limits.volatile_cache = true;
	blk_params_init(&lb.blk, &limits, QUEUES, RING_SIZE, "loopback");
	keeper_start();
	make_memory();
	lb.params = (struct bdev_params){ .spec = lb.spec, .queue_cnt = QUEUES, .discard = true };
	ck_assert_msg(bdev_open(&lb.params, &lb.bdev, why) == 0, "%s", why);
	for (unsigned int i = 0; i < QUEUES; i++) {
		ck_assert_int_eq(loop_init(&lb.loops[i], 64), 0);
		ck_assert_int_eq(bdev_queue_new(lb.bdev, &lb.loops[i], DEPTH, &lb.bqs[i]), 0);
		bdev_map_changed(lb.bqs[i], lb.map);
	}
}

static void teardown(void)
{
	for (unsigned int i = 0; i < QUEUES; i++) {
		bdev_map_changed(lb.bqs[i], NULL);
		bdev_queue_free(lb.bqs[i]);
		loop_fini(&lb.loops[i]);
	}
	bdev_close(lb.bdev);
	close(lb.order_fd);
	ck_assert_int_eq(waitpid(lb.keeper, NULL, 0), lb.keeper);
	close(lb.answer_fd);
	bdev_close(lb.disk);
	memmap_unref(lb.map);
	close(lb.data_fd);
	munmap(lb.data, DATA_BYTES);
	munmap(lb.forbidden, DATA_BYTES);
	close(lb.listen_fd);
	unlink(lb.path);
	rmdir(lb.dir);
}

static void on_done(struct bdev_io *io, int result)
{
	struct test_io *tio = container_of(io, struct test_io, io);

	tio->done_cnt++;
	tio->result = result;
}

/* @at: in the memory, for reads and writes. */
static void begin(unsigned int nr, enum bdev_op op, unsigned int block, size_t at)
{
	struct test_io *tio = &lb.ios[nr];

	*tio = (struct test_io){
		.io = { .op = op,
			.slot_idx = nr % DEPTH,
			.offset_bytes = (uint64_t)block * BLOCK,
			.len_bytes = op == BDEV_FLUSH ? 0 : BLOCK,
			.iov = &tio->iov,
			.iov_cnt = op == BDEV_READ || op == BDEV_WRITE,
			.done = on_done },
		.iov = { lb.forbidden + at, BLOCK },
	};
	bdev_submit(lb.bqs[nr / DEPTH], &tio->io);
}

static void commit(void)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		bdev_commit(lb.bqs[i]);
}

/* All have ended so, each once. */
static void finish_with(unsigned int cnt, int result)
{
	const struct timespec nap = { .tv_nsec = 200000 };

	for (unsigned int nr = 0; nr < cnt; nr++) {
		while (!lb.ios[nr].done_cnt) {
			for (unsigned int i = 0; i < QUEUES; i++)
				ck_assert_int_ge(loop_poll(&lb.loops[i]), 0);
			(void)nanosleep(&nap, NULL);
		}
		ck_assert_int_eq(lb.ios[nr].done_cnt, 1);
		ck_assert_int_eq(lb.ios[nr].result, result);
	}
}

static void finish(unsigned int cnt)
{
	finish_with(cnt, 0);
}

static unsigned int block_of(unsigned int round, unsigned int nr)
{
	return (round * 7 + nr * 29) % BLOCKS;
}

static void content_of(unsigned int block, uint8_t *to)
{
	if (lb.version[block])
		fx_pattern(to, BLOCK, lb.version[block] * BLOCKS + block);
	else
		memset(to, 0, BLOCK);
}

static void write_round(unsigned int round)
{
	for (unsigned int nr = 0; nr < IOS; nr++) {
		unsigned int block = block_of(round, nr);
		bool zeroes = nr % 4 == 3;

		lb.version[block] = zeroes ? 0 : round + 1;
		content_of(block, lb.data + nr * BLOCK);
		begin(nr, zeroes ? BDEV_WRITE_ZEROES : BDEV_WRITE, block, nr * BLOCK);
	}
	commit();
}

static void read_round(unsigned int round)
{
	memset(lb.data + IOS * BLOCK, 0x5a, IOS * BLOCK);
	for (unsigned int nr = 0; nr < IOS; nr++)
		begin(nr, BDEV_READ, block_of(round, nr), (IOS + nr) * BLOCK);
	commit();
}

static void check_round(unsigned int round)
{
	static uint8_t want[BLOCK];

	for (unsigned int nr = 0; nr < IOS; nr++) {
		content_of(block_of(round, nr), want);
		ck_assert_mem_eq(lb.data + (IOS + nr) * BLOCK, want, BLOCK);
	}
}

/* What was written rounds ago is there as well. */
static void check_disk(void)
{
	for (unsigned int round = 0; round < ROUNDS; round++) {
		read_round(round);
		finish(IOS);
		check_round(round);
	}
}

START_TEST(data_flushes_zeroes_and_discards_go_through)
{
	for (unsigned int round = 0; round < ROUNDS; round++) {
		write_round(round);
		finish(IOS);
		begin(0, BDEV_FLUSH, 0, 0);
		commit();
		finish(1);
	}
	check_disk();
	/* A disk in memory forgets what is discarded. */
	begin(0, BDEV_DISCARD, block_of(0, 0), 0);
	begin(DEPTH, BDEV_DISCARD, block_of(0, DEPTH), 0);
	commit();
	lb.version[block_of(0, 0)] = lb.version[block_of(0, DEPTH)] = 0;
	for (unsigned int nr = 1; nr < DEPTH; nr++)
		lb.ios[nr].done_cnt = 1;
	finish(DEPTH + 1);
	check_disk();
}
END_TEST

START_TEST(killed_servers_lose_nothing)
{
	for (unsigned int round = 0; round < ROUNDS; round++) {
		bool kills_writes = round % 10 == 4, kills_reads = round % 10 == 9;

		write_round(round);
		if (kills_writes)
			give_order(ORDER_KILL);
		finish(IOS);
		read_round(round);
		if (kills_reads)
			give_order(ORDER_KILL);
		finish(IOS);
		check_round(round);
		if (kills_writes || kills_reads)
			await_answer(ORDER_KILL);
	}
	check_disk();
}
END_TEST

/* The rings are elsewhere: what the kernel cannot read or write is an error of its request. */
START_TEST(data_memory_that_is_cut_fails_its_requests_alone)
{
	write_round(0);
	finish(IOS);
	ck_assert_int_eq(ftruncate(lb.data_fd, 0), 0);
	begin(0, BDEV_WRITE, BLOCKS - 1, 0);
	begin(1, BDEV_READ, BLOCKS - 1, BLOCK);
	commit();
	finish_with(2, -EIO);
	ck_assert_int_eq(ftruncate(lb.data_fd, DATA_BYTES), 0);
	read_round(0);
	finish(IOS);
	check_round(0);
}
END_TEST

START_TEST(size_of_the_server_is_that_of_the_client)
{
	uint64_t bytes;
	char why[BDEV_WHY_MAX];

	write_round(0);
	finish(IOS);
	ck_assert_int_eq(bdev_resize(lb.bdev, lb.spec, 0, &bytes, why), 0);
	ck_assert_uint_eq(bytes, BLOCKS * BLOCK);
	give_order(ORDER_GROW);
	await_answer(ORDER_GROW);
	ck_assert_int_eq(bdev_resize(lb.bdev, lb.spec, 0, &bytes, why), 0);
	ck_assert_uint_eq(bytes, GROWN_BYTES);
	bdev_limits_set_capacity(&lb.bdev->limits, bytes);
	/* Behind the old end. */
	begin(0, BDEV_WRITE, BLOCKS + 1, 0);
	commit();
	finish(1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_user_loopback");
	TCase *tc = tcase_create("loopback");

	fx_skip_without_uring();
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, data_flushes_zeroes_and_discards_go_through);
	tcase_add_test(tc, killed_servers_lose_nothing);
	tcase_add_test(tc, data_memory_that_is_cut_fails_its_requests_alone);
	tcase_add_test(tc, size_of_the_server_is_that_of_the_client);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
