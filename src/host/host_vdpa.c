/* SPDX-License-Identifier: MIT */
#include "vblk/host/host_vdpa.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host_file.h"

#define DRIVER "virtio_vdpa"

/* /sys/bus/vdpa/devices/NAME. Return: 0; -ENODEV it is not there. */
static int device_dir(const char *root, const char *name, char path[PATH_MAX])
{
	if (!host_is_component(name))
		return -ENODEV;
	if (host_path(path, PATH_MAX, "%s/sys/bus/vdpa/devices/%s", root, name) < 0)
		return -ENODEV;
	return access(path, F_OK) < 0 ? -ENODEV : 0;
}

int host_vdpa_driver(const char *root, const char *name, char ret_driver[HOST_NODE_MAX])
{
	char dir[PATH_MAX], path[PATH_MAX];
	int r;

	r = device_dir(root, name, dir);
	if (r < 0)
		return r;
	r = host_path(path, sizeof(path), "%s/driver", dir);
	if (r < 0)
		return r;
	r = host_link_name(path, ret_driver, HOST_NODE_MAX);
	if (r == -ENOENT) {
		ret_driver[0] = '\0';
		return 0;
	}
	return r;
}

/* Writes @name to an attribute of a driver or device. */
static int write_attr(const char *root, const char *dir, const char *attr, const char *text)
{
	char path[PATH_MAX];
	int r;

	r = host_path(path, sizeof(path), "%s/sys/bus/vdpa/%s/%s", root, dir, attr);
	return r < 0 ? r : host_write(path, text);
}

static int is_bound(const char *root, const char *name, char ret_driver[HOST_NODE_MAX])
{
	int r = host_vdpa_driver(root, name, ret_driver);

	return r < 0 ? r : !strcmp(ret_driver, DRIVER);
}

int host_vdpa_bind(const char *root, const char *name)
{
	char driver[HOST_NODE_MAX], dir[PATH_MAX];
	int r;

	r = is_bound(root, name, driver);
	if (r)
		return r < 0 ? r : 0;
	r = host_path(dir, sizeof(dir), "devices/%s", name);
	if (r < 0)
		return r;
	/* First, so that no other driver may take it between unbind and bind. Kernels
	 * before 5.17 have no such file. */
	r = write_attr(root, dir, "driver_override", DRIVER);
	if (r < 0 && r != -ENOENT)
		return r;
	if (driver[0]) {
		r = host_path(dir, sizeof(dir), "drivers/%s", driver);
		if (!r)
			r = write_attr(root, dir, "unbind", name);
		if (r < 0)
			return r;
	}
	r = write_attr(root, "drivers/" DRIVER, "bind", name);
	/* Somebody else (udev, driverctl) may have done the same meanwhile. */
	if (r < 0 && is_bound(root, name, driver) == 1)
		return 0;
	return r;
}

/* First name in a directory that begins with a prefix. */
struct find {
	const char *prefix;
	const char *subdir; /* that must be in it, or NULL */
	const char *dir;
	char *ret_name;
};

static int find_one(const char *name, void *ctx)
{
	const struct find *find = ctx;
	char path[PATH_MAX];

	if (strncmp(name, find->prefix, strlen(find->prefix)) != 0)
		return 0;
	if (find->subdir) {
		if (host_path(path, sizeof(path), "%s/%s/%s", find->dir, name, find->subdir) < 0 ||
		    access(path, F_OK) < 0)
			return 0;
	}
	if (host_path(find->ret_name, HOST_NODE_MAX, "%s", name) < 0)
		return 0;
	return 1;
}

int host_vdpa_disk(const char *root, const char *name, char ret_disk[HOST_NODE_MAX])
{
	char dir[PATH_MAX], block[PATH_MAX], virtio[HOST_NODE_MAX], disk[HOST_NODE_MAX];
	struct find find = { .prefix = "virtio", .subdir = "block", .ret_name = virtio };
	int r;

	r = device_dir(root, name, dir);
	if (r < 0)
		return r;
	find.dir = dir;
	if (host_dir_each(dir, find_one, &find) != 1)
		return -ENXIO;
	r = host_path(block, sizeof(block), "%s/%s/block", dir, virtio);
	if (r < 0)
		return r;
	find = (struct find){ .prefix = "", .ret_name = disk };
	if (host_dir_each(block, find_one, &find) != 1)
		return -ENXIO;
	memcpy(ret_disk, disk, sizeof(disk));
	return 0;
}

struct each {
	void (*fn)(const char *name, void *ctx);
	void *ctx;
};

static int each_one(const char *name, void *ctx)
{
	const struct each *each = ctx;

	if (strcmp(name, "control") != 0)
		each->fn(name, each->ctx);
	return 0;
}

int host_vduse_id(const char *root, const char *name, uint64_t *ret_id)
{
	char path[PATH_MAX];
	struct stat st;
	int r;

	if (!host_is_component(name))
		return -ENODEV;
	r = host_path(path, sizeof(path), "%s/sys/class/vduse/%s", root, name);
	if (r < 0)
		return r;
	/* The kernel numbers what is in sysfs and uses no number twice. */
	if (stat(path, &st) < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	*ret_id = st.st_ino;
	return 0;
}

int host_vduse_each(const char *root, void (*fn)(const char *name, void *ctx), void *ctx)
{
	struct each each = { fn, ctx };
	char path[PATH_MAX];
	int r;

	r = host_path(path, sizeof(path), "%s/sys/class/vduse", root);
	if (!r)
		r = host_dir_each(path, each_one, &each);
	return r == -ENOENT ? 0 : r;
}
