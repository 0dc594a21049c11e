/* SPDX-License-Identifier: MIT */
/* Does the host swap to a disk, or to something that stands on it? */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "host_file.h"
#include "host_users.h"
#include "vblk/host/host_disk.h"
#include "vblk/util/cleanup.h"

/* More than anybody stacks; a disk below itself would be a ring. */
#define DEPTH_MAX 8

/**
 * struct stack - a device in the search for what it stands on
 * @dir: its directory in sysfs
 * @number: of the disk that is looked for
 */
struct stack {
	const char *root;
	const char *number;
	char dir[PATH_MAX];
	unsigned int depth;
};

static bool stands_on(const struct stack *top);

/* Of /proc, /sys and the path: nothing here asks a filesystem, which may be one that hangs. */
static bool file_stands_on(const struct stack *above, const char *path)
{
	struct stack dev = { above->root, above->number, "", above->depth };
	char number[HOST_NUMBER_MAX];

	if (strncmp(path, "/dev/", 5) != 0) {
		if (!host_mount_of(dev.root, path, number) ||
		    host_path(dev.dir, sizeof(dev.dir), "%s/sys/dev/block/%s", dev.root, number))
			return false;
	} else if (host_path(dev.dir, sizeof(dev.dir), "%s/sys/class/block/%s", dev.root,
			     path + 5)) {
		return false;
	}
	return stands_on(&dev);
}

static int each_below(const char *name, void *ctx)
{
	const struct stack *top = ctx;
	struct stack dev = { top->root, top->number, "", top->depth - 1 };

	return !host_path(dev.dir, sizeof(dev.dir), "%s/slaves/%s", top->dir, name) &&
	       stands_on(&dev);
}

static bool whole_stands_on(const struct stack *part)
{
	struct stack disk = { part->root, part->number, "", part->depth - 1 };
	char path[PATH_MAX];

	return !host_path(path, sizeof(path), "%s/partition", part->dir) && !access(path, F_OK) &&
	       !host_path(disk.dir, sizeof(disk.dir), "%s/..", part->dir) && stands_on(&disk);
}

static bool loop_stands_on(const struct stack *top)
{
	struct stack below = { top->root, top->number, "", top->depth - 1 };
	char path[PATH_MAX], backing[PATH_MAX];

	return !host_path(path, sizeof(path), "%s/loop/backing_file", top->dir) &&
	       !host_read(path, backing, sizeof(backing)) && file_stands_on(&below, backing);
}

static bool stands_on(const struct stack *top)
{
	char path[PATH_MAX], number[HOST_NUMBER_MAX];

	if (!host_path(path, sizeof(path), "%s/dev", top->dir) &&
	    !host_read(path, number, sizeof(number)) && !strcmp(number, top->number))
		return true;
	if (!top->depth)
		return false;
	if (whole_stands_on(top) || loop_stands_on(top))
		return true;
	return !host_path(path, sizeof(path), "%s/slaves", top->dir) &&
	       host_dir_each(path, each_below, (void *)top) == 1;
}

bool host_disk_is_swap(const char *root, const char *disk)
{
	struct stack swap = { .root = root, .depth = DEPTH_MAX };
	char path[PATH_MAX], number[HOST_NUMBER_MAX];
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	bool found = false;
	size_t cap = 0;

	if (host_disk_get_attr(root, disk, "dev", number, sizeof(number)) < 0 ||
	    host_path(path, sizeof(path), "%s/proc/swaps", root) < 0)
		return false;
	swap.number = number;
	f = fopen(path, "re");
	while (f && !found && getline(&line, &cap, f) > 0) {
		line[strcspn(line, " \t\n")] = '\0';
		host_unescape(line);
		found = line[0] == '/' && file_stands_on(&swap, line);
	}
	return found;
}
