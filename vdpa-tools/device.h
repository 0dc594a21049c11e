/* SPDX-License-Identifier: MIT */
/* The devices of this host, as the kernel, the run directory and the daemons show them. */
#ifndef VBLKCTL_DEVICE_H
#define VBLKCTL_DEVICE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "vblk/host/host_vdpa.h"
#include "vblk/util/compiler.h"
#include "vblk/util/parse.h"

enum device_condition {
	DEVICE_ANSWERS,	   /* status is live */
	DEVICE_SILENT,	   /* its daemon runs but does not answer */
	DEVICE_ORPHAN,	   /* the kernel has it, no daemon does: I/O waits */
	DEVICE_REMAINS,	   /* only its run directory is left */
	DEVICE_UNREADABLE, /* we may not ask: not root */
};

/**
 * struct device - what is known of one device
 * @status: owned object; fields of io.vblkd.Device Status, live or from state.json, or none
 * @node: "/dev/vda" or ""
 * @served: on a socket: the kernel knows nothing of it
 * @has_vduse: the VDUSE device exists; @on_bus: the vdpa device exists
 */
struct device {
	char name[DEVICE_NAME_MAX + 1];
	enum device_condition condition;
	json_t *status;
	char node[HOST_NODE_MAX + 8];
	bool served;
	bool has_vduse;
	bool on_bus;
};

/**
 * device_load() - look at device @name
 * Return: 0; -ENODEV there is none of ours; -EINVAL no device name; -ENOMEM.
 */
int device_load(const char *name, struct device *ret_device) VBLK_MUST_CHECK;
void device_fini(struct device *device);

/* All devices of ours, by name. Return: 0 and an owned array; -errno. */
int device_list(struct device **ret_devices, size_t *ret_cnt) VBLK_MUST_CHECK;
void device_list_free(struct device *devices, size_t cnt);

/**
 * device_find() - by name, or by the path of its node or socket
 * Return: 0; EXIT_FAILED after a message.
 */
int device_find(const char *name_or_node, struct device *ret_device) VBLK_MUST_CHECK;
/* The same for @command, which changes it: that may root, and who made it. */
int device_find_to_change(const char *command, const char *name_or_node,
			  struct device *ret_device) VBLK_MUST_CHECK;

/* One word or two for STATE. Borrowed from @device. */
const char *device_state(const struct device *device);

/* Fields of the status; "" or 0 when it has none. */
const char *device_string(const struct device *device, const char *key);
json_int_t device_int(const struct device *device, const char *key);

/* The vblkctl command that takes an orphan over, quoted for a shell, as state.json recorded
 * it; with BACKEND as a placeholder when it did not. Return: @buf. */
const char *device_adopt_command(const struct device *device, char *buf, size_t len);

/* One message on stderr: what an orphan is and what to do. */
void device_explain_orphan(const struct device *device);

/**
 * device_is_locked() - does any process hold a flock(2) on @path?
 * Without taking it: a daemon that starts just then must not find it taken.
 * Return: 1; 0 also when there is no such file; -errno, -EACCES we may not look.
 */
int device_is_locked(const char *path);

#endif
