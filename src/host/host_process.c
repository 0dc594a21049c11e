/* SPDX-License-Identifier: MIT */
#include "vblk/host/host_process.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host_file.h"

struct search {
	const char *dir;
	const char *want;
};

static int is_wanted(const char *fd, void *ctx)
{
	const struct search *search = ctx;
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;

	if (host_path(path, sizeof(path), "%s/%s", search->dir, fd) < 0)
		return 0;
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return 0;
	target[n] = '\0';
	return !strcmp(target, search->want);
}

bool host_process_holds(const char *root, pid_t pid, const char *path)
{
	char dir[PATH_MAX];
	const struct search search = { dir, path };

	return host_path(dir, sizeof(dir), "%s/proc/%d/fd", root, (int)pid) == 0 &&
	       host_dir_each(dir, is_wanted, (void *)&search) == 1;
}

struct holders {
	const char *root;
	const char *path;
	void (*fn)(pid_t pid, void *ctx);
	void *ctx;
};

static int each_process(const char *name, void *ctx)
{
	const struct holders *holders = ctx;
	pid_t pid = (pid_t)strtol(name, NULL, 10);

	if (pid > 1 && pid != getpid() && host_process_holds(holders->root, pid, holders->path))
		holders->fn(pid, holders->ctx);
	return 0;
}

void host_process_each_holder(const char *root, const char *path, void (*fn)(pid_t pid, void *ctx),
			      void *ctx)
{
	const struct holders holders = { root, path, fn, ctx };
	char dir[PATH_MAX];

	if (host_path(dir, sizeof(dir), "%s/proc", root) == 0)
		(void)host_dir_each(dir, each_process, (void *)&holders);
}

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
