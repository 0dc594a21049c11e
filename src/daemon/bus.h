/* SPDX-License-Identifier: MIT */
/*
 * The vdpa bus is there in the initial network namespace only. The service has a network
 * namespace of its own, with nothing in it, so systemd makes the socket for it (vblkd@.socket).
 */
#ifndef VBLKD_BUS_H
#define VBLKD_BUS_H

/* Return: the socket that systemd gave us (owned, close-on-exec); -1 there is none. */
int bus_find(void);

#endif
