/* SPDX-License-Identifier: MIT */
#include "vblk/control/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vblk/util/parse.h"

const char *vblkd_run_dir(void)
{
	const char *dir = secure_getenv("VBLKD_RUN_DIR");

	return dir && dir[0] == '/' ? dir : VBLKD_RUN_DIR;
}

int vblkd_run_path(const char *name, const char *file, char *buf, size_t len)
{
	int n;

	if (parse_device_name(name) < 0)
		return -EINVAL;
	n = snprintf(buf, len, "%s/%s%s%s", vblkd_run_dir(), name, file ? "/" : "",
		     file ? file : "");
	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}
