/* SPDX-License-Identifier: MIT */
/* Mounts of every mount namespace that has a process, and swaps. */
#include "host_users.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host_file.h"
#include "vblk/util/cleanup.h"

#define NAMESPACE_MAX 32 /* "mnt:[4026531840]" */

/* The namespaces looked at so far; [0] is our own. */
struct namespaces {
	struct host_users *users;
	char (*seen)[NAMESPACE_MAX];
	size_t cnt;
};

/* "36 35 253:0 / /mnt rw,noatime shared:1 - ext4 /dev/vda rw": fields 3, 5, and the second
 * behind " - ". Changes @line. */
static bool parse_mount(char *line, char **ret_number, char **ret_point, char **ret_source)
{
	char *rest = strstr(line, " - "), *save, *word, *field[5];
	unsigned int cnt = 0;

	if (!rest)
		return false;
	*rest = '\0';
	rest += 3;
	for (word = strtok_r(line, " ", &save); word && cnt < 5; word = strtok_r(NULL, " ", &save))
		field[cnt++] = word;
	if (cnt < 5 || !strtok_r(rest, " ", &save))
		return false;
	*ret_source = strtok_r(NULL, " ", &save);
	if (!*ret_source)
		return false;
	*ret_number = field[2];
	*ret_point = field[4];
	host_unescape(*ret_point);
	host_unescape(*ret_source);
	return true;
}

/* @where: "" or which other namespace. The source is compared too as btrfs gives its mounts
 * numbers that are no disk's. */
static void scan_mountinfo(struct host_users *users, const char *path, const char *where)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	_cleanup_free_ char *line = NULL;
	char *number, *point, *source;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0)
		if (parse_mount(line, &number, &point, &source) &&
		    (host_users_has_number(users, number) || host_users_has_node(users, source)))
			host_users_add(users, "mounted on %s%s", point, where);
}

/* True when @path is @point or lies below it. */
static bool is_below(const char *path, const char *point)
{
	size_t len = strlen(point);

	if (len == 1)
		return true;
	return !strncmp(path, point, len) && (path[len] == '/' || !path[len]);
}

bool host_mount_of(const char *root, const char *path, char ret_number[HOST_NUMBER_MAX])
{
	char mountinfo[PATH_MAX], *number, *point, *source;
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	size_t cap = 0, best = 0;

	if (host_path(mountinfo, sizeof(mountinfo), "%s/proc/self/mountinfo", root) < 0)
		return false;
	f = fopen(mountinfo, "re");
	while (f && getline(&line, &cap, f) > 0) {
		/* Of two at one place the later one is seen. */
		if (!parse_mount(line, &number, &point, &source) || strlen(point) < best ||
		    !is_below(path, point) || strlen(number) >= HOST_NUMBER_MAX)
			continue;
		best = strlen(point);
		strcpy(ret_number, number);
	}
	return best > 0;
}

static bool is_seen(const struct namespaces *ns, const char *id)
{
	for (size_t i = 0; i < ns->cnt; i++)
		if (!strcmp(ns->seen[i], id))
			return true;
	return false;
}

/* Return: 1 new; 0 seen before, or unknown; -ENOMEM. */
static int note_namespace(struct namespaces *ns, const char *pid)
{
	char path[PATH_MAX], id[NAMESPACE_MAX];
	char(*grown)[NAMESPACE_MAX];

	if (host_path(path, sizeof(path), "%s/proc/%s/ns/mnt", ns->users->root, pid) < 0 ||
	    host_link_name(path, id, sizeof(id)) < 0 || is_seen(ns, id))
		return 0;
	grown = realloc(ns->seen, (ns->cnt + 1) * sizeof(*ns->seen));
	if (!grown)
		return -ENOMEM;
	ns->seen = grown;
	memcpy(ns->seen[ns->cnt++], id, sizeof(id));
	return 1;
}

static int each_process(const char *pid, void *ctx)
{
	struct namespaces *ns = ctx;
	char path[PATH_MAX], comm[32] = "?", where[96];
	const char *root = ns->users->root;
	int r;

	if (!isdigit((unsigned char)pid[0]))
		return 0;
	r = note_namespace(ns, pid);
	if (r <= 0)
		return r;
	if (!host_path(path, sizeof(path), "%s/proc/%s/comm", root, pid) &&
	    host_read(path, comm, sizeof(comm)) < 0)
		comm[0] = '\0';
	snprintf(where, sizeof(where), " in the mount namespace of %s (pid %.16s)", comm, pid);
	if (!host_path(path, sizeof(path), "%s/proc/%s/mountinfo", root, pid))
		scan_mountinfo(ns->users, path, where);
	return 0;
}

int host_users_mounts(struct host_users *users)
{
	struct namespaces ns = { .users = users };
	char path[PATH_MAX];
	int r;

	r = note_namespace(&ns, "self");
	if (r < 0)
		return r;
	if (!host_path(path, sizeof(path), "%s/proc/self/mountinfo", users->root))
		scan_mountinfo(users, path, "");
	r = host_path(path, sizeof(path), "%s/proc", users->root);
	if (!r)
		r = host_dir_each(path, each_process, &ns);
	free(ns.seen);
	return r == -ENOMEM ? r : 0;
}

int host_users_swaps(struct host_users *users)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *line = NULL;
	char path[PATH_MAX];
	size_t cap = 0;

	if (host_path(path, sizeof(path), "%s/proc/swaps", users->root) < 0)
		return 0;
	f = fopen(path, "re");
	while (f && getline(&line, &cap, f) > 0) {
		line[strcspn(line, " \t\n")] = '\0';
		host_unescape(line);
		if (host_users_has_node(users, line))
			host_users_add(users, "swap%s%s",
				       strcmp(line + 5, users->part[0].name) ? " on " : "",
				       strcmp(line + 5, users->part[0].name) ? line : "");
	}
	return 0;
}
