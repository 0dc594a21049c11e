/* SPDX-License-Identifier: MIT */
/* What the collectors of users share: the disk's numbers, and the list they add to. */
#ifndef VBLK_SRC_HOST_USERS_H
#define VBLK_SRC_HOST_USERS_H

#include <stdbool.h>
#include <stddef.h>

#include "vblk/host/host_vdpa.h"
#include "vblk/util/compiler.h"

#define HOST_NUMBER_MAX 16
#define HOST_PARTS_MAX	257 /* the disk itself and what one partition table can hold */

/**
 * struct host_part - the disk ([0]) or one of its partitions
 * @number: "253:0", as /proc and /sys write it
 */
struct host_part {
	char name[HOST_NODE_MAX];
	char number[HOST_NUMBER_MAX];
};

/**
 * struct host_users - the search
 * @buf: text so far, always ended; @used: its length
 * @shown: users named in @buf; @cnt: users found
 */
struct host_users {
	const char *root;
	struct host_part part[HOST_PARTS_MAX];
	unsigned int part_cnt;
	char *buf;
	size_t len;
	size_t used;
	unsigned int shown;
	unsigned int cnt;
};

/* One user more, in words; the same words count once. */
void host_users_add(struct host_users *users, const char *fmt, ...) VBLK_PRINTF(2, 3);

/* True for the major:minor of the disk or a partition. */
bool host_users_has_number(const struct host_users *users, const char *number);

/* True for the path of a node of the disk or a partition, also under another name. */
bool host_users_has_node(const struct host_users *users, const char *path);

/* Undoes the \ooo escapes of /proc/self/mountinfo and /proc/swaps, in place. */
void host_unescape(char *text);

/* The number of the filesystem that @path lies on, by the names of our mounts. False: unknown. */
bool host_mount_of(const char *root, const char *path, char ret_number[HOST_NUMBER_MAX]);

/* Collectors. Return: 0; -ENOMEM. What cannot be read is passed over. */
int host_users_mounts(struct host_users *users);
int host_users_swaps(struct host_users *users);
int host_users_stacked(struct host_users *users);
int host_users_open_files(struct host_users *users);

#endif
