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

/*
 * Serves until told to stop. @argv: of the process, to start a newer program with.
 * Return: exit code 0 or 1.
 */
int keeper_run(const struct vblkd_config *config, char **argv);

/* Goes on where the program that left the record behind @fd (owned) stopped, in this process. */
int keeper_run_handover(int fd, char **argv);

/*
 * Could keeper_run_handover() go on? Changes nothing. Says so on standard output, in the words
 * that the keeper expects, or why not on standard error.
 */
int keeper_check_handover(int fd);

#endif
