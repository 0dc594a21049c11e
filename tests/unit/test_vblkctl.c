/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "launch.h"
#include "out.h"
#include "run_suite.h"
#include "vblk/util/log.h"
#include "vblk/util/suggest.h"

/* ---- words ---- */

static const char *const command_names[] = { "attach", "detach", "list", "show", "upgrade" };

static const struct {
	const char *typed;
	const char *meant; /* NULL: nothing near */
} typos[] = {
	{ "at"
	  "ach",
	  "attach" },
	{ "attahc", "attach" },
	{ "det"
	  "atch",
	  "detach" },
	{ "lst", "list" },
	{ "li"
	  "ts",
	  "list" },
	{ "sh"
	  "wo",
	  "show" },
	{ "ls", "list" },
	{ "Show", "show" },
	{ "upgrdae", "upgrade" },
	{ "remove", NULL },
	{ "x", NULL },
	{ "", NULL },
	{ "a-word-that-is-much-longer-than-any-command-could-be", NULL },
};

START_TEST(typo_is_understood_when_it_is_near)
{
	const char *meant = suggest_word(typos[_i].typed, command_names, ARRAY_SIZE(command_names));

	ck_assert_pstr_eq(meant, typos[_i].meant);
}
END_TEST

START_TEST(option_is_understood_also_by_its_letter)
{
	static const char *const options[] = { "--help", "--force", "--json", "--jobs" };

	ck_assert_pstr_eq(suggest_option("-h", options, 4), "--help");
	ck_assert_pstr_eq(suggest_option("-j", options, 4), NULL);
	ck_assert_pstr_eq(suggest_option("-x", options, 4), NULL);
	ck_assert_pstr_eq(suggest_option("-", options, 4), NULL);
	ck_assert_pstr_eq(suggest_option("--froce", options, 4), "--force");
	ck_assert_pstr_eq(suggest_option("-force", options, 4), "--force");
	ck_assert_pstr_eq(suggest_option("--frobnicate", options, 4), NULL);
}
END_TEST

START_TEST(distance_counts_mistakes)
{
	ck_assert_uint_eq(suggest_distance("", ""), 0);
	ck_assert_uint_eq(suggest_distance("list", "list"), 0);
	ck_assert_uint_eq(suggest_distance("ls"
					   "it",
					   "list"),
			  1);
	ck_assert_uint_eq(suggest_distance("", "list"), 4);
	ck_assert_uint_eq(suggest_distance("kitten", "sitting"), 3);
}
END_TEST

static const struct {
	const char *argv[5];
	int result;
	bool flag;
	const char *value;
	const char *word;
} arg_cases[] = {
	{ { "c", "db" }, 0, false, NULL, "db" },
	{ { "c", "--flag", "db" }, 0, true, NULL, "db" },
	{ { "c", "db", "--value", "7" }, 0, false, "7", "db" },
	{ { "c", "--value=7", "db" }, 0, false, "7", "db" },
	{ { "c", "--value=", "db" }, 0, false, "", "db" },
	{ { "c", "--", "--flag" }, 0, false, NULL, "--flag" },
	{ { "c", "-" }, 0, false, NULL, "-" },
	{ { "c" }, EXIT_USAGE, false, NULL, NULL },
	{ { "c", "db", "log" }, EXIT_USAGE, false, NULL, NULL },
	{ { "c", "--fla", "db" }, EXIT_USAGE, false, NULL, NULL },
	{ { "c", "--flags", "db" }, EXIT_USAGE, false, NULL, NULL },
	{ { "c", "--flag=1", "db" }, EXIT_USAGE, false, NULL, NULL },
	{ { "c", "db", "--value" }, EXIT_USAGE, false, NULL, NULL },
	{ { "c", "-f", "db" }, EXIT_USAGE, false, NULL, NULL },
};

