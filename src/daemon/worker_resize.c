/* SPDX-License-Identifier: MIT */
/* The method Resize: the keeper decides, the device follows, the client hears. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vblk/util/log.h"
#include "worker_internal.h"

static void refuse(struct varlink_conn *conn, int error, const char *text)
{
	varlink_error(conn, VBLKD_INTERFACE ".Failed",
		      json_pack("{s:s, s:i}", "message", text, "errno", -error));
}

static void reply(struct varlink_conn *conn, const struct link_msg *msg)
{
	json_int_t size_bytes = (json_int_t)msg->size_bytes;

	if (!msg->error)
		varlink_reply(conn, json_pack("{s:I}", "size_bytes", size_bytes));
	else if (msg->flag)
		varlink_error(conn, VBLKD_INTERFACE ".WouldCut",
			      json_pack("{s:s, s:I}", "message", msg->text, "size_bytes",
					size_bytes));
	else
		refuse(conn, msg->error, msg->text);
}

static bool resize_is_asked(const struct worker *worker)
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (worker->clients[i].waits_for_resize)
			return true;
	return false;
}

/* Nothing that was not understood may pass for "as large as the backend". */
static const char *bad_parameter(const json_t *parameters)
{
	const json_t *size = json_object_get(parameters, "size_bytes");
	const json_t *force = json_object_get(parameters, "force");

	if (size && !json_is_null(size) && json_integer_value(size) <= 0)
		return "size_bytes";
	if (force && !json_is_null(force) && !json_is_boolean(force))
		return "force";
	return NULL;
}

void worker_call_resize(struct varlink_conn *conn, json_t *parameters, void *ctx)
{
	const char *bad = bad_parameter(parameters);
	struct worker *worker = ctx;
	struct link_msg msg = {
		.type = LINK_RESIZE,
		.flag = json_is_true(json_object_get(parameters, "force")),
		.size_bytes =
			(uint64_t)json_integer_value(json_object_get(parameters, "size_bytes")),
	};
	int r;

	if (bad) {
		varlink_error(conn, "org.varlink.service.InvalidParameter",
			      json_pack("{s:s}", "parameter", bad));
		return;
	}
	if (resize_is_asked(worker)) {
		refuse(conn, -EALREADY, "it is being resized already");
		return;
	}
	r = link_send(worker->params->link_fd, &msg);
	if (r < 0)
		refuse(conn, r, KEEPER_GONE);
	else
		worker_client_of(worker, conn)->waits_for_resize = true;
}

static void follow(struct worker *worker, struct link_msg *msg)
{
	int r = worker->door->set_capacity(worker, msg->size_bytes, msg->number);

	worker_rearm_deadline(worker);
	if (r >= 0)
		return;
	/* Decided it is: the next worker tries again, and so does the next call. */
	log_errno(r, "cannot tell the kernel the new size");
	msg->error = r;
	snprintf(msg->text, sizeof(msg->text), "the kernel does not take the new size: %s",
		 strerror(-r));
}

void worker_resized(struct worker *worker, const struct link_msg *msg)
{
	struct link_msg outcome = *msg;

	if (!outcome.error)
		follow(worker, &outcome);
	for (unsigned int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *client = &worker->clients[i];

		if (!client->waits_for_resize)
			continue;
		client->waits_for_resize = false;
		reply(client->conn, &outcome);
		worker_client_answered(client);
	}
}
