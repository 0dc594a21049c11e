/* SPDX-License-Identifier: MIT */
/*
 * From a VDUSE device to another program's disk. Of memory of our own nothing at all is mapped
 * while it serves. Of the kernel's, pages with data are taken away from this process before a
 * request with them is shown to it, so that looking at one byte of them ends the test.
 */
#include "run_suite.h"
#include "vblk/bdev/bdev.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake_vhu_server.h"
#include "test_vduse_fixture.h"
#include "vblk/util/math.h"

#define SEGS	 3u
#define REQUESTS 4u
/* Whole pages: what else a request consists of is in others. */
static const uint32_t seg_bytes[SEGS] = { 4096, 8192, 4096 };
#define REQ_BYTES 16384u

/*
 * @sys: the fake kernel's, listened to
 * @bounce: what the device has mapped of the bounce area
 */
static struct {
	char dir[64], path[108], spec[128];
	struct fake_vhu *srv;
	struct bdev *bdev;
	struct rig *rig;
	struct vduse_sys sys;
	const struct vduse_sys *fake_sys;
	uint8_t *bounce;
	bool umem;
} fx;

static int spy_mmap(void *ctx, size_t len, int prot, int fd, off_t offset, void **ret_va)
{
	int r = fx.fake_sys->mmap(ctx, len, prot, fd, offset, ret_va);

	if (r == 0 && offset == 0 && len >= FAKE_VDUSE_BOUNCE_BYTES)
		fx.bounce = *ret_va;
	return r;
}

static int spy_ioctl(void *ctx, int fd, unsigned long request, void *arg)
{
	if (request == VDUSE_IOTLB_REG_UMEM)
		fx.bounce = (uint8_t *)(uintptr_t)((struct vduse_iova_umem *)arg)->uaddr;
	return fx.fake_sys->ioctl(ctx, fd, request, arg);
}

static void open_backend(void)
{
	struct bdev_params params = { .spec = fx.spec, .queue_cnt = 1 };
	struct fake_vhu_options options;
	char why[BDEV_WHY_MAX];

	strcpy(fx.dir, "/tmp/vblk-bridge-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fx.dir));
	snprintf(fx.path, sizeof(fx.path), "%s/sock", fx.dir);
	snprintf(fx.spec, sizeof(fx.spec), "vhost-user:%s", fx.path);
	fake_vhu_usual(&options);
	fx.srv = fake_vhu_new(fx.path, &options);
	ck_assert_int_eq(bdev_open(&params, &fx.bdev, why), 0);
}

static void start(bool umem)
{
	memset(&fx, 0, sizeof(fx));
	fx.umem = umem;
	open_backend();
	fx.rig = rig_new(1);
	fx.fake_sys = fake_vduse_sys(fx.rig->k);
	fx.sys = *fx.fake_sys;
	fx.sys.mmap = spy_mmap;
	fx.sys.ioctl = spy_ioctl;
	fx.rig->sys = &fx.sys;
	fx.rig->bdev = fx.bdev;
	fx.rig->umem = umem ? VDUSE_UMEM_ON : VDUSE_UMEM_OFF;
	blk_params_init(&fx.rig->blk, &fx.bdev->limits, 1, RIG_QUEUE_SIZE, "S1");
	fx.rig->features = vduse_features(&fx.rig->blk) & ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	ck_assert_int_eq(rig_start(fx.rig), 0);
	rig_probe(fx.rig, RIG_QUEUE_SIZE, 1);
}

static void stop(void)
{
	rig_free(fx.rig);
	bdev_close(fx.bdev);
	fake_vhu_free(fx.srv);
	rmdir(fx.dir);
}

/* The kernel is asked, which does not fault. */
static bool is_readable(int pipe_fd, const uint8_t *page)
{
	ssize_t n = write(pipe_fd, page, 1);

	ck_assert(n == 1 || (n < 0 && errno == EFAULT));
	return n == 1;
}

static void check_nothing_is_mapped(void)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	for (size_t at = 0; at < FAKE_VDUSE_BOUNCE_BYTES; at += 4096)
		ck_assert(!is_readable(fds[1], fx.bounce + at));
	close(fds[0]);
	close(fds[1]);
}

