/* SPDX-License-Identifier: MIT */
/* Clients that are wrong, or mean it: what it costs them, and nobody else. */
#include "run_suite.h"
#include "test_vhost_user_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vblk/util/compiler.h"

static unsigned int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int cnt = 0;

	while (readdir(dir))
		cnt++;
	closedir(dir);
	return cnt;
}

/* The next client finds everything as it should be. */
static void check_next_is_served(void)
{
	unsigned int free_cnt = fx_event_cnt(VHU_DEV_EVENT_DISCONNECTED);

	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_FREE, free_cnt);
	fx_run();
	fx_check_works(0);
	fx_check_works(1);
	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_FREE, free_cnt + 1);
}

/* --- messages --- */

/* @cut: of all bytes only so many, and then the end */
static const struct {
	uint32_t request, flags, size;
	unsigned int fd_cnt;
	size_t cut;
} garbage[] = {
	{ VHU_GET_FEATURES, 0, 0, 0, 0 },
	{ VHU_GET_FEATURES, 2, 0, 0, 0 },
	{ VHU_GET_FEATURES, VHU_VERSION | VHU_FLAG_REPLY, 0, 0, 0 },
	{ VHU_GET_FEATURES, VHU_VERSION | 0x40, 0, 0, 0 },
	{ VHU_GET_FEATURES, VHU_VERSION, 8, 0, 0 },
	{ VHU_GET_FEATURES, VHU_VERSION, 0, 1, 0 },
	{ VHU_SET_FEATURES, VHU_VERSION, 0, 0, 0 },
	{ VHU_SET_FEATURES, VHU_VERSION, 4, 0, 0 },
	{ VHU_SET_MEM_TABLE, VHU_VERSION, 8 + 32, 0, 0 },
	{ VHU_SET_MEM_TABLE, VHU_VERSION, 8, 8, 0 },
	{ VHU_SET_VRING_ADDR, VHU_VERSION, 39, 0, 0 },
	{ VHU_SET_VRING_KICK, VHU_VERSION, 8, 2, 0 },
	{ VHU_SET_VRING_KICK, VHU_VERSION, 8, 0, 0 },
	{ VHU_SET_INFLIGHT_FD, VHU_VERSION, 24, 0, 0 },
	{ VHU_GET_CONFIG, VHU_VERSION, 4, 0, 0 },
	{ VHU_ADD_MEM_REG, VHU_VERSION, 40, 0, 0 },
	{ 0, VHU_VERSION, 0, 0, 0 },
	{ 6 /* SET_LOG_BASE */, VHU_VERSION, 8, 0, 0 },
	{ 4711, VHU_VERSION, 0, 0, 0 },
	{ UINT32_MAX, VHU_VERSION, 0, 8, 0 },
	{ VHU_SET_FEATURES, VHU_VERSION, 8, 0, 5 },
	{ VHU_SET_FEATURES, VHU_VERSION, 8, 0, 12 },
	{ VHU_SET_VRING_CALL, VHU_VERSION, 8, 1, 19 },
};

static void send_cut(struct vhu_msg *msg, size_t bytes)
{
	struct iovec iov[2] = { { &msg->hdr, sizeof(msg->hdr) }, { &msg->payload, msg->hdr.size } };
	char part[512];

	memcpy(part, iov[0].iov_base, iov[0].iov_len);
	memcpy(part + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
	ck_assert_int_eq(send(fx.conn_fd, part, bytes, MSG_NOSIGNAL), bytes);
	ck_assert_int_eq(shutdown(fx.conn_fd, SHUT_WR), 0);
}

/* The first bytes of a header, with its descriptor. */
static void send_part(struct vhu_msg *msg, size_t bytes)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ctl = { .room = { 0 } };
	struct iovec iov = { &msg->hdr, bytes };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &ctl,
		.msg_controllen = sizeof(ctl),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&mh);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), msg->fds, sizeof(int));
	ck_assert_int_eq(sendmsg(fx.conn_fd, &mh, MSG_NOSIGNAL), bytes);
}