START_TEST(options_are_whole_words)
{
	bool flag = false;
	const char *value = NULL, *word = NULL;
	const struct arg_option options[] = { { "--flag", &flag, NULL },
					      { "--value", NULL, &value } };
	int argc = 0, r;

	while (argc < 5 && arg_cases[_i].argv[argc])
		argc++;
	log_setup("test", 0, LOG_LEVEL_ERROR);
	r = args_parse(argc, (char **)arg_cases[_i].argv, options, ARRAY_SIZE(options), "NAME",
		       &word);
	ck_assert_int_eq(r, arg_cases[_i].result);
	if (r)
		return;
	ck_assert(flag == arg_cases[_i].flag);
	ck_assert_pstr_eq(value, arg_cases[_i].value);
	ck_assert_pstr_eq(word, arg_cases[_i].word);
}
END_TEST

static const struct {
	const char *argv[5];
	int result;
	const char *first, *second;
} two_cases[] = {
	{ { "c", "db" }, 0, "db", NULL },
	{ { "c", "db", "20G" }, 0, "db", "20G" },
	{ { "c", "db", "--flag", "20G" }, 0, "db", "20G" },
	{ { "c", "--flag" }, EXIT_USAGE, NULL, NULL },
	{ { "c", "db", "20G", "30G" }, EXIT_USAGE, NULL, NULL },
};

START_TEST(second_argument_may_be_left_out)
{
	bool flag = false;
	const char *first = NULL, *second = NULL;
	const struct arg_option options[] = { { "--flag", &flag, NULL } };
	int argc = 0;

	while (argc < 5 && two_cases[_i].argv[argc])
		argc++;
	log_setup("test", 0, LOG_LEVEL_ERROR);
	ck_assert_int_eq(args_parse_two(argc, (char **)two_cases[_i].argv, options,
					ARRAY_SIZE(options), "NAME", &first, &second),
			 two_cases[_i].result);
	ck_assert_pstr_eq(first, two_cases[_i].first);
	ck_assert_pstr_eq(second, two_cases[_i].second);
}
END_TEST

static const struct {
	const char *text;
	bool ready, failed;
	const char *node;
} notices[] = {
	{ "READY=1\nSTATUS=serving\nX_VBLKD_NODE=/dev/vda", true, false, "/dev/vda" },
	{ "X_VBLKD_NODE=/dev/vdb\nREADY=1\n", true, false, "/dev/vdb" },
	{ "READY=1\nX_VBLKD_NODE=/run/user/1000/d.sock", true, false, "/run/user/1000/d.sock" },
	{ "STATUS=READY=1", false, false, "" },
	{ "READY=10\nREADY=\n\nNOTREADY=1", false, false, "" },
	{ "X_VBLKD_FAILED=1\nSTATUS=failed", false, true, "" },
	{ "X_VBLKD_NODE=\nX_VBLKD_NODE", false, false, "" },
	{ "X_VBLKD_NODE=/dev/"
	  "a-name-that-is-longer-than-any-block-device-of-linux-can-ever-be-named-and-also-longer-than-the-path-of-any-unix-socket",
	  false, false, "" },
	{ "", false, false, "" },
};

START_TEST(notices_of_the_daemon_are_understood)
{
	struct launch_notice notice = { .ready = false };

	launch_notice_parse(&notice, notices[_i].text);
	ck_assert(notice.ready == notices[_i].ready);
	ck_assert(notice.failed == notices[_i].failed);
	ck_assert_str_eq(notice.node, notices[_i].node);
}
END_TEST

/* ---- output ---- */

static char *printed;
static size_t printed_len;
static FILE *out;

static void capture(void)
{
	out = open_memstream(&printed, &printed_len);
	ck_assert_ptr_nonnull(out);
}

static const char *captured(void)
{
	fclose(out);
	return printed;
}

