/* SPDX-License-Identifier: MIT */
/* Configuration files: every option is a key, and each mistake is named with file and line. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_file.h"
#include "option_table.h"
#include "options.h"
#include "run_suite.h"
#include "vblk/util/compiler.h"

static char dir_template[] = "/tmp/vblkd-test.XXXXXX";
static char dir[sizeof(dir_template)];
static char path[64], told_path[64];
static char told[8192];

static void setup(void)
{
	memcpy(dir, dir_template, sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/db.conf", dir);
	snprintf(told_path, sizeof(told_path), "%s/told", dir);
	log_setup("vblkd", LOG_TARGET_STDERR, LOG_LEVEL_INFO);
}

static void teardown(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static void write_bytes(const char *bytes, size_t len)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	ck_assert_int_eq(fclose(f), 0);
}

/* Runs vblkd's own parsing; what it tells is in "told" afterwards. */
static enum options_result run(const char *const *words, struct vblkd_config *config)
{
	int saved = dup(STDERR_FILENO), fd = open(told_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *argv[8] = { (char *)"vblkd" };
	enum options_result result;
	int argc = 1;
	ssize_t len;

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)words[argc - 1];
	ck_assert_int_ge(saved, 0);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	config_init(config);
	result = options_parse(argc, argv, config);
	ck_assert_int_eq(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	len = pread(fd, told, sizeof(told) - 1, 0);
	ck_assert_int_ge(len, 0);
	told[len] = '\0';
	close(fd);
	close(saved);
	return result;
}

static enum options_result check(const char *text)
{
	const char *const words[] = { "--check-config", path, NULL };
	struct vblkd_config config;
	enum options_result result;