START_TEST(garbage_costs_the_connection)
{
	unsigned int fd_cnt;

	check_next_is_served();
	fd_cnt = open_fds();
	for (unsigned int i = 0; i < ARRAY_SIZE(garbage); i++) {
		struct vhu_msg msg;

		/* Also where others would be acknowledged with an error. */
		fx_connect();
		if (i % 2)
			fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
		vhu_msg_init(&msg, garbage[i].request, 0, garbage[i].size);
		msg.hdr.flags = garbage[i].flags;
		while (msg.fd_cnt < garbage[i].fd_cnt)
			msg.fds[msg.fd_cnt++] = fx.kick_fd[0];
		if (garbage[i].cut)
			send_cut(&msg, garbage[i].cut);
		else
			fx_send(&msg);
		fx_expect_closed();
	}
	ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_DISCONNECTED), 1 + ARRAY_SIZE(garbage));
	check_next_is_served();
	ck_assert_uint_eq(open_fds(), fd_cnt);
}
END_TEST

START_TEST(size_that_cannot_be_is_not_waited_for)
{
	struct vhu_header hdr = { VHU_SET_FEATURES, VHU_VERSION, UINT32_MAX };

	fx_connect();
	ck_assert_int_eq(send(fx.conn_fd, &hdr, sizeof(hdr), MSG_NOSIGNAL), sizeof(hdr));
	fx_expect_closed();
	fx_wait_event(VHU_DEV_EVENT_DISCONNECTED, 1);
	ck_assert_int_eq(fx.event_arg[VHU_DEV_EVENT_DISCONNECTED], -EMSGSIZE);
	check_next_is_served();
}
END_TEST

START_TEST(message_in_single_bytes_is_a_message)
{
	struct vhu_msg msg;

	fx_connect();
	vhu_msg_init(&msg, VHU_GET_QUEUE_NUM, 0, 0);
	for (size_t i = 0; i < sizeof(msg.hdr); i++) {
		usleep(500);
		ck_assert_int_eq(send(fx.conn_fd, (char *)&msg.hdr + i, 1, MSG_NOSIGNAL), 1);
	}
	ck_assert_uint_eq(fx_recv().payload.u64, QUEUES);
}
END_TEST

START_TEST(unknown_request_is_refused_where_that_can_be_said)
{
	fx_run();
	ck_assert_uint_eq(fx_tell_u64(4711, 1), EOPNOTSUPP);
	ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_REQUEST_REFUSED), 1);
	ck_assert_str_eq(fx.why, "?: request 4711 is not supported");
	fx_check_works(0);
	/* It would wait for an answer, or believe that it was done. */
	fx.reply_ack = false;
	(void)fx_tell_u64(4711, 1);
	fx_expect_closed();
}
END_TEST

START_TEST(client_that_does_not_read_is_not_waited_for)
{
	struct vhu_msg msg;
	int r;

	fx_connect();
	vhu_msg_init(&msg, VHU_GET_CONFIG, 0, VHU_CONFIG_HDR + VHU_CONFIG_MAX);
	msg.payload.config.size = VHU_CONFIG_MAX;
	while ((r = vhu_send(fx.conn_fd, &msg)) == 0 || r == -EAGAIN)
		;
	ck_assert(r == -EPIPE || r == -ECONNRESET);
	fx_wait_event(VHU_DEV_EVENT_DISCONNECTED, 1);
	ck_assert_str_eq(fx.why, "GET_CONFIG: the client does not read its replies");
	check_next_is_served();
}
END_TEST

/* The server must not be who keeps the connection of a client open that has gone. */
START_TEST(connection_is_not_kept_open_by_what_it_brings)
{
	struct vhu_msg msg;
	int pair[2];

	for (unsigned int how = 0; how < 3; how++) {
		fx_connect();
		fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		vhu_msg_init(&msg, VHU_SET_BACKEND_REQ_FD, 0, 0);
		msg.fds[msg.fd_cnt++] = fx.conn_fd;
		if (how == 0) {
			ck_assert_uint_eq(fx_tell(&msg), ELOOP);
		} else if (how == 1) {
			/* In a message that nobody reads. */
			ck_assert_int_eq(vhu_send(pair[0], &msg), 0);
			msg.fds[0] = pair[1];
			ck_assert_uint_eq(fx_tell(&msg), 0);
		} else {
			/* In one that has no end. */
			send_part(&msg, 5);
		}
		close(pair[0]);
		close(pair[1]);
		fx_disconnect();
		fx_wait_event(VHU_DEV_EVENT_FREE, how + 1);
	}
	ck_assert_str_eq(fx.why, "a message came in part only");
	check_next_is_served();
}
END_TEST

