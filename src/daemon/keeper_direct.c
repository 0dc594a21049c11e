/* SPDX-License-Identifier: MIT */
/*
 * --direct-rings as the keeper sees it: it keeps what the server has in flight in a file, and
 * says when the rings may be the server's. That is while the disk is ready and nothing else: in
 * an attach or a detach the kernel waits for requests under locks of the host, and those of a
 * server that does not answer nobody else could end.
 */
#include "keeper_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "vblk/util/log.h"

static struct bdev_direct_record *record_of(const struct keeper *keeper)
{
	return keeper->config->bdev.direct_rings ? inflight_file_direct(&keeper->inflight) : NULL;
}

int keeper_direct_open(struct keeper *keeper)
{
	if (!keeper->config->bdev.direct_rings)
		return 0;
	keeper->direct_fd = openat(keeper->dir.fd, "server-inflight",
				   O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (keeper->direct_fd < 0)
		return log_errno(-errno, "cannot make %s/server-inflight", keeper->dir.path);
	return 0;
}

void keeper_direct_want(struct keeper *keeper, bool wanted)
{
	struct bdev_direct_record *record = record_of(keeper);
	const struct link_msg msg = { .type = LINK_RINGS };

	if (!record || record->wanted == wanted)
		return;
	/* Pairs with the worker's load when it hears of it, or starts. */
	__atomic_store_n(&record->wanted, wanted, __ATOMIC_RELEASE);
	keeper_send(keeper, &msg);
}

bool keeper_direct_is_servers(const struct keeper *keeper)
{
	const struct bdev_direct_record *record = record_of(keeper);

	return record && __atomic_load_n(&record->is_servers, __ATOMIC_ACQUIRE);
}

void keeper_direct_refused(struct keeper *keeper, unsigned int waited_s)
{
	char why[LINK_TEXT_MAX];

	snprintf(
		why, sizeof(why),
		"the server has not given the rings back (--direct-rings) for %u s: it does not answer, or is gone with requests that only another one can end, and the kernel would wait for them",
		waited_s);
	keeper_detach_refused(keeper, -ETIMEDOUT, why);
}
