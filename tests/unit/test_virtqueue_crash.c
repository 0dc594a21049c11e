/* SPDX-License-Identifier: MIT */
/*
 * The process may die before any store into the ring or the record. Here it
 * does: a scenario runs once for each store and is cut there; a successor
 * recovers, and is cut at each of its stores too; a third one finishes. The
 * driver must then have seen every request completed exactly once.
 *
 * What a driver does differently on split and on packed rings is in the files
 * test_virtqueue_crash_*.c. VBLK_TEST_SEED in the environment chooses other scenarios.
 */
#include "test_virtqueue_crash.h"

#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_suite.h"
#include "../../src/virtqueue/vq_store.h"
#include "vblk/mem/memmap.h"
#include "vblk/util/compiler.h"

#define STEPS	  8u
#define SCENARIOS 8
#define NO_CUT	  UINT_MAX

/* What survives a death: the driver, and the memory. */
struct crash_world world;

static const struct crash_ring_ops *const rings[] = { &crash_ring_split, &crash_ring_packed };

/* What dies. */
static struct {
	struct vq *vq;
	uint16_t held[CRASH_RING_MAX];
	unsigned int held_cnt;
} dev;

static struct {
	unsigned int stores_left;
	unsigned int store_cnt;
	jmp_buf death;
} cut;

void vq_store_hook(void)
{
	cut.store_cnt++;
	if (world.ops->check_stores)
		world.ops->check_stores();
	if (cut.stores_left == NO_CUT)
		return;
	if (!cut.stores_left)
		longjmp(cut.death, 1);
	cut.stores_left--;
}

static unsigned int rnd(unsigned int below)
{
	world.rng = world.rng * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned int)(world.rng >> 33) % below;
}

static void world_new(const struct crash_ring_ops *ops)
{
	struct memmap_region region;

	memset(&world, 0, sizeof(world));
	world.ops = ops;
	ops->create();
	region = (struct memmap_region){ .iova = CRASH_ARENA_IOVA,
					 .len_bytes = CRASH_ARENA_BYTES,
					 .va = world.arena->mem,
					 .perm = MEMMAP_READ | MEMMAP_WRITE,
					 .fd = -1 };
	ck_assert_int_eq(memmap_new(&region, 1, NULL, NULL, &world.map), 0);
	ck_assert_int_eq(vq_new(CRASH_RING_MAX, &dev.vq), 0);
}

static void world_free(void)
{
	vq_free(dev.vq);
	memmap_unref(world.map);
	free(world.rec);
	world.ops->destroy();
}

/* Another ring has left a record: a clean one, or (odd seeds) one of requests of its own. */
static void world_reset(uint64_t seed)
{
	memset(world.rec, 0x5a, world.rec_bytes);
	((struct vq_inflight *)world.rec)->size = VQ_INFLIGHT_CLEAN;
	memset(world.pending, 0, sizeof(world.pending));
	world.made_cnt = 0;
	world.done_cnt = 0;
	world.rng = seed * 2654435761u + 1;
	world.ops->reset(seed);
}

static void driver_make(unsigned int max)
{
	for (unsigned int i = 0; i < max; i++) {
		unsigned int req = rnd(CRASH_REQS);

		if (world.pending[req] || !world.ops->make(req))
			continue;
		world.pending[req] = true;
		world.made_cnt++;
	}
	world.ops->show();
}

static void driver_reap(void)
{
	world.ops->reap();
}

void crash_done(unsigned int req)
{
	ck_assert_uint_lt(req, CRASH_REQS);
	ck_assert_msg(world.pending[req], "request %u was completed twice", req);
	world.pending[req] = false;
	world.done_cnt++;
}

static void device_start(bool recover)
{
	struct vq_config cfg = {
		.event_idx = world.rng & 1,
		.indirect = true,
		.inflight = world.rec,
		.recover = recover,
	};

	world.ops->configure(&cfg);
	dev.held_cnt = 0;
	vq_set_map(dev.vq, world.map);
	ck_assert_int_eq(vq_start(dev.vq, &cfg), 0);
}

/* All memory of a dead process is gone. */
static void device_dies(void)
{
	vq_free(dev.vq);
	dev.held_cnt = 0;
	ck_assert_int_eq(vq_new(CRASH_RING_MAX, &dev.vq), 0);
}

static void device_pop(unsigned int max)
{
	struct iovec iov[4];
	struct vq_chain chain;

	for (unsigned int i = 0; i < max; i++) {
		int r = vq_pop(dev.vq, iov, ARRAY_SIZE(iov), &chain);
		unsigned int req;

		ck_assert_msg(r >= 0, "fault: %s", vq_fault_str(vq_fault(dev.vq)));
		if (!r)
			return;
		req = world.ops->which(&chain);
		ck_assert_msg(req < CRASH_REQS && world.pending[req],
			      "request %u was taken and is not the device's", req);
		dev.held[dev.held_cnt++] = chain.head;
	}
}

