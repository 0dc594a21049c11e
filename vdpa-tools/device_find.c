/* SPDX-License-Identifier: MIT */
#include "device.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "vblk/control/paths.h"
#include "vblk/control/varlink.h"
#include "vblk/util/log.h"
#include "vblk/util/suggest.h"
#include "vblk/vduse/vduse_ctl.h"

#define ANSWER_TIMEOUT_MS 1000

/* The vendor that the virtio device on top of vdpa device @name shows: sysfs tells without
 * generic netlink, which may be stuck just when somebody wants to know. */
static bool has_our_vendor(const char *name)
{
	char pattern[PATH_MAX];
	unsigned int vendor = 0;
	glob_t found;
	FILE *f;

	snprintf(pattern, sizeof(pattern), "/sys/bus/vdpa/devices/%s/virtio*/vendor", name);
	if (glob(pattern, 0, NULL, &found) != 0)
		return false;
	f = fopen(found.gl_pathv[0], "re");
	globfree(&found);
	if (!f)
		return false;
	if (fscanf(f, "%x", &vendor) != 1)
		vendor = 0;
	fclose(f);
	return vendor == VDUSE_VENDOR_ID;
}

static void load_kernel(struct device *device)
{
	char path[PATH_MAX], disk[HOST_NODE_MAX];
	int r;

	snprintf(path, sizeof(path), "/sys/class/vduse/%s", device->name);
	device->has_vduse = access(path, F_OK) == 0;
	r = host_vdpa_disk("", device->name, disk);
	device->on_bus = r != -ENODEV;
	device->node[0] = '\0';
	if (!r)
		snprintf(device->node, sizeof(device->node), "/dev/%s", disk);
}

/* Return: an owned object, or NULL. */
static json_t *ask_daemon(const char *name)
{
	json_t *reply, *status;
	char path[PATH_MAX], error[128];

	if (vblkd_run_path(name, "control", path, sizeof(path)) < 0 ||
	    varlink_call(path, VBLKD_INTERFACE ".GetStatus", NULL, ANSWER_TIMEOUT_MS, &reply,
			 error) < 0)
		return NULL;
	status = json_object_get(reply, "status");
	status = !error[0] && json_is_object(status) ? json_incref(status) : NULL;
	json_decref(reply);
	return status;
}

static json_t *read_state(const char *name)
{
	char path[PATH_MAX];
	json_t *state;

	if (vblkd_run_path(name, "state.json", path, sizeof(path)) < 0)
		return NULL;
	state = json_load_file(path, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(state))
		return state;
	json_decref(state);
	return NULL;
}

static enum device_condition find_condition(const struct device *device)
{
	char path[PATH_MAX];
	int r = 0;

	if (!vblkd_run_path(device->name, "lock", path, sizeof(path)))
		r = device_is_locked(path);
	if (r < 0)
		return DEVICE_UNREADABLE;
	if (r > 0)
		return DEVICE_SILENT;
	return device->has_vduse ? DEVICE_ORPHAN : DEVICE_REMAINS;
}

/* Is @dir in a run directory of one who is not root, and so no disk of this host? */
static bool is_of_a_user(const char *dir)
{
	const char *host = vblkd_host_run_dir();

	return strncmp(dir, host, strlen(host)) != 0;
}

int device_load(const char *name, struct device *ret_device)
{
	struct device device = { .condition = DEVICE_ANSWERS };
	char dir[PATH_MAX];
	bool answers;

	if (parse_device_name(name) < 0 || vblkd_run_path(name, NULL, dir, sizeof(dir)) < 0)
		return -EINVAL;
	strcpy(device.name, name);
	device.status = ask_daemon(name);
	answers = device.status != NULL;
	if (!answers)
		device.status = read_state(name);
	if (!device.status)
		device.status = json_object();
	if (!device.status)
		return -ENOMEM;
	device.served = is_of_a_user(dir) || device_string(&device, "socket")[0];
	if (!device.served)
		load_kernel(&device);
	if (access(dir, F_OK) < 0 && !(device.has_vduse && has_our_vendor(name))) {
		device_fini(&device);
		return -ENODEV;
	}
	if (!answers)
		device.condition = find_condition(&device);
	*ret_device = device;
	return 0;
}

void device_fini(struct device *device)
{
	json_decref(device->status);
	device->status = NULL;
}

struct names {
	char (*name)[DEVICE_NAME_MAX + 1];
	size_t cnt;
	int error;
};

static void add_name(const char *name, void *ctx)
{
	struct names *names = ctx;
	char(*grown)[DEVICE_NAME_MAX + 1];

	/* Others name their devices as they like; ours pass. */
	if (parse_device_name(name) < 0)
		return;
	for (size_t i = 0; i < names->cnt; i++)
		if (!strcmp(names->name[i], name))
			return;
	grown = realloc(names->name, (names->cnt + 1) * sizeof(*names->name));
	if (!grown) {
		names->error = -ENOMEM;
		return;
	}
	names->name = grown;
	strcpy(names->name[names->cnt++], name);
}

