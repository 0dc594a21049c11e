/* SPDX-License-Identifier: MIT */
/*
 * The control socket's protocol: Varlink (https://varlink.org/) over a unix
 * stream socket. A message is a JSON object and a NUL byte. Call:
 * {"method": "io.vblkd.Device.Detach", "parameters": {...}}; reply:
 * {"parameters": {...}} or {"error": "io.vblkd.Device.Busy", "parameters": {...}}.
 *
 * The peer is never trusted: calls are limited to VARLINK_MESSAGE_MAX, a
 * connection buffers no more than one and one reply, and nothing here blocks
 * except varlink_call().
 */
#ifndef VBLK_CONTROL_VARLINK_H
#define VBLK_CONTROL_VARLINK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

/* A call, and a reply: that of GetStats has a thousand bytes a queue. */
#define VARLINK_MESSAGE_MAX (64u * 1024u)
#define VARLINK_REPLY_MAX   (256u * 1024u)
#define VBLKD_INTERFACE	    "io.vblkd.Device"

/* ---- framing, pure ---- */

/* Serialises @message with its NUL. Return: owned buffer and length; -ENOMEM; -EMSGSIZE. */
int varlink_encode(json_t *message, char **ret_data, size_t *ret_len) VBLK_MUST_CHECK;

/* ---- client ---- */

/**
 * varlink_call() - connect to @path, call @method, wait for the reply
 * @parameters: taken (reference stolen), NULL for {}
 * @timeout_ms: for the whole call
 * @ret_parameters: owned; of the reply or of the error
 * @ret_error: "" on success, else the error's name
 * Return: 0 a reply or an error reply came; -ENOENT, -ECONNREFUSED nobody serves it;
 *         -ETIMEDOUT; -EBADMSG not Varlink; -EMSGSIZE; other -errno.
 */
int varlink_call(const char *path, const char *method, json_t *parameters, int timeout_ms,
		 json_t **ret_parameters, char ret_error[128]) VBLK_MUST_CHECK;

/* ---- server connection, no event loop of its own ---- */

struct varlink_conn;

/**
 * struct varlink_method - one row of a server's table
 * @name: full name. @call: either replies now (varlink_reply(), varlink_error())
 *        or keeps @conn and replies later; the connection handles no further
 *        message until it was answered.
 */
struct varlink_method {
	const char *name;
	void (*call)(struct varlink_conn *conn, json_t *parameters, void *ctx);
};

/**
 * varlink_conn_new() - serve an accepted, non-blocking socket
 * @fd: taken, also on failure
 * @methods: @method_cnt rows, borrowed; org.varlink.service.GetInfo and
 *           GetInterfaceDescription are answered from @description (the interface
 *           file's text, borrowed)
 */
int varlink_conn_new(int fd, const struct varlink_method *methods, unsigned int method_cnt,
		     const char *description, void *ctx,
		     struct varlink_conn **ret_conn) VBLK_MUST_CHECK;
void varlink_conn_free(struct varlink_conn *conn);
int varlink_conn_fd(const struct varlink_conn *conn);
/* EPOLLIN and/or EPOLLOUT, as the connection wants now; 0 while a call waits for its answer
 * (EPOLLHUP comes all the same). Ask again after every varlink_conn_handle(), and after an
 * answer given outside of it. */
uint32_t varlink_conn_events(const struct varlink_conn *conn);
/**
 * varlink_conn_handle() - the descriptor is ready
 * Return: 0; < 0 the connection has ended (by the peer or by its mistake): free it.
 */
int varlink_conn_handle(struct varlink_conn *conn, uint32_t events) VBLK_MUST_CHECK;

/* Answer the pending call; @parameters taken, NULL for {}. What the socket has room for is
 * sent at once; the rest, and a failure, is left to varlink_conn_handle(). No call is made
 * from here. Without a pending call nothing happens. */
void varlink_reply(struct varlink_conn *conn, json_t *parameters);
void varlink_error(struct varlink_conn *conn, const char *error, json_t *parameters);

#endif
