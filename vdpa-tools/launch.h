/* SPDX-License-Identifier: MIT */
/* Starting vblkd and waiting until it is ready. */
#ifndef VBLKCTL_LAUNCH_H
#define VBLKCTL_LAUNCH_H

#include <limits.h>
#include <stdbool.h>

#include "vblk/util/compiler.h"

/**
 * launch_find_daemon() - the vblkd that belongs to this vblkctl
 * Beside the own executable (installed and build tree alike), then environment VBLKD (for
 * tests; not when privileges were gained by exec), then the installed one.
 * Return: 0; -ENOENT.
 */
int launch_find_daemon(char ret_path[PATH_MAX]) VBLK_MUST_CHECK;

/* A unix socket's path is the longest. */
#define LAUNCH_NODE_MAX 108

/**
 * struct launch_notice - what the daemon said so far, in sd_notify(3)'s form
 * @node: of the disk, or the path of the socket that it is served on; "" until X_VBLKD_NODE came
 */
struct launch_notice {
	bool ready;
	bool failed;
	char node[LAUNCH_NODE_MAX];
};

/* Takes in one datagram, lines of "KEY=VALUE"; unknown ones pass. */
void launch_notice_parse(struct launch_notice *notice, const char *text);

/**
 * launch() - run @argv as a daemon in a session of its own
 * Returns when it says that it is ready, or has ended; SIGINT and SIGTERM are passed on as
 * SIGTERM and then its end is waited for.
 *
 * Return: an exit code; EXIT_DONE only when it is ready, with @ret_notice filled.
 *         Messages have been written.
 */
int launch(const char *path, char **argv, struct launch_notice *ret_notice);

#endif
