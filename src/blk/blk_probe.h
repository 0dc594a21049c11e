/* SPDX-License-Identifier: MIT */
/*
 * USDT probes for bpftrace and perf, provider "vblkd". While nobody listens a
 * probe is a load of its semaphore and a branch that is not taken; its
 * arguments, and a clock reading for the latency, are made only for a listener.
 * Without <sys/sdt.h> there are none.
 *
 *   submit:   queue, head, operation, sector, bytes
 *   complete: queue, head, operation, sector, bytes, status, latency in ns
 *
 * A request of several ranges (discard) is submitted once a range, and
 * completes with the last one. Operation: enum bdev_op; status: VIRTIO_BLK_S_*.
 */
#ifndef VBLK_SRC_BLK_PROBE_H
#define VBLK_SRC_BLK_PROBE_H

#include <stdbool.h>

#ifdef VBLK_HAVE_SDT

#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

/* Names and section are what the tools look for. */
extern unsigned short vblkd_submit_semaphore;
extern unsigned short vblkd_complete_semaphore;

#define BLK_PROBE_ON(name) \
	__builtin_expect(*(volatile unsigned short *)&vblkd_##name##_semaphore, 0)
#define BLK_PROBE_SUBMIT(queue, head, op, sector, bytes) \
	DTRACE_PROBE5(vblkd, submit, queue, head, op, sector, bytes)
#define BLK_PROBE_COMPLETE(queue, head, op, sector, bytes, status, latency_ns) \
	DTRACE_PROBE7(vblkd, complete, queue, head, op, sector, bytes, status, latency_ns)

#else

#define BLK_PROBE_ON(name) false
#define BLK_PROBE_SUBMIT(queue, head, op, sector, bytes) \
	((void)(queue), (void)(head), (void)(op), (void)(sector), (void)(bytes))
#define BLK_PROBE_COMPLETE(queue, head, op, sector, bytes, status, latency_ns)                   \
	((void)(queue), (void)(head), (void)(op), (void)(sector), (void)(bytes), (void)(status), \
	 (void)(latency_ns))

#endif

#endif
