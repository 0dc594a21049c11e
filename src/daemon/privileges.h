/* SPDX-License-Identifier: MIT */
/*
 * Who may do what. Set up as root, then:
 *
 *   keeper   CAP_NET_ADMIN (attach and detach on the vdpa bus), nothing else;
 *            reads no data and no control message of anyone but its worker
 *   helper   the keeper's, for one netlink call
 *   worker   no capability at all, and no way to get one back
 */
#ifndef VBLKD_PRIVILEGES_H
#define VBLKD_PRIVILEGES_H

#include "vblk/util/compiler.h"

/**
 * privileges_prepare() - what needs root once and is inherited: memory lock limit, leave to
 * be real-time at the lowest priority,
 * PR_SET_IO_FLUSHER (memory for our own I/O is never waited for by our I/O), no
 * core dumps, protection from the OOM killer
 *
 * Missing permission for the last three is not an error (containers).
 * Return: 0 or -errno.
 */
int privileges_prepare(void) VBLK_MUST_CHECK;

/* Return: 0; -EPERM. Before threads exist: capabilities are a thread's. */
int privileges_drop_keeper(void) VBLK_MUST_CHECK;
int privileges_drop_worker(void) VBLK_MUST_CHECK;

/*
 * The kernel lets a real-time thread have half of its reserve of memory (vm.min_free_kbytes),
 * where others wait until some is free; which may wait for the disk whose worker is to be
 * started. While the successor of a worker that died starts, and not while that is waited for.
 * The policy is inherited by children and threads. Without permission nothing changes.
 */
void privileges_begin_real_time(void);
void privileges_end_real_time(void);

/*
 * Locks all memory, also what is mapped later. Swap may be on the very disk that
 * the process serves, or has to start a worker for: a page of it, or of the record
 * of requests in flight, that went there could not be had back when it is needed.
 * Not inherited by fork. Return: 0 or -errno.
 */
int privileges_lock_memory(void);

#endif
