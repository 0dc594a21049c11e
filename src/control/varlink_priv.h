/* SPDX-License-Identifier: MIT */
#ifndef VBLK_SRC_VARLINK_PRIV_H
#define VBLK_SRC_VARLINK_PRIV_H

#include <stdbool.h>

#include "vblk/control/varlink.h"

#define VARLINK_SERVICE "org.varlink.service"

/**
 * varlink_decode() - one message without its NUL
 * Return: 0 and an owned object; -EBADMSG no JSON object; -ENOMEM.
 */
int varlink_decode(const char *data, size_t len, json_t **ret_message) VBLK_MUST_CHECK;

/**
 * varlink_service_call() - answer a call that no row of the table took
 * org.varlink.service itself, or one of its errors.
 * @known_interface: the table has other methods of the same interface
 */
void varlink_service_call(struct varlink_conn *conn, const char *method, json_t *parameters,
			  const char *description, bool known_interface);

/* Length of the interface's name in "interface.name.Method"; 0 when there is none. */
size_t varlink_interface_len(const char *method);

#endif
