/* SPDX-License-Identifier: MIT */
/* Messages to the journal, with a journal of our own. */
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

#include "run_suite.h"
#include "vblk/util/log.h"

#define KIND "0123456789abcdef0123456789abcdef"

static char dir[32];
static char path[64];
static int journal_fd;

static void setup(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(dir, "/tmp/test_log.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/socket", dir);
	strcpy(addr.sun_path, path);
	journal_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(journal_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert(log_use_journal(path));
	log_setup("test", LOG_TARGET_SYSLOG, LOG_LEVEL_INFO);
	log_set_tag("disk0");
}

static void teardown(void)
{
	close(journal_fd);
	unlink(path);
	rmdir(dir);
}

/* The next datagram, NUL bytes shown as '0'. */
static const char *received(void)
{
	static char buf[8192];
	ssize_t n = recv(journal_fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	ck_assert_int_gt(n, 0);
	for (ssize_t i = 0; i < n; i++)
		if (!buf[i])
			buf[i] = '0';
	buf[n] = '\0';
	return buf;
}

START_TEST(message_has_its_fields)
{
	const struct log_fields fields = { .message_id = KIND, .queue = 3 };

	log_event(LOG_LEVEL_WARNING, &fields, "two\nlines");
	ck_assert_str_eq(received(), "MESSAGE\n\x10"
				     "0000000disk0: two\nlines\nPRIORITY=4\nSYSLOG_FACILITY=3\n"
				     "SYSLOG_IDENTIFIER=test\nVBLKD_DEVICE=disk0\nMESSAGE_ID=" KIND
				     "\nVBLKD_QUEUE=3\n");
	log_set_tag(NULL);
	ck_assert_int_eq(log_errno(-ENOENT, "no"), -ENOENT);
	ck_assert_str_eq(received(), "MESSAGE\n\x1d"
				     "0000000no: No such file or directory\nPRIORITY=3\n"
				     "SYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=test\nERRNO=2\n");
	log_debug("not wanted");
	ck_assert_int_lt(recv(journal_fd, path, 1, MSG_DONTWAIT), 0);
}
END_TEST

START_TEST(a_journal_that_does_not_read_keeps_nobody)
{
	for (unsigned int i = 0; i < 20000; i++)
		log_info("message %u", i);
	ck_assert_ptr_nonnull(strstr(received(), "disk0: message 0\n"));
}
END_TEST

START_TEST(long_text_is_cut)
{
	char text[5000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_info("%s", text);
	ck_assert_ptr_nonnull(strstr(received(), "x\nPRIORITY=6\n"));
}
END_TEST

START_TEST(without_a_journal_there_is_none)
{
	ck_assert(!log_use_journal("/nonexistent/socket"));
}
END_TEST

START_TEST(systemd_says_whether_stderr_is_the_journal)
{
	struct stat st;
	char text[64];

	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	unsetenv("JOURNAL_STREAM");
	ck_assert(!log_stderr_is_journal());
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", text, 1);
	ck_assert(log_stderr_is_journal());
	/* Inherited by somebody who redirected its output. */
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino + 1);
	setenv("JOURNAL_STREAM", text, 1);
	ck_assert(!log_stderr_is_journal());
	setenv("JOURNAL_STREAM", "nonsense", 1);
	ck_assert(!log_stderr_is_journal());
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tc = tcase_create("journal");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, message_has_its_fields);
	tcase_add_test(tc, a_journal_that_does_not_read_keeps_nobody);
	tcase_add_test(tc, long_text_is_cut);
	tcase_add_test(tc, without_a_journal_there_is_none);
	tcase_add_test(tc, systemd_says_whether_stderr_is_the_journal);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
