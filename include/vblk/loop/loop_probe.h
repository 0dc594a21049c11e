/* SPDX-License-Identifier: MIT */
/* Whether this process could use io_uring as vblkd does, without a device. */
#ifndef VBLK_LOOP_LOOP_PROBE_H
#define VBLK_LOOP_LOOP_PROBE_H

#include <stddef.h>

#include "vblk/util/compiler.h"

/**
 * loop_probe() - make a ring, ask which operations the kernel knows, take it down
 * @ret_missing: names of operations that the data path uses and the kernel does not
 *               know, with ", " between; "" = none. @len: room for them
 *
 * Return: 0; -ENOSYS no io_uring; -EPERM switched off or refused; -ENOMEM; other
 *         -errno of io_uring_setup(2).
 */
int loop_probe(char *ret_missing, size_t len) VBLK_MUST_CHECK;

#endif
