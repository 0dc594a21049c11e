/* SPDX-License-Identifier: MIT */
/* The record that a keeper leaves to the program that replaces it. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handover.h"
#include "run_suite.h"
#include "vblk/util/math.h"

static struct handover h;
static char why[BDEV_WHY_MAX];

static int must(int fd)
{
	ck_assert_int_ge(fd, 3);
	return fd;
}

static void setup(void)
{
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	why[0] = '\0';
	h = (struct handover){
		.version = "1.2.3",
		.program = "/usr/sbin/vblkd",
		.run_dir = "/run/vblkd/s0",
		.run_dir_fd = must(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
		.lock_fd = must(open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)),
		.ctl_fd = must(open("/dev/null", O_RDWR | O_CLOEXEC)),
		.listen_fd = pair[0],
		.umem_fd = must(memfd_create("umem", MFD_CLOEXEC)),
		.bus_fd = must(open("/dev/null", O_RDWR | O_CLOEXEC)),
		.link_fd = pair[1],
		.link_version = 7,
		.worker_pid = 4711,
		.restarts = 3,
		.upgrades = 2,
		.started_at = 1700000000,
		.disk = "vda",
		.bounce_bytes = 64ull << 20,
		.created = true,
		.serve = { .socket = { .fd = -1 }, .fence_fd = -1 },
	};
	config_init(&h.config);
	strcpy(h.config.name, "s0");
	strcpy(h.config.serial, "S-0");
	h.config.backend = strdup("/images/a b.img");
	h.config.queues = 2;
	h.config.queue_size = 256;
	h.config.bdev.direct = true;
	h.config.bdev.discard = false;
	h.config.bdev.direct_rings = true;
	h.config.bdev.logical_block_bytes = 4096;
	h.config.bounce_bytes = 1ull << 30;
	h.config.umem = VDUSE_UMEM_OFF;
	h.config.poll = VDEV_POLL_ON;
	h.config.detached = true;
	h.bdev = (struct bdev_handover){
		.kind = "mem",
		.limits = { .capacity_bytes = 5ull << 40,
			    .max_segs = 126,
			    .max_seg_bytes = UINT32_MAX,
			    .max_ranges = 3,
			    .remote = true,
			    .logical_block_bytes = 4096,
			    .physical_block_bytes = 8192,
			    .buf_align_bytes = 512,
			    .max_discard_bytes = 1 << 30,
			    .discard_align_bytes = 4096,
			    .max_write_zeroes_bytes = 3ull << 32,
			    .write_zeroes_may_unmap = true,
			    .volatile_cache = true,
			    .direct = true },
		.length_align_bytes = 512,
		.fd_cnt = 2,
		.fds = { must(memfd_create("a", MFD_CLOEXEC)),
			 must(memfd_create("b", MFD_CLOEXEC)) },
	};
}

static void teardown(void)
{
	const int fds[] = { h.umem_fd,	 h.run_dir_fd, h.lock_fd,     h.ctl_fd,	    h.bus_fd,
			    h.listen_fd, h.link_fd,    h.bdev.fds[0], h.bdev.fds[1] };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	handover_fini(&h);
}

static int written(void)
{
	int fd;

	ck_assert_int_eq(handover_write(&h, &fd), 0);
	return fd;
}

/* A record of @text, read; the result. */
static int read_text(const char *text)
{
	struct handover got;
	int fd = memfd_create("record", MFD_CLOEXEC);
	int r;

	ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
	r = handover_read(fd, &got, why);
	if (r == 0)
		handover_fini(&got);
	close(fd);
	return r;
}

/* The record that setup() would write, as an object to spoil. */
static json_t *object(void)
{
	int fd = written();
	json_t *obj = json_loadfd(fd, 0, NULL);

	close(fd);
	ck_assert(json_is_object(obj));
	return obj;
}

static int read_object(json_t *obj)
{
	char *text = json_dumps(obj, 0);
	int r = read_text(text);

	free(text);
	json_decref(obj);
	return r;
}

