/* SPDX-License-Identifier: MIT */
#include "vhu_child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/clock.h"
#include "vblk/vhost_user/vhu_dev.h"

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "vhu_child: %s: %s\n", what, strerror(errno));
	_exit(EXIT_FAILURE);
}

int vhu_child_listen(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	need(fd >= 0 && strlen(path) < sizeof(addr.sun_path), "socket");
	strcpy(addr.sun_path, path);
	need(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 8) == 0, path);
	return fd;
}

/* The lock of a killed predecessor goes with its last I/O, and that must not come after ours. */
static struct bdev *open_backend(const struct vhu_child_params *params)
{
	const struct bdev_params bdev_params = {
		.spec = params->backend,
		.queue_cnt = params->queue_cnt,
		.discard = true,
	};
	char why[BDEV_WHY_MAX] = "";
	struct bdev *bdev = NULL;
	int r;

	while ((r = bdev_open(&bdev_params, &bdev, why)) == -EBUSY)
		(void)poll(NULL, 0, 2);
	errno = -r;
	need(r == 0, why);
	return bdev;
}

static const struct bdev_ops *erasing_by;

static void submit_or_erase(struct bdev_queue *bq, struct bdev_io *io)
{
	if (io->op == BDEV_SECURE_ERASE)
		io->op = BDEV_WRITE_ZEROES;
	erasing_by->submit(bq, io);
}

static void make_erase(struct bdev *bdev)
{
	static struct bdev_ops ops;

	erasing_by = bdev->ops;
	ops = *bdev->ops;
	ops.submit = submit_or_erase;
	bdev->ops = &ops;
	bdev->limits.max_secure_erase_bytes = bdev->limits.max_discard_bytes;
}

static void on_event(void *ctx VBLK_UNUSED, enum vhu_dev_event event VBLK_UNUSED,
		     int arg VBLK_UNUSED)
{
}

static int timeout_ms(const struct vhu_dev *dev)
{
	uint64_t at_ns = vhu_dev_deadline_ns(dev), now_ns = clock_now_ns();

	if (!at_ns)
		return -1;
	return at_ns <= now_ns ? 0 : (int)((at_ns - now_ns) / NSEC_PER_MSEC + 1);
}

void vhu_child_serve(const struct vhu_child_params *params)
{
	struct blk_params blk;
	struct vhu_dev_params dev_params = {
		.blk = &blk,
		.fence_fd = -1,
		.event = on_event,
	};
	struct vhu_dev *dev;
	struct bdev *bdev;

	(void)signal(SIGPIPE, SIG_IGN);
	memguard_install();
	/* A client's end of a connection would never be closed. */
	dev_params.listen_fd = STDERR_FILENO + 1;
	need(params->listen_fd == dev_params.listen_fd ||
		     dup2(params->listen_fd, dev_params.listen_fd) >= 0,
	     "dup2");
	need(close_range(STDERR_FILENO + 2, ~0u, 0) == 0, "close_range");
	dev_params.bdev = bdev = open_backend(params);
	if (params->erases)
		make_erase(bdev);
	blk_params_init(&blk, &bdev->limits, params->queue_cnt, params->queue_size, "child");
	need(vhu_dev_new(&dev_params, &dev) == 0, "vhu_dev_new");
	for (;;) {
		struct pollfd pfd = { .fd = vhu_dev_fd(dev), .events = POLLIN };

		(void)poll(&pfd, 1, timeout_ms(dev));
		vhu_dev_handle(dev);
		vhu_dev_handle_deadline(dev);
	}
}
