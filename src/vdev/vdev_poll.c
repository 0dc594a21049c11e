/* SPDX-License-Identifier: MIT */
#include "vdev_poll.h"

#include <sched.h>

#include "vblk/util/clock.h"
#include "vblk/util/cpu.h"
#include "vblk/util/math.h"

/* Looks between two readings of the clock. */
#define LOOKS_PER_READING 32u
/* A power of two: every so often it is asked which policy we have. */
#define WANTS_PER_POLICY 256u

bool vdev_can_poll(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	/* More CPUs than the set has places for is no reason not to. */
	return sched_getaffinity(0, sizeof(cpus), &cpus) < 0 || CPU_COUNT(&cpus) > 1;
}

void vdev_poll_init(struct vdev_poll *poll, enum vdev_poll_mode mode)
{
	*poll = (struct vdev_poll){
		/* On a single CPU the other side cannot run while we spin. */
		.mode = mode != VDEV_POLL_OFF && vdev_can_poll() ? mode : VDEV_POLL_OFF,
		.want_cnt = VDEV_POLL_WANT_MIN,
	};
}

/* Somebody else may give it to us, for as long as the host swaps to the disk. */
static void look_at_policy(struct vdev_poll *poll)
{
	int policy = sched_getscheduler(0);

	poll->real_time = policy == SCHED_RR || policy == SCHED_FIFO;
}

bool vdev_poll_wants_slow(struct vdev_poll *poll)
{
	if (poll->wants_cnt++ % WANTS_PER_POLICY == 0)
		look_at_policy(poll);
	if (poll->real_time)
		return false;
	return poll->mode == VDEV_POLL_ON || poll->credit || poll->short_cnt >= poll->want_cnt;
}

/* Each useful spin forgives one that was not. */
static void spin_met(struct vdev_poll *poll)
{
	poll->idle_since_ns = 0;
	poll->want_cnt = MAX(poll->want_cnt / 2, VDEV_POLL_WANT_MIN);
	poll->credit = MIN(poll->credit + 1, VDEV_POLL_CREDIT_MAX);
}

static bool spin_missed(struct vdev_poll *poll, uint64_t begun_ns, uint64_t now_ns)
{
	if (poll->mode != VDEV_POLL_ON) {
		poll->credit -= MIN(poll->credit, VDEV_POLL_CREDIT_MISS);
		if (!poll->credit) {
			poll->short_cnt = 0;
			poll->want_cnt = MIN(poll->want_cnt * 2, VDEV_POLL_WANT_MAX);
		}
		return false;
	}
	if (!poll->idle_since_ns)
		poll->idle_since_ns = begun_ns;
	look_at_policy(poll);
	/* Where there are more threads than CPUs, whom we wait for may be waiting for us. */
	(void)sched_yield();
	return !poll->real_time && now_ns - poll->idle_since_ns < VDEV_POLL_IDLE_NS;
}

bool vdev_poll_spin(struct vdev_poll *poll, bool inflight, bool (*has_news)(void *arg), void *arg)
{
	uint64_t max_ns = poll->mode == VDEV_POLL_ON ? VDEV_POLL_SLICE_NS : VDEV_POLL_SPIN_NS;
	uint64_t begun_ns = 0, yielded_ns = 0, now_ns = 0;

	/* The clock is first read when something has not come at once. */
	for (;;) {
		for (unsigned int i = 0; i < LOOKS_PER_READING; i++) {
			if (has_news(arg)) {
				spin_met(poll);
				return true;
			}
			cpu_relax();
		}
		now_ns = clock_now_ns();
		if (!begun_ns)
			begun_ns = yielded_ns = now_ns;
		if (inflight && now_ns - yielded_ns >= VDEV_POLL_YIELD_NS) {
			(void)sched_yield();
			yielded_ns = now_ns;
		}
		if (now_ns - begun_ns >= max_ns)
			return spin_missed(poll, begun_ns, now_ns);
	}
}

uint64_t vdev_poll_sleep_begin(const struct vdev_poll *poll)
{
	return poll->mode == VDEV_POLL_OFF ? 0 : clock_now_ns();
}

void vdev_poll_sleep_end(struct vdev_poll *poll, uint64_t begun_ns)
{
	if (poll->mode != VDEV_POLL_OFF)
		vdev_poll_slept(poll, clock_now_ns() - begun_ns);
}

void vdev_poll_slept(struct vdev_poll *poll, uint64_t slept_ns)
{
	poll->idle_since_ns = 0;
	poll->short_cnt = slept_ns < VDEV_POLL_SHORT_NS ? poll->short_cnt + 1 : 0;
}
