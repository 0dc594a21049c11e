/* SPDX-License-Identifier: MIT */
#include "vblk/host/host_process.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "host_file.h"

struct threads {
	void (*fn)(pid_t tid, void *ctx);
	void *ctx;
};

static int each_thread(const char *name, void *ctx)
{
	const struct threads *threads = ctx;
	pid_t tid = (pid_t)strtol(name, NULL, 10);

	if (tid > 0)
		threads->fn(tid, threads->ctx);
	return 0;
}

void host_process_each_thread(const char *root, pid_t pid, void (*fn)(pid_t tid, void *ctx),
			      void *ctx)
{
	const struct threads threads = { fn, ctx };
	char dir[PATH_MAX];

	if (host_path(dir, sizeof(dir), "%s/proc/%d/task", root, (int)pid) == 0)
		(void)host_dir_each(dir, each_thread, (void *)&threads);
}

int host_session_set_nice(const char *root, int nice)
{
	char path[PATH_MAX], text[16];
	int r;

	if (getsid(0) != getpid())
		return -EBUSY;
	r = host_path(path, sizeof(path), "%s/proc/self/autogroup", root);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text), "%d", nice);
	return host_write(path, text);
}
