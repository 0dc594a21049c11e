/* SPDX-License-Identifier: MIT */
/* Counts of the listeners, kept by the kernel. */
#include "blk_probe.h"

#ifdef VBLK_HAVE_SDT

#define SEMAPHORE __attribute__((used, section(".probes"), visibility("hidden")))

SEMAPHORE unsigned short vblkd_submit_semaphore;
SEMAPHORE unsigned short vblkd_complete_semaphore;

#endif
