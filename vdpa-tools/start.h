/* SPDX-License-Identifier: MIT */
/* What commands that start a daemon have in common. */
#ifndef VBLKCTL_START_H
#define VBLKCTL_START_H

/**
 * start_daemon() - runs vblkd with the arguments of a command and prints where the disk is
 * @options: of ours, for vblkd, ended by NULL; at most two
 * Return: an exit code, after messages.
 */
int start_daemon(int argc, char **argv, const char *const *options);

#endif
