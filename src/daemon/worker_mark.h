/* SPDX-License-Identifier: MIT */
/*
 * How a keeper finds a worker that another keeper left when it died, perhaps before it could
 * note who that is. Each worker locks a byte of the file "worker" in the run directory, the one
 * that has its number, before it opens anything else: the kernel tells whose the lock is, and
 * lets it go at the worker's end. Looking through /proc would take CAP_SYS_PTRACE.
 */
#ifndef VBLKD_WORKER_MARK_H
#define VBLKD_WORKER_MARK_H

#include <stdbool.h>
#include <sys/types.h>

#include "vblk/util/compiler.h"

/* Of this process, for as long as it lives: the descriptor stays open. Return: 0 or -errno. */
int worker_mark(int dir_fd) VBLK_MUST_CHECK;

/* Also without such a file, or one that somebody else put there: no process is marked then. */
bool worker_is_marked(int dir_fd, pid_t pid);
void worker_each_marked(int dir_fd, void (*fn)(pid_t pid, void *ctx), void *ctx);

#endif
