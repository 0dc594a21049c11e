/* SPDX-License-Identifier: MIT */
/* MESSAGE_ID of what an administrator may want to be told of, for the journal; see vblkd(7). */
#ifndef VBLKD_MESSAGE_IDS_H
#define VBLKD_MESSAGE_IDS_H

#define MESSAGE_WORKER_DIED   "a74529d2a444442faffce3aff9a8efce"
#define MESSAGE_UPGRADED      "ebb67acd6d9e4250869952436ebdd5d4"
#define MESSAGE_QUEUE_BROKEN  "35816f25528241a280858d363d6bda37"
#define MESSAGE_BACKEND_STUCK "5496afae07c144b2bb066e75d45d0c1d"
#define MESSAGE_BACKEND_BACK  "fdccdad2fd224ff3988830bdb2826364"
#define MESSAGE_SERVER_GONE   "4ec8b86efba04d5096569d4025d0b1a7"
#define MESSAGE_SERVER_BACK   "a4725c2c3dd94139b1da146ff207bd04"
#define MESSAGE_DEVICE_BROKEN "1c9454964817448a99cf5d50a6eb1a3c"

#endif
