/* SPDX-License-Identifier: MIT */
/* Messages over a real socket pair: whole, in pieces, with descriptors, and never whole. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_vhu.h"
#include "vblk/vhu/vhu_sock.h"

static int pair[2]; /* the other side, and ours */
static struct vhu_rx rx;
static struct vhu_msg msg, got;

static void setup(void)
{
	/* Blocking on purpose: nothing here may rely on flags. */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vhu_rx_init(&rx);
}

static void teardown(void)
{
	vhu_rx_fini(&rx);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static unsigned int open_fd_cnt(void)
{
	unsigned int cnt = 0;

	for (int fd = 0; fd < 256; fd++)
		cnt += fcntl(fd, F_GETFD) >= 0;
	return cnt;
}

/* As it is on the wire. */
static size_t flat(const struct vhu_msg *m, uint8_t *to)
{
	memcpy(to, &m->hdr, sizeof(m->hdr));
	memcpy(to + sizeof(m->hdr), &m->payload, m->hdr.size);
	return sizeof(m->hdr) + m->hdr.size;
}

static void send_bytes(const void *bytes, size_t len)
{
	ck_assert_int_eq(send(pair[0], bytes, len, 0), (ssize_t)len);
}

START_TEST(goes_through)
{
	vhu_msg_init_u64(&msg, VHU_SET_FEATURES, VHU_FLAG_NEED_REPLY, 0x123456789abcdef0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -EAGAIN);
	ck_assert_int_eq(vhu_send(pair[0], &msg), 0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
	ck_assert_uint_eq(got.hdr.request, VHU_SET_FEATURES);
	ck_assert_uint_eq(got.hdr.flags, VHU_VERSION | VHU_FLAG_NEED_REPLY);
	ck_assert_uint_eq(got.payload.u64, 0x123456789abcdef0);
	ck_assert_uint_eq(got.fd_cnt, 0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -EAGAIN);
}
END_TEST

START_TEST(in_pieces_of_a_byte)
{
	uint8_t bytes[64];
	size_t len;

	vhu_msg_init_u64(&msg, VHU_SET_FEATURES, 0, 42);
	len = flat(&msg, bytes);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i + 1 < len; i++) {
			send_bytes(bytes + i, 1);
			ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -EAGAIN);
		}
		send_bytes(bytes + len - 1, 1);
		ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
		ck_assert_uint_eq(got.payload.u64, 42);
	}
}
END_TEST

START_TEST(several_at_once)
{
	uint8_t bytes[256];
	size_t len;

	vhu_msg_init_u64(&msg, VHU_SET_FEATURES, 0, 1);
	len = flat(&msg, bytes);
	vhu_msg_init(&msg, VHU_SET_OWNER, 0, 0);
	len += flat(&msg, bytes + len);
	vhu_msg_init_u64(&msg, VHU_SET_STATUS, 0, 3);
	len += flat(&msg, bytes + len);
	send_bytes(bytes, len);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
	ck_assert_uint_eq(got.payload.u64, 1);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
	ck_assert_uint_eq(got.hdr.request, VHU_SET_OWNER);
	/* Nothing of the message before shows. */
	ck_assert_uint_eq(got.payload.u64, 0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
	ck_assert_uint_eq(got.payload.u64, 3);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -EAGAIN);
}
END_TEST

START_TEST(descriptors_stay_with_their_message)
{
	unsigned int before = open_fd_cnt();
	int fd = eventfd(0, EFD_CLOEXEC);

	vhu_msg_init_u64(&msg, VHU_SET_VRING_KICK, 0, 0);
	msg.fds[msg.fd_cnt++] = fd;
	ck_assert_int_eq(vhu_send(pair[0], &msg), 0);
	vhu_msg_init(&msg, VHU_SET_OWNER, 0, 0);
	ck_assert_int_eq(vhu_send(pair[0], &msg), 0);
	vhu_msg_init(&msg, VHU_SET_MEM_TABLE, 0, 8);
	while (msg.fd_cnt < VHU_FDS_MAX)
		msg.fds[msg.fd_cnt++] = fd;
	ck_assert_int_eq(vhu_send(pair[0], &msg), 0);
	(void)close(fd);

	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
	ck_assert_uint_eq(got.fd_cnt, 1);
	ck_assert_int_eq(fcntl(got.fds[0], F_GETFD), FD_CLOEXEC);
	fd = vhu_msg_steal_fd(&got, 0);
	vhu_msg_close_fds(&got);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
	(void)close(fd);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
	ck_assert_uint_eq(got.fd_cnt, 0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
	ck_assert_uint_eq(got.fd_cnt, VHU_FDS_MAX);
	vhu_msg_close_fds(&got);
	ck_assert_uint_eq(open_fd_cnt(), before);
}
END_TEST

/* @cnt descriptors with the first @len bytes of @bytes, whatever they are. */
static void send_with_fds(const void *bytes, size_t len, unsigned int cnt)
{
	char room[CMSG_SPACE(64 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = len };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = CMSG_SPACE(cnt * sizeof(int)),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&mh);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(cnt * sizeof(int));
	for (unsigned int i = 0; i < cnt; i++)
		memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &pair[0], sizeof(int));
	ck_assert_int_eq(sendmsg(pair[0], &mh, 0), (ssize_t)len);
}