START_TEST(table_columns_are_as_wide_as_their_content)
{
	static const char *const cells[] = { "NAME",	    "NODE",	"BACKEND",
					     "a-long-name", "",		"/x\ny",
					     "b",	    "/dev/vda", "" };

	capture();
	out_table(out, cells, 3, 3);
	ck_assert_str_eq(captured(), "NAME         NODE      BACKEND\n"
				     "a-long-name  -         /x?y\n"
				     "b            /dev/vda  -\n");
	free(printed);
}
END_TEST

static const char status_text[] =
	"{\"name\":\"db\",\"state\":\"ready\",\"node\":\"/dev/vda\",\"pid\":12,\"queues\":2,"
	"\"queue_size\":256,\"size_bytes\":1073741824,\"backend\":\"/srv/a b.img\","
	"\"serial\":\"DB01\",\"logical_block_bytes\":4096,\"physical_block_bytes\":4096,"
	"\"cache\":\"writeback\",\"direct\":true,\"discard\":false,\"read_only\":false,"
	"\"per_queue\":[{\"requests\":{\"read\":3,\"write\":0},\"bytes\":{},\"errors\":{},"
	"\"inflight\":1,\"fault\":\"\"}]}";

static struct device make_device(enum device_condition condition, const char *status)
{
	struct device device = { .name = "db", .condition = condition };

	device.status = json_loads(status, 0, NULL);
	ck_assert_ptr_nonnull(device.status);
	return device;
}

START_TEST(list_shows_a_live_device_and_an_orphan)
{
	struct device devices[] = { make_device(DEVICE_ANSWERS, status_text),
				    make_device(DEVICE_ORPHAN, "{\"pid\":7}") };

	strcpy(devices[0].node, "/dev/vda");
	strcpy(devices[1].name, "old");
	capture();
	out_text_list(out, devices, 2);
	ck_assert_str_eq(captured(), "NAME  NODE      SIZE  QUEUES  STATE   PID  BACKEND\n"
				     "db    /dev/vda  1G    2       ready   12   /srv/a b.img\n"
				     "old   -         -     -       orphan  -    -\n");
	free(printed);
	device_fini(&devices[0]);
	device_fini(&devices[1]);
}
END_TEST

START_TEST(empty_list_is_its_header)
{
	capture();
	out_text_list(out, NULL, 0);
	ck_assert_str_eq(captured(), "NAME  NODE  SIZE  QUEUES  STATE  PID  BACKEND\n");
	free(printed);
}
END_TEST

START_TEST(show_prints_key_and_value)
{
	struct device device = make_device(DEVICE_ANSWERS, status_text);

	strcpy(device.node, "/dev/vda");
	capture();
	out_text_show(out, &device, "mounted on /mnt");
	(void)captured();
	ck_assert_ptr_nonnull(strstr(printed, "name: db\nstate: ready\nnode: /dev/vda\n"
					      "users: mounted on /mnt\n"));
	ck_assert_ptr_nonnull(strstr(printed, "\nsize_bytes: 1073741824 (1G)\n"));
	ck_assert_ptr_nonnull(strstr(printed, "\ndirect: yes\n"));
	ck_assert_ptr_nonnull(strstr(printed, "\nqueue_0: requests read 3; inflight 1\n"));
	free(printed);
	device_fini(&device);
}
END_TEST

START_TEST(stuck_requests_are_named_and_are_the_state)
{
	struct device device = make_device(
		DEVICE_ANSWERS,
		"{\"state\":\"ready\",\"inflight\":3,\"stuck\":2,\"stuck_requests\":["
		"{\"queue\":1,\"operation\":\"write\",\"offset_bytes\":8388608,"
		"\"length_bytes\":65536,\"age_ms\":12345,\"since\":\"2026-01-02T03:04:05Z\"},"
		"{\"queue\":0,\"operation\":\"flush\",\"offset_bytes\":0,"
		"\"length_bytes\":0,\"age_ms\":5000,\"since\":\"2026-01-02T03:04:12Z\"}]}");

	ck_assert_str_eq(device_state(&device), "stuck");
	capture();
	out_text_show(out, &device, "");
	(void)captured();
	ck_assert_ptr_nonnull(strstr(printed, "\nstate: stuck\n"));
	ck_assert_ptr_nonnull(strstr(printed, "\nstuck: 2\n"));
	ck_assert_ptr_nonnull(
		strstr(printed, "\nstuck_request: queue 1, write of 65536 bytes (64K) at 8388608, "
				"for 12.3 s, since 2026-01-02T03:04:05Z\n"
				"stuck_request: queue 0, flush, for 5.0 s, since "
				"2026-01-02T03:04:12Z\n"));
	free(printed);
	device_fini(&device);
}
END_TEST