static bool data_is_mapped(void)
{
	struct vduse_dev_info info;

	vduse_dev_info(fx.rig->dev, &info);
	return info.data_mapped;
}

static void take_away(const struct ring_blk_req *req)
{
	struct ring *r = fake_vduse_ring(fx.rig->k, 0);

	ck_assert_ptr_nonnull(fx.bounce);
	if (fx.umem) {
		check_nothing_is_mapped();
		return;
	}
	for (unsigned int i = 0; i < req->seg_cnt; i++) {
		uint64_t at = ring_iova(r, req->data[i]);

		ck_assert(is_aligned(at | req->data_bytes[i], 4096));
		ck_assert_int_eq(mprotect(fx.bounce + at, req->data_bytes[i], PROT_NONE), 0);
	}
}

static struct ring_blk_req begin(uint32_t type, uint64_t sector, bool indirect, uint8_t fill)
{
	struct ring_blk_spec spec = {
		.type = type,
		.sector = sector,
		.from_driver = type == VIRTIO_BLK_T_OUT,
		.indirect = indirect,
		.seg_cnt = SEGS,
	};
	struct ring_blk_req req;

	memcpy(spec.seg_bytes, seg_bytes, sizeof(seg_bytes));
	fake_vduse_build(fx.rig->k, 0, &spec, &req);
	for (unsigned int i = 0; i < SEGS; i++)
		memset(req.data[i], fill + (int)i, seg_bytes[i]);
	take_away(&req);
	fake_vduse_publish(fx.rig->k, 0, req.head);
	fake_vduse_kick(fx.rig->k, 0);
	return req;
}

static void end(struct ring_blk_req *req)
{
	rig_wait_done(fx.rig, 0, req);
	ck_assert_uint_eq(*req->status, VIRTIO_BLK_S_OK);
	ring_blk_put(fake_vduse_ring(fx.rig->k, 0), req);
}

static void check_bytes(const uint8_t *bytes, uint8_t want, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		ck_assert_uint_eq(bytes[i], want);
}

static void write_and_read(bool indirect)
{
	static uint8_t disk[REQ_BYTES];
	struct ring_blk_req req;

	for (unsigned int n = 0; n < REQUESTS; n++) {
		uint8_t fill = (uint8_t)(0x10 * (n + 1)), *at = disk;

		req = begin(VIRTIO_BLK_T_OUT, 64 + n * 32, indirect, fill);
		end(&req);
		fake_vhu_peek(fx.srv, (64 + n * 32) * SECTOR_BYTES, disk, sizeof(disk));
		for (unsigned int i = 0; i < SEGS; at += seg_bytes[i++])
			check_bytes(at, (uint8_t)(fill + i), seg_bytes[i]);
		req = begin(VIRTIO_BLK_T_IN, 64 + n * 32, indirect, 0xff);
		end(&req);
		for (unsigned int i = 0; i < SEGS; i++)
			check_bytes(req.data[i], (uint8_t)(fill + i), seg_bytes[i]);
	}
}

START_TEST(data_pages_are_never_looked_at)
{
	bool umem = _i & 1, indirect = _i & 2;

	start(umem);
	/* The first request makes the bounce area appear, and our memory in its place. */
	rig_check_io(fx.rig, 0);
	ck_assert(fake_vduse_has_umem(fx.rig->k) == umem);
	ck_assert(data_is_mapped() == !umem);
	write_and_read(indirect);
	/* The next driver finds the memory registered. */
	ck_assert_int_eq(rig_reset(fx.rig), VDUSE_REQ_RESULT_OK);
	rig_probe(fx.rig, RIG_QUEUE_SIZE, 1);
	rig_check_io(fx.rig, 0);
	write_and_read(indirect);
	ck_assert(data_is_mapped() == !umem);
	stop();
}
END_TEST

START_TEST(memory_is_mapped_where_it_is_the_kernels)
{
	start(true);
	ck_assert(!data_is_mapped());
	fake_vduse_no_umem(fx.rig->k);
	rig_check_io(fx.rig, 0);
	ck_assert(data_is_mapped());
	stop();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bridge");
	TCase *tc = tcase_create("bridge");

	tcase_add_loop_test(tc, data_pages_are_never_looked_at, 0, 4);
	tcase_add_test(tc, memory_is_mapped_where_it_is_the_kernels);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
