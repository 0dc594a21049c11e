/* SPDX-License-Identifier: MIT */
/* Getting in, and what is asked once. */
#include "vhu_client_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vblk/util/clock.h"
#include "vblk/util/math.h"

#define BIT64(n) (1ull << (n))
/* Between attempts at a server whose queue of clients is full. */
#define CONNECT_STEP_MS 5u

static const uint64_t protocol_wanted = BIT64(VHU_PROTOCOL_F_MQ) | BIT64(VHU_PROTOCOL_F_REPLY_ACK) |
					BIT64(VHU_PROTOCOL_F_BACKEND_REQ) |
					BIT64(VHU_PROTOCOL_F_CONFIG);

/* A unix socket connects at once or not at all; EAGAIN: its queue is full. */
static int connect_in_time(int fd, const struct sockaddr_un *addr,
			   const struct vhu_client_params *params)
{
	uint64_t end_ns = clock_now_ns() + params->timeout_ms * NSEC_PER_MSEC;
	int r;

	while (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		r = vhu_client_wait(-1, 0, params->stop_fd,
				    clock_now_ns() + CONNECT_STEP_MS * NSEC_PER_MSEC);
		if (r != -ETIMEDOUT)
			return r;
		if (clock_now_ns() >= end_ns)
			return -ETIMEDOUT;
	}
	return 0;
}

