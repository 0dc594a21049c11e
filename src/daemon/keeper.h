/* SPDX-License-Identifier: MIT */
/*
 * The keeper: the process that is started. Creates the device, starts the
 * worker and starts it again when it dies, attaches and detaches through
 * helpers, and removes everything at the end. It never touches data, and
 * nothing it waits for can stop it from starting a worker again.
 *
 *   STARTING -> ATTACHING -> READY -> DETACHING -> FINISHING -> gone
 *       |           |          ^          |            ^
 *       |           |          +- refused +            |
 *       +-----------+----------- failed ---------------+
 */
#ifndef VBLKD_KEEPER_H
#define VBLKD_KEEPER_H

#include "config.h"

/* Serves until told to stop. Return: exit code 0 or 1. */
int keeper_run(const struct vblkd_config *config);

#endif
