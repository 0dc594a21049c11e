/* SPDX-License-Identifier: MIT */
/*
 * /run/vblkd/NAME: what a device leaves for others to find. It belongs to the user as which
 * the device runs; that user's group may look and use the socket. /run/vblkd is root's and
 * sticky: each makes and removes what is its own there.
 *
 *   lock        locked by the keeper for its whole life
 *   control     the Varlink socket
 *   state.json  what the device is, for when nobody answers
 *   rotational  empty; it is there when seeks of the backend take time (for udev)
 *   inflight    record of requests in flight, see inflight_file.h
 *   stats       counters, see stats_file.h
 *   worker      locked by workers, see worker_mark.h
 */
#ifndef VBLKD_RUN_DIR_H
#define VBLKD_RUN_DIR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "vblk/util/compiler.h"

#define WORKER_MARK_NAME "worker"

/**
 * struct run_dir - the directory, locked
 * @fd: of the directory; @lock_fd: of the lock file
 */
struct run_dir {
	int fd;
	int lock_fd;
	char *path;
};

/**
 * run_dir_give() - make the directory, if it is not there, for another user; as root
 * What root made there earlier is given away, too: a disk that was served as root and is
 * taken over as the user.
 * Return: 0; -EPERM it is somebody else's; other -errno.
 */
int run_dir_give(const char *name, uid_t uid, gid_t gid) VBLK_MUST_CHECK;

/**
 * run_dir_open() - make the directory and lock it
 * Return: 0; -EBUSY a living keeper has it (@ret_pid: its process, 0 if unknown);
 *         -EPERM somebody else owns or can write to it, or to the directory above;
 *         other -errno.
 */
int run_dir_open(const char *name, struct run_dir *ret_dir, int *ret_pid) VBLK_MUST_CHECK;

/* Lets go of the lock and leaves the files (somebody may take the device over). */
void run_dir_close(struct run_dir *dir);

/* Removes everything, then lets go. */
void run_dir_remove(struct run_dir *dir);

/* Listening socket "control"; replaces a left-over one. Return: 0 and an owned descriptor. */
int run_dir_listen(const struct run_dir *dir, int *ret_fd) VBLK_MUST_CHECK;

/* For udev, who would be told by the kernel that each disk of ours is. Return: 0 or -errno. */
int run_dir_note_rotational(const struct run_dir *dir, bool rotational) VBLK_MUST_CHECK;

/* Replaces state.json at once, or leaves it as it was. Borrows @state. */
int run_dir_write_state(const struct run_dir *dir, const json_t *state);

#endif