/* --- numbers --- */

START_TEST(numbers_that_mean_nothing_are_refused)
{
	uint8_t zeroes[8] = { 0 };

	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_set_memory(), 0);
	ck_assert_uint_eq(fx_tell_u64(VHU_SET_FEATURES, FEATURES_USUAL | BIT64(63)), EINVAL);
	ck_assert_uint_eq(
		fx_tell_u64(VHU_SET_FEATURES, FEATURES_USUAL & ~BIT64(VIRTIO_F_VERSION_1)), EINVAL);
	ck_assert_uint_eq(fx_tell_u64(VHU_SET_PROTOCOL_FEATURES, PROTOCOL_USUAL | BIT64(1)),
			  EINVAL);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, 0, 0), EINVAL);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, 0, RING_SIZE + 1), EINVAL);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, QUEUES, RING_SIZE), EINVAL);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, UINT32_MAX, RING_SIZE), EINVAL);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_BASE, QUEUES, 0), EINVAL);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 2), EINVAL);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, 255, fx.kick_fd[0]), EINVAL);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_CALL, QUEUES, fx.kick_fd[0]), EINVAL);
	/* Polling for ever is not what we do for anybody. */
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, 0, -1), EOPNOTSUPP);
	ck_assert_uint_eq(fx_set_config(0, 2, zeroes, 8), EINVAL);
	ck_assert_uint_eq(fx_set_config(0, VHU_CONFIG_MIGRATED, zeroes, 8), 0);
	fx_ring_start(0);
	fx_check_works(0);
}
END_TEST

START_TEST(running_queue_is_not_changed)
{
	fx_run();
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, 0, 8), EBUSY);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_BASE, 0, 8), EBUSY);
	ck_assert_uint_eq(fx_set_addr(0), 0);
	ck_assert_uint_eq(
		fx_tell_u64(VHU_SET_FEATURES, FEATURES_USUAL & ~BIT64(VIRTIO_BLK_F_FLUSH)), EBUSY);
	ck_assert_uint_eq(fx_tell_u64(VHU_SET_FEATURES, FEATURES_USUAL), 0);
	fx_check_works(0);
}
END_TEST

/* --- descriptors --- */

START_TEST(descriptors_of_another_kind_are_refused)
{
	int memfd = memfd_create("test", MFD_CLOEXEC), dir = open("/", O_PATH | O_CLOEXEC);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), pipes[2], dgram[2];
	struct vhu_msg msg;
	unsigned int fd_cnt;

	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, dgram), 0);
	fx_run();
	fd_cnt = open_fds();
	{
		const int bad[] = { memfd, dir, file, pipes[0], pipes[1], dgram[0] };

		for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
			ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, 0, bad[i]), EBADF);
			ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_CALL, 0, bad[i]), EBADF);
			ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_ERR, 0, bad[i]), EBADF);
			vhu_msg_init(&msg, VHU_SET_BACKEND_REQ_FD, 0, 0);
			msg.fds[msg.fd_cnt++] = bad[i];
			ck_assert_uint_eq(fx_tell(&msg), EBADF);
			fx_msg_mem_table(&msg);
			msg.fds[1] = bad[i];
			/* A memfd would do, but it is empty. */
			ck_assert_uint_eq(fx_tell(&msg), bad[i] == memfd ? EINVAL : EBADF);
		}
	}
	/* Everything is as it was. */
	ck_assert_uint_eq(open_fds(), fd_cnt);
	fx_check_works(0);
	fx_check_works(1);
	close(memfd);
	close(dir);
	close(file);
	close(pipes[0]);
	close(pipes[1]);
	close(dgram[0]);
	close(dgram[1]);
}
END_TEST

