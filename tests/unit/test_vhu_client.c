/* SPDX-License-Identifier: MIT */
/* The front-end's side of a connection, against a server that does not do its part. */
#include "run_suite.h"
#include "vblk/vhu_client/vhu_client.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_vhu_server.h"
#include "vblk/util/compiler.h"
#include "vblk/vhu/vhu_sock.h"

static struct {
	char dir[64], path[108];
	struct fake_vhu_options options;
	struct fake_vhu *srv;
	struct vhu_client_params params;
	struct vhu_client *client;
	uint8_t config[60];
} fx;

static void setup(void)
{
	memset(&fx, 0, sizeof(fx));
	strcpy(fx.dir, "/tmp/vblk-vhuc-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fx.dir));
	snprintf(fx.path, sizeof(fx.path), "%s/sock", fx.dir);
	fake_vhu_usual(&fx.options);
	fx.srv = fake_vhu_new(fx.path, &fx.options);
	fx.params = (struct vhu_client_params){
		.path = fx.path,
		.features = UINT64_MAX,
		.timeout_ms = 10000,
		.stop_fd = eventfd(0, EFD_CLOEXEC),
	};
}

static void teardown(void)
{
	vhu_client_close(fx.client);
	fake_vhu_free(fx.srv);
	close(fx.params.stop_fd);
	rmdir(fx.dir);
}

static void stop(void)
{
	uint64_t one = 1;

	ck_assert_int_eq(write(fx.params.stop_fd, &one, sizeof(one)), sizeof(one));
}

START_TEST(facts_are_the_servers)
{
	const struct vhu_client_facts *facts;
	const struct virtio_blk_config *config = (const void *)fx.config;

	ck_assert_int_eq(vhu_client_open(&fx.params, &fx.client), 0);
	facts = vhu_client_facts(fx.client);
	ck_assert_uint_eq(facts->queue_cnt, 2);
	ck_assert_uint_eq(facts->features | 1ull << VHU_F_PROTOCOL_FEATURES, facts->offered);
	ck_assert_int_ge(vhu_client_backend_fd(fx.client), 0);
	ck_assert_int_eq(vhu_client_get_config(fx.client, fx.config, sizeof(fx.config)), 0);
	ck_assert_uint_eq(le64toh(config->capacity), 2048);
	/* It has not so many, says so, and goes on. */
	ck_assert_int_eq(vhu_client_get_config(fx.client, fx.config, 72), -EREMOTEIO);
	ck_assert_int_eq(vhu_client_get_config(fx.client, fx.config, sizeof(fx.config)), 0);
}
END_TEST

START_TEST(change_of_the_configuration_is_told)
{
	ck_assert_int_eq(vhu_client_open(&fx.params, &fx.client), 0);
	ck_assert_int_eq(vhu_client_handle_backend(fx.client), 0);
	fake_vhu_resize(fx.srv, 77);
	ck_assert_int_eq(vhu_client_handle_backend(fx.client), 1);
	ck_assert_int_eq(vhu_client_handle_backend(fx.client), 0);
}
END_TEST

START_TEST(server_that_says_nothing_is_given_up)
{
	fx.params.timeout_ms = 50;
	fake_vhu_inject(fx.srv, FAKE_VHU_SILENT);
	ck_assert_int_eq(vhu_client_open(&fx.params, &fx.client), -ETIMEDOUT);
}
END_TEST

START_TEST(waiting_can_be_called_off)
{
	fake_vhu_inject(fx.srv, FAKE_VHU_SILENT);
	stop();
	ck_assert_int_eq(vhu_client_open(&fx.params, &fx.client), -ECANCELED);
}
END_TEST

START_TEST(reply_to_something_else_is_refused)
{
	ck_assert_int_eq(vhu_client_open(&fx.params, &fx.client), 0);
	fake_vhu_inject(fx.srv, FAKE_VHU_BAD_REPLY);
	ck_assert_int_eq(vhu_client_get_config(fx.client, fx.config, sizeof(fx.config)), -EPROTO);
}
END_TEST

START_TEST(refusal_is_told_from_trouble)
{
	struct vhu_client_region region = { .addr = 1 << 20, .len_bytes = 4096 };

	region.fd = memfd_create("test", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(region.fd, 4096), 0);
	ck_assert_int_eq(vhu_client_open(&fx.params, &fx.client), 0);
	fake_vhu_inject(fx.srv, FAKE_VHU_REFUSE_MEMORY);
	ck_assert_int_eq(vhu_client_set_memory(fx.client, &region, 1), -EREMOTEIO);
	ck_assert_int_eq(vhu_client_set_memory(fx.client, &region, 1), 0);
	ck_assert_int_eq(vhu_client_set_memory(fx.client, &region, 0), -EINVAL);
	ck_assert_uint_eq(fake_vhu_mapped_bytes(fx.srv), 4096);
	close(region.fd);
}
END_TEST

/* ---- answers to the first question, of a server that is no server ---- */

static const struct {
	uint32_t request, flags, size;
	int err;
} answers[] = {
	{ VHU_GET_FEATURES, VHU_VERSION, 8, -EPROTO },			 /* no reply */
	{ VHU_GET_FEATURES, 2 | VHU_FLAG_REPLY, 8, -EPROTO },		 /* other version */
	{ VHU_GET_FEATURES, VHU_VERSION | VHU_FLAG_REPLY, 4, -EPROTO },	 /* too short */
	{ VHU_GET_FEATURES, VHU_VERSION | VHU_FLAG_REPLY, 16, -EPROTO }, /* too long */
	{ VHU_GET_FEATURES, VHU_VERSION | VHU_FLAG_REPLY, 1 << 20, -EPROTO },
	{ VHU_GET_QUEUE_NUM, VHU_VERSION | VHU_FLAG_REPLY, 8, -EPROTO },
	/* features 0: no protocol features */
	{ VHU_GET_FEATURES, VHU_VERSION | VHU_FLAG_REPLY, 8, -EOPNOTSUPP },
};

START_TEST(first_answer_that_is_none)
{
	struct {
		struct vhu_header hdr;
		uint8_t payload[16];
	} msg = { { answers[_i].request, answers[_i].flags, answers[_i].size }, { 0 } };
	size_t bytes = sizeof(msg.hdr) + (answers[_i].size <= 16 ? answers[_i].size : 16);
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(send(fds[1], &msg, bytes, 0), (ssize_t)bytes);
	ck_assert_int_eq(vhu_client_open_fd(&fx.params, fds[0], &fx.client), answers[_i].err);
	close(fds[1]);
}
END_TEST

START_TEST(half_an_answer_and_then_nothing)
{
	struct vhu_header hdr = { VHU_GET_FEATURES, VHU_VERSION | VHU_FLAG_REPLY, 8 };
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	ck_assert_int_eq(send(fds[1], &hdr, sizeof(hdr), 0), sizeof(hdr));
	if (_i)
		ck_assert_int_eq(shutdown(fds[1], SHUT_WR), 0);
	fx.params.timeout_ms = _i ? 10000 : 30;
	ck_assert_int_eq(vhu_client_open_fd(&fx.params, fds[0], &fx.client),
			 _i ? -ECONNRESET : -ETIMEDOUT);
	close(fds[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vhu_client");
	TCase *tc = tcase_create("vhu_client");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, facts_are_the_servers);
	tcase_add_test(tc, change_of_the_configuration_is_told);
	tcase_add_test(tc, server_that_says_nothing_is_given_up);
	tcase_add_test(tc, waiting_can_be_called_off);
	tcase_add_test(tc, reply_to_something_else_is_refused);
	tcase_add_test(tc, refusal_is_told_from_trouble);
	tcase_add_loop_test(tc, first_answer_that_is_none, 0, ARRAY_SIZE(answers));
	tcase_add_loop_test(tc, half_an_answer_and_then_nothing, 0, 2);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
