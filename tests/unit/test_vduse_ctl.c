/* SPDX-License-Identifier: MIT */
/* The control node, against a script of expected calls. */
#include "test_vduse_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "vblk/vduse/vduse_probe.h"

#define BIT64(n) (1ull << (n))
#define CTL_FD	 77

struct step {
	unsigned long request; /* 0: open */
	int result;
	const char *path;
	int flags;
	const void *arg;
	size_t arg_bytes;
};

struct script {
	const struct step *steps;
	unsigned int cnt;
	unsigned int next;
	unsigned int closed;
};

static const struct step *script_next(struct script *script)
{
	ck_assert_msg(script->next < script->cnt, "a call too many");
	return &script->steps[script->next++];
}

static int script_open(void *ctx, const char *path, int flags)
{
	const struct step *step = script_next(ctx);

	ck_assert_uint_eq(step->request, 0);
	ck_assert_str_eq(path, step->path);
	ck_assert_int_eq(flags, step->flags);
	return step->result;
}

static void script_close(void *ctx, int fd)
{
	struct script *script = ctx;

	ck_assert_int_eq(fd, CTL_FD);
	script->closed++;
}

static int script_ioctl(void *ctx, int fd, unsigned long request, void *arg)
{
	const struct step *step = script_next(ctx);

	ck_assert_int_eq(fd, CTL_FD);
	ck_assert_uint_eq(request, step->request);
	ck_assert_mem_eq(arg, step->arg, step->arg_bytes);
	return step->result;
}

#define SCRIPT(name, list)                                                               \
	struct script name = { .steps = list, .cnt = sizeof(list) / sizeof((list)[0]) }; \
	struct vduse_sys sys = {                                                         \
		.open = script_open,                                                     \
		.close = script_close,                                                   \
		.ioctl = script_ioctl,                                                   \
		.ctx = &name,                                                            \
	}

static const uint64_t version_zero;

START_TEST(version_zero_is_set_and_never_asked_for)
{
	const struct step steps[] = {
		{ 0, CTL_FD, "/dev/vduse/control", O_RDWR | O_CLOEXEC, NULL, 0 },
		{ 0x40088101, 0, NULL, 0, &version_zero, sizeof(version_zero) },
	};
	int fd = -1;

	SCRIPT(script, steps);
	ck_assert_int_eq(vduse_ctl_open(&sys, &fd), 0);
	ck_assert_int_eq(fd, CTL_FD);
	ck_assert_uint_eq(script.next, script.cnt);
	ck_assert_uint_eq(script.closed, 0);
}
END_TEST

START_TEST(refused_version_closes_the_node)
{
	const struct step steps[] = {
		{ 0, CTL_FD, "/dev/vduse/control", O_RDWR | O_CLOEXEC, NULL, 0 },
		{ VDUSE_SET_API_VERSION, -EINVAL, NULL, 0, &version_zero, sizeof(version_zero) },
	};
	int fd = -1;

	SCRIPT(script, steps);
	ck_assert_int_eq(vduse_ctl_open(&sys, &fd), -EINVAL);
	ck_assert_int_eq(fd, -1);
	ck_assert_uint_eq(script.closed, 1);
}
END_TEST

static const int open_errors[] = { -ENOENT, -EACCES, -EBUSY };

START_TEST(errors_of_open_are_passed_on)
{
	const struct step steps[] = {
		{ 0, open_errors[_i], "/dev/vduse/control", O_RDWR | O_CLOEXEC, NULL, 0 },
		{ 0, open_errors[_i], "/dev/vduse/d1", O_RDWR | O_CLOEXEC | O_NONBLOCK, NULL, 0 },
	};
	int fd = -1;

	SCRIPT(script, steps);
	ck_assert_int_eq(vduse_ctl_open(&sys, &fd), open_errors[_i]);
	ck_assert_int_eq(vduse_ctl_open_dev(&sys, "d1", &fd), open_errors[_i]);
	ck_assert_int_eq(fd, -1);
}
END_TEST

static void params_init(struct blk_params *blk)
{
	struct bdev_limits limits = fake_bdev_default_limits();

	blk_params_init(blk, &limits, 2, 256, "SERIAL");
}

