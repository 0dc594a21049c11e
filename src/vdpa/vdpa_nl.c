/* SPDX-License-Identifier: MIT */
#include "vblk/vdpa/vdpa_nl.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/vdpa.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "vdpa_msg.h"
#include "vdpa_request.h"

#define MESSAGE_MAX 256

struct vdpa_nl {
	struct nl_sock *sock;
	int family;
	char message[MESSAGE_MAX];
};

/* What the callbacks of one request share. */
struct round_trip {
	int (*reply)(const struct nlmsghdr *nlh, void *ctx);
	void *ctx;
	char *message;
	int result;
	bool done;
};

int vdpa_nl_open_family(const char *family, struct vdpa_nl **ret_nl)
{
	struct vdpa_nl *nl;
	int on = 1, r;

	nl = calloc(1, sizeof(*nl));
	if (!nl)
		return -ENOMEM;
	nl->sock = nl_socket_alloc();
	if (!nl->sock) {
		r = -ENOMEM;
		goto fail;
	}
	/* Close-on-exec is set by libnl itself. */
	r = vdpa_msg_errno_from_nl(genl_connect(nl->sock));
	if (r < 0)
		goto fail;
	/* Both only improve messages; kernels before 4.12 lack them. */
	(void)setsockopt(nl_socket_get_fd(nl->sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)setsockopt(nl_socket_get_fd(nl->sock), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));

	nl->family = genl_ctrl_resolve(nl->sock, family);
	if (nl->family < 0) {
		r = vdpa_msg_errno_from_nl(nl->family);
		goto fail;
	}
	/* From here on each request says itself whether it wants an ack. */
	nl_socket_disable_auto_ack(nl->sock);
	*ret_nl = nl;
	return 0;

fail:
	vdpa_nl_close(nl);
	return r;
}

int vdpa_nl_open(struct vdpa_nl **ret_nl)
{
	return vdpa_nl_open_family(VDPA_GENL_NAME, ret_nl);
}

void vdpa_nl_close(struct vdpa_nl *nl)
{
	if (!nl)
		return;
	nl_socket_free(nl->sock);
	free(nl);
}

const char *vdpa_nl_last_message(const struct vdpa_nl *nl)
{
	return nl->message;
}

struct nl_msg *vdpa_request_new(const struct vdpa_nl *nl, uint8_t cmd, int flags)
{
	struct nl_msg *msg = nlmsg_alloc();

	if (!msg)
		return NULL;
	if (!genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, nl->family, 0, NLM_F_REQUEST | flags, cmd,
			 VDPA_GENL_VERSION)) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

int vdpa_request_put_name(struct nl_msg *msg, int attr, const char *name)
{
	size_t len = strlen(name);

	if (!len || len >= VDPA_NAME_MAX)
		return -EINVAL;
	return nla_put_string(msg, attr, name) < 0 ? -ENOMEM : 0;
}

static int on_valid(struct nl_msg *msg, void *arg)
{
	struct round_trip *rt = arg;
	int r = rt->reply ? rt->reply(nlmsg_hdr(msg), rt->ctx) : 0;

	if (r < 0 && !rt->result)
		rt->result = r;
	return NL_OK; /* go on: what belongs to this request must leave the socket */
}

static int on_end(struct nl_msg *msg VBLK_UNUSED, void *arg)
{
	struct round_trip *rt = arg;

	rt->done = true;
	return NL_STOP;
}

static int on_error(struct sockaddr_nl *from VBLK_UNUSED, struct nlmsgerr *err, void *arg)
{
	struct round_trip *rt = arg;
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)((char *)err - NLMSG_HDRLEN);

	rt->result = vdpa_msg_error(nlh, rt->message, MESSAGE_MAX);
	rt->done = true;
	return NL_STOP;
}

static int receive(struct vdpa_nl *nl, struct round_trip *rt)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	int r = 0;

	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_VALID, NL_CB_CUSTOM, on_valid, rt);
	nl_cb_set(cb, NL_CB_ACK, NL_CB_CUSTOM, on_end, rt);
	nl_cb_set(cb, NL_CB_FINISH, NL_CB_CUSTOM, on_end, rt);
	nl_cb_err(cb, NL_CB_CUSTOM, on_error, rt);
	while (!rt->done && r >= 0)
		r = nl_recvmsgs(nl->sock, cb);
	nl_cb_put(cb);
	if (rt->result < 0)
		return rt->result;
	return r < 0 ? vdpa_msg_errno_from_nl(r) : 0;
}

int vdpa_request_run(struct vdpa_nl *nl, struct nl_msg *msg,
		     int (*reply)(const struct nlmsghdr *nlh, void *ctx), void *ctx)
{
	struct round_trip rt = { .reply = reply, .ctx = ctx, .message = nl->message };
	int r;

	nl->message[0] = '\0';
	r = nl_send_auto(nl->sock, msg);
	nlmsg_free(msg);
	if (r < 0)
		return vdpa_msg_errno_from_nl(r);
	return receive(nl, &rt);
}
