/* SPDX-License-Identifier: MIT */
#include "test_vhu_bdev_rig.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vblk/loop/loop.h"
#include "vblk/mem/memmap.h"

struct vhu_bdev_rig rig;

static void make_map(void)
{
	struct memmap_region region = { .iova = 0x10000, .len_bytes = DATA_BYTES };

	rig.data_fd = memfd_create("test", MFD_CLOEXEC);
	ck_assert_int_ge(rig.data_fd, 0);
	ck_assert_int_eq(ftruncate(rig.data_fd, DATA_BYTES + 4096), 0);
	rig.data = mmap(NULL, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, rig.data_fd, 4096);
	rig.forbidden = mmap(NULL, DATA_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(rig.data != MAP_FAILED && rig.forbidden != MAP_FAILED);
	region.va = rig.forbidden;
	region.perm = MEMMAP_READ | MEMMAP_WRITE;
	region.fd = rig.data_fd;
	region.fd_offset_bytes = 4096;
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &rig.map), 0);
}

void rig_setup(void)
{
	fx_setup();
	memset(&rig, 0, sizeof(rig));
	make_map();
}

void rig_start(void)
{
	int r;

	start_server();
	r = bdev_open(&fx.params, &fx.bdev, fx.why);
	ck_assert_msg(r == 0, "%s", fx.why);
	for (unsigned int i = 0; i < QUEUES; i++) {
		ck_assert_int_eq(loop_init(&rig.loops[i], 32), 0);
		ck_assert_int_eq(bdev_queue_new(fx.bdev, &rig.loops[i], DEPTH, &rig.bqs[i]), 0);
		bdev_map_changed(rig.bqs[i], rig.map);
	}
}

void rig_teardown(void)
{
	for (unsigned int i = 0; i < QUEUES; i++) {
		if (!rig.bqs[i])
			continue;
		bdev_map_changed(rig.bqs[i], NULL);
		bdev_queue_free(rig.bqs[i]);
		loop_fini(&rig.loops[i]);
	}
	fx_teardown();
	memmap_unref(rig.map);
	munmap(rig.data, DATA_BYTES);
	munmap(rig.forbidden, DATA_BYTES);
	close(rig.data_fd);
}

void rig_io_done(struct bdev_io *io, int result)
{
	struct test_io *tio = container_of(io, struct test_io, io);

	tio->done_cnt++;
	tio->result = result;
}

struct test_io *rig_begin(unsigned int queue, unsigned int slot, enum bdev_op op,
			  uint64_t offset_bytes, uint64_t len_bytes, uint32_t at)
{
	struct test_io *tio = &rig.ios[queue][slot];

	*tio = (struct test_io){
		.io = { .op = op,
			.slot_idx = slot,
			.offset_bytes = offset_bytes,
			.len_bytes = len_bytes,
			.iov = tio->iov,
			.iov_cnt = op == BDEV_READ || op == BDEV_WRITE,
			.done = rig_io_done },
		.iov = { { rig.forbidden + at, len_bytes } },
	};
	bdev_submit(rig.bqs[queue], &tio->io);
	return tio;
}

void rig_commit(void)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		bdev_commit(rig.bqs[i]);
}

void rig_nap(void)
{
	const struct timespec ts = { .tv_nsec = 1000000 };

	(void)nanosleep(&ts, NULL);
}

void rig_run(void)
{
	for (unsigned int i = 0; i < QUEUES; i++)
		ck_assert_int_ge(loop_poll(&rig.loops[i]), 0);
	rig_nap();
}

int rig_finish(struct test_io *tio)
{
	rig_commit();
	while (!tio->done_cnt)
		rig_run();
	ck_assert_int_eq(tio->done_cnt, 1);
	return tio->result;
}

int rig_io(unsigned int queue, enum bdev_op op, uint64_t offset_bytes, uint64_t len_bytes)
{
	return rig_finish(rig_begin(queue, 0, op, offset_bytes, len_bytes, 0));
}

void rig_run_a_while(void)
{
	for (unsigned int i = 0; i < 60; i++)
		rig_run();
}

void rig_check_disk(uint32_t offset_bytes, const void *want, size_t len_bytes)
{
	static uint8_t have[DATA_BYTES];

	fake_vhu_peek(fx.srv, offset_bytes, have, len_bytes);
	ck_assert_mem_eq(have, want, len_bytes);
}

uint8_t rig_disk_byte(uint32_t offset_bytes)
{
	uint8_t byte;

	fake_vhu_peek(fx.srv, offset_bytes, &byte, 1);
	return byte;
}

void rig_check_write_read(unsigned int queue, unsigned int seed)
{
	uint8_t want[8192];

	fx_pattern(want, sizeof(want), seed);
	memcpy(rig.data, want, sizeof(want));
	ck_assert_int_eq(rig_io(queue, BDEV_WRITE, 4096, sizeof(want)), 0);
	rig_check_disk(4096, want, sizeof(want));
	memset(rig.data, 0, sizeof(want));
	ck_assert_int_eq(rig_io(queue, BDEV_READ, 4096, sizeof(want)), 0);
	ck_assert_mem_eq(rig.data, want, sizeof(want));
}

bool rig_was_told(int timeout_ms)
{
	struct pollfd pfd = { .fd = bdev_news_fd(fx.bdev), .events = POLLIN };

	ck_assert_int_ge(pfd.fd, 0);
	return poll(&pfd, 1, timeout_ms) == 1;
}
