/* SPDX-License-Identifier: MIT */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "vblk/control/paths.h"
#include "vblk/control/varlink.h"
#include "vblk/util/log.h"

#define ANSWER_TIMEOUT_MS 5000

static int set_level(const char *name, const char *level)
{
	char path[PATH_MAX], error[128] = "";
	json_t *reply = NULL;
	int r;

	r = vblkd_run_path(name, "control", path, sizeof(path));
	if (r == 0)
		r = varlink_call(path, VBLKD_INTERFACE ".SetLogLevel",
				 json_pack("{s:s}", "level", level), ANSWER_TIMEOUT_MS, &reply,
				 error);
	if (r < 0) {
		log_errno(r, "the daemon of '%s' does not answer ('vblkctl show %s' tells more)",
			  name, name);
		return EXIT_FAILED;
	}
	json_decref(reply);
	if (!error[0])
		return EXIT_DONE;
	log_error("the daemon of '%s' refuses: %s", name, error);
	return EXIT_FAILED;
}

int cmd_log_level(int argc, char **argv)
{
	const char *name, *text;
	enum log_level level;
	struct device device;
	int r;

	r = args_parse_two(argc, argv, NULL, 0, "NAME", &name, &text);
	if (r)
		return r;
	if (!text || log_level_parse(text, &level) < 0) {
		log_error("log-level needs a LEVEL: error, warning, notice, info or debug");
		return EXIT_USAGE;
	}
	r = device_find(name, &device);
	if (r)
		return r;
	r = set_level(device.name, text);
	device_fini(&device);
	return r;
}