/* In any order. */
static void device_push(unsigned int max)
{
	while (max-- && dev.held_cnt) {
		unsigned int i = rnd(dev.held_cnt);
		uint16_t head = dev.held[i];

		dev.held[i] = dev.held[--dev.held_cnt];
		vq_push(dev.vq, head, CRASH_WRITTEN);
	}
}

static void work_step(void)
{
	if (rnd(2))
		driver_make(1 + rnd(4));
	if (!rnd(3))
		vq_kick_suppress(dev.vq);
	if (rnd(4))
		device_pop(rnd(5));
	if (rnd(3))
		device_push(rnd(4));
	if (rnd(3))
		(void)vq_publish(dev.vq);
	if (!rnd(3) && vq_kick_enable(dev.vq))
		device_pop(1);
	if (rnd(3))
		driver_reap();
}

/* The driver goes on while nobody is there. */
static void driver_alone(void)
{
	if (rnd(2))
		driver_reap();
	if (rnd(2))
		driver_make(rnd(6));
}

static void drain(void)
{
	device_pop(CRASH_RING_MAX);
	device_push(CRASH_RING_MAX);
	(void)vq_publish(dev.vq);
	driver_reap();
}

static void life_fresh(void)
{
	device_start(false);
	for (unsigned int i = 0; i < STEPS; i++)
		work_step();
}

static void life_recovering(void)
{
	device_start(true);
	ck_assert(vq_publish(dev.vq));
	work_step();
	work_step();
	drain();
}

/* Runs @life until its store number @at; false when it ended before. */
static bool dies_at(void (*life)(void), unsigned int at)
{
	cut.store_cnt = 0;
	cut.stores_left = at;
	if (setjmp(cut.death)) {
		device_dies();
		return true;
	}
	life();
	return false;
}

static void check_all_done(void)
{
	for (unsigned int i = 0; i < CRASH_REQS; i++)
		ck_assert_msg(!world.pending[i], "request %u was lost", i);
	ck_assert_uint_eq(world.made_cnt, world.done_cnt);
}

/* The last one lives: everything is finished, and the ring goes on working. */
static void finish(void)
{
	cut.stores_left = NO_CUT;
	life_recovering();
	drain();
	check_all_done();
	for (unsigned int i = 0; i < 3; i++) {
		driver_make(CRASH_RING_MAX);
		drain();
		check_all_done();
	}
	/* Also after an end in order. */
	vq_stop(dev.vq);
	device_dies();
	driver_make(CRASH_RING_MAX);
	life_recovering();
	check_all_done();
	vq_stop(dev.vq);
}

/* True when the first life reached store @first_at, the second store @second_at. */
static bool run(uint64_t seed, unsigned int first_at, unsigned int second_at, bool *ret_first_died)
{
	bool second_died = false;

	world_reset(seed);
	*ret_first_died = dies_at(life_fresh, first_at);
	if (!*ret_first_died)
		device_dies(); /* between two stores, in no function of ours */
	driver_alone();
	if (second_at != NO_CUT) {
		second_died = dies_at(life_recovering, second_at);
		if (!second_died)
			device_dies();
		driver_alone();
	}
	finish();
	return second_died;
}

static uint64_t base_seed(void)
{
	const char *text = getenv("VBLK_TEST_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

START_TEST(every_request_completes_once_whenever_the_process_dies)
{
	const struct crash_ring_ops *ops = rings[_i / SCENARIOS];
	uint64_t seed = base_seed() * 1000 + (uint64_t)_i % SCENARIOS;
	unsigned int run_cnt = 0;
	bool first_died = true;

	printf("%s, scenario seed %llu: ", ops->name, (unsigned long long)seed);
	world_new(ops);
	/* Store 0 of a start that is fresh is what makes a foreign record harmless. */
	for (unsigned int first_at = seed & 1; first_died; first_at++) {
		(void)run(seed, first_at, NO_CUT, &first_died);
		for (unsigned int second_at = 0; run(seed, first_at, second_at, &first_died);
		     second_at++)
			run_cnt++;
		run_cnt += 2;
	}
	printf("%u runs\n", run_cnt);
	ck_assert_uint_gt(run_cnt, 200);
	world_free();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("virtqueue_crash");
	TCase *tc = tcase_create("crash");

	suite_add_tcase(s, tc);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, every_request_completes_once_whenever_the_process_dies, 0,
			    ARRAY_SIZE(rings) * SCENARIOS);
	return run_suite(s);
}
