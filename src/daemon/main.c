/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "keeper.h"
#include "options.h"
#include "vblk/util/log.h"

#define EXIT_USAGE 2

/* A file of ours that got one of these numbers would be written to as a terminal. */
static void fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/*
 * The stream that systemd gives a service carries text alone, and whoever writes to it waits when
 * nobody reads: the journal is told directly.
 */
static void choose_log_targets(bool detached)
{
	bool journal = (detached || log_stderr_is_journal()) && log_use_journal(NULL);

	if (detached)
		log_set_targets(LOG_TARGET_STDERR | LOG_TARGET_SYSLOG);
	else if (journal)
		log_set_targets(LOG_TARGET_SYSLOG);
}

static int run(const struct vblkd_config *config, char **argv)
{
	if (config->handover_check)
		return keeper_check_handover(config->handover_fd);
	if (config->handover_fd >= 0) {
		if (config->detached)
			log_leave_terminal();
		return keeper_run_handover(config->handover_fd, argv);
	}
	log_set_level(config->log_level);
	log_set_tag(config->name);
	choose_log_targets(config->detached);
	return keeper_run(config, argv);
}

int main(int argc, char **argv)
{
	struct vblkd_config config;
	int code = EXIT_SUCCESS;

	fill_standard_fds();
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
		code = run(&config, argv);
		break;
	}
	config_fini(&config);
	return code;
}
