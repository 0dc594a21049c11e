/* SPDX-License-Identifier: MIT */
#include "out.h"

#include <errno.h>

json_t *out_json_device(const struct device *device)
{
	json_t *obj = json_deep_copy(device->status);

	/* What the status of a daemon that is gone cannot know. */
	if (!obj || json_object_set_new(obj, "name", json_string(device->name)) < 0 ||
	    json_object_set_new(obj, "node", json_string(device->node)) < 0 ||
	    json_object_set_new(obj, "state", json_string(device_state(device))) < 0) {
		json_decref(obj);
		return NULL;
	}
	return obj;
}

int out_json(FILE *f, json_t *value)
{
	int r;

	if (!value)
		return -ENOMEM;
	r = json_dumpf(value, f, JSON_INDENT(2));
	json_decref(value);
	return r < 0 || fputc('\n', f) == EOF ? -EIO : 0;
}
