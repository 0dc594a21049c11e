/* SPDX-License-Identifier: MIT */
#include <stddef.h>

#include "command.h"
#include "start.h"

int cmd_serve(int argc, char **argv)
{
	static const char *const options[] = { "--detached", "--served", NULL };

	return start_daemon(argc, argv, options);
}