/* --- memory --- */

START_TEST(regions_that_lie_are_refused)
{
	static const struct {
		struct vhu_region region;
		const char *why;
	} lies[] = {
		{ { 1ull << 32, ARENA_BYTES, UADDR(9ull << 32), 0 }, "overlap" },
		{ { (1ull << 32) + ARENA_BYTES - 1, 4096, UADDR(9ull << 32), 0 }, "overlap" },
		{ { 9ull << 32, ARENA_BYTES, UADDR(1ull << 32), 0 }, "overlap" },
		{ { 9ull << 32, 0, UADDR(9ull << 32), 0 }, "empty or wraps" },
		{ { UINT64_MAX - 4096, 8192, UADDR(9ull << 32), 0 }, "empty or wraps" },
		{ { 9ull << 32, 8192, UINT64_MAX - 4096, 0 }, "empty or wraps" },
		{ { 9ull << 32, 8192, UADDR(9ull << 32), UINT64_MAX - 4095 }, "empty or wraps" },
		{ { 9ull << 32, 8192, UADDR(9ull << 32), INT64_MAX - 4095 }, "empty or wraps" },
		{ { 9ull << 32, ARENA_BYTES + 1, UADDR(9ull << 32), 0 }, "longer than its file" },
		{ { 9ull << 32, ARENA_BYTES, UADDR(9ull << 32), 4096 }, "longer than its file" },
	};
	unsigned int fd_cnt;

	fx_run();
	fd_cnt = open_fds();
	for (unsigned int i = 0; i < ARRAY_SIZE(lies); i++) {
		struct vhu_msg msg;

		fx_msg_mem_table(&msg);
		msg.payload.mem_table.regions[1] = lies[i].region;
		ck_assert_uint_eq(fx_tell(&msg), EINVAL);
		ck_assert_msg(strstr(fx.why, lies[i].why), "%u: %s", i, fx.why);
		fx_msg_mem_reg(&msg, VHU_ADD_MEM_REG, 0);
		msg.payload.mem_reg.region = lies[i].region;
		ck_assert_uint_eq(fx_tell(&msg), EINVAL);
	}
	ck_assert_uint_eq(open_fds(), fd_cnt);
	ck_assert_uint_eq(fx_info().region_cnt, QUEUES);
	fx_check_works(0);
	fx_check_works(1);
}
END_TEST

START_TEST(slots_end)
{
	uint64_t max, cnt = QUEUES;
	struct vhu_msg msg;

	fx_run();
	max = fx_ask_u64(VHU_GET_MAX_MEM_SLOTS);
	for (;;) {
		uint64_t r;

		fx_msg_mem_reg(&msg, VHU_ADD_MEM_REG, 0);
		msg.payload.mem_reg.region.gaddr += cnt << 40;
		msg.payload.mem_reg.region.uaddr += cnt << 40;
		msg.payload.mem_reg.region.size_bytes = 4096;
		r = fx_tell(&msg);
		if (r) {
			ck_assert_uint_eq(r, ENOSPC);
			break;
		}
		cnt++;
	}
	ck_assert_uint_eq(cnt, max);
	fx_check_works(0);
}
END_TEST