static int connect_path(const struct vhu_client_params *params, int *ret_fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t len = strlen(params->path);
	int fd, r;

	if (len >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, params->path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	r = connect_in_time(fd, &addr, params);
	if (r < 0) {
		(void)close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int ask_u64(struct vhu_client *client, uint32_t request, uint64_t *ret_u64)
{
	struct vhu_msg msg, reply;
	int r;

	vhu_msg_init(&msg, request, 0, 0);
	r = vhu_client_call(client, &msg, &reply);
	if (r == 0)
		*ret_u64 = reply.payload.u64;
	return r;
}

static int tell_u64(struct vhu_client *client, uint32_t request, uint64_t u64)
{
	struct vhu_msg msg;

	vhu_msg_init_u64(&msg, request, 0, u64);
	return vhu_client_call(client, &msg, NULL);
}

static int negotiate_protocol(struct vhu_client *client)
{
	uint64_t wanted = protocol_wanted, offered = 0;
	int r;

	if (client->want_inflight)
		wanted |= BIT64(VHU_PROTOCOL_F_INFLIGHT_SHMFD);
	r = ask_u64(client, VHU_GET_PROTOCOL_FEATURES, &offered);
	if (r < 0)
		return r;
	if (!(offered & BIT64(VHU_PROTOCOL_F_CONFIG)))
		return -EOPNOTSUPP;
	r = tell_u64(client, VHU_SET_PROTOCOL_FEATURES, offered & wanted);
	/* From the next message on. */
	if (r == 0)
		client->facts.protocol_features = offered & wanted;
	return r;
}

static int ask_queue_cnt(struct vhu_client *client)
{
	uint64_t cnt = 1;
	int r = 0;

	if (vhu_client_has(client, VHU_PROTOCOL_F_MQ))
		r = ask_u64(client, VHU_GET_QUEUE_NUM, &cnt);
	if (r < 0)
		return r;
	client->facts.queue_cnt = (unsigned int)MIN(cnt, (uint64_t)VHU_VRING_IDX_MASK + 1);
	return cnt ? 0 : -EPROTO;
}

/* A socket of its own, on which the server says by itself that something has changed. */
static int give_backend_fd(struct vhu_client *client)
{
	struct vhu_msg msg;
	int fds[2], r;

	if (!vhu_client_has(client, VHU_PROTOCOL_F_BACKEND_REQ))
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	client->backend_fd = fds[0];
	vhu_msg_init(&msg, VHU_SET_BACKEND_REQ_FD, 0, 0);
	msg.fds[msg.fd_cnt++] = fds[1];
	r = vhu_client_call(client, &msg, NULL);
	(void)close(fds[1]);
	return r;
}

static int negotiate(struct vhu_client *client, uint64_t features)
{
	struct vhu_msg owner;
	int r;

	r = ask_u64(client, VHU_GET_FEATURES, &client->facts.offered);
	if (r < 0)
		return r;
	if (!(client->facts.offered & BIT64(VHU_F_PROTOCOL_FEATURES)))
		return -EOPNOTSUPP;
	client->facts.features = features & client->facts.offered & ~BIT64(VHU_F_PROTOCOL_FEATURES);
	vhu_msg_init(&owner, VHU_SET_OWNER, 0, 0);
	r = vhu_client_call(client, &owner, NULL);
	if (r == 0)
		r = negotiate_protocol(client);
	if (r == 0)
		r = ask_queue_cnt(client);
	if (r == 0)
		r = give_backend_fd(client);
	if (r < 0)
		return r;
	return tell_u64(client, VHU_SET_FEATURES,
			client->facts.features | BIT64(VHU_F_PROTOCOL_FEATURES));
}

int vhu_client_open_fd(const struct vhu_client_params *params, int sock_fd,
		       struct vhu_client **ret_client)
{
	struct vhu_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client) {
		(void)close(sock_fd);
		return -ENOMEM;
	}
	client->sock_fd = sock_fd;
	client->backend_fd = -1;
	client->stop_fd = params->stop_fd;
	client->timeout_ms = params->timeout_ms;
	client->want_inflight = params->inflight;
	vhu_rx_init(&client->rx);
	vhu_rx_init(&client->backend_rx);
	r = negotiate(client, params->features);
	if (r < 0) {
		vhu_client_close(client);
		return r;
	}
	*ret_client = client;
	return 0;
}

int vhu_client_open(const struct vhu_client_params *params, struct vhu_client **ret_client)
{
	int fd = -1, r;

	r = connect_path(params, &fd);
	return r < 0 ? r : vhu_client_open_fd(params, fd, ret_client);
}

void vhu_client_close(struct vhu_client *client)
{
	if (!client)
		return;
	vhu_rx_fini(&client->rx);
	vhu_rx_fini(&client->backend_rx);
	(void)close(client->sock_fd);
	if (client->backend_fd >= 0)
		(void)close(client->backend_fd);
	free(client);
}

const struct vhu_client_facts *vhu_client_facts(const struct vhu_client *client)
{
	return &client->facts;
}

void vhu_client_set_timeout(struct vhu_client *client, unsigned int timeout_ms)
{
	client->timeout_ms = timeout_ms;
}

int vhu_client_get_config(struct vhu_client *client, void *config, uint32_t len_bytes)
{
	struct vhu_msg msg, reply;
	int r;

	if (len_bytes > VHU_CONFIG_MAX)
		return -EINVAL;
	vhu_msg_init(&msg, VHU_GET_CONFIG, 0, VHU_CONFIG_HDR + len_bytes);
	msg.payload.config.size = len_bytes;
	r = vhu_client_call(client, &msg, &reply);
	if (r < 0)
		return r;
	if (!reply.hdr.size)
		return -EREMOTEIO;
	if (reply.payload.config.offset || reply.payload.config.size != len_bytes)
		return -EPROTO;
	memcpy(config, reply.payload.config.data, len_bytes);
	return 0;
}

int vhu_client_fd(const struct vhu_client *client)
{
	return client->sock_fd;
}

int vhu_client_backend_fd(const struct vhu_client *client)
{
	return client->backend_fd;
}

/* The answer that it asked for; one that does not read it does not get it. */
static void acknowledge(struct vhu_client *client, const struct vhu_msg *request)
{
	struct vhu_msg ack;
	int r;

	if (!(request->hdr.flags & VHU_FLAG_NEED_REPLY))
		return;
	vhu_msg_init_u64(&ack, request->hdr.request, VHU_FLAG_REPLY, 0);
	r = vhu_send(client->backend_fd, &ack);
	(void)r;
}

int vhu_client_handle_backend(struct vhu_client *client)
{
	struct vhu_msg msg;
	int r;

	r = vhu_rx_recv(&client->backend_rx, client->backend_fd, &msg);
	if (r == -EAGAIN)
		return 0;
	if (r < 0)
		return r;
	r = vhu_check_backend_request(&msg);
	vhu_msg_close_fds(&msg);
	if (r < 0)
		return r == -EOPNOTSUPP ? -EPROTO : r;
	acknowledge(client, &msg);
	return 1;
}
