/* SPDX-License-Identifier: MIT */
#include "vblk/host/host_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "host_file.h"

int host_disk_claim(const char *disk, int *ret_fd)
{
	char path[PATH_MAX];
	int fd, r;

	if (!host_is_component(disk))
		return -ENOENT;
	r = host_path(path, sizeof(path), "/dev/%s", disk);
	if (r < 0)
		return r;
	/* Without O_CREAT the flag means, for a block device: only if nothing else claims it. */
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* @attr may name a file in a subdirectory, but nothing above. */
static int attr_path(const char *root, const char *disk, const char *attr, char path[PATH_MAX])
{
	if (!host_is_component(disk) || !attr[0] || strstr(attr, ".."))
		return -ENOENT;
	return host_path(path, PATH_MAX, "%s/sys/block/%s/%s", root, disk, attr);
}

int host_disk_set_queue_attr(const char *root, const char *disk, const char *attr,
			     const char *value)
{
	char path[PATH_MAX], name[128];
	int r;

	r = host_path(name, sizeof(name), "queue/%s", attr);
	if (!r)
		r = attr_path(root, disk, name, path);
	return r < 0 ? r : host_write(path, value);
}

int host_disk_get_attr(const char *root, const char *disk, const char *attr, char *buf, size_t len)
{
	char path[PATH_MAX];
	int r;

	if (!len)
		return -EINVAL;
	r = attr_path(root, disk, attr, path);
	return r < 0 ? r : host_read(path, buf, len);
}