	write_bytes(text, strlen(text));
	result = run(words, &config);
	config_fini(&config);
	return result;
}

/* One file, its mistakes: line and a part of the message each, in order. */
static const struct {
	const char *text;
	struct {
		unsigned int line;
		const char *message;
	} mistakes[6];
} cases[] = {
	{ "[device]\nbackend = mem:1M\nqueus = 2\n", { { 3, "'queus': is 'queues' meant?" } } },
	{ "[device]\nbackend = mem:1M\nread_only = on\nSerial=x\n",
	  { { 3, "'read_only': is 'read-only' meant?" }, { 4, "is 'serial' meant?" } } },
	{ "[device]\nbackend = mem:1M\nzzzzzzz = 2\n", { { 3, "vblkd.conf(5) lists all" } } },
	{ "[device]\nqueues = 0\n\n# x\nbackend = mem:1M\nqueue-size=3\nserial=a b\n",
	  { { 2, "queues '0' does not fit: it takes 1 to 64" },
	    { 6, "queue-size '3'" },
	    { 7, "serial 'a b'" } } },
	{ "[device]\nbackend = mem:1M\ndirect = yes\n", { { 3, "takes on or off" } } },
	{ "[device]\nbackend = mem:1M\ndirect =\n", { { 3, "takes on or off" } } },
	{ "[device]\nbackend = disk.img\n", { { 2, "an absolute path" } } },
	{ "[device]\nbackend = file:disk.img\n", { { 2, "an absolute path" } } },
	{ "[device]\nbackend = \"/disk.img\"\n", { { 2, "an absolute path" } } },
	{ "[device]\nbackend = fault:eio:disk.img\n", { { 2, "an absolute path" } } },
	{ "[device]\nbackend = mem:12Q\n", { { 2, "mem:SIZE" } } },
	{ "[device]\nbackend = mem:1M\nsocket = x.sock\n", { { 3, "absolute in a file" } } },
	{ "[device]\nbackend = mem:1M\nsocket = /x.sock\numem = on\n",
	  { { 1, "'umem' is of use for disks of this host only" } } },
	{ "[device]\nbackend = mem:1M\nsocket-mode = 0660\n",
	  { { 1, "'socket-mode' is of use with a socket only" } } },
	{ "[device]\nbackend = mem:1M\nqueues=1\nqueues=2\n",
	  { { 4, "stands in line 3 already" } } },
	{ "[device]\nqueues = 2\n", { { 1, "'backend' is missing" } } },
	{ "", { { 1, "'backend' is missing" } } },
	{ "backend = mem:1M\nqueues=2\n[device]\n",
	  { { 1, "'backend' must stand below a line [device]" }, { 2, "'queues' must stand" } } },
	{ "[device]\nbackend = mem:1M\n[disk]\nqueues=2\n", { { 3, "no section [disk]" } } },
	{ "[device]\nbackend = mem:1M\n[empty]\n", { { 3, "no section [empty]" } } },
	{ "[device]\nbackend = mem:1M\nnonsense\n[x\n=5\nqueus=1\n",
	  { { 3, "neither KEY = VALUE nor [SECTION]" },
	    { 4, "']' of the section is missing" },
	    { 5, "no key before the '='" },
	    { 6, "is 'queues' meant?" } } },
	{ "[device]\nbackend = mem:1M\n\xff\xfe=1\nqueus=1\n",
	  { { 3, "no text (UTF-8)" }, { 4, "is 'queues' meant?" } } },
	/* What belongs to the command line is no key. */
	{ "[device]\nbackend = mem:1M\ndetached = on\nconfig=/x\nhandover = 5\n",
	  { { 3, "no key 'detached'" }, { 4, "no key 'config'" }, { 5, "no key 'handover'" } } },
};

START_TEST(mistake_is_named_with_file_and_line)
{
	char want[128], *line = told;

	ck_assert_int_eq(check(cases[_i].text), OPTIONS_USAGE);
	for (size_t i = 0; i < ARRAY_SIZE(cases[0].mistakes) && cases[_i].mistakes[i].line; i++) {
		char *end = strchr(line, '\n');

		ck_assert_ptr_nonnull(end);
		*end = '\0';
		snprintf(want, sizeof(want), "vblkd: %s:%u: ", path, cases[_i].mistakes[i].line);
		ck_assert_msg(!strncmp(line, want, strlen(want)) &&
				      strstr(line, cases[_i].mistakes[i].message),
			      "'%s' is not '%s...%s'", line, want, cases[_i].mistakes[i].message);
		line = end + 1;
	}
	ck_assert_str_eq(line, "");
}
END_TEST

static const char *const good[] = {
	"[device]\nbackend = mem:1M\n",
	"\xef\xbb\xbf[device]\r\nbackend=mem:1M\r\n",
	"# comment\n; comment\n\n[device]\n  backend = /dev/vg0/my disk ; no comment\n\tqueues = 2",
	"[device]\nbackend = mem:1M\n[device]\nqueues = 2\n",
	"[device]\nbackend = fault:eio@0+4K,reorder:/x\n",
};

START_TEST(good_file_is_silent)
{
	ck_assert_int_eq(check(good[_i]), OPTIONS_DONE);
	ck_assert_str_eq(told, "");
}
END_TEST

START_TEST(each_of_several_files_is_checked)
{
	const char *const words[] = { "--check-config", "/nonexistent", path, dir, NULL };
	struct vblkd_config config;

	write_bytes(good[0], strlen(good[0]));
	ck_assert_int_eq(run(words, &config), OPTIONS_USAGE);
	ck_assert_ptr_nonnull(strstr(told, "'/nonexistent': No such file"));
	ck_assert_ptr_nonnull(strstr(told, "Is a directory"));
	ck_assert_ptr_null(strstr(told, path));
}
END_TEST

START_TEST(file_with_a_zero_byte_or_too_large_is_refused)
{
	static const char zero[] = "[device]\nbackend = mem:1M\nqueues=\0"
				   "2\n";
	const char *const words[] = { "--check-config", path, NULL };
	struct vblkd_config config;
	char *large = malloc(2 << 20);

	write_bytes(zero, sizeof(zero) - 1);
	ck_assert_int_eq(run(words, &config), OPTIONS_USAGE);
	ck_assert_ptr_nonnull(strstr(told, "db.conf:3: "));
	memset(large, '\n', 2 << 20);
	write_bytes(large, 2 << 20);
	ck_assert_int_eq(run(words, &config), OPTIONS_USAGE);
	ck_assert_ptr_nonnull(strstr(told, "too large"));
	free(large);
}
END_TEST

/* A value that fits, other than the default. */
static const char *value_for(const char *name)
{
	static const char *const values[][2] = {
		{ "name", "other" },	     { "serial", "S" },
		{ "queues", "3" },	     { "queue-size", "64" },
		{ "block-size", "4K" },	     { "physical-block-size", "8K" },
		{ "cache", "writethrough" }, { "discard", "off" },
		{ "msg-timeout", "7" },	     { "bounce-size", "2M" },
		{ "attach-timeout", "8" },   { "log-level", "error" },
		{ "backend", "null:1M" },    { "socket", "/run/x.sock" },
		{ "socket-mode", "0660" },   { "direct-rings", "off" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (!strcmp(values[i][0], name))
			return values[i][1];
	return "on";
}

/* The same option as key and on the command line makes the same configuration. */
START_TEST(every_option_is_a_key_of_the_same_name)
{
	unsigned int keys = 0;

	for (size_t i = 0; i < option_row_cnt; i++) {
		const struct option_row *row = &option_rows[i];
		char text[128], option[128];
		const char *const by_file[] = { "--config", path, NULL };
		const char *const by_option[] = { "--config", path, option, NULL };
		const char *socket = row->place == OPTION_OF_SOCKET ? "socket = /run/y.sock\n" : "";
		struct vblkd_config a, b;

		if (row->place == OPTION_NO_KEY || row->place == OPTION_KEY_ONLY)
			continue;
		snprintf(text, sizeof(text), "[device]\nbackend = mem:1M\n%s%s = %s\n", socket,
			 row->name, value_for(row->name));
		write_bytes(text, strlen(text));
		ck_assert_msg(run(by_file, &a) == OPTIONS_RUN, "%s", told);
		snprintf(text, sizeof(text), "[device]\nbackend = mem:1M\n%s", socket);
		write_bytes(text, strlen(text));
		snprintf(option, sizeof(option), "--%s=%s", row->name, value_for(row->name));
		ck_assert_msg(run(by_option, &b) == OPTIONS_RUN, "%s", told);
		ck_assert_str_eq(a.backend, b.backend);
		config_fini(&a);
		config_fini(&b);
		a.bdev.spec = b.bdev.spec = NULL;
		ck_assert_msg(!memcmp(&a, &b, sizeof(a)), "%s differs", row->name);
		keys++;
	}
	ck_assert_uint_ge(keys, 16);
}
END_TEST

START_TEST(command_line_overrides_the_file)
{
	const char *const words[] = { "--queues=5",   "--config", path,
				      "--direct=off", "null:2M",  NULL };
	struct vblkd_config config;
	const char *text = "[device]\nbackend = mem:1M\nqueues = 2\ndirect = on\nread-only = on\n";

	write_bytes(text, strlen(text));
	ck_assert_int_eq(run(words, &config), OPTIONS_RUN);
	ck_assert_uint_eq(config.queues, 5);
	ck_assert(!config.bdev.direct && config.bdev.read_only);
	ck_assert_str_eq(config.bdev.spec, "null:2M");
	config_fini(&config);
}
END_TEST

START_TEST(name_comes_from_the_file)
{
	const char *const words[] = { "--config", path, NULL };
	struct vblkd_config config;

	write_bytes(good[0], strlen(good[0]));
	ck_assert_int_eq(run(words, &config), OPTIONS_RUN);
	ck_assert_str_eq(config.name, "db");
	ck_assert_str_eq(config.serial, "db");
	config_fini(&config);
}
END_TEST

START_TEST(start_with_a_mistake_tells_it)
{
	const char *const words[] = { "--config", path, "mem:1M", NULL };
	struct vblkd_config config;
	const char *text = "[device]\nqueus = 2\n";

	write_bytes(text, strlen(text));
	ck_assert_int_eq(run(words, &config), OPTIONS_USAGE);
	ck_assert_ptr_nonnull(strstr(told, "db.conf:2: "));
	config_fini(&config);
}
END_TEST

/* After an upgrade the record counts; a file that was edited since must not stop it. */
START_TEST(program_that_takes_over_does_not_read_the_file)
{
	const char *const words[] = { "--handover=9", "--config", "/nonexistent", NULL };
	struct vblkd_config config;

	ck_assert_int_eq(run(words, &config), OPTIONS_RUN);
	ck_assert_int_eq(config.handover_fd, 9);
	config_fini(&config);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("config_file");
	TCase *tc = tcase_create("config_file");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, mistake_is_named_with_file_and_line, 0, ARRAY_SIZE(cases));
	tcase_add_loop_test(tc, good_file_is_silent, 0, ARRAY_SIZE(good));
	tcase_add_test(tc, each_of_several_files_is_checked);
	tcase_add_test(tc, file_with_a_zero_byte_or_too_large_is_refused);
	tcase_add_test(tc, every_option_is_a_key_of_the_same_name);
	tcase_add_test(tc, command_line_overrides_the_file);
	tcase_add_test(tc, name_comes_from_the_file);
	tcase_add_test(tc, start_with_a_mistake_tells_it);
	tcase_add_test(tc, program_that_takes_over_does_not_read_the_file);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
