/* SPDX-License-Identifier: MIT */
#include "resize.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "vblk/util/math.h"
#include "vblk/util/parse.h"

static void VBLK_PRINTF(3, 4) fail(struct resize_result *res, int error, const char *fmt, ...)
{
	va_list ap;

	res->error = error;
	va_start(ap, fmt);
	vsnprintf(res->text, sizeof(res->text), fmt, ap);
	va_end(ap);
}

static bool would_cut(const struct bdev_limits *limits, uint64_t size_bytes, bool force,
		      struct resize_result *ret_result)
{
	uint64_t now_bytes = bdev_limits_capacity(limits);
	char now[FORMAT_SIZE_MAX], then[FORMAT_SIZE_MAX];

	if (force || size_bytes >= now_bytes)
		return false;
	ret_result->size_bytes = size_bytes;
	ret_result->would_cut = true;
	fail(ret_result, -EPERM,
	     "going from %s to %s would cut off %" PRIu64 " bytes that a filesystem may use",
	     format_size_bytes(now_bytes, now), format_size_bytes(size_bytes, then),
	     now_bytes - size_bytes);
	return true;
}

bool resize_refused(const struct bdev_limits *limits, const struct resize_request *req,
		    struct resize_result *ret_result)
{
	*ret_result = (struct resize_result){ 0 };
	if (!req->size_bytes)
		return false;
	if (req->size_bytes > INT64_MAX ||
	    !is_aligned(req->size_bytes, limits->logical_block_bytes)) {
		fail(ret_result, -EINVAL,
		     "%" PRIu64 " bytes are not a multiple of its block size, %" PRIu32,
		     req->size_bytes, limits->logical_block_bytes);
		return true;
	}
	return would_cut(limits, req->size_bytes, req->force, ret_result);
}

void resize_settle(const struct bdev_limits *limits, const struct resize_request *req,
		   uint64_t backend_bytes, struct resize_result *ret_result)
{
	uint64_t size_bytes = req->size_bytes ? req->size_bytes : backend_bytes;

	*ret_result = (struct resize_result){ 0 };
	if (!would_cut(limits, size_bytes, req->force, ret_result))
		ret_result->size_bytes = size_bytes;
}

static VBLK_NORETURN void ask_backend(struct bdev *bdev, const char *spec,
				      const struct resize_request *req, int out_fd)
{
	char why[BDEV_WHY_MAX] = "";
	struct resize_result res = { 0 };
	uint64_t backend_bytes;
	int r;

	r = bdev_resize(bdev, spec, req->size_bytes, &backend_bytes, why);
	if (r < 0)
		fail(&res, r, "%s", why);
	else
		resize_settle(&bdev->limits, req, backend_bytes, &res);
	_exit(write(out_fd, &res, sizeof(res)) == sizeof(res) ? 0 : 1);
}

int resize_start(struct bdev *bdev, const char *spec, const struct resize_request *req,
		 const int *close_fds, unsigned int close_cnt, int out_fd, pid_t *ret_pid)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		for (unsigned int i = 0; i < close_cnt; i++)
			if (close_fds[i] >= 0)
				(void)close(close_fds[i]);
		/* What nobody waits for any more need not be done. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (getppid() != parent)
			_exit(1);
		ask_backend(bdev, spec, req, out_fd);
	}
	*ret_pid = pid;
	return 0;
}

void resize_result_read(int fd, struct resize_result *ret_result)
{
	if (read(fd, ret_result, sizeof(*ret_result)) == sizeof(*ret_result)) {
		ret_result->text[sizeof(ret_result->text) - 1] = '\0';
		return;
	}
	*ret_result = (struct resize_result){ 0 };
	fail(ret_result, -ECHILD, "the process that asks the backend for its size died");
}
