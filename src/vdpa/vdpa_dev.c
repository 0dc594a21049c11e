/* SPDX-License-Identifier: MIT */
#include "vblk/vdpa/vdpa_nl.h"

#include <errno.h>
#include <linux/vdpa.h>

#include "vdpa_msg.h"
#include "vdpa_request.h"

struct dump {
	void (*fn)(const struct vdpa_dev_info *info, void *ctx);
	void *ctx;
};

struct get {
	struct vdpa_dev_info info;
	unsigned int cnt;
};

/*
 * No bus name: VDUSE's management device has none, and naming one makes the
 * kernel find nothing (-ENODEV). No further attributes either (-EOPNOTSUPP).
 */
int vdpa_nl_dev_add(struct vdpa_nl *nl, const char *mgmtdev, const char *name)
{
	struct nl_msg *msg = vdpa_request_new(nl, VDPA_CMD_DEV_NEW, NLM_F_ACK);
	int r;

	if (!msg)
		return -ENOMEM;
	r = vdpa_request_put_name(msg, VDPA_ATTR_MGMTDEV_DEV_NAME, mgmtdev);
	if (!r)
		r = vdpa_request_put_name(msg, VDPA_ATTR_DEV_NAME, name);
	if (r < 0) {
		nlmsg_free(msg);
		return r;
	}
	return vdpa_request_run(nl, msg, NULL, NULL);
}

int vdpa_nl_dev_del(struct vdpa_nl *nl, const char *name)
{
	struct nl_msg *msg = vdpa_request_new(nl, VDPA_CMD_DEV_DEL, NLM_F_ACK);
	int r;

	if (!msg)
		return -ENOMEM;
	r = vdpa_request_put_name(msg, VDPA_ATTR_DEV_NAME, name);
	if (r < 0) {
		nlmsg_free(msg);
		return r;
	}
	return vdpa_request_run(nl, msg, NULL, NULL);
}

static int get_reply(const struct nlmsghdr *nlh, void *ctx)
{
	struct get *get = ctx;

	get->cnt++;
	return vdpa_msg_dev(nlh, &get->info);
}

int vdpa_nl_dev_get(struct vdpa_nl *nl, const char *name, struct vdpa_dev_info *ret_info)
{
	struct nl_msg *msg = vdpa_request_new(nl, VDPA_CMD_DEV_GET, NLM_F_ACK);
	struct get get = { .cnt = 0 };
	int r;

	if (!msg)
		return -ENOMEM;
	r = vdpa_request_put_name(msg, VDPA_ATTR_DEV_NAME, name);
	if (r < 0) {
		nlmsg_free(msg);
		return r;
	}
	r = vdpa_request_run(nl, msg, get_reply, &get);
	if (r < 0)
		return r;
	if (!get.cnt)
		return -ENODEV;
	*ret_info = get.info;
	return 0;
}

static int dump_reply(const struct nlmsghdr *nlh, void *ctx)
{
	struct dump *dump = ctx;
	struct vdpa_dev_info info;
	int r;

	r = vdpa_msg_dev(nlh, &info);
	if (r < 0)
		return r;
	dump->fn(&info, dump->ctx);
	return 0;
}

int vdpa_nl_dev_dump(struct vdpa_nl *nl, void (*fn)(const struct vdpa_dev_info *info, void *ctx),
		     void *ctx)
{
	struct nl_msg *msg = vdpa_request_new(nl, VDPA_CMD_DEV_GET, NLM_F_DUMP);
	struct dump dump = { fn, ctx };

	if (!msg)
		return -ENOMEM;
	return vdpa_request_run(nl, msg, dump_reply, &dump);
}
