/* SPDX-License-Identifier: MIT */
#include "vblk/util/thread.h"

#include <signal.h>

int thread_start(pthread_t *ret_thread, size_t stack_bytes, void *(*main)(void *arg), void *arg)
{
	sigset_t blocked, old;
	pthread_attr_t attr;
	int r;

	r = -pthread_attr_init(&attr);
	if (r < 0)
		return r;
	r = -pthread_attr_setstacksize(&attr, stack_bytes);
	if (r == 0) {
		/* Inherited. */
		sigfillset(&blocked);
		sigdelset(&blocked, SIGBUS);
		pthread_sigmask(SIG_SETMASK, &blocked, &old);
		r = -pthread_create(ret_thread, &attr, main, arg);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	pthread_attr_destroy(&attr);
	return r;
}
