/* SPDX-License-Identifier: MIT */
#include "vblk/util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "log_journal.h"

#define JOURNAL_PATH "/run/systemd/journal/socket"
#define TAG_MAX	     96
#define MESSAGE_MAX  1024

/* Set before threads exist, then only read, except the level (one word). */
static struct {
	const char *ident;
	unsigned int targets;
	int max_level;
	int syslog_fd;
	int null_fd;
	char tag[TAG_MAX];
	struct sockaddr_un journal; /* path "": there is none */
} conf = {
	.ident = "vblkd",
	.targets = LOG_TARGET_STDERR,
	.max_level = LOG_LEVEL_INFO,
	.syslog_fd = -1,
	.null_fd = -1,
};

void log_setup(const char *ident, unsigned int targets, enum log_level max_level)
{
	conf.ident = ident;
	conf.max_level = max_level;
	log_set_targets(targets);
}

void log_set_targets(unsigned int targets)
{
	conf.targets = targets;
	if (!(targets & LOG_TARGET_SYSLOG) || conf.syslog_fd >= 0)
		return;
	conf.syslog_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Here, since a process that may open nothing any more leaves the terminal, too. */
	conf.null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
}

bool log_use_journal(const char *path)
{
	return journal_find(path ? path : JOURNAL_PATH, &conf.journal) == 0;
}

void log_leave_terminal(void)
{
	log_set_targets(LOG_TARGET_SYSLOG);
	if (conf.null_fd < 0)
		return;
	(void)dup2(conf.null_fd, STDOUT_FILENO);
	(void)dup2(conf.null_fd, STDERR_FILENO);
}

void log_set_level(enum log_level max_level)
{
	__atomic_store_n(&conf.max_level, (int)max_level, __ATOMIC_RELAXED);
}

void log_set_tag(const char *tag)
{
	conf.tag[0] = '\0';
	if (tag)
		snprintf(conf.tag, sizeof(conf.tag), "%s", tag);
}

/*
 * Not syslog(3): it connects, so that a logger that was started again needs another socket of
 * a process that can make none, and it reads the time zone's file. Loggers know the time.
 */
static void send_to_syslog(enum log_level level, const char *text)
{
	const struct sockaddr_un logger = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	char line[MESSAGE_MAX + TAG_MAX + 64];
	int len;

	len = snprintf(line, sizeof(line), "<%d>%s[%d]: %s%s%s", LOG_DAEMON | (int)level,
		       conf.ident, (int)getpid(), conf.tag, conf.tag[0] ? ": " : "", text);
	(void)sendto(conf.syslog_fd, line, (size_t)len, MSG_NOSIGNAL,
		     (const struct sockaddr *)&logger, sizeof(logger));
}

static const struct log_fields no_fields = { .queue = -1 };

static void emit_to_system(const struct journal_msg *msg)
{
	if (conf.journal.sun_path[0] && journal_send(conf.syslog_fd, &conf.journal, msg) == 0)
		return;
	send_to_syslog(msg->level, msg->text);
}

static void emit(enum log_level level, const struct log_fields *fields, int err, const char *text)
{
	const struct journal_msg msg = {
		.level = level,
		.ident = conf.ident,
		.device = conf.tag[0] ? conf.tag : NULL,
		.text = text,
		.fields = *fields,
		.err = err,
	};
	char line[MESSAGE_MAX + 64];
	int len;

	if (conf.targets & LOG_TARGET_SYSLOG)
		emit_to_system(&msg);
	if (!(conf.targets & LOG_TARGET_STDERR))
		return;
	/* One write a line: lines of several processes do not mix. */
	len = snprintf(line, sizeof(line), "%s: %s\n", conf.ident, text);
	if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
		return;
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	static const struct {
		const char *name;
		enum log_level level;
	} levels[] = {
		{ "error", LOG_LEVEL_ERROR },	{ "warning", LOG_LEVEL_WARNING },
		{ "notice", LOG_LEVEL_NOTICE }, { "info", LOG_LEVEL_INFO },
		{ "debug", LOG_LEVEL_DEBUG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (!strcmp(name, levels[i].name)) {
			*ret_level = levels[i].level;
			return 0;
		}
	}
	return -EINVAL;
}

bool log_level_is_on(enum log_level level)
{
	return (int)level <= __atomic_load_n(&conf.max_level, __ATOMIC_RELAXED);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	va_list ap;

	if (!log_level_is_on(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	emit(level, &no_fields, 0, text);
}

void log_event(enum log_level level, const struct log_fields *fields, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	va_list ap;

	if (!log_level_is_on(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	emit(level, fields, 0, text);
}

int log_errno(int err, const char *fmt, ...)
{
	char text[MESSAGE_MAX];
	char reason[128];
	va_list ap;
	size_t len;

	if (!log_level_is_on(LOG_LEVEL_ERROR))
		return err;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ": %s",
		 strerror_r(err < 0 ? -err : err, reason, sizeof(reason)));
	emit(LOG_LEVEL_ERROR, &no_fields, err < 0 ? err : -err, text);
	return err;
}