START_TEST(everything_arrives)
{
	struct handover got;
	int fd = written();

	ck_assert_int_eq(handover_read(fd, &got, why), 0);
	ck_assert_str_eq(got.version, "1.2.3");
	ck_assert_str_eq(got.program, h.program);
	ck_assert_str_eq(got.run_dir, h.run_dir);
	ck_assert_str_eq(got.disk, "vda");
	ck_assert_int_eq(got.run_dir_fd, h.run_dir_fd);
	ck_assert_int_eq(got.lock_fd, h.lock_fd);
	ck_assert_int_eq(got.ctl_fd, h.ctl_fd);
	ck_assert_int_eq(got.listen_fd, h.listen_fd);
	ck_assert_int_eq(got.link_fd, h.link_fd);
	ck_assert_int_eq(got.umem_fd, h.umem_fd);
	ck_assert_int_eq(got.bus_fd, h.bus_fd);
	ck_assert_uint_eq(got.link_version, 7);
	ck_assert_int_eq(got.worker_pid, 4711);
	ck_assert_uint_eq(got.restarts, 3);
	ck_assert_uint_eq(got.upgrades, 2);
	ck_assert_int_eq(got.started_at, 1700000000);
	ck_assert_uint_eq(got.bounce_bytes, 64ull << 20);
	ck_assert(got.created);
	ck_assert(!got.adopted);
	/* No padding that differs: both were zeroed and filled by name. */
	ck_assert_mem_eq(&got.bdev.limits, &h.bdev.limits, sizeof(h.bdev.limits));
	ck_assert_str_eq(got.bdev.kind, "mem");
	ck_assert_uint_eq(got.bdev.length_align_bytes, 512);
	ck_assert_uint_eq(got.bdev.fd_cnt, 2);
	ck_assert_mem_eq(got.bdev.fds, h.bdev.fds, sizeof(h.bdev.fds));
	handover_fini(&got);
	close(fd);
}
END_TEST

START_TEST(configuration_arrives)
{
	struct handover got;
	int fd = written();

	ck_assert_int_eq(handover_read(fd, &got, why), 0);
	ck_assert_str_eq(got.config.name, "s0");
	ck_assert_str_eq(got.config.serial, "S-0");
	ck_assert_str_eq(got.config.backend, h.config.backend);
	ck_assert_ptr_eq(got.config.bdev.spec, got.config.backend);
	ck_assert_uint_eq(got.config.queues, 2);
	ck_assert_uint_eq(got.config.bdev.queue_cnt, 2);
	ck_assert_uint_eq(got.config.queue_size, 256);
	ck_assert(got.config.bdev.direct);
	ck_assert(!got.config.bdev.discard);
	ck_assert(!got.config.bdev.read_only);
	ck_assert(!got.config.bdev.writethrough);
	ck_assert(!got.config.indirect);
	ck_assert(got.config.detached);
	ck_assert_uint_eq(got.config.bdev.logical_block_bytes, 4096);
	ck_assert_uint_eq(got.config.bdev.physical_block_bytes, 0);
	ck_assert_uint_eq(got.config.bounce_bytes, 1ull << 30);
	ck_assert_uint_eq(got.config.msg_timeout_s, h.config.msg_timeout_s);
	ck_assert_uint_eq(got.config.attach_timeout_s, h.config.attach_timeout_s);
	ck_assert_int_eq(got.config.umem, VDUSE_UMEM_OFF);
	ck_assert(got.config.bdev.direct_rings);
	ck_assert_uint_eq(got.config.bdev.queue_size, 256);
	ck_assert_uint_eq(got.bdev.limits.max_ranges, 3);
	ck_assert_int_eq(got.config.poll, VDEV_POLL_ON);
	ck_assert_int_eq(got.config.log_level, LOG_LEVEL_INFO);
	handover_fini(&got);
	close(fd);
}
END_TEST

static int fence[2];

/* Instead of the VDUSE device of setup(). */
static void serve_it(void)
{
	ck_assert_int_eq(pipe2(fence, O_CLOEXEC), 0);
	close(h.ctl_fd);
	h.ctl_fd = -1;
	strcpy(h.config.socket, "/run/vm 1.sock");
	h.config.socket_mode = 0660;
	h.serve = (struct handover_serve){
		.socket = { .fd = must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
			    .dev = 5,
			    .ino = UINT64_MAX },
		.fence_fd = fence[0],
		.features = UINT64_MAX >> 1,
		.capacity_bytes = 7ull << 30,
		.size_number = UINT32_MAX,
	};
}

static void end_serve(void)
{
	close(fence[0]);
	close(fence[1]);
	close(h.serve.socket.fd);
}

