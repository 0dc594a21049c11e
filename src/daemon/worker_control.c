/* SPDX-License-Identifier: MIT */
/* The control socket: clients, and the methods of io.vblkd.Device. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stats_json.h"
#include "stuck.h"
#include "vblk/control/device_interface.h"
#include "vblk/util/log.h"
#include "worker_internal.h"

#define DETACH_TIMEOUT_MAX_MS (24 * 3600 * 1000)
#define UPGRADE_STUCK_MS      1000u

struct control_client *worker_client_of(struct worker *worker, const struct varlink_conn *conn)
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (worker->clients[i].conn == conn)
			return &worker->clients[i];
	return NULL;
}

static void call_get_status(struct varlink_conn *conn, json_t *parameters VBLK_UNUSED, void *ctx)
{
	struct worker *worker = ctx;
	struct status_facts facts = {
		.bdev = worker->params->bdev,
		.state = worker->state,
		.disk = worker->disk,
		.keeper_pid = worker->params->keeper_pid,
		.worker_pid = getpid(),
		.restarts = worker->restarts,
		.upgrades = worker->params->upgrades,
		.started_at = worker->params->started_at,
	};
	json_t *status = status_json(worker->params->config, worker->params->blk, &facts,
				     worker->door->vdev(worker));

	worker->door->add_status(worker, status);
	varlink_reply(conn, json_pack("{s:o}", "status", status));
}

static void refuse_parameter(struct varlink_conn *conn, const char *parameter)
{
	varlink_error(conn, "org.varlink.service.InvalidParameter",
		      json_pack("{s:s}", "parameter", parameter));
}

static void call_get_stats(struct varlink_conn *conn, json_t *parameters, void *ctx)
{
	const json_t *queue = json_object_get(parameters, "queue");
	struct worker *worker = ctx;
	struct stats_facts facts = {
		.name = worker->params->config->name,
		.since_ns = worker->stats_since_ns,
		.restarts = worker->restarts,
	};
	json_int_t idx = STATS_ALL_QUEUES;

	if (queue && !json_is_null(queue)) {
		idx = json_integer_value(queue);
		if (!json_is_integer(queue) || idx < 0 || idx >= worker->params->blk->queue_cnt) {
			refuse_parameter(conn, "queue");
			return;
		}
	}
	varlink_reply(conn, json_pack("{s:o}", "stats",
				      stats_json(worker->door->vdev(worker), &facts, (int)idx)));
}

/* Ours at once; the keeper's, and that of workers to come, as soon as it reads its link. */
static void call_set_log_level(struct varlink_conn *conn, json_t *parameters, void *ctx)
{
	const char *name = json_string_value(json_object_get(parameters, "level"));
	struct link_msg msg = { .type = LINK_LOG_LEVEL };
	struct worker *worker = ctx;
	enum log_level level;

	if (!name || log_level_parse(name, &level) < 0) {
		refuse_parameter(conn, "level");
		return;
	}
	log_set_level(level);
	msg.number = level;
	(void)link_send(worker->params->link_fd, &msg);
	varlink_reply(conn, NULL);
}

static void reply(struct varlink_conn *conn, int error, const char *text)
{
	if (!error)
		varlink_reply(conn, NULL);
	else if (error == -EBUSY)
		varlink_error(conn, VBLKD_INTERFACE ".Busy", json_pack("{s:s}", "users", text));
	else
		varlink_error(conn, VBLKD_INTERFACE ".Failed",
			      json_pack("{s:s, s:i}", "message", text, "errno", -error));
}

/* 0 where none was given, or none that makes sense: the keeper's own limit then holds. */
static uint32_t detach_timeout_ms(const json_t *parameters)
{
	json_int_t ms = json_integer_value(json_object_get(parameters, "timeout_ms"));

	return ms > 0 && ms <= DETACH_TIMEOUT_MAX_MS ? (uint32_t)ms : 0;
}

/* One at a time: the keeper's answer goes to whoever waits. */
static bool detach_is_asked(const struct worker *worker)
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (worker->clients[i].waits_for_detach)
			return true;
	return false;
}

static void call_detach(struct varlink_conn *conn, json_t *parameters, void *ctx)
{
	struct worker *worker = ctx;
	struct link_msg msg = { .type = LINK_DETACH };
	struct control_client *client = worker_client_of(worker, conn);
	char users[WORKER_USERS_MAX];
	int r;

	if (detach_is_asked(worker)) {
		reply(conn, -EALREADY, "it is being detached already");
		return;
	}
	msg.number = detach_timeout_ms(parameters);
	msg.flag = json_is_true(json_object_get(parameters, "force"));
	if (!msg.flag && worker->door->find_users(worker, users)) {
		reply(conn, -EBUSY, users);
		return;
	}
	r = link_send(worker->params->link_fd, &msg);
	if (r < 0)
		reply(conn, r, KEEPER_GONE);
	else
		client->waits_for_detach = true;
}

