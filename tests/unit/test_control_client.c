/* SPDX-License-Identifier: MIT */
/* varlink_call() against a server thread that says what the test wants. */
#include "test_control.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vblk/control/varlink.h"

static char dir[64], path[96];
static int listen_fd;
static pthread_t server;

struct script {
	const char *answer;
	size_t len;
};

/* Reads one call, sends the answer byte by byte (one without end faster), closes. Without one it
 * waits for the client to leave. */
static void *serve(void *arg)
{
	const struct script *script = arg;
	int fd = accept(listen_fd, NULL, NULL);
	char c = 'x';

	while (c && recv(fd, &c, 1, 0) == 1)
		;
	for (size_t i = 0, n = script->len > 4096 ? 4096 : 1; i < script->len; i += n)
		if (send(fd, script->answer + i, script->len - i < n ? script->len - i : n,
			 MSG_NOSIGNAL) < 0)
			break;
	if (!script->answer)
		while (recv(fd, &c, 1, 0) > 0)
			;
	close(fd);
	return NULL;
}

static void setup(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(dir, "/tmp/test_control.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/control", dir);
	strcpy(addr.sun_path, path);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(listen_fd, 1), 0);
}

static void teardown(void)
{
	close(listen_fd);
	unlink(path);
	rmdir(dir);
}

#define BYTES(text) text, sizeof(text) - 1
static const struct {
	struct script script;
	int result;
	const char *error;
	const char *parameters;
} cases[] = {
	{ { BYTES("{\"parameters\":{\"a\":1}}\0") }, 0, "", "{\"a\":1}" },
	{ { BYTES("{}\0") }, 0, "", "{}" },
	{ { BYTES("{\"parameters\":null}\0") }, 0, "", "{}" },
	{ { BYTES("{\"error\":\"io.x.Busy\",\"parameters\":{\"u\":\"m\"}}\0") },
	  0,
	  "io.x.Busy",
	  "{\"u\":\"m\"}" },
	{ { BYTES("{\"parameters\":[]}\0") }, -EBADMSG, NULL, NULL },
	{ { BYTES("{\"error\":1}\0") }, -EBADMSG, NULL, NULL },
	{ { BYTES("hello\0") }, -EBADMSG, NULL, NULL },
	{ { BYTES("{\"parameters\":{}}") }, -ECONNRESET, NULL, NULL }, /* no NUL */
	{ { "", 0 }, -ECONNRESET, NULL, NULL },
	{ { NULL, 0 }, -ETIMEDOUT, NULL, NULL },
};

START_TEST(call_returns_what_the_server_says)
{
	json_t *parameters = NULL, *want;
	char error[128] = "kept";
	int r;

	pthread_create(&server, NULL, serve, (void *)&cases[_i].script);
	r = varlink_call(path, "io.x.M", json_pack("{s:b}", "force", 0),
			 cases[_i].script.answer ? 20000 : 20, &parameters, error);
	pthread_join(server, NULL);
	ck_assert_int_eq(r, cases[_i].result);
	if (r < 0) {
		ck_assert_ptr_null(parameters);
		ck_assert_str_eq(error, "kept");
		return;
	}
	want = json_loads(cases[_i].parameters, 0, NULL);
	ck_assert(json_equal(parameters, want));
	ck_assert_str_eq(error, cases[_i].error);
	json_decref(want);
	json_decref(parameters);
}
END_TEST

START_TEST(endless_reply_is_cut_off)
{
	struct script script = { .len = VARLINK_REPLY_MAX + 10 };
	json_t *parameters = NULL;
	char *text = malloc(script.len), error[128];

	memset(text, 'x', script.len);
	script.answer = text;
	pthread_create(&server, NULL, serve, &script);
	ck_assert_int_eq(varlink_call(path, "io.x.M", NULL, 20000, &parameters, error), -EMSGSIZE);
	pthread_join(server, NULL);
	free(text);
}
END_TEST

START_TEST(nobody_serves)
{
	json_t *parameters = NULL;
	char error[128], longer[200];

	close(listen_fd);
	ck_assert_int_eq(varlink_call(path, "io.x.M", NULL, 20000, &parameters, error),
			 -ECONNREFUSED);
	unlink(path);
	ck_assert_int_eq(varlink_call(path, "io.x.M", NULL, 20000, &parameters, error), -ENOENT);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	ck_assert_int_eq(varlink_call(longer, "io.x.M", NULL, 20000, &parameters, error),
			 -ENAMETOOLONG);
}
END_TEST

START_TEST(server_that_accepts_nobody_does_not_hold_the_caller)
{
	json_t *parameters = NULL;
	char error[128];
	int r = 0;

	/* Each leaves a connection in the backlog, until connect(2) itself has to wait. */
	for (int i = 0; i < 4; i++) {
		r = varlink_call(path, "io.x.M", NULL, 20, &parameters, error);
		ck_assert_int_eq(r, -ETIMEDOUT);
	}
}
END_TEST

TCase *control_client_case(void)
{
	TCase *tc = tcase_create("client");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, call_returns_what_the_server_says, 0, ARRAY_SIZE(cases));
	tcase_add_test(tc, endless_reply_is_cut_off);
	tcase_add_test(tc, nobody_serves);
	tcase_add_test(tc, server_that_accepts_nobody_does_not_hold_the_caller);
	return tc;
}
