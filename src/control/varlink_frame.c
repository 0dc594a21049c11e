/* SPDX-License-Identifier: MIT */
#include "varlink_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int varlink_encode(json_t *message, char **ret_data, size_t *ret_len)
{
	char *data = json_dumps(message, JSON_COMPACT);
	size_t len;

	if (!data)
		return -ENOMEM;
	len = strlen(data) + 1; /* the NUL ends the message */
	if (len > VARLINK_REPLY_MAX) {
		free(data);
		return -EMSGSIZE;
	}
	*ret_data = data;
	*ret_len = len;
	return 0;
}

int varlink_decode(const char *data, size_t len, json_t **ret_message)
{
	json_error_t error;
	json_t *message;

	message = json_loadb(data, len, JSON_REJECT_DUPLICATES, &error);
	if (!message)
		return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
	if (!json_is_object(message)) {
		json_decref(message);
		return -EBADMSG;
	}
	*ret_message = message;
	return 0;
}

size_t varlink_interface_len(const char *method)
{
	const char *dot = strrchr(method, '.');

	return dot ? (size_t)(dot - method) : 0;
}