static void add_run_dir_names(const char *path, struct names *names)
{
	DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			add_name(entry->d_name, names);
	if (dir)
		closedir(dir);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int load_all(const struct names *names, struct device **ret_devices, size_t *ret_cnt)
{
	struct device *devices = calloc(names->cnt + 1, sizeof(*devices));
	size_t cnt = 0;

	if (!devices)
		return -ENOMEM;
	for (size_t i = 0; i < names->cnt; i++) {
		int r = device_load(names->name[i], &devices[cnt]);

		if (!r)
			cnt++;
		else if (r == -ENOMEM) {
			device_list_free(devices, cnt);
			return r;
		}
	}
	*ret_devices = devices;
	*ret_cnt = cnt;
	return 0;
}

int device_list(struct device **ret_devices, size_t *ret_cnt)
{
	struct names names = { .cnt = 0 };
	int r;

	add_run_dir_names(vblkd_run_dir(), &names);
	add_run_dir_names(vblkd_host_run_dir(), &names);
	r = host_vduse_each("", add_name, &names);
	if (!r)
		r = names.error;
	if (names.cnt)
		qsort(names.name, names.cnt, sizeof(*names.name), compare_names);
	if (!r)
		r = load_all(&names, ret_devices, ret_cnt);
	free(names.name);
	return r;
}

void device_list_free(struct device *devices, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++)
		device_fini(&devices[i]);
	free(devices);
}

static bool is_at(const struct device *device, const char *path)
{
	const char *where = device->served ? device_string(device, "socket") : device->node;

	return where[0] && !strcmp(where, path);
}

/* The name of the device with this node or socket; false when there is none. */
static bool name_of_node(const char *node, char ret_name[DEVICE_NAME_MAX + 1])
{
	struct device *devices;
	char real[PATH_MAX];
	bool found = false;
	size_t cnt;

	/* /dev/disk/by-id/virtio-... are links to it */
	if (!realpath(node, real))
		snprintf(real, sizeof(real), "%s", node);
	if (device_list(&devices, &cnt) < 0)
		return false;
	for (size_t i = 0; i < cnt && !found; i++) {
		found = is_at(&devices[i], real) || is_at(&devices[i], node);
		if (found)
			strcpy(ret_name, devices[i].name);
	}
	device_list_free(devices, cnt);
	return found;
}

/* As device_find() ends when there is none of that name. */
static void explain_no_device(const char *name)
{
	const char *near = NULL, **names;
	struct device *devices;
	size_t cnt;

	if (device_list(&devices, &cnt) < 0) {
		devices = NULL;
		cnt = 0;
	}
	names = calloc(cnt + 1, sizeof(*names));
	for (size_t i = 0; names && i < cnt; i++)
		names[i] = devices[i].name;
	if (names)
		near = suggest_word(name, names, cnt);
	if (near)
		log_error("no device named '%s'; did you mean '%s'?", name, near);
	else
		log_error("no device named '%s' ('vblkctl list' shows all)", name);
	free(names);
	device_list_free(devices, cnt);
}

int device_find(const char *name_or_node, struct device *ret_device)
{
	char name[DEVICE_NAME_MAX + 1];
	int r;

	if (name_or_node[0] == '/') {
		if (!name_of_node(name_or_node, name)) {
			log_error("no device of vblkd is %s ('vblkctl list' shows all)",
				  name_or_node);
			return EXIT_FAILED;
		}
		name_or_node = name;
	}
	r = device_load(name_or_node, ret_device);
	if (!r)
		return 0;
	if (r == -ENODEV || r == -EINVAL)
		explain_no_device(name_or_node);
	else
		log_errno(r, "cannot look at device '%s'", name_or_node);
	return EXIT_FAILED;
}

static bool is_ours(const char *name)
{
	char dir[PATH_MAX];
	struct stat st;

	return vblkd_run_path(name, NULL, dir, sizeof(dir)) == 0 && stat(dir, &st) == 0 &&
	       st.st_uid == geteuid();
}

int device_find_to_change(const char *command, const char *name_or_node, struct device *ret_device)
{
	bool is_root = geteuid() == 0;

	/* Who can see none means one of root's. */
	if (is_root || access(vblkd_run_dir(), R_OK | X_OK) == 0) {
		int r = device_find(name_or_node, ret_device);

		if (r || is_root || is_ours(ret_device->name))
			return r;
		device_fini(ret_device);
	}
	log_error("%s needs root (try sudo)", command);
	return EXIT_FAILED;
}

const char *device_string(const struct device *device, const char *key)
{
	const char *value = json_string_value(json_object_get(device->status, key));

	return value ? value : "";
}

json_int_t device_int(const struct device *device, const char *key)
{
	return json_integer_value(json_object_get(device->status, key));
}

const char *device_state(const struct device *device)
{
	const char *state;

	switch (device->condition) {
	case DEVICE_ANSWERS:
		if (json_is_true(json_object_get(device->status, "broken")))
			return "broken";
		state = device_string(device, "state");
		if (strcmp(state, "ready") != 0)
			return state[0] ? state : "unknown";
		if (json_is_false(json_object_get(device->status, "server_connected")))
			return "no server";
		return device_int(device, "stuck") > 0 ? "stuck" : state;
	case DEVICE_SILENT:
		return "not answering";
	case DEVICE_ORPHAN:
		return "orphan";
	case DEVICE_REMAINS:
		return "dead";
	case DEVICE_UNREADABLE:
		return "unknown";
	}
	return "unknown";
}
