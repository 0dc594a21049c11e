/* SPDX-License-Identifier: MIT */
/* A process of the host. Root directory is a parameter so that tests use a recorded tree. */
#ifndef VBLK_HOST_HOST_PROCESS_H
#define VBLK_HOST_HOST_PROCESS_H

#include <sys/types.h>

#include "vblk/util/compiler.h"

/* Calls @fn with each thread of process @pid; with none where there is no such process. */
void host_process_each_thread(const char *root, pid_t pid, void (*fn)(pid_t tid, void *ctx),
			      void *ctx);

/**
 * host_session_set_nice() - what the caller's session weighs against others on a busy CPU
 * @nice: -20 to 19; less than 0 needs CAP_SYS_NICE
 * Source: autogroup in sched(7); proc_sched_autogroup_set_nice().
 * Return: 0; -EBUSY somebody else leads the session, nothing was done; -ENOENT kernel without
 *         autogroups; -EAGAIN asked too often, without CAP_SYS_ADMIN; other -errno.
 */
int host_session_set_nice(const char *root, int nice) VBLK_MUST_CHECK;

#endif
