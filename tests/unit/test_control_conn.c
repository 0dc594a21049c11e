/* SPDX-License-Identifier: MIT */
/* A server's connection over a socketpair; the test is the client and the event loop. */
#include "test_control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vblk/control/varlink.h"

#define SERVICE "org.varlink.service"

static int client;
static struct varlink_conn *conn;
static unsigned int call_cnt;
static struct varlink_conn *kept;

static void call_echo(struct varlink_conn *c, json_t *parameters, void *ctx)
{
	ck_assert_ptr_eq(ctx, &call_cnt);
	call_cnt++;
	varlink_reply(c, json_incref(parameters));
}

static void call_fail(struct varlink_conn *c, json_t *parameters VBLK_UNUSED, void *ctx VBLK_UNUSED)
{
	varlink_error(c, "io.test.Failed", json_pack("{s:i}", "errno", 5));
}

static void call_later(struct varlink_conn *c, json_t *parameters VBLK_UNUSED,
		       void *ctx VBLK_UNUSED)
{
	call_cnt++;
	kept = c;
}

static void call_big(struct varlink_conn *c, json_t *parameters VBLK_UNUSED, void *ctx VBLK_UNUSED)
{
	char *text = calloc(1, 60000);

	memset(text, 'x', 59999);
	call_cnt++;
	varlink_reply(c, json_pack("{s:s}", "text", text));
	free(text);
}

static void call_huge(struct varlink_conn *c, json_t *parameters VBLK_UNUSED, void *ctx VBLK_UNUSED)
{
	char *text = calloc(1, VARLINK_REPLY_MAX);

	memset(text, 'x', VARLINK_REPLY_MAX - 1);
	varlink_reply(c, json_pack("{s:s}", "text", text));
	free(text);
}

static const struct varlink_method methods[] = {
	{ "io.test.Echo", call_echo },	 { "io.test.Fail", call_fail },
	{ "io.test.Later", call_later }, { "io.test.Big", call_big },
	{ "io.test.Huge", call_huge },
};

static void setup(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			 0);
	client = fds[0];
	call_cnt = 0;
	kept = NULL;
	ck_assert_int_eq(varlink_conn_new(fds[1], methods, ARRAY_SIZE(methods),
					  "# about\ninterface io.test\n\nmethod Echo() -> ()\n",
					  &call_cnt, &conn),
			 0);
	ck_assert_int_eq(varlink_conn_fd(conn), fds[1]);
}

static void teardown(void)
{
	varlink_conn_free(conn);
	if (client >= 0)
		close(client);
}

