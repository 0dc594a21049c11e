/* SPDX-License-Identifier: MIT */
/* Which messages are taken for what they say, and which are refused. */
#include <check.h>
#include <errno.h>

#include "run_suite.h"
#include "test_vhu.h"
#include "vblk/util/compiler.h"
#include "vblk/vhu/vhu_wire.h"

/* A right request each; the loop tests vary them. */
static const struct good {
	uint32_t request;
	uint32_t size;
	unsigned int fd_cnt;
	uint32_t reply_size;
} goods[] = {
	{ VHU_GET_FEATURES, 0, 0, 8 },
	{ VHU_SET_FEATURES, 8, 0, 0 },
	{ VHU_SET_OWNER, 0, 0, 0 },
	{ VHU_RESET_OWNER, 0, 0, 0 },
	{ VHU_SET_MEM_TABLE, 8, 0, 0 },
	{ VHU_SET_VRING_NUM, 8, 0, 0 },
	{ VHU_SET_VRING_ADDR, 40, 0, 0 },
	{ VHU_SET_VRING_BASE, 8, 0, 0 },
	{ VHU_GET_VRING_BASE, 8, 0, 8 },
	{ VHU_SET_VRING_KICK, 8, 1, 0 },
	{ VHU_SET_VRING_CALL, 8, 1, 0 },
	{ VHU_SET_VRING_ERR, 8, 1, 0 },
	{ VHU_GET_PROTOCOL_FEATURES, 0, 0, 8 },
	{ VHU_SET_PROTOCOL_FEATURES, 8, 0, 0 },
	{ VHU_GET_QUEUE_NUM, 0, 0, 8 },
	{ VHU_SET_VRING_ENABLE, 8, 0, 0 },
	{ VHU_SET_BACKEND_REQ_FD, 0, 1, 0 },
	{ VHU_GET_CONFIG, 12, 0, 12 },
	{ VHU_SET_CONFIG, 12, 0, 0 },
	{ VHU_GET_INFLIGHT_FD, 24, 0, 24 },
	{ VHU_SET_INFLIGHT_FD, 24, 1, 0 },
	{ VHU_RESET_DEVICE, 0, 0, 0 },
	{ VHU_GET_MAX_MEM_SLOTS, 0, 0, 8 },
	{ VHU_ADD_MEM_REG, 40, 1, 0 },
	{ VHU_REM_MEM_REG, 40, 0, 0 },
	{ VHU_SET_STATUS, 8, 0, 0 },
	{ VHU_GET_STATUS, 0, 0, 8 },
};

static struct vhu_msg msg_of(const struct good *good)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, good->request, 0, good->size);
	msg.fd_cnt = good->fd_cnt;
	return msg;
}

START_TEST(takes_right_requests)
{
	struct vhu_msg msg = msg_of(&goods[_i]);

	ck_assert_int_eq(vhu_check_request(&msg), 0);
	msg.hdr.flags |= VHU_FLAG_NEED_REPLY;
	ck_assert_int_eq(vhu_check_request(&msg), 0);
	ck_assert_str_ne(vhu_request_str(msg.hdr.request), "?");
	ck_assert_int_eq(vhu_has_reply(msg.hdr.request), goods[_i].reply_size > 0);
}
END_TEST

START_TEST(refuses_another_length)
{
	struct vhu_msg msg = msg_of(&goods[_i]);

	msg.hdr.size++;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	if (!goods[_i].size)
		return;
	msg.hdr.size = goods[_i].size - 1;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
}
END_TEST

START_TEST(refuses_another_number_of_descriptors)
{
	struct vhu_msg msg = msg_of(&goods[_i]);

	msg.fd_cnt++;
	/* Tolerated as the specification suggests. */
	if (msg.hdr.request == VHU_REM_MEM_REG)
		msg.fd_cnt++;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	if (!goods[_i].fd_cnt)
		return;
	msg.fd_cnt = goods[_i].fd_cnt - 1;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
}
END_TEST

