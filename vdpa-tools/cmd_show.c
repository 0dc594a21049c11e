/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "out.h"
#include "vblk/host/host_disk.h"
#include "vblk/util/log.h"

#define USERS_MAX 1024

static json_t *show_json(const struct device *device, const char *users)
{
	json_t *obj = out_json_device(device);

	if (obj && json_object_set_new(obj, "users", json_string(users)) < 0) {
		json_decref(obj);
		return NULL;
	}
	return obj;
}

int cmd_show(int argc, char **argv)
{
	const char *name;
	struct device device;
	bool json = false;
	const struct arg_option options[] = { { "--json", &json, NULL } };
	char users[USERS_MAX] = "";
	int r;

	r = args_parse(argc, argv, options, ARRAY_SIZE(options), "NAME", &name);
	if (r)
		return r;
	r = device_find(name, &device);
	if (r)
		return r;
	if (device.node[0] &&
	    host_disk_users("", device.node + sizeof("/dev/") - 1, users, sizeof(users)) < 0)
		users[0] = '\0';
	if (json)
		r = out_json(stdout, show_json(&device, users));
	else
		out_text_show(stdout, &device, users);
	if (r < 0)
		log_errno(r, "cannot print device '%s'", device.name);
	else if (device.condition == DEVICE_ORPHAN)
		device_explain_orphan(&device);
	else if (device.condition == DEVICE_UNREADABLE)
		log_notice("only root can see the state of devices (try sudo)");
	device_fini(&device);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}
