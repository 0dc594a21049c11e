/* SPDX-License-Identifier: MIT */
/* Devices and filesystems of the kernel that stand on the disk: dm, md, loop, btrfs. */
#include "host_users.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host_file.h"

static int each_holder(const char *name, void *ctx)
{
	struct host_users *users = ctx;
	char path[PATH_MAX], label[128];

	if (!host_path(path, sizeof(path), "%s/sys/block/%s/dm/name", users->root, name) &&
	    !host_read(path, label, sizeof(label)))
		host_users_add(users, "held by %s (%s)", name, label);
	else
		host_users_add(users, "held by %s", name);
	return 0;
}

static void scan_holders(struct host_users *users)
{
	const char *disk = users->part[0].name;
	char path[PATH_MAX];

	for (unsigned int i = 0; i < users->part_cnt; i++) {
		const char *part = i ? users->part[i].name : "";

		if (!host_path(path, sizeof(path), "%s/sys/block/%s/%s/holders", users->root, disk,
			       part))
			(void)host_dir_each(path, each_holder, users);
	}
}

/* A loop device opens its backing device without claiming it and in no process. */
static int each_block(const char *name, void *ctx)
{
	struct host_users *users = ctx;
	char path[PATH_MAX], backing[PATH_MAX];

	if (strncmp(name, "loop", 4) != 0 ||
	    host_path(path, sizeof(path), "%s/sys/block/%s/loop/backing_file", users->root, name) ||
	    host_read(path, backing, sizeof(backing)) < 0)
		return 0;
	if (host_users_has_node(users, backing))
		host_users_add(users, "held by %s", name);
	return 0;
}

/* A member of a btrfs of several disks appears in mountinfo under the first one's name. */
static int each_btrfs(const char *uuid, void *ctx)
{
	struct host_users *users = ctx;
	char path[PATH_MAX];

	for (unsigned int i = 0; i < users->part_cnt; i++)
		if (!host_path(path, sizeof(path), "%s/sys/fs/btrfs/%s/devices/%s", users->root,
			       uuid, users->part[i].name) &&
		    !access(path, F_OK))
			host_users_add(users, "held by btrfs %s", uuid);
	return 0;
}

int host_users_stacked(struct host_users *users)
{
	char path[PATH_MAX];

	scan_holders(users);
	if (!host_path(path, sizeof(path), "%s/sys/block", users->root))
		(void)host_dir_each(path, each_block, users);
	/* A mounted btrfs has been named by its mount point already. */
	if (!users->cnt && !host_path(path, sizeof(path), "%s/sys/fs/btrfs", users->root))
		(void)host_dir_each(path, each_btrfs, users);
	return 0;
}
