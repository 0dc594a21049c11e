/* SPDX-License-Identifier: MIT */
/* The rest of the host: memory, our own program, the disks that are there. */
#include "doctor.h"

#include <inttypes.h>
#include <string.h>

#include "vblk/host/host_disk.h"

/* As vblkd(7) advises for swap on the disk. */
#define MIN_FREE_ADVISED_KIB 16384

static void check_memory(struct doctor *doctor)
{
	int64_t min_free_kib = doctor_read_number(doctor, "/proc/sys/vm/min_free_kbytes", -1);

	if (min_free_kib >= 0 && min_free_kib < MIN_FREE_ADVISED_KIB)
		doctor_say(doctor, DOCTOR_WARNING, "memory",
			   "vm.min_free_kbytes is %" PRId64
			   ": before you put swap on a disk of vblkd, "
			   "run 'sysctl vm.min_free_kbytes=%d'",
			   min_free_kib, MIN_FREE_ADVISED_KIB);
	else
		doctor_say(doctor, DOCTOR_OK, "memory",
			   "the kernel keeps enough free, also for swap on a disk");
	if (doctor_read_number(doctor, "/proc/sys/kernel/hung_task_panic", 0) > 0)
		doctor_say(
			doctor, DOCTOR_WARNING, "memory",
			"kernel.hung_task_panic is set: a backend that hangs brings the host down; "
			"run 'sysctl kernel.hung_task_panic=0'");
}

static void check_program(struct doctor *doctor)
{
	if (doctor->facts->has_program)
		doctor_say(doctor, DOCTOR_OK, "program", "vblkd is installed");
	else
		doctor_say(
			doctor, DOCTOR_PROBLEM, "program",
			"the program vblkd is neither beside vblkctl nor in %s: install it again",
			VBLKD_SBIN_DIR);
}

/* Return: true when nothing is wrong with it. */
static bool check_device(struct doctor *doctor, const struct device *device)
{
	char command[1024];

	switch (device->condition) {
	case DEVICE_ANSWERS:
		if (!strcmp(device_state(device), "broken"))
			doctor_say(doctor, DOCTOR_PROBLEM, "devices",
				   "'%s' is broken: run 'vblkctl detach --force %s' and attach it "
				   "again",
				   device->name, device->name);
		else if (!strcmp(device_state(device), "no server"))
			doctor_say(doctor, DOCTOR_PROBLEM, "devices",
				   "I/O on '%s' waits for the server of its backend: %s",
				   device->name, device_string(device, "server_error"));
		else if (!strcmp(device_state(device), "stuck"))
			doctor_say(
				doctor, DOCTOR_PROBLEM, "devices",
				"the backend of '%s' does not answer: 'vblkctl show %s' lists the "
				"requests",
				device->name, device->name);
		else
			return true;
		return false;
	case DEVICE_SILENT:
		doctor_say(doctor, DOCTOR_WARNING, "devices",
			   "the daemon of '%s' runs but does not answer: try again, then look at "
			   "'journalctl -t vblkd'",
			   device->name);
		return false;
	case DEVICE_ORPHAN:
		doctor_say(doctor, DOCTOR_PROBLEM, "devices",
			   "'%s' has no daemon, and I/O on it waits: run '%s'", device->name,
			   device_adopt_command(device, command, sizeof(command)));
		return false;
	case DEVICE_REMAINS:
		doctor_say(doctor, DOCTOR_WARNING, "devices",
			   "'%s' is gone, its daemon was killed: run 'vblkctl detach %s'",
			   device->name, device->name);
		return false;
	case DEVICE_UNREADABLE:
		return false;
	}
	return true;
}

/* The scheduler of a disk that does not turn: with any other the kernel sorts for nothing. */
static void check_scheduler(struct doctor *doctor, const struct device *device)
{
	const char *disk = device->node + sizeof("/dev/") - 1;
	char scheduler[128], rotational[8];

	if (!device->node[0] ||
	    host_disk_get_attr(doctor->root, disk, "queue/scheduler", scheduler,
			       sizeof(scheduler)) < 0 ||
	    host_disk_get_attr(doctor->root, disk, "queue/rotational", rotational,
			       sizeof(rotational)) < 0)
		return;
	if (rotational[0] == '0' && !strstr(scheduler, "[none]"))
		doctor_say(doctor, DOCTOR_WARNING, "devices",
			   "%s has an I/O scheduler, which costs speed: run 'echo none "
			   ">/sys/block/%s/queue/scheduler'",
			   device->node, disk);
}

static void check_devices(struct doctor *doctor)
{
	size_t good_cnt = 0;

	for (size_t i = 0; i < doctor->device_cnt; i++) {
		good_cnt += check_device(doctor, &doctor->devices[i]);
		check_scheduler(doctor, &doctor->devices[i]);
	}
	if (good_cnt == doctor->device_cnt && good_cnt)
		doctor_say(doctor, DOCTOR_OK, "devices", "%zu, all served", good_cnt);
}

void doctor_check_host(struct doctor *doctor)
{
	check_memory(doctor);
	check_program(doctor);
	check_devices(doctor);
}
