/* SPDX-License-Identifier: MIT */
#include "vblk/vdpa/vdpa_nl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/vdpa.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vdpa_msg.h"
#include "vblk/util/clock.h"
#include "vdpa_request.h"

#define MESSAGE_MAX   256
#define RESOLVE_TRIES 3

struct vdpa_nl {
	struct nl_sock *sock;
	int family;
	uint32_t seq;
	char message[MESSAGE_MAX];
};

/* What the callbacks of one request share. */
struct round_trip {
	int (*reply)(const struct nlmsghdr *nlh, void *ctx);
	void *ctx;
	char *message;
	uint32_t seq;
	int result;
	bool done;
};

/* Answers that nobody has waited for. */
static void drain(int fd)
{
	char byte;

	while (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno == EINTR)
		;
}

/* libnl closes what it has. */
static int use_socket(struct nl_sock *sock, int fd)
{
	int own, r;

	if (fd < 0)
		return genl_connect(sock);
	own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own < 0)
		return -NLE_BAD_SOCK;
	drain(own);
	r = nl_socket_set_fd(sock, NETLINK_GENERIC, own);
	if (r < 0)
		close(own);
	return r;
}

/* The answer to somebody else may come in between. */
static int resolve(struct nl_sock *sock, const char *family)
{
	int r;

	for (int i = 0; i < RESOLVE_TRIES; i++) {
		r = genl_ctrl_resolve(sock, family);
		if (r != -NLE_SEQ_MISMATCH)
			break;
	}
	return r;
}

int vdpa_nl_open_family(const char *family, int fd, struct vdpa_nl **ret_nl)
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
	/* Not the time, as libnl has it, which two processes can have alike. */
	nl->seq = (uint32_t)clock_now_ns();
	/* Close-on-exec is set by libnl itself. */
	r = vdpa_msg_errno_from_nl(use_socket(nl->sock, fd));
	if (r < 0)
		goto fail;
	/* Both only improve messages; kernels before 4.12 lack them. */
	(void)setsockopt(nl_socket_get_fd(nl->sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	(void)setsockopt(nl_socket_get_fd(nl->sock), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));

	nl->family = resolve(nl->sock, family);
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
	return vdpa_nl_open_family(VDPA_GENL_NAME, -1, ret_nl);
}

int vdpa_nl_open_on(int fd, struct vdpa_nl **ret_nl)
{
	return vdpa_nl_open_family(VDPA_GENL_NAME, fd, ret_nl);
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

/* What another process has asked on this socket is not ours. */
static int on_seq(struct nl_msg *msg, void *arg)
{
	const struct round_trip *rt = arg;

	return nlmsg_hdr(msg)->nlmsg_seq == rt->seq ? NL_OK : NL_SKIP;
}

static int receive(struct vdpa_nl *nl, struct round_trip *rt)
{
	struct nl_cb *cb = nl_cb_alloc(NL_CB_DEFAULT);
	int r = 0;

	if (!cb)
		return -ENOMEM;
	nl_cb_set(cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, on_seq, rt);
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
	/* 0 would be libnl's to choose. */
	rt.seq = nl->seq = nl->seq + 1 ? nl->seq + 1 : 1;
	nlmsg_hdr(msg)->nlmsg_seq = rt.seq;
	r = nl_send_auto(nl->sock, msg);
	nlmsg_free(msg);
	if (r < 0)
		return vdpa_msg_errno_from_nl(r);
	return receive(nl, &rt);
}
