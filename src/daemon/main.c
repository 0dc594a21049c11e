/* SPDX-License-Identifier: MIT */
#include <malloc.h>
#include <stdlib.h>

#include "keeper.h"
#include "options.h"
#include "vblk/util/log.h"

#define EXIT_USAGE 2

int main(int argc, char **argv)
{
	struct vblkd_config config;
	int code = EXIT_SUCCESS;

	/* An arena a thread would be 64 MiB each of address space that gets locked. */
	(void)mallopt(M_ARENA_MAX, 1);
	log_setup("vblkd", LOG_TARGET_STDERR, LOG_LEVEL_INFO);
	config_init(&config);
	switch (options_parse(argc, argv, &config)) {
	case OPTIONS_DONE:
		break;
	case OPTIONS_USAGE:
		code = EXIT_USAGE;
		break;
	case OPTIONS_RUN:
		log_set_level(config.log_level);
		log_set_tag(config.name);
		if (config.detached)
			log_set_targets(LOG_TARGET_STDERR | LOG_TARGET_SYSLOG);
		code = keeper_run(&config);
		break;
	}
	config_fini(&config);
	return code;
}
