/* SPDX-License-Identifier: MIT */
/*
 * /run/vblkd/NAME: what a device leaves for others to find. Only root gets in.
 *
 *   lock        locked by the keeper for its whole life
 *   control     the Varlink socket
 *   state.json  what the device is, for when nobody answers
 *   inflight    record of requests in flight, see inflight_file.h
 *   stats       counters, see stats_file.h
 */
#ifndef VBLKD_RUN_DIR_H
#define VBLKD_RUN_DIR_H

#include <jansson.h>
#include <stddef.h>

#include "vblk/util/compiler.h"

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

/* Replaces state.json at once, or leaves it as it was. Borrows @state. */
int run_dir_write_state(const struct run_dir *dir, const json_t *state);

#endif