START_TEST(refuses_wrong_headers)
{
	struct vhu_msg msg = msg_of(&goods[_i]);
	const uint32_t flags = msg.hdr.flags;

	msg.hdr.flags = flags | VHU_FLAG_REPLY;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	msg.hdr.flags = (flags & ~VHU_FLAG_VERSION) | 2;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	msg.hdr.flags = flags | 0x10;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
}
END_TEST

START_TEST(takes_right_replies_only)
{
	const struct good *good = &goods[_i];
	struct vhu_msg msg;

	vhu_msg_init(&msg, good->request, VHU_FLAG_REPLY, good->reply_size ? good->reply_size : 8);
	msg.fd_cnt = good->request == VHU_GET_INFLIGHT_FD;
	ck_assert_int_eq(vhu_check_reply(&msg, good->request), 0);
	ck_assert_int_eq(vhu_check_reply(&msg, good->request + 1), -EPROTO);
	msg.hdr.size++;
	ck_assert_int_eq(vhu_check_reply(&msg, good->request), -EPROTO);
	msg.hdr.size--;
	msg.fd_cnt++;
	ck_assert_int_eq(vhu_check_reply(&msg, good->request), -EPROTO);
	msg.fd_cnt--;
	msg.hdr.flags &= ~VHU_FLAG_REPLY;
	ck_assert_int_eq(vhu_check_reply(&msg, good->request), -EPROTO);
}
END_TEST

START_TEST(tells_unknown_requests_from_wrong_ones)
{
	static const uint32_t unknown[] = {
		0, VHU_SET_LOG_BASE, VHU_SET_LOG_FD, 19, 33, 41, 45, ~0u
	};
	struct vhu_msg msg;

	for (unsigned int i = 0; i < ARRAY_SIZE(unknown); i++) {
		vhu_msg_init(&msg, unknown[i], 0, 8);
		ck_assert_int_eq(vhu_check_request(&msg), -EOPNOTSUPP);
		ck_assert_str_eq(vhu_request_str(unknown[i]), "?");
		ck_assert(!vhu_has_reply(unknown[i]));
		msg.hdr.flags |= VHU_FLAG_REPLY;
		ck_assert_int_eq(vhu_check_reply(&msg, unknown[i]), -EPROTO);
	}
}
END_TEST

START_TEST(header_lengths)
{
	struct vhu_header hdr = { VHU_SET_CONFIG, VHU_VERSION, VHU_CONFIG_HDR + VHU_CONFIG_MAX };

	ck_assert_int_eq(vhu_check_header(&hdr), 0);
	hdr.size = (uint32_t)sizeof(union vhu_payload) + 1;
	ck_assert_int_eq(vhu_check_header(&hdr), -EMSGSIZE);
	hdr.size = UINT32_MAX;
	ck_assert_int_eq(vhu_check_header(&hdr), -EMSGSIZE);
}
END_TEST

START_TEST(memory_tables)
{
	struct vhu_msg msg;
	struct vhu_mem_table *table = &msg.payload.mem_table;

	for (uint32_t cnt = 0; cnt <= VHU_REGIONS_MAX; cnt++) {
		vhu_msg_init(&msg, VHU_SET_MEM_TABLE, 0, 8 + cnt * 32);
		table->region_cnt = cnt;
		msg.fd_cnt = cnt;
		ck_assert_int_eq(vhu_check_request(&msg), 0);
		msg.fd_cnt = cnt ? cnt - 1 : 1;
		ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
		msg.fd_cnt = cnt;
		table->region_cnt = cnt + 1;
		ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	}
	/* Its length would wrap to a right one. */
	vhu_msg_init(&msg, VHU_SET_MEM_TABLE, 0, 8);
	table->region_cnt = 1u << 27;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
}
END_TEST