static void client_send(const char *data, size_t len)
{
	ck_assert_int_eq(send(client, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* A string literal with the NUL that ends a message. */
#define CLIENT_SEND(text) client_send(text, sizeof(text))

/* Handles the connection while it is ready. Return: what ended it, or 0. */
static int run(void)
{
	struct pollfd pfd = { .fd = varlink_conn_fd(conn) };
	int r;

	for (unsigned int turns = 0; turns < 100000; turns++) {
		pfd.events = (short)varlink_conn_events(conn);
		if (poll(&pfd, 1, 0) == 0)
			return 0;
		r = varlink_conn_handle(conn, (uint32_t)pfd.revents);
		if (r < 0)
			return r;
	}
	ck_abort_msg("the connection is always ready and never done");
	return 0;
}

/* Reads one reply; NULL when there is none. */
static json_t *client_reply(void)
{
	static char buf[VARLINK_MESSAGE_MAX];
	size_t len = 0;

	while (recv(client, buf + len, 1, 0) == 1) {
		if (!buf[len++])
			return json_loads(buf, 0, NULL);
	}
	ck_assert_uint_eq(len, 0);
	return NULL;
}

static void expect_reply(const char *json)
{
	json_t *reply = client_reply(), *want = json_loads(json, 0, NULL);

	ck_assert_ptr_nonnull(want);
	ck_assert_msg(reply && json_equal(reply, want), "got %s",
		      reply ? json_dumps(reply, JSON_COMPACT) : "nothing");
	json_decref(reply);
	json_decref(want);
}

static void expect_error(const char *error)
{
	json_t *reply = client_reply();

	ck_assert_ptr_nonnull(reply);
	ck_assert_str_eq(json_string_value(json_object_get(reply, "error")), error);
	json_decref(reply);
}

START_TEST(call_is_answered)
{
	CLIENT_SEND("{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":[1]}}");
	ck_assert_int_eq(run(), 0);
	expect_reply("{\"parameters\":{\"a\":[1]}}");
	CLIENT_SEND("{\"method\":\"io.test.Fail\"}");
	ck_assert_int_eq(run(), 0);
	expect_reply("{\"error\":\"io.test.Failed\",\"parameters\":{\"errno\":5}}");
}
END_TEST

START_TEST(call_split_byte_by_byte)
{
	static const char text[] =
		"{\"method\":\"io.test.Echo\",\"parameters\":{\"k\":\"\u00e4\"}}";

	for (size_t i = 0; i < sizeof(text); i++) {
		ck_assert_uint_eq(call_cnt, 0);
		client_send(text + i, 1);
		ck_assert_int_eq(run(), 0);
	}
	expect_reply("{\"parameters\":{\"k\":\"\u00e4\"}}");
}
END_TEST

START_TEST(pipelined_calls_are_answered_in_order)
{
	CLIENT_SEND("{\"method\":\"io.test.Echo\",\"parameters\":{\"n\":1}}\0"
		    "{\"method\":\"io.test.Fail\"}\0"
		    "{\"method\":\"io.test.Echo\",\"parameters\":{\"n\":3}}");
	ck_assert_int_eq(run(), 0);
	expect_reply("{\"parameters\":{\"n\":1}}");
	expect_error("io.test.Failed");
	expect_reply("{\"parameters\":{\"n\":3}}");
}
END_TEST

START_TEST(many_pipelined_calls_are_done_in_turns)
{
	static const char text[] = "{\"method\":\"io.test.Echo\"}";

	for (int i = 0; i < 200; i++)
		client_send(text, sizeof(text));
	ck_assert_int_eq(varlink_conn_handle(conn, EPOLLIN), 0);
	ck_assert_uint_lt(call_cnt, 200);
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(run(), 0);
		expect_reply("{\"parameters\":{}}");
	}
	ck_assert_uint_eq(call_cnt, 200);
}
END_TEST

START_TEST(late_answer_holds_back_later_calls)
{
	CLIENT_SEND("{\"method\":\"io.test.Later\"}\0{\"method\":\"io.test.Echo\"}");
	ck_assert_int_eq(run(), 0);
	ck_assert_uint_eq(call_cnt, 1);
	ck_assert_uint_eq(varlink_conn_events(conn), 0);
	ck_assert_ptr_null(client_reply());
	varlink_reply(kept, json_pack("{s:i}", "late", 1));
	expect_reply("{\"parameters\":{\"late\":1}}");
	ck_assert_uint_eq(call_cnt, 1); /* not from inside varlink_reply() */
	ck_assert_int_eq(run(), 0);
	expect_reply("{\"parameters\":{}}");
	varlink_reply(conn, NULL); /* no call is pending */
	ck_assert_ptr_null(client_reply());
}
END_TEST

START_TEST(client_that_leaves_while_its_call_is_pending_is_noticed)
{
	CLIENT_SEND("{\"method\":\"io.test.Later\"}");
	ck_assert_int_eq(run(), 0);
	close(client);
	client = -1;
	ck_assert_int_eq(run(), -ECONNRESET);
	varlink_reply(kept, NULL); /* no SIGPIPE */
}
END_TEST

START_TEST(oneway_gets_no_reply)
{
	CLIENT_SEND("{\"method\":\"io.test.Echo\",\"oneway\":true}\0"
		    "{\"method\":\"io.test.Nope\",\"oneway\":true}\0"
		    "{\"method\":\"io.test.Echo\",\"parameters\":{\"n\":2},\"more\":true}");
	ck_assert_int_eq(run(), 0);
	ck_assert_uint_eq(call_cnt, 2);
	expect_reply("{\"parameters\":{\"n\":2}}");
	ck_assert_ptr_null(client_reply());
}
END_TEST

START_TEST(upgrade_is_refused)
{
	CLIENT_SEND("{\"method\":\"io.test.Echo\",\"upgrade\":true}");
	ck_assert_int_eq(run(), 0);
	expect_error(SERVICE ".InvalidParameter");
	ck_assert_uint_eq(call_cnt, 0);
}
END_TEST

static const struct {
	const char *call;
	const char *error;
} refused[] = {
	{ "{\"method\":\"io.test.Nope\"}", SERVICE ".MethodNotFound" },
	{ "{\"method\":\"Echo\"}", SERVICE ".MethodNotFound" },
	{ "{\"method\":\"\"}", SERVICE ".MethodNotFound" },
	{ "{\"method\":\"io.test.\"}", SERVICE ".MethodNotFound" },
	{ "{\"method\":\"org.varlink.service.Nope\"}", SERVICE ".MethodNotFound" },
	{ "{\"method\":\"io.other.Echo\"}", SERVICE ".InterfaceNotFound" },
	{ "{\"method\":\".\"}", SERVICE ".MethodNotFound" },
	{ "{\"method\":\"io.test.Echo\",\"parameters\":[]}", SERVICE ".InvalidParameter" },
	{ "{\"method\":\"org.varlink.service.GetInterfaceDescription\"}",
	  SERVICE ".InvalidParameter" },
	{ "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
	  "\"parameters\":{\"interface\":\"x.y\"}}",
	  SERVICE ".InterfaceNotFound" },
};

START_TEST(wrong_calls_get_the_standard_errors)
{
	client_send(refused[_i].call, strlen(refused[_i].call) + 1);
	ck_assert_int_eq(run(), 0);
	expect_error(refused[_i].error);
	ck_assert_uint_eq(call_cnt, 0);
	CLIENT_SEND("{\"method\":\"io.test.Echo\",\"parameters\":null}"); /* still served */
	ck_assert_int_eq(run(), 0);
	expect_reply("{\"parameters\":{}}");
}
END_TEST

START_TEST(service_describes_itself)
{
	json_t *reply, *parameters;

	CLIENT_SEND("{\"method\":\"org.varlink.service.GetInfo\"}");
	ck_assert_int_eq(run(), 0);
	reply = client_reply();
	parameters = json_object_get(reply, "parameters");
	ck_assert_str_eq(json_string_value(json_object_get(parameters, "version")), VBLK_VERSION);
	ck_assert_str_eq(
		json_string_value(json_array_get(json_object_get(parameters, "interfaces"), 1)),
		"io.test");
	json_decref(reply);

	CLIENT_SEND("{\"method\":\"org.varlink.service.GetInterfaceDescription\","
		    "\"parameters\":{\"interface\":\"io.test\"}}");
	ck_assert_int_eq(run(), 0);
	expect_reply("{\"parameters\":{\"description\":"
		     "\"# about\\ninterface io.test\\n\\nmethod Echo() -> ()\\n\"}}");
}
END_TEST

/* ---- peers that do not mean well ---- */

/* Each ends the connection; the length is given as some contain a NUL or lack one. */
#define BYTES(text) text, sizeof(text) - 1
static const struct {
	const char *bytes;
	size_t len;
} garbage[] = {
	{ BYTES("garbage\0") },
	{ BYTES("\0") },
	{ BYTES("[]\0") },
	{ BYTES("\"method\"\0") },
	{ BYTES("42\0") },
	{ BYTES("{}\0") },
	{ BYTES("{\"method\":1}\0") },
	{ BYTES("{\"method\":null}\0") },
	{ BYTES("{\"method\":\"io.test.Echo\"} x\0") },
	{ BYTES("{\"method\":\"io.test.Echo\"\0}\0") },		       /* embedded NUL */
	{ BYTES("{\"method\":\"io.test.\\u0000Echo\"}\0") },	       /* the same, escaped */
	{ BYTES("{\"method\":\"io.test.\xc3\x28\"}\0") },	       /* invalid UTF-8 */
	{ BYTES("{\"method\":\"io.test.\xed\xa0\x80\"}\0") },	       /* a lone surrogate */
	{ BYTES("{\"method\":\"io.test.Echo\",\"method\":\"x\"}\0") }, /* which one? */
	{ BYTES("{\"method\":\"io.test.Echo\",\"parameters\":{\"a\":1e999}}\0") },
	{ BYTES("GET / HTTP/1.0\r\n\r\n\0") },
};

START_TEST(garbage_ends_the_connection)
{
	client_send(garbage[_i].bytes, garbage[_i].len);
	ck_assert_int_eq(run(), -EBADMSG);
	ck_assert_uint_eq(call_cnt, 0);
}
END_TEST

START_TEST(deep_nesting_ends_the_connection)
{
	char *text = malloc(VARLINK_MESSAGE_MAX);

	memset(text, '[', VARLINK_MESSAGE_MAX);
	memcpy(text, "{\"a\":", 5);
	text[VARLINK_MESSAGE_MAX - 1] = '\0';
	client_send(text, VARLINK_MESSAGE_MAX);
	ck_assert_int_eq(run(), -EBADMSG);
	free(text);
}
END_TEST

/* One byte less than the limit, the limit, one more: the NUL counts. */
START_TEST(message_size_limit)
{
	size_t len = VARLINK_MESSAGE_MAX - 1 + (size_t)_i;
	char *text = malloc(len);
	static const char head[] = "{\"method\":\"io.test.Nope\",\"x\":\"";

	memset(text, 'x', len);
	memcpy(text, head, sizeof(head) - 1);
	memcpy(text + len - 3, "\"}", 3);
	client_send(text, len);
	ck_assert_int_eq(run(), _i == 2 ? -EMSGSIZE : 0);
	if (_i < 2)
		expect_error(SERVICE ".MethodNotFound");
	free(text);
}
END_TEST

START_TEST(end_of_stream_ends_the_connection)
{
	if (_i)
		client_send("{\"meth", 6);
	close(client);
	client = -1;
	ck_assert_int_eq(run(), -ECONNRESET);
}
END_TEST

START_TEST(half_closed_client_still_gets_its_answer)
{
	CLIENT_SEND("{\"method\":\"io.test.Echo\"}");
	shutdown(client, SHUT_WR);
	ck_assert_int_eq(run(), -ECONNRESET);
	expect_reply("{\"parameters\":{}}");
}
END_TEST

static void shrink_buffers(void)
{
	int bytes = 4096;

	ck_assert_int_eq(
		setsockopt(varlink_conn_fd(conn), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

START_TEST(slow_reader_costs_one_reply_only)
{
	static const char call[] = "{\"method\":\"io.test.Big\"}";
	json_t *reply;

	shrink_buffers();
	for (int i = 0; i < 4; i++)
		client_send(call, sizeof(call));
	ck_assert_int_eq(run(), 0);
	ck_assert_uint_eq(call_cnt, 1);
	ck_assert_uint_eq(varlink_conn_events(conn), EPOLLOUT);

	for (unsigned int done = 0; done < 4;) {
		static char buf[1000];
		ssize_t n = recv(client, buf, sizeof(buf), 0);

		for (ssize_t i = 0; i < n; i++)
			done += !buf[i];
		ck_assert_int_eq(run(), 0);
	}
	ck_assert_uint_eq(call_cnt, 4);
	CLIENT_SEND("{\"method\":\"io.test.Echo\"}");
	ck_assert_int_eq(run(), 0);
	reply = client_reply();
	ck_assert_ptr_nonnull(reply);
	json_decref(reply);
}
END_TEST

START_TEST(slow_reader_that_leaves_ends_the_connection)
{
	shrink_buffers();
	CLIENT_SEND("{\"method\":\"io.test.Big\"}");
	ck_assert_int_eq(run(), 0);
	close(client);
	client = -1;
	ck_assert_int_lt(run(), 0);
}
END_TEST

START_TEST(reply_too_long_to_send_ends_the_connection)
{
	CLIENT_SEND("{\"method\":\"io.test.Huge\"}");
	ck_assert_int_eq(run(), -EMSGSIZE);
}
END_TEST

TCase *control_conn_case(void)
{
	TCase *tc = tcase_create("connection");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, call_is_answered);
	tcase_add_test(tc, call_split_byte_by_byte);
	tcase_add_test(tc, pipelined_calls_are_answered_in_order);
	tcase_add_test(tc, many_pipelined_calls_are_done_in_turns);
	tcase_add_test(tc, late_answer_holds_back_later_calls);
	tcase_add_test(tc, client_that_leaves_while_its_call_is_pending_is_noticed);
	tcase_add_test(tc, oneway_gets_no_reply);
	tcase_add_test(tc, upgrade_is_refused);
	tcase_add_loop_test(tc, wrong_calls_get_the_standard_errors, 0, ARRAY_SIZE(refused));
	tcase_add_test(tc, service_describes_itself);
	return tc;
}

TCase *control_hostile_case(void)
{
	TCase *tc = tcase_create("hostile");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, garbage_ends_the_connection, 0, ARRAY_SIZE(garbage));
	tcase_add_test(tc, deep_nesting_ends_the_connection);
	tcase_add_loop_test(tc, message_size_limit, 0, 3);
	tcase_add_loop_test(tc, end_of_stream_ends_the_connection, 0, 2);
	tcase_add_test(tc, half_closed_client_still_gets_its_answer);
	tcase_add_test(tc, slow_reader_costs_one_reply_only);
	tcase_add_test(tc, slow_reader_that_leaves_ends_the_connection);
	tcase_add_test(tc, reply_too_long_to_send_ends_the_connection);
	return tc;
}
