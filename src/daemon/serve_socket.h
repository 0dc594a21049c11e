/* SPDX-License-Identifier: MIT */
/*
 * The socket that a device is served on: made here, or passed on by systemd, which then keeps
 * it over restarts of the daemon. Modules return, the keeper logs.
 */
#ifndef VBLKD_SERVE_SOCKET_H
#define VBLKD_SERVE_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#include "vblk/bdev/bdev.h"
#include "vblk/util/compiler.h"

/* Of struct sockaddr_un, with its end. */
#define SERVE_PATH_MAX 108

/**
 * struct serve_socket - listening, or closed (@fd -1)
 * @dev, @ino: the file that we made at @path; 0: none
 */
struct serve_socket {
	int fd;
	char path[SERVE_PATH_MAX];
	dev_t dev;
	ino_t ino;
};

/**
 * serve_socket_path() - @path from the root on, for any directory
 * Return: 0; -ENAMETOOLONG, -EINVAL (a directory, or nothing) with the sentence to tell in @why.
 */
int serve_socket_path(const char *path, char ret_path[SERVE_PATH_MAX],
		      char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/**
 * serve_socket_inherit() - the one that systemd passed on (sd_listen_fds(3))
 * @ret_fd: owned, non-blocking, close-on-exec
 * @ret_path: where it is; "@NAME" of an abstract one
 * Return: 1; 0 there is none; -EINVAL with @why: several, or something else than a listening
 *         unix stream socket with a name; other -errno with @why.
 */
int serve_socket_inherit(int *ret_fd, char ret_path[SERVE_PATH_MAX],
			 char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/**
 * serve_socket_listen() - make @path, an absolute one, with the permissions @mode from the
 * first moment on
 * A socket file behind which nobody listens is replaced.
 * Return: 0; -errno with @why: -EADDRINUSE somebody listens there; -EEXIST it is no socket.
 */
int serve_socket_listen(const char *path, mode_t mode, struct serve_socket *ret_socket,
			char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;

/**
 * serve_socket_close() - stop listening, and remove the file if it is still the one that we made
 * Return: 0; -errno the file had to stay.
 */
int serve_socket_close(struct serve_socket *sock);

#endif