/* _i: the socket is systemd's */
START_TEST(served_disk_arrives)
{
	struct handover got;
	int fd;

	serve_it();
	h.config.socket_fd = _i ? h.serve.socket.fd : -1;
	fd = written();
	ck_assert_int_eq(handover_read(fd, &got, why), 0);
	ck_assert_int_eq(got.ctl_fd, -1);
	ck_assert_str_eq(got.config.socket, h.config.socket);
	ck_assert_str_eq(got.serve.socket.path, h.config.socket);
	ck_assert_uint_eq(got.config.socket_mode, 0660);
	ck_assert_int_eq(got.config.socket_fd, h.config.socket_fd);
	ck_assert_int_eq(got.serve.socket.fd, h.serve.socket.fd);
	ck_assert_uint_eq(got.serve.socket.dev, 5);
	ck_assert_uint_eq(got.serve.socket.ino, UINT64_MAX);
	ck_assert_int_eq(got.serve.fence_fd, fence[0]);
	ck_assert_uint_eq(got.serve.features, UINT64_MAX >> 1);
	ck_assert_uint_eq(got.serve.capacity_bytes, 7ull << 30);
	ck_assert_uint_eq(got.serve.size_number, UINT32_MAX);
	ck_assert_int_eq(handover_keep_fds(&got, true), 0);
	ck_assert_int_eq(fcntl(fence[0], F_GETFD), 0);
	ck_assert_int_eq(fcntl(h.serve.socket.fd, F_GETFD), 0);
	handover_fini(&got);
	close(fd);
	end_serve();
}
END_TEST

/* Without its fence a successor would not wait for old writes. */
static const char *const serve_keys[] = { "path",	"mode",	    "inherited",
					  "fd",		"dev",	    "ino",
					  "fence_fd",	"features", "capacity_bytes",
					  "size_number" };

START_TEST(served_disk_is_complete)
{
	json_t *obj;

	serve_it();
	obj = object();
	json_object_del(json_object_get(obj, "serve"), serve_keys[_i]);
	ck_assert_int_eq(read_object(obj), -EINVAL);
	obj = object();
	json_object_set_new(json_object_get(obj, "serve"), "fence_fd",
			    json_integer(h.serve.socket.fd));
	ck_assert_int_eq(read_object(obj), -EINVAL);
	obj = object();
	json_object_del(obj, "serve");
	ck_assert_int_eq(read_object(obj), -EINVAL);
	end_serve();
}
END_TEST

START_TEST(device_without_memory_of_its_own)
{
	struct handover got;
	int fd;

	close(h.umem_fd);
	h.umem_fd = -1;
	fd = written();
	ck_assert_int_eq(handover_read(fd, &got, why), 0);
	ck_assert_int_eq(got.umem_fd, -1);
	handover_fini(&got);
	close(fd);
}
END_TEST

/* The program on trial reads the same open file before the one that takes over. */
START_TEST(record_can_be_read_twice)
{
	struct handover got;
	int fd = written();

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(handover_read(fd, &got, why), 0);
		handover_fini(&got);
	}
	close(fd);
}
END_TEST

START_TEST(descriptors_are_kept_and_let_go)
{
	struct handover got;
	int fd = written();

	ck_assert_int_eq(handover_keep_fds(&h, true), 0);
	ck_assert_int_eq(fcntl(h.lock_fd, F_GETFD), 0);
	ck_assert_int_eq(fcntl(h.bdev.fds[1], F_GETFD), 0);
	/* A program that has read the record passes none of them on by accident. */
	ck_assert_int_eq(handover_read(fd, &got, why), 0);
	ck_assert_int_eq(fcntl(h.lock_fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(h.bdev.fds[1], F_GETFD), FD_CLOEXEC);
	handover_fini(&got);
	close(fd);
}
END_TEST

START_TEST(other_format_is_refused)
{
	json_t *obj = object();

	json_object_set_new(obj, "vblkd_handover", json_integer(HANDOVER_FORMAT_SERVE + 1));
	ck_assert_int_eq(read_object(obj), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "another format"));
}
END_TEST

static const char *const garbage[] = {
	"",
	"{",
	"[]",
	"null",
	"\1\2\3",
	"{}",
	"{\"vblkd_handover\": \"1\"}",
	"{\"vblkd_handover\": 1}",
};

START_TEST(garbage_is_refused)
{
	ck_assert_int_eq(read_text(garbage[_i]), -EINVAL);
	ck_assert(why[0]);
}
END_TEST

