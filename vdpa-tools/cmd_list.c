/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "out.h"
#include "vblk/util/log.h"

static json_t *list_json(const struct device *devices, size_t cnt)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < cnt; i++) {
		json_t *obj = out_json_device(&devices[i]);

		(void)json_object_del(obj, "per_queue"); /* show has it */
		if (json_array_append_new(list, obj) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* Messages about what in the table needs a hand. */
static void explain(const struct device *devices, size_t cnt)
{
	bool unreadable = false;

	for (size_t i = 0; i < cnt; i++) {
		unreadable |= devices[i].condition == DEVICE_UNREADABLE;
		if (devices[i].condition == DEVICE_ORPHAN)
			device_explain_orphan(&devices[i]);
		if (devices[i].condition == DEVICE_REMAINS)
			log_notice("'%s' is gone, its daemon was killed; 'vblkctl detach %s' "
				   "tidies up",
				   devices[i].name, devices[i].name);
	}
	if (unreadable)
		log_notice("only root can see the state of devices (try sudo)");
}

int cmd_list(int argc, char **argv)
{
	struct device *devices;
	bool json = false;
	const struct arg_option options[] = { { "--json", &json, NULL } };
	size_t cnt;
	int r;

	r = args_parse(argc, argv, options, ARRAY_SIZE(options), NULL, NULL);
	if (r)
		return r;
	r = device_list(&devices, &cnt);
	if (r < 0) {
		log_errno(r, "cannot list devices");
		return EXIT_FAILED;
	}
	if (json)
		r = out_json(stdout, list_json(devices, cnt));
	else
		out_text_list(stdout, devices, cnt);
	if (r < 0)
		log_errno(r, "cannot print the list");
	else
		explain(devices, cnt);
	device_list_free(devices, cnt);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}