START_TEST(ring_outside_the_memory_is_refused)
{
	static const uint64_t bad[] = {
		UADDR(1ull << 32) + 8, /* not aligned */
		0,
		UADDR(1ull << 32) + ARENA_BYTES - 16, /* its end is outside */
		1ull << 32,			      /* the other kind of address */
		UINT64_MAX - 15,
	};

	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(1);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 1), 0);
	/* Neither size nor addresses. */
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, 0, fx.kick_fd[0]), EINVAL);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, 0, RING_SIZE), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vhu_msg msg;
		uint64_t good = UADDR(1ull << 32);

		for (unsigned int part = 0; part < 3; part++) {
			/* A descriptor table needs more alignment than the others. */
			if (i == 0 && part)
				continue;
			vhu_msg_init(&msg, VHU_SET_VRING_ADDR, 0, sizeof(msg.payload.addr));
			msg.payload.addr = (struct vhu_vring_addr){
				.desc_uaddr = part == 0 ? bad[i] : good,
				.avail_uaddr = part == 1 ? bad[i] : good + 4096,
				.used_uaddr = part == 2 ? bad[i] : good + 8192,
			};
			ck_assert_uint_eq(fx_tell(&msg), 0);
			ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, 0, fx.kick_fd[0]), EFAULT);
		}
	}
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_NUM, 0, 7), 0);
	ck_assert_uint_eq(fx_tell_fd(VHU_SET_VRING_KICK, 0, fx.kick_fd[0]), EINVAL);
	ck_assert_uint_eq(fx_info().running_cnt, 1);
	fx_check_works(1);
	fx_ring_start(0);
	fx_check_works(0);
}
END_TEST

static void truncate_memory(unsigned int idx)
{
	ck_assert_int_eq(ftruncate(fx.rings[idx]->fd, 0), 0);
}

/* In place of one that cannot be touched any more. */
static void renew_ring(unsigned int idx)
{
	ring_free(fx.rings[idx]);
	fx.rings[idx] = ring_new(RING_SIZE, ARENA_BYTES, (uint64_t)(idx + 1) << 32);
}

START_TEST(memory_that_goes_costs_the_connection)
{
	/* While it runs, and before it starts. */
	for (unsigned int round = 0; round < 2; round++) {
		fx_connect();
		fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
		ck_assert_uint_eq(fx_set_memory(), 0);
		fx_ring_start(1);
		if (!round) {
			fx_check_works(1);
			(void)fx_submit(1, VIRTIO_BLK_T_IN, 0);
			truncate_memory(1);
			fx_kick(1);
		} else {
			fx_check_works(1);
			(void)fx_get_base(1);
			truncate_memory(1);
			fx_tell_fd(VHU_SET_VRING_KICK, 1, fx.kick_fd[1]);
		}
		fx_expect_closed();
		fx_wait_event(VHU_DEV_EVENT_FREE, round * 2 + 1);
		ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_QUEUE_MEMORY), round + 1);
		ck_assert_str_eq(fx.why, "memory of queue 1 is gone");
		renew_ring(1);
		check_next_is_served();
	}
}
END_TEST

/* It need not take anything away: a host has only so many of them. */
START_TEST(huge_pages_that_are_missing_cost_the_connection)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	struct vhu_msg msg;

	if (fd < 0)
		return;
	ck_assert_int_eq(ftruncate(fd, 2 << 20), 0);
	fx_connect();
	fx_negotiate(FEATURES_USUAL, PROTOCOL_USUAL);
	fx_msg_mem_table(&msg);
	msg.fds[1] = fd;
	ck_assert_uint_eq(fx_tell(&msg), 0);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	close(fd);
	fx_ring_start(1);
	fx_expect_closed();
	fx_wait_event(VHU_DEV_EVENT_FREE, 1);
	ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_QUEUE_MEMORY), 1);
	check_next_is_served();
}
END_TEST

/* --- rings --- */

START_TEST(ring_that_breaks_the_rules_stops_alone)
{
	struct pollfd pfd;
	uint64_t cnt;

	fx_run();
	fx_check_works(0);
	ring_desc_set(fx.rings[0], 3, .addr = 1, .len = 16, .flags = 0);
	ring_publish(fx.rings[0], 3);
	fx_kick(0);
	pfd = (struct pollfd){ .fd = fx.err_fd[0], .events = POLLIN };
	ck_assert_int_eq(poll(&pfd, 1, PATIENCE_MS), 1);
	ck_assert_int_eq(read(fx.err_fd[0], &cnt, sizeof(cnt)), sizeof(cnt));
	fx_wait_event(VHU_DEV_EVENT_QUEUE_BROKEN, 1);
	ck_assert_int_eq(fx.event_arg[VHU_DEV_EVENT_QUEUE_BROKEN], 0);
	fx_check_works(1);
	/* Not before the client begins anew with it. */
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 0), 0);
	ck_assert_uint_eq(fx_tell_state(VHU_SET_VRING_ENABLE, 0, 1), 0);
	ck_assert_uint_eq(fx_info().running_cnt, 1);
	(void)fx_get_base(0);
	renew_ring(0);
	ck_assert_uint_eq(fx_set_memory(), 0);
	fx_ring_start(0);
	fx_check_works(0);
	ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_QUEUE_BROKEN), 1);
}
END_TEST