START_TEST(json_has_the_state_that_is_true_now)
{
	struct device device = make_device(DEVICE_SILENT, status_text);
	json_t *obj = out_json_device(&device);

	ck_assert_str_eq(json_string_value(json_object_get(obj, "state")), "not answering");
	ck_assert_str_eq(json_string_value(json_object_get(obj, "node")), "");
	ck_assert_str_eq(json_string_value(json_object_get(obj, "serial")), "DB01");
	json_decref(obj);
	device_fini(&device);
}
END_TEST

START_TEST(broken_device_says_so)
{
	struct device device = make_device(DEVICE_ANSWERS, "{\"state\":\"ready\",\"broken\":true}");

	ck_assert_str_eq(device_state(&device), "broken");
	device_fini(&device);
}
END_TEST

START_TEST(orphan_is_told_how_it_gets_a_daemon)
{
	struct device device = make_device(DEVICE_ORPHAN, status_text);
	char command[512], small[24];

	ck_assert_str_eq(device_adopt_command(&device, command, sizeof(command)),
			 "vblkctl attach --name=db --serial=DB01 --queues=2 --queue-size=256 "
			 "--block-size=4096 --physical-block-size=4096 --cache=writeback --direct "
			 "--discard=off '/srv/a b.img'");
	ck_assert_str_eq(device_adopt_command(&device, small, sizeof(small)),
			 "vblkctl attach --name=d");
	device_fini(&device);

	device = make_device(DEVICE_ORPHAN, "{\"backend\":\"it's\"}");
	ck_assert_str_eq(device_adopt_command(&device, command, sizeof(command)),
			 "vblkctl attach --name=db 'it'\\''s'");
	device_fini(&device);

	device = make_device(DEVICE_ORPHAN, "{\"backend\":5,\"queues\":\"x\"}");
	ck_assert_str_eq(device_adopt_command(&device, command, sizeof(command)),
			 "vblkctl attach --name=db BACKEND");
	device_fini(&device);
}
END_TEST

/* ---- the run directory ---- */

static char run_dir[64], device_dir[80];

