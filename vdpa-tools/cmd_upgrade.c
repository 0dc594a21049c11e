/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "vblk/control/paths.h"
#include "vblk/control/varlink.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"

/* The new program has 5 s to say that it can, and stuck I/O 2 s to come unstuck. */
#define REPLY_TIMEOUT_MS 15000
#define SERVE_TIMEOUT_MS 30000
#define POLL_STEP_MS	 10

/* Return: 0; EXIT_FAILED after a message. */
static int check_condition(const struct device *device)
{
	char command[1024];

	switch (device->condition) {
	case DEVICE_ANSWERS:
		return 0;
	case DEVICE_SILENT:
		log_error("cannot upgrade '%s': its daemon (pid %" JSON_INTEGER_FORMAT
			  ") does not answer; look in the journal",
			  device->name, device_int(device, "pid"));
		return EXIT_FAILED;
	case DEVICE_ORPHAN:
	case DEVICE_REMAINS:
		log_error("cannot upgrade '%s': its daemon is gone; start the new one with: %s",
			  device->name, device_adopt_command(device, command, sizeof(command)));
		return EXIT_FAILED;
	case DEVICE_UNREADABLE:
		break;
	}
	log_error("cannot look at device '%s': %s", device->name, strerror(EACCES));
	return EXIT_FAILED;
}

/* Return: 0 also when the daemon was replaced before it answered; EXIT_FAILED after a message. */
static int call_upgrade(const struct device *device)
{
	char path[PATH_MAX], error[128] = "";
	const char *message;
	json_t *reply = NULL;
	int r;

	r = vblkd_run_path(device->name, "control", path, sizeof(path));
	if (r == 0)
		r = varlink_call(path, VBLKD_INTERFACE ".Upgrade", NULL, REPLY_TIMEOUT_MS, &reply,
				 error);
	if (r == -ECONNRESET)
		return 0;
	if (r < 0) {
		log_errno(r, "cannot talk to the daemon of '%s'", device->name);
		return EXIT_FAILED;
	}
	message = json_string_value(json_object_get(reply, "message"));
	if (strstr(error, "MethodNotFound"))
		log_error("cannot upgrade '%s': vblkd %s cannot be replaced while it runs; detach "
			  "and attach it",
			  device->name, device_string(device, "version"));
	else if (error[0])
		log_error("cannot upgrade '%s', which goes on as it was: %s", device->name,
			  message ? message : error);
	json_decref(reply);
	return error[0] ? EXIT_FAILED : 0;
}

static bool is_upgraded(const struct device *now, const struct device *before)
{
	return now->condition == DEVICE_ANSWERS && !strcmp(device_string(now, "state"), "ready") &&
	       device_int(now, "upgrades") > device_int(before, "upgrades");
}

static void report_end(const char *name, bool answers)
{
	if (answers)
		log_error("'%s' was not upgraded, its data path was started again meanwhile: try "
			  "again",
			  name);
	else
		log_error("'%s' does not serve after the upgrade: look with 'vblkctl show %s' and "
			  "in the journal",
			  name, name);
}

/* Return: 0; EXIT_FAILED after a message. */
static int wait_until_it_serves(const struct device *before)
{
	const struct timespec step = { .tv_nsec = POLL_STEP_MS * NSEC_PER_MSEC };
	uint64_t end_ns = clock_now_ns() + SERVE_TIMEOUT_MS * NSEC_PER_MSEC;
	bool answers = false, gone = false;
	struct device now;

	while (!gone && clock_now_ns() < end_ns && device_load(before->name, &now) == 0) {
		bool done = is_upgraded(&now, before);

		if (done)
			printf("%s: upgraded, vblkd %s -> %s\n", before->name,
			       device_string(before, "version"), device_string(&now, "version"));
		answers = now.condition == DEVICE_ANSWERS;
		gone = now.condition == DEVICE_ORPHAN || now.condition == DEVICE_REMAINS ||
		       device_int(&now, "pid") != device_int(before, "pid");
		device_fini(&now);
		if (done)
			return 0;
		(void)nanosleep(&step, NULL);
	}
	report_end(before->name, answers);
	return EXIT_FAILED;
}

int cmd_upgrade(int argc, char **argv)
{
	struct device device;
	const char *name;
	int r;

	r = args_parse(argc, argv, NULL, 0, "NAME", &name);
	if (r)
		return r;
	r = device_find_to_change(argv[0], name, &device);
	if (r)
		return r;
	r = check_condition(&device);
	if (!r)
		r = call_upgrade(&device);
	if (!r)
		r = wait_until_it_serves(&device);
	device_fini(&device);
	return r ? EXIT_FAILED : EXIT_DONE;
}
