/* SPDX-License-Identifier: MIT */
#include "vblk/vdpa/vdpa_nl.h"

#include <errno.h>
#include <linux/vdpa.h>

#include "vdpa_msg.h"
#include "vdpa_request.h"

struct dump {
	void (*fn)(const struct vdpa_mgmtdev_info *info, void *ctx);
	void *ctx;
};

static int dump_reply(const struct nlmsghdr *nlh, void *ctx)
{
	struct dump *dump = ctx;
	struct vdpa_mgmtdev_info info;
	int r;

	r = vdpa_msg_mgmtdev(nlh, &info);
	if (r < 0)
		return r;
	dump->fn(&info, dump->ctx);
	return 0;
}

int vdpa_nl_mgmtdev_dump(struct vdpa_nl *nl,
			 void (*fn)(const struct vdpa_mgmtdev_info *info, void *ctx), void *ctx)
{
	struct nl_msg *msg = vdpa_request_new(nl, VDPA_CMD_MGMTDEV_GET, NLM_F_DUMP);
	struct dump dump = { fn, ctx };

	if (!msg)
		return -ENOMEM;
	return vdpa_request_run(nl, msg, dump_reply, &dump);
}
