/* SPDX-License-Identifier: MIT */
/* A process of the host. Root directory is a parameter so that tests use a recorded tree. */
#ifndef VBLK_HOST_HOST_PROCESS_H
#define VBLK_HOST_HOST_PROCESS_H

#include <sys/types.h>

/* Calls @fn with each thread of process @pid; with none where there is no such process. */
void host_process_each_thread(const char *root, pid_t pid, void (*fn)(pid_t tid, void *ctx),
			      void *ctx);

#endif
