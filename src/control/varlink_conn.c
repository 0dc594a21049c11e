/* SPDX-License-Identifier: MIT */
#include "varlink_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Calls answered in one varlink_conn_handle(): a client that sends many must not keep the
 * owner's other descriptors waiting. */
#define CALLS_PER_TURN 16

/**
 * struct varlink_conn - one client
 * @in: bytes received, @in_len of them; what was handled is removed
 * @out: reply being sent, bytes @out_pos to @out_len; NULL when none. While there is one,
 *       nothing is read and no further call is made, so a client that does not read its
 *       replies costs no more than one.
 * @pending: a call waits for varlink_reply() or varlink_error()
 * @oneway: the pending call wants no reply
 * @error: sticky; reported by the next varlink_conn_handle()
 */
struct varlink_conn {
	int fd;
	const struct varlink_method *methods;
	unsigned int method_cnt;
	const char *description;
	void *ctx;

	char *in;
	size_t in_len;
	char *out;
	size_t out_len;
	size_t out_pos;
	bool pending;
	bool oneway;
	int error;
};

int varlink_conn_new(int fd, const struct varlink_method *methods, unsigned int method_cnt,
		     const char *description, void *ctx, struct varlink_conn **ret_conn)
{
	struct varlink_conn *conn = calloc(1, sizeof(*conn));

	if (conn)
		conn->in = malloc(VARLINK_MESSAGE_MAX);
	if (!conn || !conn->in) {
		close(fd);
		free(conn);
		return -ENOMEM;
	}
	conn->fd = fd;
	conn->methods = methods;
	conn->method_cnt = method_cnt;
	conn->description = description;
	conn->ctx = ctx;
	*ret_conn = conn;
	return 0;
}

void varlink_conn_free(struct varlink_conn *conn)
{
	if (!conn)
		return;
	close(conn->fd);
	free(conn->in);
	free(conn->out);
	free(conn);
}

int varlink_conn_fd(const struct varlink_conn *conn)
{
	return conn->fd;
}

static size_t message_len(const struct varlink_conn *conn, bool *ret_complete)
{
	const char *end = memchr(conn->in, '\0', conn->in_len);

	*ret_complete = end != NULL;
	return end ? (size_t)(end - conn->in) : 0;
}

uint32_t varlink_conn_events(const struct varlink_conn *conn)
{
	bool complete;

	if (conn->out || conn->error)
		return EPOLLOUT;
	if (conn->pending)
		return 0;
	/* A call that waits in the buffer needs no new input: being writable is event enough. */
	(void)message_len(conn, &complete);
	return complete ? EPOLLIN | EPOLLOUT : EPOLLIN;
}

static void send_out(struct varlink_conn *conn)
{
	ssize_t n;

	while (conn->out) {
		n = send(conn->fd, conn->out + conn->out_pos, conn->out_len - conn->out_pos,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				conn->error = -errno;
			return;
		}
		conn->out_pos += (size_t)n;
		if (conn->out_pos == conn->out_len) {
			free(conn->out);
			conn->out = NULL;
		}
	}
}

/* @message taken. One that cannot be sent ends the connection: the client would wait for ever. */
static void answer(struct varlink_conn *conn, json_t *message)
{
	int r;

	if (!conn->pending) {
		json_decref(message);
		return;
	}
	conn->pending = false;
	if (conn->oneway) {
		json_decref(message);
		return;
	}
	r = message ? varlink_encode(message, &conn->out, &conn->out_len) : -ENOMEM;
	json_decref(message);
	if (r < 0) {
		conn->error = r;
		return;
	}
	conn->out_pos = 0;
	send_out(conn);
}

void varlink_reply(struct varlink_conn *conn, json_t *parameters)
{
	answer(conn, json_pack("{s:o}", "parameters", parameters ? parameters : json_object()));
}

void varlink_error(struct varlink_conn *conn, const char *error, json_t *parameters)
{
	answer(conn, json_pack("{s:s, s:o}", "error", error, "parameters",
			       parameters ? parameters : json_object()));
}

static void refuse(struct varlink_conn *conn, const char *parameter)
{
	varlink_error(conn, VARLINK_SERVICE ".InvalidParameter",
		      json_pack("{s:s}", "parameter", parameter));
}

static void dispatch(struct varlink_conn *conn, const char *method, json_t *parameters)
{
	size_t len = varlink_interface_len(method);
	bool known = false;

	for (unsigned int i = 0; i < conn->method_cnt; i++) {
		const char *name = conn->methods[i].name;

		if (!strcmp(name, method)) {
			conn->methods[i].call(conn, parameters, conn->ctx);
			return;
		}
		known |= len && len == varlink_interface_len(name) && !strncmp(name, method, len);
	}
	varlink_service_call(conn, method, parameters, conn->description, known);
}

static int handle_message(struct varlink_conn *conn, size_t len)
{
	json_t *message, *parameters, *empty = NULL;
	const char *method;
	int r;

	r = varlink_decode(conn->in, len, &message);
	if (r < 0)
		return r;
	method = json_string_value(json_object_get(message, "method"));
	if (!method) {
		json_decref(message);
		return -EBADMSG;
	}
	conn->pending = true;
	conn->oneway = json_is_true(json_object_get(message, "oneway"));
	parameters = json_object_get(message, "parameters");
	if (!parameters || json_is_null(parameters))
		parameters = empty = json_object();

	if (!json_is_object(parameters))
		refuse(conn, "parameters");
	else if (json_is_true(json_object_get(message, "upgrade")))
		refuse(conn, "upgrade"); /* no method of ours leaves the protocol */
	else
		dispatch(conn, method, parameters);
	json_decref(empty);
	json_decref(message);
	return 0;
}

/* Calls what is complete, one at a time. */
static int handle_messages(struct varlink_conn *conn)
{
	bool complete;
	size_t len;
	int r;

	for (unsigned int i = 0; i < CALLS_PER_TURN; i++) {
		if (conn->pending || conn->out || conn->error)
			break;
		len = message_len(conn, &complete);
		if (!complete)
			/* No more would fit: the message is longer than allowed. */
			return conn->in_len == VARLINK_MESSAGE_MAX ? -EMSGSIZE : 0;
		r = handle_message(conn, len);
		if (r < 0)
			return r;
		len++;
		conn->in_len -= len;
		memmove(conn->in, conn->in + len, conn->in_len);
	}
	return conn->error;
}

static int receive(struct varlink_conn *conn)
{
	ssize_t n;

	if (conn->in_len == VARLINK_MESSAGE_MAX)
		return 0;
	n = recv(conn->fd, conn->in + conn->in_len, VARLINK_MESSAGE_MAX - conn->in_len,
		 MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	conn->in_len += (size_t)n;
	return 0;
}

int varlink_conn_handle(struct varlink_conn *conn, uint32_t events)
{
	int r;

	if (conn->error)
		return conn->error;
	send_out(conn);
	if (conn->error)
		return conn->error;
	if (conn->pending || conn->out) {
		/* Nothing is read now, so the end of the stream would go unseen. */
		return events & (EPOLLHUP | EPOLLERR) ? -ECONNRESET : 0;
	}
	r = handle_messages(conn);
	if (r < 0 || conn->pending || conn->out)
		return r;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		r = receive(conn);
		if (!r)
			r = handle_messages(conn);
	}
	return r;
}
