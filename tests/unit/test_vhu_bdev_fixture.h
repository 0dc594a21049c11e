/* SPDX-License-Identifier: MIT */
/* The backend vhost-user:PATH and the fake server that it finds there. */
#ifndef TESTS_UNIT_TEST_VHU_BDEV_FIXTURE_H
#define TESTS_UNIT_TEST_VHU_BDEV_FIXTURE_H

#include "fake_vhu_server.h"
#include "vblk/bdev/bdev.h"

#define FX_QUEUES 2u

extern struct vhu_bdev_fx {
	char dir[64], path[108], spec[128];
	struct fake_vhu_options options;
	struct fake_vhu *srv;
	struct bdev_params params;
	struct bdev *bdev;
	char why[BDEV_WHY_MAX];
} fx;

/* A socket, and options that a test may change before it starts anything. */
void fx_setup(void);
void start_server(void);
void stop_server(void);
/* What is still there of both. */
void fx_teardown(void);

#endif
