/* SPDX-License-Identifier: MIT */
/* The server of this repository as a process that can be killed at any moment. */
#ifndef TESTS_FAKE_VHU_CHILD_H
#define TESTS_FAKE_VHU_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

/* @erases: secure erase is on offer, for what the backend discards: it then holds zeroes */
struct vhu_child_params {
	bool erases;
	int listen_fd;
	const char *backend;
	uint16_t queue_cnt;
	uint16_t queue_size;
};

/* Serves until it is killed. Waits for what another process has at work in @backend. */
VBLK_NORETURN void vhu_child_serve(const struct vhu_child_params *params);

/* Return: a listening socket at @path. Aborts where that does not work. */
int vhu_child_listen(const char *path);

#endif
