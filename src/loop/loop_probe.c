/* SPDX-License-Identifier: MIT */
#include "vblk/loop/loop_probe.h"

#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>

#include "vblk/loop/loop.h"
#include "vblk/util/math.h"

/* Every io_uring_prep_*() of the tree. */
static const struct {
	int op;
	const char *name;
} needed[] = {
	{ IORING_OP_POLL_ADD, "POLL_ADD" },
	{ IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL" },
	{ IORING_OP_TIMEOUT, "TIMEOUT" },
	{ IORING_OP_READ, "READ" },
	{ IORING_OP_WRITE, "WRITE" },
	{ IORING_OP_READV, "READV" },
	{ IORING_OP_WRITEV, "WRITEV" },
	{ IORING_OP_READ_FIXED, "READ_FIXED" },
	{ IORING_OP_WRITE_FIXED, "WRITE_FIXED" },
	{ IORING_OP_FSYNC, "FSYNC" },
	{ IORING_OP_FALLOCATE, "FALLOCATE" },
};

static void name_missing(const struct io_uring_probe *probe, char *ret_missing, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		size_t used = strlen(ret_missing);

		if (!io_uring_opcode_supported(probe, needed[i].op))
			snprintf(ret_missing + used, len - used, "%s%s", used ? ", " : "",
				 needed[i].name);
	}
}

int loop_probe(char *ret_missing, size_t len)
{
	struct io_uring_probe *probe;
	struct loop loop;
	int r;

	r = loop_init(&loop, 8);
	if (r < 0)
		return r;
	probe = io_uring_get_probe_ring(&loop.ring);
	loop_fini(&loop);
	/* Kernels before 5.6 cannot be asked. */
	if (!probe)
		return -ENOSYS;
	ret_missing[0] = '\0';
	name_missing(probe, ret_missing, len);
	io_uring_free_probe(probe);
	return 0;
}
