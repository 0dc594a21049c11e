/* SPDX-License-Identifier: MIT */
/*
 * Which system calls a process may make (seccomp). Nothing here can be taken back, and it is
 * inherited by fork and exec.
 */
#ifndef VBLKD_SANDBOX_H
#define VBLKD_SANDBOX_H

#include <stdbool.h>

#include "vblk/util/compiler.h"

/*
 * False in builds with the address or thread sanitizer: they look at their own process in
 * ways that nobody else has a use for. Then nothing below is called.
 */
bool sandbox_is_built(void);

/*
 * In the keeper, before the first worker: its filter is compiled once and inherited.
 * @vduse: the worker has a VDUSE device to talk to
 * @connects: its backend is a server on a unix socket, to which it connects again
 * Return: 0 or -errno.
 */
int sandbox_prepare_worker(bool vduse, bool connects) VBLK_MUST_CHECK;

/**
 * sandbox_enter_worker() - what the data path and its control thread need, for all threads
 *
 * When the threads and their rings exist and before anything of a driver's is looked at: no
 * process, thread, ring, file or socket can be made afterwards, no page made executable. But
 * for unix sockets, where the backend is a server.
 *
 * Calls that an attacker makes and no library does (execve, ptrace, mount, ...) end the
 * process; every other that is not on the list gives ENOSYS, as on an older kernel, which
 * libraries know how to live without. To end the process there too would turn a C library
 * that learns another call into a disk that is down.
 *
 * Return: 0; -EACCES without no_new_privs; -ENOSYS or -EINVAL the kernel has no seccomp, or
 *         nothing was prepared; -ENOMEM; other -errno.
 */
int sandbox_enter_worker(void) VBLK_MUST_CHECK;

/**
 * sandbox_enter_keeper() - all but what neither it nor a program that it becomes can need
 *
 * It forks, makes sockets and executes the new program in an upgrade, whose calls nobody
 * knows yet, so this is a list of what is refused (EPERM).
 */
int sandbox_enter_keeper(void) VBLK_MUST_CHECK;

#endif