/* Each field of the record, and of its parts, missing or of another kind. */
static void spoil_each(const char *part)
{
	json_t *obj = object(), *inner = part ? json_object_get(obj, part) : obj;
	size_t cnt = json_object_size(inner);
	const char *keys[64];
	size_t i = 0;

	ck_assert_uint_ge(cnt, 4);
	for (void *it = json_object_iter(inner); it; it = json_object_iter_next(inner, it))
		keys[i++] = json_object_iter_key(it);
	for (i = 0; i < cnt; i++) {
		for (int how = 0; how < 3; how++) {
			json_t *copy = json_deep_copy(obj);
			json_t *in = part ? json_object_get(copy, part) : copy;
			/* A record of an older program does not have it. */
			bool is_new = !strcmp(keys[i], "poll") || !strcmp(keys[i], "direct_rings");
			int good = how == 0 && is_new ? 0 : -EINVAL;

			if (how == 0)
				json_object_del(in, keys[i]);
			else
				json_object_set_new(in, keys[i],
						    how == 1 ? json_real(1.5) : json_integer(-2));
			ck_assert_msg(read_object(copy) == good, "%s of %s, %d", keys[i],
				      part ? part : "the record", how);
		}
	}
	json_decref(obj);
}

START_TEST(incomplete_record_is_refused)
{
	spoil_each(NULL);
	spoil_each("config");
	spoil_each("bdev");
}
END_TEST

START_TEST(incomplete_limits_are_refused)
{
	json_t *obj = object();
	json_t *limits = json_object_get(json_object_get(obj, "bdev"), "limits");

	json_object_set_new(limits, "logical_block_bytes", json_integer(0));
	ck_assert_int_eq(read_object(obj), -EINVAL);
	obj = object();
	limits = json_object_get(json_object_get(obj, "bdev"), "limits");
	json_object_set_new(limits, "capacity_bytes", json_integer(0));
	ck_assert_int_eq(read_object(obj), -EINVAL);
	obj = object();
	limits = json_object_get(json_object_get(obj, "bdev"), "limits");
	json_object_del(limits, "rotational");
	ck_assert_int_eq(read_object(obj), -EINVAL);
}
END_TEST

START_TEST(descriptor_that_is_not_open_is_refused)
{
	int fd = written();
	struct handover got;

	close(h.bdev.fds[1]);
	ck_assert_int_eq(handover_read(fd, &got, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "not open"));
	close(fd);
}
END_TEST

START_TEST(descriptor_of_something_else_is_refused)
{
	json_t *obj = object();

	json_object_set_new(obj, "lock_fd", json_integer(h.listen_fd));
	json_object_set_new(obj, "listen_fd", json_integer(h.lock_fd));
	ck_assert_int_eq(read_object(obj), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "something else"));
	obj = object();
	json_object_set_new(obj, "lock_fd", json_integer(h.bdev.fds[0]));
	ck_assert_int_eq(read_object(obj), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "twice"));
}
END_TEST

START_TEST(descriptor_of_the_terminal_is_refused)
{
	json_t *obj = object();

	json_object_set_new(obj, "ctl_fd", json_integer(2));
	ck_assert_int_eq(read_object(obj), -EINVAL);
	obj = object();
	json_array_set_new(json_object_get(json_object_get(obj, "bdev"), "fds"), 0,
			   json_integer(1ll << 40));
	ck_assert_int_eq(read_object(obj), -EINVAL);
}
END_TEST

START_TEST(record_that_is_no_file_is_refused)
{
	struct handover got;

	ck_assert_int_eq(handover_read(9999, &got, why), -EINVAL);
	ck_assert(why[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("handover");
	TCase *tc = tcase_create("record");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, everything_arrives);
	tcase_add_test(tc, configuration_arrives);
	tcase_add_loop_test(tc, served_disk_arrives, 0, 2);
	tcase_add_loop_test(tc, served_disk_is_complete, 0, ARRAY_SIZE(serve_keys));
	tcase_add_test(tc, device_without_memory_of_its_own);
	tcase_add_test(tc, record_can_be_read_twice);
	tcase_add_test(tc, descriptors_are_kept_and_let_go);
	tcase_add_test(tc, other_format_is_refused);
	tcase_add_loop_test(tc, garbage_is_refused, 0, ARRAY_SIZE(garbage));
	tcase_add_test(tc, incomplete_record_is_refused);
	tcase_add_test(tc, incomplete_limits_are_refused);
	tcase_add_test(tc, descriptor_that_is_not_open_is_refused);
	tcase_add_test(tc, descriptor_of_something_else_is_refused);
	tcase_add_test(tc, descriptor_of_the_terminal_is_refused);
	tcase_add_test(tc, record_that_is_no_file_is_refused);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