static void put(const char *file, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", device_dir, file);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void setup(void)
{
	/* On tmpfs, as /run is: /proc/locks shows numbers that stat(2) shows too. */
	snprintf(run_dir, sizeof(run_dir), "%s/test_vblkctl.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(run_dir));
	setenv("VBLKD_RUN_DIR", run_dir, 1);
	snprintf(device_dir, sizeof(device_dir), "%s/vblktest0", run_dir);
	ck_assert_int_eq(mkdir(device_dir, 0700), 0);
}

static void teardown(void)
{
	static const char *const files[] = { "lock", "state.json" };
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", device_dir, files[i]);
		(void)unlink(path);
	}
	(void)rmdir(device_dir);
	(void)rmdir(run_dir);
}

START_TEST(device_whose_daemon_holds_the_lock_is_not_answering)
{
	struct device device;
	char path[128];
	int fd;

	put("state.json", status_text);
	snprintf(path, sizeof(path), "%s/lock", device_dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(device_is_locked(path), 0);
	ck_assert_int_eq(device_load("vblktest0", &device), 0);
	ck_assert_int_eq(device.condition, DEVICE_REMAINS);
	device_fini(&device);

	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	ck_assert_int_eq(device_is_locked(path), 1);
	ck_assert_int_eq(device_load("vblktest0", &device), 0);
	ck_assert_int_eq(device.condition, DEVICE_SILENT);
	ck_assert_str_eq(device_string(&device, "serial"), "DB01");
	device_fini(&device);
	close(fd);
	ck_assert_int_eq(device_is_locked(path), 0);
}
END_TEST

static const char *const bad_states[] = { "", "[]", "{", "\"x\"", "{\"a\":1,\"a\":2}", "{} x" };

START_TEST(damaged_state_file_is_no_state)
{
	struct device device;

	put("state.json", bad_states[_i]);
	ck_assert_int_eq(device_load("vblktest0", &device), 0);
	ck_assert(json_is_object(device.status));
	ck_assert_str_eq(device_string(&device, "backend"), "");
	ck_assert_str_eq(device_state(&device), "dead");
	device_fini(&device);
}
END_TEST

START_TEST(devices_are_found_by_name_only_if_they_are_there)
{
	struct device device;

	ck_assert_int_eq(device_load("vblktest1", &device), -ENODEV);
	ck_assert_int_eq(device_load("../vblktest0", &device), -EINVAL);
	ck_assert_int_eq(device_load("", &device), -EINVAL);
	log_setup("test", 0, LOG_LEVEL_ERROR);
	ck_assert_int_eq(device_find("/dev/null", &device), EXIT_FAILED);
}
END_TEST

START_TEST(left_over_run_directory_is_listed)
{
	struct device *devices;
	size_t cnt;
	bool found = false;

	ck_assert_int_eq(device_list(&devices, &cnt), 0);
	for (size_t i = 0; i < cnt; i++)
		found |= !strcmp(devices[i].name, "vblktest0");
	ck_assert(found);
	device_list_free(devices, cnt);
}
END_TEST

static TCase *words_case(void)
{
	TCase *tc = tcase_create("words");

	tcase_add_loop_test(tc, typo_is_understood_when_it_is_near, 0, ARRAY_SIZE(typos));
	tcase_add_test(tc, option_is_understood_also_by_its_letter);
	tcase_add_test(tc, distance_counts_mistakes);
	tcase_add_loop_test(tc, options_are_whole_words, 0, ARRAY_SIZE(arg_cases));
	tcase_add_loop_test(tc, second_argument_may_be_left_out, 0, ARRAY_SIZE(two_cases));
	tcase_add_loop_test(tc, notices_of_the_daemon_are_understood, 0, ARRAY_SIZE(notices));
	return tc;
}

static TCase *output_case(void)
{
	TCase *tc = tcase_create("output");

	tcase_add_test(tc, table_columns_are_as_wide_as_their_content);
	tcase_add_test(tc, list_shows_a_live_device_and_an_orphan);
	tcase_add_test(tc, empty_list_is_its_header);
	tcase_add_test(tc, show_prints_key_and_value);
	tcase_add_test(tc, stuck_requests_are_named_and_are_the_state);
	tcase_add_test(tc, json_has_the_state_that_is_true_now);
	tcase_add_test(tc, broken_device_says_so);
	tcase_add_test(tc, orphan_is_told_how_it_gets_a_daemon);
	return tc;
}

static TCase *run_dir_case(void)
{
	TCase *tc = tcase_create("run directory");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, device_whose_daemon_holds_the_lock_is_not_answering);
	tcase_add_loop_test(tc, damaged_state_file_is_no_state, 0, ARRAY_SIZE(bad_states));
	tcase_add_test(tc, devices_are_found_by_name_only_if_they_are_there);
	tcase_add_test(tc, left_over_run_directory_is_listed);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("vblkctl");

	suite_add_tcase(s, words_case());
	suite_add_tcase(s, output_case());
	suite_add_tcase(s, run_dir_case());
	return run_suite(s);
}
