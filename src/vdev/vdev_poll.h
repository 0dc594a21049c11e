/* SPDX-License-Identifier: MIT */
/*
 * Whether a queue thread spins before it sleeps, and for how long. To be woken costs both
 * sides more than a request at depth 1, so looking for the next one pays where it comes soon.
 *
 *   on        spins, until nothing has come for VDEV_POLL_IDLE_NS: an idle device costs nothing
 *   adaptive  spins VDEV_POLL_SPIN_NS, for as long as two of three spins meet something; where
 *             they did not, one is tried after some short sleeps, each time for nothing more rarely
 *
 * Never with real-time priority: what the spin waits for may need this CPU.
 *
 * Context: one queue thread.
 */
#ifndef VBLK_VDEV_POLL_H
#define VBLK_VDEV_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/vdev/vdev.h"

#define VDEV_POLL_SPIN_NS 50000ull
/*
 * A spin may meet what ends a sleep as short as this: it includes that both sides are woken, and
 * that the other one fills its batch before it kicks, while a spin sees the first request of it.
 */
#define VDEV_POLL_SHORT_NS 200000ull
/* One spin of "on", after which the thread looks after everything else. */
#define VDEV_POLL_SLICE_NS 100000ull
#define VDEV_POLL_IDLE_NS  1000000000ull
/* While the backend has requests: a thread of the kernel that works at them may want this CPU. */
#define VDEV_POLL_YIELD_NS 5000ull
/* Short sleeps in a row before a spin is tried. */
#define VDEV_POLL_WANT_MIN 8u
#define VDEV_POLL_WANT_MAX 1024u
/* A spin for nothing costs its whole time, one that meets something spares two wake-ups. */
#define VDEV_POLL_CREDIT_MAX  16u
#define VDEV_POLL_CREDIT_MISS 2u

/**
 * struct vdev_poll - what one thread has learnt
 * @real_time: as it was when last looked; see @wants_cnt
 * @wants_cnt: calls of vdev_poll_wants(); now and then one looks
 * @short_cnt: short sleeps in a row
 * @want_cnt: how many of these it takes
 * @credit: of spins that met something; while there is some they go on
 * @idle_since_ns: "on": when it last had something to do; 0 = just now
 */
struct vdev_poll {
	enum vdev_poll_mode mode;
	bool real_time;
	unsigned int wants_cnt;
	unsigned int short_cnt;
	unsigned int want_cnt;
	unsigned int credit;
	uint64_t idle_since_ns;
};

void vdev_poll_init(struct vdev_poll *poll, enum vdev_poll_mode mode);

/* Is a spin worth while now? */
bool vdev_poll_wants_slow(struct vdev_poll *poll);
static inline bool vdev_poll_wants(struct vdev_poll *poll)
{
	return poll->mode != VDEV_POLL_OFF && vdev_poll_wants_slow(poll);
}

/**
 * vdev_poll_spin() - until @has_news says so, or for its time
 * @inflight: the backend has requests
 * Return: true: look at everything again, do not sleep; false: sleep.
 */
bool vdev_poll_spin(struct vdev_poll *poll, bool inflight, bool (*has_news)(void *arg), void *arg);

/* Around each sleep: begin returns what end wants. */
uint64_t vdev_poll_sleep_begin(const struct vdev_poll *poll);
void vdev_poll_sleep_end(struct vdev_poll *poll, uint64_t begun_ns);
/* The same, of a sleep of so long. */
void vdev_poll_slept(struct vdev_poll *poll, uint64_t slept_ns);

#endif