/* The whole argument, byte by byte, built here from the layout and not from the header. */
START_TEST(create_sends_exactly_this)
{
	struct blk_params blk;
	struct virtio_blk_config config;
	uint8_t want[336 + sizeof(config)] = "disk1";
	uint32_t vendor = 0x6b6c6276, device = 2, queues = 2, align = 4096;
	uint32_t config_size = sizeof(config);
	const struct step steps[] = {
		{ 0x41508102, 0, NULL, 0, want, sizeof(want) },
		{ 0x41508102, -EEXIST, NULL, 0, want, sizeof(want) },
	};
	uint64_t features;

	params_init(&blk);
	memset(&config, 0, sizeof(config));
	blk_config_fill(&blk, &config);
	features = (blk.features & ~BIT64(VIRTIO_BLK_F_SECURE_ERASE)) | BIT64(32) | BIT64(33);
	memcpy(want + 256, &vendor, 4);
	memcpy(want + 260, &device, 4);
	memcpy(want + 264, &features, 8);
	memcpy(want + 272, &queues, 4);
	memcpy(want + 276, &align, 4);
	memcpy(want + 332, &config_size, 4);
	memcpy(want + 336, &config, sizeof(config));
	ck_assert_uint_ge(config_size, 72);

	SCRIPT(script, steps);
	ck_assert_int_eq(vduse_ctl_create(&sys, CTL_FD, "disk1", &blk), 0);
	ck_assert_int_eq(vduse_ctl_create(&sys, CTL_FD, "disk1", &blk), -EEXIST);
}
END_TEST

static const char *const bad_names[] = { "", "control", "a/b", "..", "vq0", "power", "a b" };

START_TEST(bad_names_reach_no_kernel)
{
	const struct step steps[1] = { { 0 } };
	struct blk_params blk;
	uint64_t value;
	int fd;

	params_init(&blk);
	SCRIPT(script, steps);
	ck_assert_int_eq(vduse_ctl_create(&sys, CTL_FD, bad_names[_i], &blk), -EINVAL);
	ck_assert_int_eq(vduse_ctl_open_dev(&sys, bad_names[_i], &fd), -EINVAL);
	ck_assert_int_eq(vduse_ctl_set_attr(bad_names[_i], "msg_timeout", 1), -EINVAL);
	ck_assert_int_eq(vduse_ctl_get_attr(bad_names[_i], "msg_timeout", &value), -EINVAL);
	ck_assert_uint_eq(script.next, 0);
}
END_TEST

