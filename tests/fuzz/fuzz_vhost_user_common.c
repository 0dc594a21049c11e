/* SPDX-License-Identifier: MIT */
#include "fuzz_vhost_user.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vblk/mem/memguard.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vblk/vhost_user/vhu_dev.h"

#define BIT64(n) (1ull << (n))

static struct {
	struct bdev *bdev;
	struct blk_params blk;
	struct vhu_dev *dev;
	int listen_fd;
	struct sockaddr_un addr;
	socklen_t addr_len;
	unsigned int accepted_cnt;
	unsigned int free_cnt;
	unsigned int fd_cnt; /* before an input */
} server;

void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "violated: %s\n", what);
	abort();
}

uint8_t fuzz_take(struct fuzz_input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

uint16_t fuzz_take16(struct fuzz_input *in)
{
	uint16_t low = fuzz_take(in);

	return (uint16_t)(low | fuzz_take(in) << 8);
}

uint64_t fuzz_take64(struct fuzz_input *in)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < 8; i++)
		v |= (uint64_t)fuzz_take(in) << 8 * i;
	return v;
}

const uint8_t *fuzz_take_some(struct fuzz_input *in, size_t max_bytes, size_t *ret_bytes)
{
	const uint8_t *data = in->data;

	*ret_bytes = MIN(max_bytes, in->len);
	in->data += *ret_bytes;
	in->len -= *ret_bytes;
	return data;
}

/* --- the server --- */

static void on_event(void *ctx VBLK_UNUSED, enum vhu_dev_event event, int arg VBLK_UNUSED)
{
	server.accepted_cnt += event == VHU_DEV_EVENT_CONNECTED;
	server.free_cnt += event == VHU_DEV_EVENT_FREE;
}

static void listen_somewhere(void)
{
	server.addr.sun_family = AF_UNIX;
	/* In the abstract namespace, where nothing is left behind. */
	(void)snprintf(server.addr.sun_path + 1, sizeof(server.addr.sun_path) - 1, "vblk-fuzz-%d",
		       (int)getpid());
	server.addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				      strlen(server.addr.sun_path + 1));
	server.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(!bind(server.listen_fd, (struct sockaddr *)&server.addr, server.addr_len) &&
		     !listen(server.listen_fd, 8),
	     "a socket");
}

static void server_start(void)
{
	struct bdev_params disk = { .spec = "mem:1M", .discard = true };
	struct vhu_dev_params params = {
		.blk = &server.blk,
		.fence_fd = -1,
		.event = on_event,
	};
	struct bdev_limits limits;
	char why[BDEV_WHY_MAX];

	memguard_install();
	listen_somewhere();
	must(!bdev_open(&disk, &server.bdev, why), "a disk");
	limits = server.bdev->limits;
	/* It has none, but so there is one to be switched. */
	limits.volatile_cache = true;
	blk_params_init(&server.blk, &limits, FUZZ_QUEUES, FUZZ_RING_SIZE, "fuzz");
	params.listen_fd = server.listen_fd;
	params.bdev = server.bdev;
	must(!vhu_dev_new(&params, &server.dev), "a server");
}

void fuzz_pump(int wait_ms)
{
	struct pollfd pfd = { .fd = vhu_dev_fd(server.dev), .events = POLLIN };
	uint64_t at_ns = vhu_dev_deadline_ns(server.dev);

	for (unsigned int i = 0; poll(&pfd, 1, i ? 0 : wait_ms) == 1; i++) {
		must(i < 10000, "the control thread comes to rest");
		vhu_dev_handle(server.dev);
	}
	if (at_ns && at_ns <= clock_now_ns())
		vhu_dev_handle_deadline(server.dev);
}

static void say_where_it_is(void)
{
	struct vhu_dev_info info;
	struct vdev_queue_info queue;

	vhu_dev_info(server.dev, &info);
	fprintf(stderr, "connected %d, draining %d, running %u, deadline %lld ns\n", info.connected,
		info.draining, info.running_cnt,
		(long long)(vhu_dev_deadline_ns(server.dev) - clock_now_ns()));
	for (unsigned int i = 0; i < FUZZ_QUEUES; i++) {
		vdev_queue_info(vhu_dev_vdev(server.dev), i, &queue);
		fprintf(stderr, "queue %u: thread %d, in flight %u, draining %d, %s\n", i,
			(int)queue.thread_id, queue.inflight_cnt, queue.draining,
			vq_fault_str(queue.fault));
	}
}

