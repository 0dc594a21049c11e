/* SPDX-License-Identifier: MIT */
/*
 * Where daemon and tools meet: /run/vblkd/NAME/, or of who is not root
 * $XDG_RUNTIME_DIR/vblkd/NAME/, holds
 *   control     the Varlink socket
 *   state.json  what the device is (fields as in io.vblkd.Device.varlink), replaced
 *               atomically by the daemon, for when nobody answers
 *   lock        locked with flock(2) by the keeper process for its whole life
 *   inflight    record of requests in flight
 *   stats       counters
 *   worker      a worker holds a lock on the byte that has its process number
 */
#ifndef VBLK_CONTROL_PATHS_H
#define VBLK_CONTROL_PATHS_H

#include <stddef.h>

#include "vblk/util/compiler.h"

/* The run directory of this (real) user's devices. Environment VBLKD_RUN_DIR replaces it, for
 * tests, in processes that have not gained privileges by exec. Static storage. */
const char *vblkd_run_dir(void);
/* That of the devices of the host, which root makes. The same for root. */
const char *vblkd_host_run_dir(void);

/**
 * vblkd_run_path() - path of @file (NULL: the directory itself) of device @name
 * In the user's own run directory if the device is there, else in that of the host.
 * Return: 0; -EINVAL @name is no device name; -ENAMETOOLONG.
 */
int vblkd_run_path(const char *name, const char *file, char *buf, size_t len) VBLK_MUST_CHECK;

#endif
