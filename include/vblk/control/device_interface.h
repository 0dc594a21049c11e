/* SPDX-License-Identifier: MIT */
/* Text of io.vblkd.Device.varlink, compiled in. */
#ifndef VBLK_CONTROL_DEVICE_INTERFACE_H
#define VBLK_CONTROL_DEVICE_INTERFACE_H

extern const char varlink_device_interface[];

#endif