/* Counts turns and not time: somebody may have stopped the whole machine. */
static void pump_until(const unsigned int *cnt, unsigned int until, const char *what)
{
	for (unsigned int turn = 0; *cnt < until; turn++) {
		if (turn == FUZZ_TURNS_MAX)
			say_where_it_is();
		must(turn < FUZZ_TURNS_MAX, what);
		fuzz_pump(FUZZ_TURN_MS);
	}
}

void fuzz_resize(uint64_t capacity_bytes)
{
	vhu_dev_set_capacity(server.dev, capacity_bytes);
}

/* --- what it must not keep --- */

static unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int cnt = 0;

	must(dir != NULL, "/proc");
	while (readdir(dir))
		cnt++;
	(void)closedir(dir);
	return cnt;
}

/* Nothing but the clients' memory is a memfd that is mapped. */
static bool is_any_memfd_mapped(void)
{
	static const char name[] = "/memfd:";
	static char maps[1u << 16];
	size_t keep = 0;
	bool any = false;
	ssize_t n;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	must(fd >= 0, "/proc");
	while ((n = read(fd, maps + keep, sizeof(maps) - keep)) > 0) {
		size_t bytes = keep + (size_t)n;

		any |= memmem(maps, bytes, name, sizeof(name) - 1) != NULL;
		keep = MIN(bytes, sizeof(name) - 2);
		memmove(maps, maps + bytes - keep, keep);
	}
	(void)close(fd);
	return any;
}

/* --- the client --- */

void fuzz_client_begin(struct fuzz_client *client, size_t arena_bytes)
{
	if (!server.dev)
		server_start();
	fuzz_resize(FUZZ_DISK_BYTES);
	server.fd_cnt = open_fds();
	*client = (struct fuzz_client){ .conn_fd = -1, .inflight_fd = -1 };
	client->arena_fd = memfd_create("fuzz", MFD_CLOEXEC);
	must(client->arena_fd >= 0 && !ftruncate(client->arena_fd, (off_t)arena_bytes), "memory");
	for (unsigned int i = 0; i < FUZZ_EVENTFDS; i++)
		client->eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fuzz_connect(client);
}

void fuzz_client_end(struct fuzz_client *client)
{
	fuzz_disconnect(client);
	for (unsigned int i = 0; i < FUZZ_EVENTFDS; i++)
		(void)close(client->eventfds[i]);
	(void)close(client->arena_fd);
	if (client->inflight_fd >= 0)
		(void)close(client->inflight_fd);
	must(open_fds() == server.fd_cnt, "no descriptor is left");
	must(!is_any_memfd_mapped(), "no memory is left");
}

void fuzz_connect(struct fuzz_client *client)
{
	vhu_rx_init(&client->rx);
	client->conn_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(!connect(client->conn_fd, (struct sockaddr *)&server.addr, server.addr_len),
	     "a connection");
	pump_until(&server.accepted_cnt, server.accepted_cnt + 1, "clients are accepted");
}

void fuzz_disconnect(struct fuzz_client *client)
{
	if (client->conn_fd >= 0)
		(void)close(client->conn_fd);
	vhu_rx_fini(&client->rx);
	client->conn_fd = -1;
	pump_until(&server.free_cnt, server.accepted_cnt, "clients are got rid of");
}

