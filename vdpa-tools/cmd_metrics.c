/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "metrics.h"
#include "stats.h"
#include "vblk/util/log.h"

static int print_devices(const struct device *devices, size_t cnt)
{
	struct metrics_device *list = calloc(cnt + 1, sizeof(*list));

	if (!list) {
		log_error("out of memory");
		return EXIT_FAILED;
	}
	for (size_t i = 0; i < cnt; i++) {
		json_t *stats = NULL;

		/* One that does not answer has no statistics, but a state. */
		if (stats_ask(devices[i].name, &stats) < 0)
			stats = NULL;
		list[i] = (struct metrics_device){
			.name = devices[i].name,
			.node = devices[i].node,
			.status = devices[i].status,
			.stats = stats,
		};
	}
	metrics_print(stdout, list, cnt);
	for (size_t i = 0; i < cnt; i++)
		json_decref((json_t *)list[i].stats);
	free(list);
	return EXIT_DONE;
}

static int print_all(void)
{
	struct device *devices;
	size_t cnt;
	int r = device_list(&devices, &cnt);

	if (r < 0) {
		log_errno(r, "cannot list devices");
		return EXIT_FAILED;
	}
	r = print_devices(devices, cnt);
	device_list_free(devices, cnt);
	return r;
}

int cmd_metrics(int argc, char **argv)
{
	struct device device;
	const char *name;
	int r;

	r = args_parse_optional(argc, argv, NULL, 0, &name);
	if (r)
		return r;
	if (!name)
		return print_all();
	r = device_find(name, &device);
	if (r)
		return r;
	r = print_devices(&device, 1);
	device_fini(&device);
	return r;
}
