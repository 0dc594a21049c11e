/* SPDX-License-Identifier: MIT */
/* Threads beside the one that hears of signals. */
#ifndef VBLK_UTIL_THREAD_H
#define VBLK_UTIL_THREAD_H

#include <pthread.h>
#include <stddef.h>

#include "vblk/util/compiler.h"

/**
 * thread_start() - a thread in which all signals are blocked but SIGBUS
 * A fault on memory that somebody else can take away is its own affair, see mem/memguard.h.
 * Return: 0; -errno.
 */
int thread_start(pthread_t *ret_thread, size_t stack_bytes, void *(*main)(void *arg),
		 void *arg) VBLK_MUST_CHECK;

#endif
