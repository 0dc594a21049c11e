/* SPDX-License-Identifier: MIT */
/* The kernel: VDUSE, its modules, the vdpa bus. */
#include "doctor.h"

#include <errno.h>
#include <string.h>

#include "vblk/host/host_module.h"

static void check_modules(struct doctor *doctor)
{
	unsigned int missing = host_missing_modules(doctor->root);
	char text[HOST_MODULE_TEXT_MAX];

	if (missing)
		doctor_say(doctor, DOCTOR_PROBLEM, "modules", "%s",
			   host_missing_text(doctor->root, missing, text, sizeof(text)));
	else
		doctor_say(doctor, DOCTOR_OK, "modules",
			   "vduse, vdpa, virtio_vdpa and virtio_blk are there");
}

static void check_vduse(struct doctor *doctor)
{
	const struct doctor_facts *facts = doctor->facts;

	if (facts->vduse_result == DOCTOR_NOT_ASKED)
		return;
	if (facts->vduse_result < 0) {
		doctor_say(doctor, DOCTOR_PROBLEM, "vduse",
			   "no VDUSE device can be made: %s; a container needs access to "
			   "/dev/vduse",
			   strerror(-facts->vduse_result));
		return;
	}
	doctor_say(doctor, DOCTOR_OK, "vduse",
		   "devices can be made; interface version 0 of 0 to %u", facts->vduse.api_max);
	if (facts->vduse.umem)
		doctor_say(doctor, DOCTOR_OK, "umem",
			   "data in flight can be in memory of vblkd's own (--umem)");
	else
		doctor_say(doctor, DOCTOR_WARNING, "umem",
			   "this kernel keeps data in flight in its own memory: --direct copies it "
			   "once more, and --umem=on does not work");
}

static void check_netlink(struct doctor *doctor)
{
	switch (doctor->facts->netlink) {
	case DOCTOR_NOT_ASKED:
		return;
	case 0:
		doctor_say(doctor, DOCTOR_OK, "netlink", "the vdpa bus takes VDUSE block devices");
		return;
	case -ETIMEDOUT:
		doctor_say(
			doctor, DOCTOR_PROBLEM, "netlink",
			"generic netlink does not answer: an attach or detach on this host hangs; "
			"see 'vblkctl list' for a disk that is stuck, and 'dmesg'");
		return;
	case -ENOENT:
		doctor_say(
			doctor, DOCTOR_PROBLEM, "netlink",
			"the vdpa bus is not to be seen from this network namespace: use that of "
			"the host");
		return;
	case -ENODEV:
		doctor_say(doctor, DOCTOR_PROBLEM, "netlink",
			   "the vdpa bus does not offer VDUSE block devices: run 'modprobe vduse'");
		return;
	default:
		doctor_say(doctor, DOCTOR_PROBLEM, "netlink", "the vdpa bus cannot be asked: %s",
			   strerror(-doctor->facts->netlink));
	}
}

void doctor_check_kernel(struct doctor *doctor)
{
	char release[HOST_RELEASE_MAX];

	doctor_say(doctor, DOCTOR_OK, "kernel", "Linux %s",
		   host_kernel_release(doctor->root, release));
	check_modules(doctor);
	check_vduse(doctor);
	check_netlink(doctor);
}