START_TEST(too_many_descriptors)
{
	unsigned int before = open_fd_cnt();

	vhu_msg_init(&msg, VHU_SET_OWNER, 0, 0);
	send_with_fds(&msg.hdr, sizeof(msg.hdr), VHU_FDS_MAX + 1 + (unsigned int)_i * 30);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -ETOOMANYREFS);
	vhu_rx_fini(&rx);
	ck_assert_uint_eq(open_fd_cnt(), before);
}
END_TEST

START_TEST(too_many_descriptors_in_pieces)
{
	unsigned int before = open_fd_cnt();
	uint8_t bytes[64];
	size_t len;

	vhu_msg_init_u64(&msg, VHU_SET_VRING_KICK, 0, 0);
	len = flat(&msg, bytes);
	send_with_fds(bytes, 4, 5);
	send_with_fds(bytes + 4, len - 4, 5);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -ETOOMANYREFS);
	vhu_rx_fini(&rx);
	ck_assert_uint_eq(open_fd_cnt(), before);
}
END_TEST

START_TEST(half_a_message_and_gone)
{
	unsigned int before = open_fd_cnt();
	uint8_t bytes[64];

	vhu_msg_init_u64(&msg, VHU_SET_VRING_KICK, 0, 0);
	(void)flat(&msg, bytes);
	send_with_fds(bytes, _i ? 15 : 3, 2);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -EAGAIN);
	ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -ECONNRESET);
	vhu_rx_fini(&rx);
	ck_assert_uint_eq(open_fd_cnt(), before);
}
END_TEST

START_TEST(gone_between_messages)
{
	vhu_msg_init(&msg, VHU_SET_OWNER, 0, 0);
	ck_assert_int_eq(vhu_send(pair[0], &msg), 0);
	ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), 0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -EPIPE);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), -EPIPE);
}
END_TEST

START_TEST(refuses_what_is_no_header)
{
	vhu_msg_init(&msg, VHU_SET_OWNER, 0, 0);
	if (_i)
		msg.hdr.size = 1u << 31;
	else
		msg.hdr.flags = 0;
	send_bytes(&msg.hdr, sizeof(msg.hdr));
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), _i ? -EMSGSIZE : -EPROTO);
	/* It does not get better. */
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[1], &got), _i ? -EMSGSIZE : -EPROTO);
}
END_TEST

START_TEST(sends_without_waiting)
{
	unsigned int cnt = 0;
	int r;

	vhu_msg_init(&msg, VHU_GET_CONFIG, VHU_FLAG_REPLY, VHU_CONFIG_HDR + VHU_CONFIG_MAX);
	do
		r = vhu_send(pair[1], &msg);
	while (r == 0 && ++cnt < 100000);
	ck_assert_int_eq(r, -EAGAIN);
	/* What was sent is whole. */
	for (unsigned int i = 0; i < cnt; i++)
		ck_assert_int_eq(vhu_rx_recv(&rx, pair[0], &got), 0);
	ck_assert_int_eq(vhu_rx_recv(&rx, pair[0], &got), -EAGAIN);
	ck_assert_int_eq(vhu_send(pair[1], &msg), 0);
}
END_TEST

START_TEST(sends_to_nobody_without_a_signal)
{
	(void)close(pair[0]);
	vhu_msg_init(&msg, VHU_SET_OWNER, 0, 0);
	ck_assert_int_eq(vhu_send(pair[1], &msg), -EPIPE);
	pair[0] = -1;
}
END_TEST

Suite *vhu_sock_suite(void)
{
	Suite *suite = suite_create("vhu_sock");
	TCase *tc = tcase_create("socket");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, goes_through);
	tcase_add_test(tc, in_pieces_of_a_byte);
	tcase_add_test(tc, several_at_once);
	tcase_add_test(tc, descriptors_stay_with_their_message);
	tcase_add_loop_test(tc, too_many_descriptors, 0, 2);
	tcase_add_test(tc, too_many_descriptors_in_pieces);
	tcase_add_loop_test(tc, half_a_message_and_gone, 0, 2);
	tcase_add_test(tc, gone_between_messages);
	tcase_add_loop_test(tc, refuses_what_is_no_header, 0, 2);
	tcase_add_test(tc, sends_without_waiting);
	tcase_add_test(tc, sends_to_nobody_without_a_signal);
	suite_add_tcase(suite, tc);
	return suite;
}
