/* SPDX-License-Identifier: MIT */
#include "vblk/host/host_module.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host_file.h"
#include "vblk/util/math.h"

static const struct {
	unsigned int bit;
	const char *path;
	const char *module;
} modules[] = {
	{ HOST_NO_VDUSE, "/dev/vduse/control", "vduse" },
	{ HOST_NO_VDPA, "/sys/bus/vdpa", "vdpa" },
	{ HOST_NO_VIRTIO_VDPA, "/sys/bus/vdpa/drivers/virtio_vdpa", "virtio_vdpa" },
	{ HOST_NO_VIRTIO_BLK, "/sys/bus/virtio/drivers/virtio_blk", "virtio_blk" },
};

static bool exists(const char *root, const char *path)
{
	char full[PATH_MAX];

	return host_path(full, sizeof(full), "%s%s", root, path) == 0 && access(full, F_OK) == 0;
}

unsigned int host_missing_modules(const char *root)
{
	unsigned int mask = 0;

	for (size_t i = 0; i < ARRAY_SIZE(modules); i++)
		if (!exists(root, modules[i].path))
			mask |= modules[i].bit;
	return mask;
}

const char *host_kernel_release(const char *root, char buf[HOST_RELEASE_MAX])
{
	char path[PATH_MAX];

	if (host_path(path, sizeof(path), "%s/proc/sys/kernel/osrelease", root) < 0 ||
	    host_read(path, buf, HOST_RELEASE_MAX) < 0)
		buf[0] = '\0';
	return buf;
}

/* Is "kernel/drivers/.../MODULE.ko" or ".ko.xz: ..." such a line? File names may have '-'. */
static bool line_names(char *line, const char *module)
{
	char *end = strstr(line, ".ko"), *base;

	if (!end)
		return false;
	*end = '\0';
	base = strrchr(line, '/');
	base = base ? base + 1 : line;
	for (char *p = base; *p; p++)
		if (*p == '-')
			*p = '_';
	return !strcmp(base, module);
}

/* Return: 1 it is listed; 0 it is not; -1 there is no such list. */
static int is_listed(const char *root, const char *release, const char *list, const char *module)
{
	char path[PATH_MAX], *line = NULL;
	size_t size = 0;
	int found = 0;
	FILE *f;

	if (host_path(path, sizeof(path), "%s/lib/modules/%s/%s", root, release, list) < 0)
		return -1;
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (!found && getline(&line, &size, f) > 0)
		found = line_names(line, module);
	free(line);
	fclose(f);
	return found;
}

enum host_module_state host_module_state(const char *root, const char *release, const char *module)
{
	char path[PATH_MAX];
	int listed;

	if (host_path(path, sizeof(path), "/sys/module/%s", module) == 0 && exists(root, path))
		return HOST_MODULE_LOADED;
	if (is_listed(root, release, "modules.builtin", module) > 0)
		return HOST_MODULE_LOADED;
	listed = is_listed(root, release, "modules.dep", module);
	if (listed < 0)
		return HOST_MODULE_NO_TREE;
	return listed ? HOST_MODULE_LOADABLE : HOST_MODULE_NONE;
}

/* Appends @text to @buf as far as it fits. */
static void append(char *buf, size_t len, const char *text)
{
	size_t used = strlen(buf);

	snprintf(buf + used, len - used, "%s", text);
}

/**
 * struct missing - what host_missing_text() found
 * @names: "vduse, virtio_vdpa"; @probe: " vduse virtio_vdpa", for modprobe; @none: those that
 *         this kernel does not have
 * @hidden: the module is there, what it makes is not
 */
struct missing {
	unsigned int cnt;
	char names[64];
	char probe[64];
	char none[64];
	bool no_tree;
	bool hidden;
};

static void look(const char *root, const char *release, unsigned int mask, struct missing *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(modules); i++) {
		if (!(mask & modules[i].bit))
			continue;
		append(ret->names, sizeof(ret->names), ret->cnt++ ? ", " : "");
		append(ret->names, sizeof(ret->names), modules[i].module);
		/* vdpa comes along with the others. */
		if (modules[i].bit == HOST_NO_VDPA && (mask & ~HOST_NO_VDPA))
			continue;
		append(ret->probe, sizeof(ret->probe), " ");
		append(ret->probe, sizeof(ret->probe), modules[i].module);
		switch (host_module_state(root, release, modules[i].module)) {
		case HOST_MODULE_LOADED:
			ret->hidden = true;
			break;
		case HOST_MODULE_LOADABLE:
			break;
		case HOST_MODULE_NONE:
			append(ret->none, sizeof(ret->none), ret->none[0] ? ", " : "");
			append(ret->none, sizeof(ret->none), modules[i].module);
			break;
		case HOST_MODULE_NO_TREE:
			ret->no_tree = true;
			break;
		}
	}
}

const char *host_missing_text(const char *root, unsigned int mask, char *buf, size_t len)
{
	char release[HOST_RELEASE_MAX], advice[HOST_MODULE_TEXT_MAX / 2];
	struct missing missing = { .cnt = 0 };

	host_kernel_release(root, release);
	look(root, release, mask, &missing);
	if (missing.none[0])
		snprintf(buf, len, "this kernel (%s) comes without %s: %s", release, missing.none,
			 host_kernel_advice(root, release, advice, sizeof(advice)));
	else if (missing.no_tree)
		snprintf(
			buf, len,
			"the kernel has no %s, and no modules to load (/lib/modules/%s is missing): "
			"reboot if the kernel was updated; in a container load them on the host; "
			"otherwise %s",
			missing.names, release,
			host_kernel_advice(root, release, advice, sizeof(advice)));
	else if (missing.hidden)
		snprintf(
			buf, len,
			"the module behind %s is loaded but not to be seen here: a container needs "
			"/dev/vduse/control and /sys of the host",
			missing.names);
	else
		snprintf(buf, len, "the kernel module%s %s %s not loaded: run 'modprobe -a%s'",
			 missing.cnt == 1 ? "" : "s", missing.names,
			 missing.cnt == 1 ? "is" : "are", missing.probe);
	return buf;
}
