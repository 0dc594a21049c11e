/* SPDX-License-Identifier: MIT */
#include "start.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "launch.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/log.h"

#define OWN_WORDS_MAX 4

/* vblkd takes the arguments as they are: only it knows its options. */
int start_daemon(int argc, char **argv, const char *const *options)
{
	_cleanup_free_ char **args = NULL;
	struct launch_notice notice;
	char path[PATH_MAX];
	size_t cnt = 0;
	int code;

	if (argc == 1) {
		log_error(
			"%s needs a BACKEND: an image file, block device, mem:SIZE or null:SIZE (see 'vblkctl help %s')",
			argv[0], argv[0]);
		return EXIT_USAGE;
	}
	if (launch_find_daemon(path) < 0) {
		log_error("cannot find the program vblkd beside vblkctl or in " VBLKD_SBIN_DIR);
		return EXIT_FAILED;
	}
	args = calloc((size_t)argc + OWN_WORDS_MAX, sizeof(*args));
	if (!args) {
		log_errno(-ENOMEM, "cannot start vblkd");
		return EXIT_FAILED;
	}
	args[cnt++] = path;
	while (*options)
		args[cnt++] = (char *)*options++;
	memcpy(args + cnt, argv + 1, (size_t)(argc - 1) * sizeof(*args));
	code = launch(path, args, &notice);
	if (code == EXIT_DONE && notice.node[0])
		puts(notice.node);
	return code;
}
