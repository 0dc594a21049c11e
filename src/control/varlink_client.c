/* SPDX-License-Identifier: MIT */
#include "varlink_priv.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"

/* A point in time; 0: never. */
static uint64_t deadline_after(int timeout_ms)
{
	return timeout_ms < 0 ? 0 : clock_now_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
}

/* Waits for @events. Return: 0; -ETIMEDOUT; other -errno. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	uint64_t now_ns;
	int r, left_ms = -1;

	do {
		if (deadline_ns) {
			now_ns = clock_now_ns();
			if (now_ns >= deadline_ns)
				return -ETIMEDOUT;
			/* Rounded up: never a busy loop in the last millisecond. */
			left_ms = (int)MIN((deadline_ns - now_ns) / NSEC_PER_MSEC + 1,
					   (uint64_t)INT32_MAX);
		}
		r = poll(&pfd, 1, left_ms);
	} while (r == 0 || (r < 0 && errno == EINTR));
	return r < 0 ? -errno : 0;
}

/* connect(2) itself waits when the server's backlog is full; the send timeout bounds that. */
static int connect_to(const char *path, int timeout_ms, int *ret_fd)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	_cleanup_close_ int fd = -1;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (timeout_ms >= 0) {
		if (!timeout_ms)
			tv.tv_usec = 1000; /* 0 would mean: for ever */
		if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
			return -errno;
	}
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int send_all(int fd, const char *data, size_t len, uint64_t deadline_ns)
{
	size_t pos = 0;
	ssize_t n;
	int r;

	while (pos < len) {
		n = send(fd, data + pos, len - pos, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			pos += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			return -errno;
		r = wait_for(fd, POLLOUT, deadline_ns);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Until the NUL that ends the reply. Return: length without it; -errno. */
static ssize_t receive_reply(int fd, char *buf, uint64_t deadline_ns)
{
	size_t len = 0;
	ssize_t n;
	char *end;
	int r;

	while (len < VARLINK_REPLY_MAX) {
		r = wait_for(fd, POLLIN, deadline_ns);
		if (r < 0)
			return r;
		n = recv(fd, buf + len, VARLINK_REPLY_MAX - len, MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		end = memchr(buf + len, '\0', (size_t)n);
		if (end)
			return end - buf;
		len += (size_t)n;
	}
	return -EMSGSIZE;
}

static int parse_reply(const char *data, size_t len, json_t **ret_parameters, char ret_error[128])
{
	json_t *message, *parameters, *error;
	int r;

	r = varlink_decode(data, len, &message);
	if (r < 0)
		return r;
	parameters = json_object_get(message, "parameters");
	error = json_object_get(message, "error");
	if ((parameters && !json_is_object(parameters) && !json_is_null(parameters)) ||
	    (error && (!json_is_string(error) || json_string_length(error) >= 128))) {
		json_decref(message);
		return -EBADMSG;
	}
	snprintf(ret_error, 128, "%s", error ? json_string_value(error) : "");
	*ret_parameters = json_is_object(parameters) ? json_incref(parameters) : json_object();
	json_decref(message);
	return *ret_parameters ? 0 : -ENOMEM;
}

/* @request: one whole message. */
static int exchange(const char *path, const char *request, size_t len, int timeout_ms,
		    json_t **ret_parameters, char ret_error[128])
{
	uint64_t deadline_ns = deadline_after(timeout_ms);
	_cleanup_free_ char *buf = malloc(VARLINK_REPLY_MAX);
	_cleanup_close_ int fd = -1;
	ssize_t n;
	int r;

	if (!buf)
		return -ENOMEM;
	r = connect_to(path, timeout_ms, &fd);
	if (!r)
		r = send_all(fd, request, len, deadline_ns);
	if (r < 0)
		return r;
	n = receive_reply(fd, buf, deadline_ns);
	if (n < 0)
		return (int)n;
	return parse_reply(buf, (size_t)n, ret_parameters, ret_error);
}

int varlink_call(const char *path, const char *method, json_t *parameters, int timeout_ms,
		 json_t **ret_parameters, char ret_error[128])
{
	_cleanup_free_ char *data = NULL;
	json_t *message;
	size_t len;
	int r;

	message = json_pack("{s:s, s:o}", "method", method, "parameters",
			    parameters ? parameters : json_object());
	if (!message)
		return -ENOMEM;
	r = varlink_encode(message, &data, &len);
	json_decref(message);
	if (r < 0)
		return r;
	return exchange(path, data, len, timeout_ms, ret_parameters, ret_error);
}
