/* SPDX-License-Identifier: MIT */
/* A process of the host. Root directory is a parameter so that tests use a recorded tree. */
#ifndef VBLK_HOST_HOST_PROCESS_H
#define VBLK_HOST_HOST_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

/**
 * host_process_holds() - has process @pid the file @path open?
 * By name: links of /proc/PID/fd are compared as text, so nothing asks @path's filesystem.
 * Return: false also when there is no such process, or we may not look.
 */
bool host_process_holds(const char *root, pid_t pid, const char *path);

/* Calls @fn with each process but this one that host_process_holds() says has @path open. */
void host_process_each_holder(const char *root, const char *path, void (*fn)(pid_t pid, void *ctx),
			      void *ctx);

/* Calls @fn with each thread of process @pid. Nothing happens when there is none, or we may not
 * look. */
void host_process_each_thread(const char *root, pid_t pid, void (*fn)(pid_t tid, void *ctx),
			      void *ctx);

#endif