START_TEST(configuration_ranges)
{
	struct vhu_msg msg;
	struct vhu_config *config = &msg.payload.config;

	vhu_msg_init(&msg, VHU_GET_CONFIG, 0, VHU_CONFIG_HDR + 60);
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	config->size = 60;
	ck_assert_int_eq(vhu_check_request(&msg), 0);
	config->offset = VHU_CONFIG_MAX - 60;
	ck_assert_int_eq(vhu_check_request(&msg), 0);
	/* What is behind the end is for the device to say. */
	config->offset = UINT32_MAX;
	ck_assert_int_eq(vhu_check_request(&msg), 0);
	msg.hdr.size = VHU_CONFIG_HDR - 1;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	/* How a server says that it cannot. */
	vhu_msg_init(&msg, VHU_GET_CONFIG, VHU_FLAG_REPLY, 0);
	ck_assert_int_eq(vhu_check_reply(&msg, VHU_GET_CONFIG), 0);
}
END_TEST

START_TEST(event_descriptors)
{
	struct vhu_msg msg;

	vhu_msg_init_u64(&msg, VHU_SET_VRING_CALL, 0, 7 | VHU_VRING_NOFD);
	ck_assert_int_eq(vhu_check_request(&msg), 0);
	ck_assert_uint_eq(vhu_vring_idx_of(msg.payload.u64), 7);
	msg.fd_cnt = 1;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	msg.payload.u64 = 7 | VHU_VRING_NOFD << 1;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
	msg.payload.u64 = 1ull << 40;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
}
END_TEST

START_TEST(inflight_of_the_text)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, VHU_GET_INFLIGHT_FD, 0, 20);
	ck_assert_int_eq(vhu_check_request(&msg), 0);
	msg.hdr.size = 22;
	ck_assert_int_eq(vhu_check_request(&msg), -EPROTO);
}
END_TEST

START_TEST(requests_of_the_server)
{
	struct vhu_msg msg;

	vhu_msg_init(&msg, VHU_BACKEND_CONFIG_CHANGE, VHU_FLAG_NEED_REPLY, 0);
	ck_assert_int_eq(vhu_check_backend_request(&msg), 0);
	msg.fd_cnt = 1;
	ck_assert_int_eq(vhu_check_backend_request(&msg), -EPROTO);
	vhu_msg_init(&msg, VHU_BACKEND_CONFIG_CHANGE, 0, 4);
	ck_assert_int_eq(vhu_check_backend_request(&msg), -EPROTO);
	vhu_msg_init(&msg, VHU_BACKEND_CONFIG_CHANGE, VHU_FLAG_REPLY, 0);
	ck_assert_int_eq(vhu_check_backend_request(&msg), -EPROTO);
	vhu_msg_init(&msg, 1, 0, 0);
	ck_assert_int_eq(vhu_check_backend_request(&msg), -EOPNOTSUPP);
}
END_TEST

static Suite *vhu_wire_suite(void)
{
	Suite *suite = suite_create("vhu_wire");
	TCase *tc = tcase_create("each request");

	tcase_add_loop_test(tc, takes_right_requests, 0, ARRAY_SIZE(goods));
	tcase_add_loop_test(tc, refuses_another_length, 0, ARRAY_SIZE(goods));
	tcase_add_loop_test(tc, refuses_another_number_of_descriptors, 0, ARRAY_SIZE(goods));
	tcase_add_loop_test(tc, refuses_wrong_headers, 0, ARRAY_SIZE(goods));
	tcase_add_loop_test(tc, takes_right_replies_only, 0, ARRAY_SIZE(goods));
	suite_add_tcase(suite, tc);
	tc = tcase_create("details");
	tcase_add_test(tc, tells_unknown_requests_from_wrong_ones);
	tcase_add_test(tc, header_lengths);
	tcase_add_test(tc, memory_tables);
	tcase_add_test(tc, configuration_ranges);
	tcase_add_test(tc, event_descriptors);
	tcase_add_test(tc, inflight_of_the_text);
	tcase_add_test(tc, requests_of_the_server);
	suite_add_tcase(suite, tc);
	return suite;
}

int main(void)
{
	SRunner *runner = srunner_create(vhu_wire_suite());

	srunner_add_suite(runner, vhu_sock_suite());
	return run_suites(runner);
}
