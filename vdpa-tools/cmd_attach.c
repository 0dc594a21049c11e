/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "launch.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/log.h"

/* vblkd takes the arguments as they are: only it knows its options. */
int cmd_attach(int argc, char **argv)
{
	_cleanup_free_ char **args = NULL;
	struct launch_notice notice;
	char path[PATH_MAX];
	int code;

	if (argc == 1) {
		log_error("attach needs a BACKEND: an image file, block device, mem:SIZE or "
			  "null:SIZE (see 'vblkctl help attach')");
		return EXIT_USAGE;
	}
	if (geteuid() != 0) {
		log_error("attach needs root (try sudo)");
		return EXIT_FAILED;
	}
	if (launch_find_daemon(path) < 0) {
		log_error("cannot find the program vblkd beside vblkctl or in " VBLKD_SBIN_DIR);
		return EXIT_FAILED;
	}
	args = calloc((size_t)argc + 2, sizeof(*args));
	if (!args) {
		log_errno(-ENOMEM, "cannot start vblkd");
		return EXIT_FAILED;
	}
	args[0] = path;
	args[1] = (char[]){ "--detached" };
	memcpy(args + 2, argv + 1, (size_t)(argc - 1) * sizeof(*args));
	code = launch(path, args, &notice);
	if (code == EXIT_DONE && notice.node[0])
		puts(notice.node);
	return code;
}