START_TEST(features_that_hurt_are_never_offered)
{
	struct blk_params blk = { .features = UINT64_MAX };
	uint64_t features = vduse_features(&blk);
	static const unsigned int never[] = {
		VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_SECURE_ERASE, 24, 34, 35, 36, 38, 40
	};
	unsigned int i;

	for (i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		ck_assert_msg(!(features & BIT64(never[i])), "bit %u", never[i]);
	ck_assert(features & BIT64(32) && features & BIT64(33));
}
END_TEST

START_TEST(destroy_sends_the_padded_name)
{
	static const char want[256] = "disk1";
	const struct step steps[] = {
		{ 0x41008103, -EBUSY, NULL, 0, want, sizeof(want) },
		{ 0x41008103, 0, NULL, 0, want, sizeof(want) },
	};
	char long_name[300];

	SCRIPT(script, steps);
	ck_assert_int_eq(vduse_ctl_destroy(&sys, CTL_FD, "disk1"), -EBUSY);
	ck_assert_int_eq(vduse_ctl_destroy(&sys, CTL_FD, "disk1"), 0);
	memset(long_name, 'a', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	ck_assert_int_eq(vduse_ctl_destroy(&sys, CTL_FD, long_name), -EINVAL);
}
END_TEST

START_TEST(every_queue_is_set_up_with_the_same_size)
{
	static const struct vduse_vq_config want[] = {
		{ .index = 0, .max_size = 256 },
		{ .index = 1, .max_size = 256 },
	};
	const struct step steps[] = {
		{ 0x40208114, 0, NULL, 0, &want[0], sizeof(want[0]) },
		{ 0x40208114, 0, NULL, 0, &want[1], sizeof(want[1]) },
		{ 0x40208114, -EPERM, NULL, 0, &want[0], sizeof(want[0]) },
	};
	struct blk_params blk;

	params_init(&blk);
	SCRIPT(script, steps);
	ck_assert_int_eq(vduse_ctl_setup_queues(&sys, CTL_FD, &blk), 0);
	ck_assert_int_eq(vduse_ctl_setup_queues(&sys, CTL_FD, &blk), -EPERM);
}
END_TEST

START_TEST(knobs_of_a_device_that_is_not_there)
{
	uint64_t value = 5;

	ck_assert_int_eq(vduse_ctl_set_attr("nosuchdevice", "msg_timeout", 1), -ENOENT);
	ck_assert_int_eq(vduse_ctl_get_attr("nosuchdevice", "bounce_size", &value), -ENOENT);
	ck_assert_uint_eq(value, 5);
}
END_TEST

static const struct {
	int umem;
	int api_one, api_two;
	struct vduse_probe want;
} probes[] = {
	{ -EINVAL, -EINVAL, 0, { .api_max = 0, .umem = true } },
	{ -ENOTTY, -EINVAL, 0, { .api_max = 0, .umem = false } },
	{ -EINVAL, 0, -EINVAL, { .api_max = 1, .umem = true } },
};

START_TEST(probe_tries_on_a_device_of_its_own_and_removes_it)
{
	static const uint64_t one = 1, two = 2;
	static const char name[256] = "probe";
	struct step steps[12];
	struct vduse_probe found;
	unsigned int cnt = 0;

	steps[cnt++] =
		(struct step){ 0, CTL_FD, "/dev/vduse/control", O_RDWR | O_CLOEXEC, NULL, 0 };
	steps[cnt++] = (struct step){ VDUSE_SET_API_VERSION, 0, NULL, 0, &version_zero, 8 };
	steps[cnt++] = (struct step){ VDUSE_SET_API_VERSION, probes[_i].api_one, NULL, 0, &one, 8 };
	if (probes[_i].api_one == 0)
		steps[cnt++] = (struct step){
			VDUSE_SET_API_VERSION, probes[_i].api_two, NULL, 0, &two, 8
		};
	/* Once more: whatever was tried, devices are made with version 0. */
	steps[cnt++] =
		(struct step){ 0, CTL_FD, "/dev/vduse/control", O_RDWR | O_CLOEXEC, NULL, 0 };
	steps[cnt++] = (struct step){ VDUSE_SET_API_VERSION, 0, NULL, 0, &version_zero, 8 };
	steps[cnt++] = (struct step){ 0x41508102, 0, NULL, 0, name, sizeof(name) };
	steps[cnt++] =
		(struct step){ 0,    CTL_FD, "/dev/vduse/probe", O_RDWR | O_CLOEXEC | O_NONBLOCK,
			       NULL, 0 };
	steps[cnt++] = (struct step){ 0x40308118, probes[_i].umem, NULL, 0, &two, 0 };
	steps[cnt++] = (struct step){ 0x41008103, 0, NULL, 0, name, sizeof(name) };

	SCRIPT(script, steps);
	script.cnt = cnt;
	ck_assert_int_eq(vduse_probe(&sys, "probe", &found), 0);
	ck_assert_uint_eq(script.next, cnt);
	ck_assert_uint_eq(script.closed, 3);
	ck_assert_uint_eq(found.api_max, probes[_i].want.api_max);
	ck_assert(found.umem == probes[_i].want.umem);
}
END_TEST

START_TEST(probe_passes_on_that_no_device_can_be_made)
{
	static const char name[256] = "probe";
	const struct step steps[] = {
		{ 0, CTL_FD, "/dev/vduse/control", O_RDWR | O_CLOEXEC, NULL, 0 },
		{ VDUSE_SET_API_VERSION, 0, NULL, 0, &version_zero, 8 },
		{ VDUSE_SET_API_VERSION, -EINVAL, NULL, 0, &version_zero, 0 },
		{ 0, CTL_FD, "/dev/vduse/control", O_RDWR | O_CLOEXEC, NULL, 0 },
		{ VDUSE_SET_API_VERSION, 0, NULL, 0, &version_zero, 8 },
		{ 0x41508102, -EEXIST, NULL, 0, name, sizeof(name) },
	};
	struct vduse_probe found;

	SCRIPT(script, steps);
	ck_assert_int_eq(vduse_probe(&sys, "probe", &found), -EEXIST);
	ck_assert_uint_eq(script.next, script.cnt);
	ck_assert_uint_eq(script.closed, 2);
}
END_TEST

Suite *vduse_ctl_suite(void)
{
	Suite *s = suite_create("vduse_ctl");
	TCase *tc = tcase_create("ctl");

	tcase_add_test(tc, version_zero_is_set_and_never_asked_for);
	tcase_add_test(tc, refused_version_closes_the_node);
	tcase_add_loop_test(tc, errors_of_open_are_passed_on, 0,
			    sizeof(open_errors) / sizeof(open_errors[0]));
	tcase_add_test(tc, create_sends_exactly_this);
	tcase_add_loop_test(tc, bad_names_reach_no_kernel, 0,
			    sizeof(bad_names) / sizeof(bad_names[0]));
	tcase_add_test(tc, features_that_hurt_are_never_offered);
	tcase_add_test(tc, destroy_sends_the_padded_name);
	tcase_add_test(tc, every_queue_is_set_up_with_the_same_size);
	tcase_add_test(tc, knobs_of_a_device_that_is_not_there);
	tcase_add_loop_test(tc, probe_tries_on_a_device_of_its_own_and_removes_it, 0,
			    sizeof(probes) / sizeof(probes[0]));
	tcase_add_test(tc, probe_passes_on_that_no_device_can_be_made);
	suite_add_tcase(s, tc);
	return s;
}
