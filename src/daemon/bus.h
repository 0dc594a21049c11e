/* SPDX-License-Identifier: MIT */
/*
 * The vdpa bus is there in the initial network namespace only. The service has a network
 * namespace of its own, with nothing in it, so systemd makes the socket for it (vblkd@.socket).
 */
#ifndef VBLKD_BUS_H
#define VBLKD_BUS_H

/* FileDescriptorName= of the unit */
#define BUS_FD_NAME "vdpa"

/*
 * What else systemd passed on is closed, but for @kept_fd, and the environment forgets it.
 * Return: the socket that systemd gave us (owned, close-on-exec); -1 there is none.
 */
int bus_find(int kept_fd);

#endif
