/* SPDX-License-Identifier: MIT */
/*
 * systemd's journal, by its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
 * libsystemd's own function waits when the journal does not read. Its files may be on a disk of
 * ours, and then nobody that the disk needs may wait for it.
 */
#ifndef VBLK_SRC_LOG_JOURNAL_H
#define VBLK_SRC_LOG_JOURNAL_H

#include <sys/un.h>

#include "vblk/util/log.h"

/* A message as the journal gets it; NULL, or queue -1: left out. @err: -errno, 0: left out */
struct journal_msg {
	enum log_level level;
	const char *ident;
	const char *device;
	const char *text;
	struct log_fields fields;
	int err;
};

/* Return: 0 and its address when it is there; -errno, and an empty path. */
int journal_find(const char *path, struct sockaddr_un *ret_addr);
/*
 * @fd: a datagram socket that is not connected, so that a journal that was started again is found.
 * Never waits. Return: 0, also when the journal does not read and the message is lost; -errno.
 */
int journal_send(int fd, const struct sockaddr_un *addr, const struct journal_msg *msg);

#endif
