/* SPDX-License-Identifier: MIT */
#include "vblk/host/host_vdpa.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host_file.h"

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

unsigned int host_missing_modules(const char *root)
{
	char path[PATH_MAX];
	unsigned int mask = 0;

	for (size_t i = 0; i < ARRAY_SIZE(modules); i++)
		if (host_path(path, sizeof(path), "%s%s", root, modules[i].path) < 0 ||
		    access(path, F_OK) < 0)
			mask |= modules[i].bit;
	return mask;
}

/* Appends @text to @buf as far as it fits. */
static void append(char *buf, size_t len, const char *text)
{
	size_t used = strlen(buf);

	snprintf(buf + used, len - used, "%s", text);
}

const char *host_missing_text(unsigned int mask, char *buf, size_t len)
{
	unsigned int cnt = 0;
	char names[64] = "", probe[64] = "";

	for (size_t i = 0; i < ARRAY_SIZE(modules); i++) {
		if (!(mask & modules[i].bit))
			continue;
		append(names, sizeof(names), cnt++ ? ", " : "");
		append(names, sizeof(names), modules[i].module);
		/* vdpa comes along with the others. */
		if (modules[i].bit == HOST_NO_VDPA && (mask & ~HOST_NO_VDPA))
			continue;
		append(probe, sizeof(probe), " ");
		append(probe, sizeof(probe), modules[i].module);
	}
	snprintf(buf, len,
		 "the kernel module%s %s %s not loaded: run 'modprobe -a%s'; if modprobe finds no "
		 "such module, this kernel was built without VDUSE (Debian 12: install "
		 "linux-image-6.12-amd64 and reboot)",
		 cnt == 1 ? "" : "s", names, cnt == 1 ? "is" : "are", probe);
	return buf;
}
