/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "vblk/control/paths.h"
#include "vblk/control/varlink.h"
#include "vblk/host/host_disk.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"
#include "vblk/util/math.h"

/* The daemon gives its backend less. */
#define REPLY_LIMIT_MS	30000
#define KERNEL_LIMIT_MS 20000u
#define STEP_MS		5u
#define SIZE_TEXT_MAX	64

static void short_pause(void)
{
	const struct timespec step = { .tv_nsec = STEP_MS * NSEC_PER_MSEC };

	nanosleep(&step, NULL);
}

static int report_error(const struct device *device, const char *error, const json_t *parameters)
{
	const char *message = json_string_value(json_object_get(parameters, "message"));

	if (!strcmp(error, VBLKD_INTERFACE ".WouldCut"))
		log_error(
			"cannot resize '%s': %s (make that smaller first; --force cuts them off all the same)",
			device->name, message ? message : error);
	else
		log_error("cannot resize '%s': %s", device->name, message ? message : error);
	return EXIT_FAILED;
}

static int report_silence(const struct device *device, int err)
{
	if (err == -ETIMEDOUT)
		log_error("'%s' was not resized in time: look with 'vblkctl show %s'", device->name,
			  device->name);
	else if (err == -ECONNREFUSED || err == -ENOENT)
		log_error("cannot resize '%s': it has no daemon; look with 'vblkctl show %s'",
			  device->name, device->name);
	else
		log_errno(err, "cannot talk to the daemon of '%s'", device->name);
	return EXIT_FAILED;
}

static json_t *request_of(uint64_t size_bytes, bool force)
{
	return size_bytes ? json_pack("{s:b, s:I}", "force", force, "size_bytes",
				      (json_int_t)size_bytes)
			  : json_pack("{s:b}", "force", force);
}

/*
 * The process that answers may be killed and started again meanwhile. Asked once
 * more its successor says the same: what was decided stays, and otherwise it is done now.
 */
static int call(const char *path, uint64_t size_bytes, bool force, json_t **ret_reply,
		char ret_error[128])
{
	uint64_t end_ns = clock_now_ns() + REPLY_LIMIT_MS * NSEC_PER_MSEC;
	int r;

	for (;;) {
		uint64_t now_ns = clock_now_ns();

		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		r = varlink_call(path, VBLKD_INTERFACE ".Resize", request_of(size_bytes, force),
				 (int)((end_ns - now_ns) / NSEC_PER_MSEC) + 1, ret_reply,
				 ret_error);
		if (r != -ECONNRESET)
			return r;
		short_pause();
	}
}

/* @ret_bytes: the size the disk has from now on. Return: an exit code, after its message. */
static int call_resize(const struct device *device, uint64_t size_bytes, bool force,
		       uint64_t *ret_bytes)
{
	char path[PATH_MAX], error[128] = "";
	json_t *reply = NULL;
	int r;

	r = vblkd_run_path(device->name, "control", path, sizeof(path));
	if (r == 0)
		r = call(path, size_bytes, force, &reply, error);
	if (r < 0)
		return report_silence(device, r);
	*ret_bytes = (uint64_t)json_integer_value(json_object_get(reply, "size_bytes"));
	r = error[0] ? report_error(device, error, reply) : EXIT_DONE;
	json_decref(reply);
	return r;
}

/* What the kernel shows; 0 when it shows no such disk. */
static uint64_t kernel_bytes(const char *disk)
{
	char text[32];
	uint64_t sectors;

	if (host_disk_get_attr("", disk, "size", text, sizeof(text)) < 0 ||
	    parse_u64(text, 0, UINT64_MAX >> SECTOR_SHIFT, &sectors) < 0)
		return 0;
	return sectors << SECTOR_SHIFT;
}

/* The driver reads the size in a thread of its own. */
static int wait_for_kernel(const struct device *device, uint64_t size_bytes)
{
	uint64_t end_ns = clock_now_ns() + KERNEL_LIMIT_MS * NSEC_PER_MSEC;
	const char *disk = device->node + strlen("/dev/");

	while (kernel_bytes(disk) != size_bytes) {
		if (clock_now_ns() >= end_ns) {
			log_error("'%s' has %" PRIu64
				  " bytes now, but the kernel still shows %" PRIu64
				  " for %s: look at its messages with dmesg",
				  device->name, size_bytes, kernel_bytes(disk), device->node);
			return EXIT_FAILED;
		}
		short_pause();
	}
	return EXIT_DONE;
}

/* "20G", or bytes where that would hide a difference to @other_bytes. */
static const char *size_text(uint64_t bytes, uint64_t other_bytes, char buf[SIZE_TEXT_MAX])
{
	char other[FORMAT_SIZE_MAX], one[FORMAT_SIZE_MAX];

	if (bytes != other_bytes &&
	    !strcmp(format_size_bytes(bytes, one), format_size_bytes(other_bytes, other)))
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 " bytes", bytes);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%s", format_size_bytes(bytes, one));
	return buf;
}

static void print_outcome(const struct device *device, uint64_t was_bytes, uint64_t now_bytes)
{
	const char *what = device->node[0] ? device->node : "the disk";
	char was[SIZE_TEXT_MAX], now[SIZE_TEXT_MAX];

	size_text(was_bytes, now_bytes, was);
	size_text(now_bytes, was_bytes, now);
	if (was_bytes == now_bytes)
		printf("%s: %s is %s, as it was\n", device->name, what, now);
	else
		printf("%s: %s is %s now (was %s)\n", device->name, what, now, was);
}

static int resize_served(const struct device *device, uint64_t size_bytes, bool force)
{
	uint64_t was_bytes = (uint64_t)device_int(device, "size_bytes"), now_bytes = 0;
	int r = call_resize(device, size_bytes, force, &now_bytes);

	if (r == EXIT_DONE && device->node[0])
		r = wait_for_kernel(device, now_bytes);
	if (r == EXIT_DONE)
		print_outcome(device, was_bytes, now_bytes);
	return r;
}

static int resize(const struct device *device, uint64_t size_bytes, bool force)
{
	char command[1024];

	switch (device->condition) {
	case DEVICE_ANSWERS:
	case DEVICE_SILENT:
		return resize_served(device, size_bytes, force);
	case DEVICE_ORPHAN:
		log_error("cannot resize '%s': its daemon is gone; take it over first: %s",
			  device->name, device_adopt_command(device, command, sizeof(command)));
		return EXIT_FAILED;
	case DEVICE_REMAINS:
		log_error("cannot resize '%s': it is dead, and only its files are left",
			  device->name);
		return EXIT_FAILED;
	case DEVICE_UNREADABLE:
		break;
	}
	log_error("cannot look at device '%s': %s", device->name, strerror(EACCES));
	return EXIT_FAILED;
}

int cmd_resize(int argc, char **argv)
{
	const char *name, *size;
	bool force = false;
	const struct arg_option options[] = { { "--force", &force, NULL } };
	uint64_t size_bytes = 0;
	struct device device;
	int r;

	r = args_parse_two(argc, argv, options, ARRAY_SIZE(options), "NAME", &name, &size);
	if (r)
		return r;
	if (size && (parse_size_bytes(size, &size_bytes) < 0 || !size_bytes)) {
		log_error("SIZE is a number of bytes, also with K, M, G or T, not '%s'", size);
		return EXIT_USAGE;
	}
	r = device_find_to_change(argv[0], name, &device);
	if (r)
		return r;
	r = resize(&device, size_bytes, force);
	device_fini(&device);
	return r;
}
