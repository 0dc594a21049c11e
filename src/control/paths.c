/* SPDX-License-Identifier: MIT */
#include "vblk/control/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "vblk/util/parse.h"

/* For tests. */
static const char *other_dir(void)
{
	const char *dir = secure_getenv("VBLKD_RUN_DIR");

	return dir && dir[0] == '/' ? dir : NULL;
}

const char *vblkd_host_run_dir(void)
{
	const char *other = other_dir();

	return other ? other : VBLKD_RUN_DIR;
}

const char *vblkd_run_dir(void)
{
	static char path[PATH_MAX];
	const char *other = other_dir(), *dir = secure_getenv("XDG_RUNTIME_DIR");
	int n;

	/* The real user: root acts as another one while it starts a device. */
	if (other || getuid() == 0)
		return other ? other : VBLKD_RUN_DIR;
	if (dir && dir[0] == '/')
		n = snprintf(path, sizeof(path), "%s/vblkd", dir);
	else
		n = snprintf(path, sizeof(path), "/run/user/%u/vblkd", (unsigned int)getuid());
	return (size_t)n < sizeof(path) ? path : VBLKD_RUN_DIR;
}

static int make_path(const char *dir, const char *name, const char *file, char *buf, size_t len)
{
	int n = snprintf(buf, len, "%s/%s%s%s", dir, name, file ? "/" : "", file ? file : "");

	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

int vblkd_run_path(const char *name, const char *file, char *buf, size_t len)
{
	char own[PATH_MAX];

	if (parse_device_name(name) < 0)
		return -EINVAL;
	if (make_path(vblkd_run_dir(), name, NULL, own, sizeof(own)) == 0 && access(own, F_OK) == 0)
		return make_path(vblkd_run_dir(), name, file, buf, len);
	return make_path(vblkd_host_run_dir(), name, file, buf, len);
}