void fuzz_send_bytes(struct fuzz_client *client, const void *data, size_t bytes)
{
	ssize_t n = send(client->conn_fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

	(void)n;
}

void fuzz_send(struct fuzz_client *client, const struct vhu_msg *msg)
{
	int r = vhu_send(client->conn_fd, msg);

	(void)r;
}

static void keep_inflight(struct fuzz_client *client, struct vhu_msg *reply)
{
	if (reply->hdr.request != VHU_GET_INFLIGHT_FD)
		return;
	if (client->inflight_fd >= 0)
		(void)close(client->inflight_fd);
	client->inflight_fd = vhu_msg_steal_fd(reply, 0);
	client->inflight = reply->payload.inflight;
}

unsigned int fuzz_read_replies(struct fuzz_client *client)
{
	struct vhu_msg reply;
	unsigned int cnt = 0;

	while (vhu_rx_recv(&client->rx, client->conn_fd, &reply) == 0) {
		must(!vhu_check_reply(&reply, reply.hdr.request) ||
			     (reply.hdr.flags == (VHU_VERSION | VHU_FLAG_REPLY) &&
			      reply.hdr.size == sizeof(uint64_t) && !reply.fd_cnt),
		     "replies are well-formed");
		keep_inflight(client, &reply);
		client->last_u64 = reply.payload.u64;
		vhu_msg_close_fds(&reply);
		cnt++;
	}
	return cnt;
}

bool fuzz_tell(struct fuzz_client *client, struct vhu_msg *msg)
{
	struct pollfd pfd = { .fd = client->conn_fd, .events = POLLIN };

	msg->hdr.flags |= VHU_FLAG_NEED_REPLY;
	fuzz_send(client, msg);
	for (unsigned int turn = 0; turn < FUZZ_TURNS_MAX; turn++) {
		bool is_gone;

		fuzz_pump(turn ? FUZZ_TURN_MS : 0);
		/* What it said before is still to be read. */
		is_gone = poll(&pfd, 1, 0) == 1 && pfd.revents & POLLHUP;
		if (fuzz_read_replies(client))
			return !client->last_u64;
		if (is_gone)
			return false;
	}
	say_where_it_is();
	must(false, "requests are answered");
	return false;
}

void fuzz_poke(const struct fuzz_client *client, uint64_t at, const void *data, size_t bytes)
{
	ssize_t n = pwrite(client->arena_fd, data, bytes, (off_t)at);

	(void)n;
}

void fuzz_kick(const struct fuzz_client *client, unsigned int idx)
{
	uint64_t one = 1;
	ssize_t n = write(client->eventfds[idx], &one, sizeof(one));

	(void)n;
}

/* --- its messages --- */

void fuzz_msg_state(struct vhu_msg *msg, uint32_t request, uint32_t idx, uint32_t num)
{
	vhu_msg_init(msg, request, 0, sizeof(msg->payload.state));
	msg->payload.state = (struct vhu_vring_state){ idx, num };
}

void fuzz_msg_eventfd(const struct fuzz_client *client, struct vhu_msg *msg, uint32_t request,
		      unsigned int idx)
{
	/* In the order of the requests' numbers. */
	unsigned int kind = request - VHU_SET_VRING_KICK;

	vhu_msg_init_u64(msg, request, 0, idx);
	msg->fds[msg->fd_cnt++] = client->eventfds[kind * FUZZ_QUEUES + idx];
}

bool fuzz_negotiate(struct fuzz_client *client, uint64_t features)
{
	struct vhu_msg msg;

	vhu_msg_init_u64(
		&msg, VHU_SET_PROTOCOL_FEATURES, 0,
		BIT64(VHU_PROTOCOL_F_REPLY_ACK) | BIT64(VHU_PROTOCOL_F_MQ) |
			BIT64(VHU_PROTOCOL_F_BACKEND_REQ) | BIT64(VHU_PROTOCOL_F_CONFIG) |
			BIT64(VHU_PROTOCOL_F_INFLIGHT_SHMFD) | BIT64(VHU_PROTOCOL_F_RESET_DEVICE) |
			BIT64(VHU_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | BIT64(VHU_PROTOCOL_F_STATUS));
	fuzz_send(client, &msg);
	vhu_msg_init_u64(&msg, VHU_SET_FEATURES, 0,
			 features | BIT64(VIRTIO_F_VERSION_1) | BIT64(VHU_F_PROTOCOL_FEATURES));
	return fuzz_tell(client, &msg);
}
