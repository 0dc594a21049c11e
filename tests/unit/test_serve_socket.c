/* SPDX-License-Identifier: MIT */
/* The socket that a device is served on: made, found stale, found in use, passed on by systemd. */
#include "serve_socket.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus.h"
#include "run_suite.h"

static char dir[64], path[SERVE_PATH_MAX], why[BDEV_WHY_MAX];
static struct serve_socket sock;

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/test-serve-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/d.sock", dir);
	why[0] = '\0';
	sock = (struct serve_socket){ .fd = -1 };
}

static void teardown(void)
{
	char command[96];

	(void)serve_socket_close(&sock);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static int connect_to(const char *where)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", where);
	r = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

/* Bound and listening at @path, by somebody else. */
static int other_listener(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, path, sizeof(addr.sun_path));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

START_TEST(has_the_asked_permissions_and_goes_with_its_maker)
{
	struct stat st;
	mode_t mask = umask(022);

	ck_assert_int_eq(serve_socket_listen(path, 0660, &sock, why), 0);
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0660);
	/* The process goes on with the mask that it had. */
	ck_assert_uint_eq(umask(mask), 022);
	ck_assert_int_eq(connect_to(path), 0);
	ck_assert_int_eq(serve_socket_close(&sock), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(sock.fd, -1);
	ck_assert_int_eq(serve_socket_close(&sock), 0);
}
END_TEST

START_TEST(replaces_what_nobody_listens_behind)
{
	close(other_listener());
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(serve_socket_listen(path, 0600, &sock, why), 0);
	ck_assert_int_eq(connect_to(path), 0);
}
END_TEST

START_TEST(leaves_a_listener_alone)
{
	int other = other_listener();

	ck_assert_int_eq(serve_socket_listen(path, 0600, &sock, why), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(why, "somebody listens"));
	ck_assert_int_eq(connect_to(path), 0);
	close(other);
}
END_TEST

START_TEST(leaves_what_is_no_socket_alone)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	close(fd);
	ck_assert_int_eq(serve_socket_listen(path, 0600, &sock, why), -EEXIST);
	ck_assert_ptr_nonnull(strstr(why, "no socket"));
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(removes_no_file_of_a_successor)
{
	int other;

	ck_assert_int_eq(serve_socket_listen(path, 0600, &sock, why), 0);
	ck_assert_int_eq(unlink(path), 0);
	other = other_listener();
	ck_assert_int_eq(serve_socket_close(&sock), 0);
	ck_assert_int_eq(connect_to(path), 0);
	close(other);
}
END_TEST

START_TEST(says_why_there_can_be_none)
{
	snprintf(path, sizeof(path), "%s/none/d.sock", dir);
	ck_assert_int_eq(serve_socket_listen(path, 0600, &sock, why), -ENOENT);
	ck_assert_ptr_nonnull(strstr(why, "No such file"));
}
END_TEST

START_TEST(paths_hold_in_every_directory)
{
	char longest[SERVE_PATH_MAX + 1], made[SERVE_PATH_MAX], want[SERVE_PATH_MAX];

	ck_assert_int_eq(chdir(dir), 0);
	ck_assert_int_eq(serve_socket_path("d.sock", made, why), 0);
	snprintf(want, sizeof(want), "%s/d.sock", dir);
	ck_assert_str_eq(made, want);
	ck_assert_int_eq(serve_socket_path("/x/d.sock", made, why), 0);
	ck_assert_str_eq(made, "/x/d.sock");
	ck_assert_int_eq(serve_socket_path("", made, why), -EINVAL);
	ck_assert_int_eq(serve_socket_path("/x/", made, why), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[SERVE_PATH_MAX] = '\0';
	ck_assert_int_eq(serve_socket_path(longest, made, why), -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(why, "107"));
	longest[SERVE_PATH_MAX - 1] = '\0';
	ck_assert_int_eq(serve_socket_path(longest, made, why), 0);
}
END_TEST

/* As systemd does it: from descriptor 3 on. */
static void pass_on(int fd, int cnt)
{
	char text[16];

	if (fd >= 0 && fd != 3)
		ck_assert_int_eq(dup2(fd, 3), 3);
	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%d", cnt);
	setenv("LISTEN_FDS", text, 1);
}

START_TEST(takes_what_systemd_passes_on)
{
	int fd = -1;

	pass_on(other_listener(), 1);
	ck_assert_int_eq(serve_socket_inherit(&fd, sock.path, why), 1);
	ck_assert_int_eq(fd, 3);
	ck_assert_str_eq(sock.path, path);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	/* It is systemd's: closed, but not removed. */
	sock.fd = fd;
	ck_assert_int_eq(serve_socket_close(&sock), 0);
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

/* The service has another one: that to the vdpa bus. */
START_TEST(takes_one_of_two_by_its_name)
{
	int fd = -1, bus;

	ck_assert_int_ge(dup2(other_listener(), 10), 0);
	ck_assert_int_ge(bus = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 0);
	ck_assert_int_eq(dup2(bus, 4), 4);
	ck_assert_int_eq(dup2(bus, 5), 5);
	pass_on(10, 3);
	setenv("LISTEN_FDNAMES", "unknown:vdpa:other", 1);
	ck_assert_int_eq(serve_socket_inherit(&fd, sock.path, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "2 sockets"));
	pass_on(10, 2);
	setenv("LISTEN_FDNAMES", "unknown:vdpa", 1);
	ck_assert_int_eq(serve_socket_inherit(&fd, sock.path, why), 1);
	ck_assert_int_eq(fd, 3);
	ck_assert_int_eq(bus_find(fd), 4);
	ck_assert_ptr_null(getenv("LISTEN_FDS"));
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	pass_on(-1, 2);
	setenv("LISTEN_FDNAMES", "unknown:vdpa", 1);
	ck_assert_int_eq(bus_find(-1), 4);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

START_TEST(takes_nothing_that_was_not_meant)
{
	int fds[2], fd = -1;

	unsetenv("LISTEN_FDS");
	ck_assert_int_eq(serve_socket_inherit(&fd, sock.path, why), 0);
	pass_on(-1, 1);
	/* Of another process. */
	setenv("LISTEN_PID", "1", 1);
	ck_assert_int_eq(serve_socket_inherit(&fd, sock.path, why), 0);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pass_on(fds[0], 1);
	ck_assert_int_eq(serve_socket_inherit(&fd, sock.path, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "ListenStream"));
	pass_on(fds[0], 2);
	ck_assert_int_eq(serve_socket_inherit(&fd, sock.path, why), -EINVAL);
	ck_assert_ptr_nonnull(strstr(why, "2 sockets"));
	ck_assert_int_eq(fd, -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("serve_socket");
	TCase *tc = tcase_create("socket");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, has_the_asked_permissions_and_goes_with_its_maker);
	tcase_add_test(tc, replaces_what_nobody_listens_behind);
	tcase_add_test(tc, leaves_a_listener_alone);
	tcase_add_test(tc, leaves_what_is_no_socket_alone);
	tcase_add_test(tc, removes_no_file_of_a_successor);
	tcase_add_test(tc, says_why_there_can_be_none);
	tcase_add_test(tc, paths_hold_in_every_directory);
	tcase_add_test(tc, takes_what_systemd_passes_on);
	tcase_add_test(tc, takes_one_of_two_by_its_name);
	tcase_add_test(tc, takes_nothing_that_was_not_meant);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