/*
 * The keeper sees requests in flight where it has their record, and waits for a while; those of a
 * client on a socket are in the client's.
 */
static bool would_not_end(const struct worker *worker, char *text, size_t len)
{
	char stuck[STUCK_TEXT_MAX];
	struct stuck_list list;

	if (worker->params->serve_fd < 0)
		return false;
	stuck_find(worker->door->vdev(worker), UPGRADE_STUCK_MS, &list);
	if (list.cnt)
		snprintf(text, len, "the backend does not answer; try again when it does (%s)",
			 stuck_text(&list, worker->params->bdev, stuck));
	return list.cnt;
}

static void call_upgrade(struct varlink_conn *conn, json_t *parameters VBLK_UNUSED, void *ctx)
{
	struct worker *worker = ctx;
	const struct link_msg msg = { .type = LINK_UPGRADE };
	char text[STUCK_TEXT_MAX + 128];
	int r;

	if (would_not_end(worker, text, sizeof(text))) {
		reply(conn, -ETIMEDOUT, text);
		return;
	}
	r = link_send(worker->params->link_fd, &msg);
	if (r < 0)
		reply(conn, r,
		      "its keeper process is gone; bring it back with 'vblkctl attach' of the same name, backend and options");
	else
		worker_client_of(worker, conn)->waits_for_upgrade = true;
}

static const struct varlink_method methods[] = {
	{ VBLKD_INTERFACE ".GetStatus", call_get_status },
	{ VBLKD_INTERFACE ".GetStats", call_get_stats },
	{ VBLKD_INTERFACE ".SetLogLevel", call_set_log_level },
	{ VBLKD_INTERFACE ".Detach", call_detach },
	{ VBLKD_INTERFACE ".Resize", worker_call_resize },
	{ VBLKD_INTERFACE ".Upgrade", call_upgrade },
};

static void client_free(struct control_client *client)
{
	sd_event_source_disable_unref(client->source);
	varlink_conn_free(client->conn);
	client->source = NULL;
	client->conn = NULL;
	client->waits_for_detach = false;
	client->waits_for_resize = false;
	client->waits_for_upgrade = false;
}

static int on_client(sd_event_source *source, int fd VBLK_UNUSED, uint32_t revents, void *userdata)
{
	struct control_client *client = userdata;

	/*
	 * A call that was sent while no worker lived waits in the socket. Whoever
	 * has given up on it must not find it carried out later.
	 */
	if ((revents & EPOLLHUP) || varlink_conn_handle(client->conn, revents) < 0) {
		client_free(client);
		return 0;
	}
	return sd_event_source_set_io_events(source, varlink_conn_events(client->conn));
}

static void client_add(struct worker *worker, int fd)
{
	struct control_client *client = worker_client_of(worker, NULL);

	if (!client) {
		close(fd);
		return;
	}
	if (varlink_conn_new(fd, methods, ARRAY_SIZE(methods), varlink_device_interface, worker,
			     &client->conn) < 0)
		return;
	client->worker = worker;
	if (sd_event_add_io(worker->event, &client->source, varlink_conn_fd(client->conn),
			    varlink_conn_events(client->conn), on_client, client) < 0)
		client_free(client);
}

static int on_listen(sd_event_source *source VBLK_UNUSED, int fd, uint32_t revents VBLK_UNUSED,
		     void *userdata)
{
	int client_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (client_fd >= 0)
		client_add(userdata, client_fd);
	return 0;
}

int worker_control_start(struct worker *worker)
{
	int r = sd_event_add_io(worker->event, &worker->listen_source, worker->params->listen_fd,
				EPOLLIN, on_listen, worker);

	if (r < 0)
		return r;
	/* Whatever clients do, the kernel's messages and the queues come first. */
	return sd_event_source_set_priority(worker->listen_source, SD_EVENT_PRIORITY_IDLE);
}

void worker_control_stop(struct worker *worker)
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (worker->clients[i].conn)
			client_free(&worker->clients[i]);
}

void worker_client_answered(struct control_client *client)
{
	/* The reply may be out at once; else the loop sends the rest. */
	if (varlink_conn_handle(client->conn, EPOLLOUT) < 0)
		client_free(client);
	else
		(void)sd_event_source_set_io_events(client->source,
						    varlink_conn_events(client->conn));
}

static void answer(struct control_client *client, int error, const char *text)
{
	client->waits_for_detach = false;
	client->waits_for_upgrade = false;
	reply(client->conn, error, text);
	worker_client_answered(client);
}

void worker_control_detach_done(struct worker *worker, int error, const char *text)
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (worker->clients[i].waits_for_detach)
			answer(&worker->clients[i], error, text);
}

void worker_control_upgrade_done(struct worker *worker, int error, const char *text)
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (worker->clients[i].waits_for_upgrade)
			answer(&worker->clients[i], error, text);
}
