/* SPDX-License-Identifier: MIT */
#include "test_vhu_bdev_fixture.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct vhu_bdev_fx fx;

void fx_setup(void)
{
	memset(&fx, 0, sizeof(fx));
	strcpy(fx.dir, "/tmp/vblk-vhu-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fx.dir));
	snprintf(fx.path, sizeof(fx.path), "%s/sock", fx.dir);
	snprintf(fx.spec, sizeof(fx.spec), "vhost-user:%s", fx.path);
	fake_vhu_usual(&fx.options);
	fx.params =
		(struct bdev_params){ .spec = fx.spec, .queue_cnt = FX_QUEUES, .discard = true };
}

void start_server(void)
{
	fx.srv = fake_vhu_new(fx.path, &fx.options);
}

void stop_server(void)
{
	fake_vhu_free(fx.srv);
	fx.srv = NULL;
}

void fx_teardown(void)
{
	bdev_close(fx.bdev);
	if (fx.srv)
		stop_server();
	rmdir(fx.dir);
}
