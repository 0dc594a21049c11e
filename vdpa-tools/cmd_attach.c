/* SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "command.h"
#include "start.h"
#include "vblk/util/log.h"

int cmd_attach(int argc, char **argv)
{
	static const char *const options[] = { "--detached", NULL };

	if (argc > 1 && geteuid() != 0) {
		log_error("attach needs root (try sudo)");
		return EXIT_FAILED;
	}
	return start_daemon(argc, argv, options);
}