/* Whoever adds to it waits, from now on. */
static void fill_eventfd(int fd)
{
	uint64_t full = UINT64_MAX - 1, cnt;

	/* The flags are everybody's. */
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (write(fd, &full, sizeof(full)) < 0)
		(void)!read(fd, &cnt, sizeof(cnt));
	ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
}

START_TEST(thread_is_got_back_from_a_full_eventfd)
{
	fx_run();
	fill_eventfd(fx.call_fd[0]);
	(void)fx_submit(0, VIRTIO_BLK_T_IN, 0);
	fx_kick(0);
	fx_check_works(1);
	usleep(20000);
	/* Asked for, or by going. */
	ck_assert_uint_eq(fx_get_base(0), 1);
	(void)fx_tell_fd(VHU_SET_VRING_KICK, 0, fx.kick_fd[0]);
	(void)fx_submit(0, VIRTIO_BLK_T_IN, 0);
	fx_kick(0);
	usleep(20000);
	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_FREE, 1);
	(void)close(fx.call_fd[0]);
	fx.call_fd[0] = eventfd(0, EFD_CLOEXEC);
	ring_reap(fx.rings[0]);
	renew_ring(0);
	check_next_is_served();
}
END_TEST

START_TEST(client_that_dies_while_it_waits_is_noticed)
{
	struct vhu_msg msg;

	fake_bdev_set_mode(fx.fake, FAKE_BDEV_HELD);
	fx_run();
	(void)fx_submit(0, VIRTIO_BLK_T_IN, 0);
	fx_kick(0);
	ck_assert(fake_bdev_wait_submitted(fx.fake, 1, PATIENCE_MS));
	vhu_msg_init(&msg, VHU_RESET_DEVICE, 0, 0);
	fx_send(&msg);
	usleep(10000);
	fx_disconnect();
	fx_wait_event(VHU_DEV_EVENT_DISCONNECTED, 1);
	ck_assert_uint_eq(fx_event_cnt(VHU_DEV_EVENT_FREE), 0);
	fake_bdev_set_mode(fx.fake, FAKE_BDEV_SYNC);
	fake_bdev_complete(fx.fake, 0, 0);
	renew_ring(0);
	check_next_is_served();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhost_user_hostile");
	TCase *tc = tcase_create("wrong clients");

	tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, garbage_costs_the_connection);
	tcase_add_test(tc, size_that_cannot_be_is_not_waited_for);
	tcase_add_test(tc, message_in_single_bytes_is_a_message);
	tcase_add_test(tc, unknown_request_is_refused_where_that_can_be_said);
	tcase_add_test(tc, client_that_does_not_read_is_not_waited_for);
	tcase_add_test(tc, connection_is_not_kept_open_by_what_it_brings);
	tcase_add_test(tc, numbers_that_mean_nothing_are_refused);
	tcase_add_test(tc, running_queue_is_not_changed);
	tcase_add_test(tc, descriptors_of_another_kind_are_refused);
	tcase_add_test(tc, regions_that_lie_are_refused);
	tcase_add_test(tc, slots_end);
	tcase_add_test(tc, ring_outside_the_memory_is_refused);
	tcase_add_test(tc, memory_that_goes_costs_the_connection);
	tcase_add_test(tc, huge_pages_that_are_missing_cost_the_connection);
	tcase_add_test(tc, ring_that_breaks_the_rules_stops_alone);
	tcase_add_test(tc, thread_is_got_back_from_a_full_eventfd);
	tcase_add_test(tc, client_that_dies_while_it_waits_is_noticed);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
