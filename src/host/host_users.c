/* SPDX-License-Identifier: MIT */
#include "host_users.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "host_file.h"
#include "vblk/host/host_disk.h"

#define SHOWN_MAX 5

/* True when @words is already one of the users in the text. */
static bool is_listed(const struct host_users *users, const char *words)
{
	size_t len = strlen(words);
	const char *p = users->buf;

	while ((p = strstr(p, words))) {
		bool starts = p == users->buf || (p - users->buf >= 2 && !memcmp(p - 2, ", ", 2));

		if (starts && (!p[len] || !strncmp(p + len, ", ", 2)))
			return true;
		p += len;
	}
	return false;
}

void host_users_add(struct host_users *users, const char *fmt, ...)
{
	char words[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(words, sizeof(words), fmt, ap);
	va_end(ap);
	if (is_listed(users, words))
		return;
	users->cnt++;
	if (users->shown == SHOWN_MAX)
		return;
	n = snprintf(users->buf + users->used, users->len - users->used, "%s%s",
		     users->shown ? ", " : "", words);
	if (n < 0 || (size_t)n >= users->len - users->used) {
		users->buf[users->used] = '\0'; /* whole users only */
		return;
	}
	users->used += (size_t)n;
	users->shown++;
}

bool host_users_has_number(const struct host_users *users, const char *number)
{
	for (unsigned int i = 0; i < users->part_cnt; i++)
		if (!strcmp(users->part[i].number, number))
			return true;
	return false;
}

bool host_users_has_node(const struct host_users *users, const char *node)
{
	char path[PATH_MAX], number[32];
	struct stat st;

	/* Only there: stat() of a path elsewhere may hang on a dead network filesystem. */
	if (strncmp(node, "/dev/", 5) != 0)
		return false;
	for (unsigned int i = 0; i < users->part_cnt; i++)
		if (!strcmp(users->part[i].name, node + 5))
			return true;
	if (host_path(path, sizeof(path), "%s%s", users->root, node) < 0 || stat(path, &st) < 0 ||
	    !S_ISBLK(st.st_mode))
		return false;
	snprintf(number, sizeof(number), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return host_users_has_number(users, number);
}

void host_unescape(char *text)
{
	char *dst = text;

	for (const char *src = text; *src; dst++) {
		if (src[0] == '\\' && src[1] >= '0' && src[1] <= '3' && src[2] >= '0' &&
		    src[2] <= '7' && src[3] >= '0' && src[3] <= '7') {
			*dst = (char)((src[1] - '0') << 6 | (src[2] - '0') << 3 | (src[3] - '0'));
			src += 4;
		} else {
			*dst = *src++;
		}
	}
	*dst = '\0';
}

static int add_part(struct host_users *users, const char *dir, const char *name)
{
	struct host_part *part = &users->part[users->part_cnt];
	char path[PATH_MAX];
	int r;

	if (users->part_cnt == HOST_PARTS_MAX)
		return 0;
	r = host_path(path, sizeof(path), "%s/dev", dir);
	if (!r)
		r = host_path(part->name, sizeof(part->name), "%s", name);
	if (!r)
		r = host_read(path, part->number, sizeof(part->number));
	if (!r)
		users->part_cnt++;
	return r;
}

struct part_search {
	struct host_users *users;
	const char *dir;
};

static int each_in_disk(const char *name, void *ctx)
{
	const struct part_search *search = ctx;
	char path[PATH_MAX], dir[PATH_MAX];

	if (host_path(dir, sizeof(dir), "%s/%s", search->dir, name) < 0 ||
	    host_path(path, sizeof(path), "%s/partition", dir) < 0 || access(path, F_OK) < 0)
		return 0;
	/* A partition that goes away meanwhile is no error. */
	(void)add_part(search->users, dir, name);
	return 0;
}

static int find_parts(struct host_users *users, const char *disk)
{
	char dir[PATH_MAX];
	struct part_search search = { users, dir };
	int r;

	if (!host_is_component(disk))
		return -ENOENT;
	r = host_path(dir, sizeof(dir), "%s/sys/block/%s", users->root, disk);
	if (!r)
		r = add_part(users, dir, disk);
	return r < 0 ? r : host_dir_each(dir, each_in_disk, &search);
}

static int collect(struct host_users *users, const char *disk)
{
	int r;

	r = find_parts(users, disk);
	if (!r)
		r = host_users_mounts(users);
	if (!r)
		r = host_users_swaps(users);
	if (!r)
		r = host_users_stacked(users);
	if (!r)
		r = host_users_open_files(users);
	return r;
}

int host_disk_users(const char *root, const char *disk, char *buf, size_t len)
{
	struct host_users *users;
	int r;

	if (!len)
		return -EINVAL;
	buf[0] = '\0';
	users = calloc(1, sizeof(*users));
	if (!users)
		return -ENOMEM;
	users->root = root;
	users->buf = buf;
	users->len = len;
	r = collect(users, disk);
	if (!r && users->cnt > users->shown)
		snprintf(buf + users->used, len - users->used, "%s%u more",
			 users->shown ? " and " : "", users->cnt - users->shown);
	if (!r)
		r = (int)users->cnt;
	free(users);
	return r;
}
