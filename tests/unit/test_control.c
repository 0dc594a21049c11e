/* SPDX-License-Identifier: MIT */
#include "run_suite.h"
#include "test_control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vblk/control/device_interface.h"
#include "vblk/control/paths.h"
#include "vblk/control/varlink.h"

START_TEST(encode_ends_with_nul_and_is_limited)
{
	json_t *message = json_pack("{s:s}", "method", "a.B");
	char *data = NULL;
	size_t len = 0;

	ck_assert_int_eq(varlink_encode(message, &data, &len), 0);
	ck_assert_str_eq(data, "{\"method\":\"a.B\"}");
	ck_assert_uint_eq(len, strlen(data) + 1);
	free(data);
	json_decref(message);
}
END_TEST

START_TEST(encode_at_the_limit)
{
	size_t text_len = VARLINK_REPLY_MAX - strlen("{\"a\":\"\"}") - 1 + (size_t)_i;
	char *text = calloc(1, text_len + 1), *data = NULL;
	json_t *message;
	size_t len;
	int r;

	memset(text, 'x', text_len);
	message = json_pack("{s:s}", "a", text);
	r = varlink_encode(message, &data, &len);
	ck_assert_int_eq(r, _i ? -EMSGSIZE : 0);
	if (!r)
		ck_assert_uint_eq(len, VARLINK_REPLY_MAX);
	free(data);
	free(text);
	json_decref(message);
}
END_TEST

START_TEST(interface_text_describes_what_the_daemon_answers)
{
	static const char *const words[] = { "interface io.vblkd.Device\n",
					     "method GetStatus()",
					     "method GetStats(",
					     "method SetLogLevel(",
					     "method Detach(",
					     "error Busy (",
					     "error Failed (" };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		ck_assert_msg(strstr(varlink_device_interface, words[i]) != NULL, "no '%s'",
			      words[i]);
}
END_TEST

START_TEST(run_paths)
{
	char path[64];

	unsetenv("VBLKD_RUN_DIR");
	ck_assert_int_eq(vblkd_run_path("db", "control", path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/run/vblkd/db/control");
	ck_assert_int_eq(vblkd_run_path("db", NULL, path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/run/vblkd/db");
	ck_assert_int_eq(vblkd_run_path("../x", NULL, path, sizeof(path)), -EINVAL);
	ck_assert_int_eq(vblkd_run_path("db", "control", path, 10), -ENAMETOOLONG);
	setenv("VBLKD_RUN_DIR", "relative", 1);
	ck_assert_str_eq(vblkd_host_run_dir(), "/run/vblkd");
	setenv("VBLKD_RUN_DIR", "/tmp/x", 1);
	ck_assert_str_eq(vblkd_run_dir(), "/tmp/x");
	ck_assert_str_eq(vblkd_host_run_dir(), "/tmp/x");
}
END_TEST

/* Root's devices are the host's, whatever session it has; others have their own, and see both. */
START_TEST(run_paths_of_a_user)
{
	char dir[] = "/tmp/test-run-dir-XXXXXX", path[128], want[128];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chmod(dir, 0755), 0);
	unsetenv("VBLKD_RUN_DIR");
	setenv("XDG_RUNTIME_DIR", dir, 1);
	if (getuid() == 0) {
		ck_assert_str_eq(vblkd_run_dir(), "/run/vblkd");
		ck_assert_int_eq(chown(dir, 4711, 4711), 0);
		ck_assert_int_eq(setresuid(4711, 4711, 4711), 0);
	}
	snprintf(want, sizeof(want), "%s/vblkd", dir);
	ck_assert_str_eq(vblkd_run_dir(), want);
	ck_assert_str_eq(vblkd_host_run_dir(), "/run/vblkd");
	ck_assert_int_eq(vblkd_run_path("nobody-has-it", "control", path, sizeof(path)), 0);
	ck_assert_str_eq(path, "/run/vblkd/nobody-has-it/control");
	ck_assert_int_eq(mkdir(want, 0700), 0);
	snprintf(want, sizeof(want), "%s/vblkd/mine", dir);
	ck_assert_int_eq(mkdir(want, 0700), 0);
	ck_assert_int_eq(vblkd_run_path("mine", NULL, path, sizeof(path)), 0);
	ck_assert_str_eq(path, want);
	unsetenv("XDG_RUNTIME_DIR");
	snprintf(want, sizeof(want), "/run/user/%u/vblkd", (unsigned int)getuid());
	ck_assert_str_eq(vblkd_run_dir(), want);
	snprintf(want, sizeof(want), "%s/vblkd/mine", dir);
	rmdir(want);
	*strrchr(want, '/') = '\0';
	rmdir(want);
	rmdir(dir);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("control");
	TCase *tc = tcase_create("frame");

	tcase_add_test(tc, encode_ends_with_nul_and_is_limited);
	tcase_add_loop_test(tc, encode_at_the_limit, 0, 2);
	tcase_add_test(tc, interface_text_describes_what_the_daemon_answers);
	tcase_add_test(tc, run_paths);
	tcase_add_test(tc, run_paths_of_a_user);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, control_conn_case());
	suite_add_tcase(s, control_hostile_case());
	suite_add_tcase(s, control_client_case());
	return run_suite(s);
}
