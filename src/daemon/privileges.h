/* SPDX-License-Identifier: MIT */
/*
 * Who may do what. Set up as root, then, as a user of the system's own:
 *
 *   keeper   CAP_NET_ADMIN (attach and detach on the vdpa bus), nothing else;
 *            reads no data and no control message of anyone but its worker
 *   helper   the keeper's, for one netlink call
 *   worker   no capability at all, and no way to get one back
 *
 * Only the helper that attaches is of root, forked before the keeper stops being it, with
 * CAP_CHOWN besides: it binds the device, tunes the disk and gives its node to the user, who
 * has to look into it before a detach. It ends when the disk is there.
 *
 * All files are open before the user changes: the image once for each queue, so that no
 * restart or upgrade opens anything but /dev/vduse/NAME, which belongs to the user.
 */
#ifndef VBLKD_PRIVILEGES_H
#define VBLKD_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

#include "vblk/util/compiler.h"

/* Who a device runs as, if nobody says otherwise and there is such a user. */
#define PRIVILEGES_USER_DEFAULT "vblkd"
#define PRIVILEGES_USER_MAX	64

struct privileges_user {
	uid_t uid;
	gid_t gid;
};

/**
 * privileges_find_user() - by name
 * Return: 0; -ENOENT there is none; -EINVAL its group is root's, which is hardly meant;
 *         other -errno.
 */
int privileges_find_user(const char *name, struct privileges_user *ret_user) VBLK_MUST_CHECK;

/*
 * In between, root makes and opens files as the user would: they belong to it, and nothing
 * that it may have put in their place leads to what is not its own.
 */
void privileges_begin_as(const struct privileges_user *user);
void privileges_end_as(const struct privileges_user *user);

/*
 * Each queue has some files, and the usual limit is meant for programs that use select(): as many
 * as may be. Before the backend is opened.
 */
void privileges_raise_open_files(void);

/**
 * privileges_prepare() - what needs root once and is inherited: memory lock limit, leave to
 * be real-time at the lowest priority,
 * PR_SET_IO_FLUSHER (memory for our own I/O is never waited for by our I/O), no
 * core dumps, protection from the OOM killer
 *
 * Missing permission for the last three is not an error (containers).
 * @host_disk: false: nothing of this host waits for the disk, and nobody need be root
 * Return: 0 or -errno.
 */
int privileges_prepare(bool host_disk) VBLK_MUST_CHECK;

/* Return: 0; -EPERM; other -errno. Before threads exist: capabilities are a thread's. */
/* @host_disk: false: it keeps no capability, either */
int privileges_drop_keeper(const struct privileges_user *user, bool host_disk) VBLK_MUST_CHECK;
/* The helper for an attach: stays root. */
int privileges_drop_attach_helper(void) VBLK_MUST_CHECK;
int privileges_drop_worker(void) VBLK_MUST_CHECK;

/*
 * Whether a program that the keeper executes has its capability, which one of root has
 * anyhow. Return: 0 or -errno.
 */
int privileges_keep_over_exec(bool keep) VBLK_MUST_CHECK;

/*
 * The kernel lets a real-time thread have half of its reserve of memory (vm.min_free_kbytes),
 * where others wait until some is free; which may wait for the disk whose worker is to be
 * started. While the successor of a worker that died starts, and not while that is waited for.
 * The policy is inherited by children and threads. Without permission nothing changes.
 */
void privileges_begin_real_time(void);
void privileges_end_real_time(void);
/* The same for another thread of our user, which may be gone. */
void privileges_set_real_time(pid_t tid, bool on);

/*
 * Locks all memory, also what is mapped later. Swap may be on the very disk that
 * the process serves, or has to start a worker for: a page of it, or of the record
 * of requests in flight, that went there could not be had back when it is needed.
 * Not inherited by fork. Return: 0 or -errno.
 */
int privileges_lock_memory(void);
/*
 * The same of what has been touched, and the rest when it is: takes no memory and no time,
 * while the other keeps mmap() of all threads waiting until there is memory for everything.
 */
int privileges_lock_touched_memory(void);

#endif
