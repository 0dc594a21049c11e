/* SPDX-License-Identifier: MIT */
#include "vblk/util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define TAG_MAX	    96
#define MESSAGE_MAX 1024

/* Set before threads exist, then only read, except the level (one word). */
static struct {
	const char *ident;
	unsigned int targets;
	int max_level;
	char tag[TAG_MAX];
} conf = { .ident = "vblkd", .targets = LOG_TARGET_STDERR, .max_level = LOG_LEVEL_INFO };

void log_setup(const char *ident, unsigned int targets, enum log_level max_level)
{
	conf.ident = ident;
	conf.max_level = max_level;
	log_set_targets(targets);
}

void log_set_targets(unsigned int targets)
{
	conf.targets = targets;
	if (targets & LOG_TARGET_SYSLOG)
		openlog(conf.ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_leave_terminal(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_set_targets(LOG_TARGET_SYSLOG);
	if (fd < 0)
		return;
	(void)dup2(fd, STDOUT_FILENO);
	(void)dup2(fd, STDERR_FILENO);
	close(fd);
}

void log_set_level(enum log_level max_level)
{
	__atomic_store_n(&conf.max_level, (int)max_level, __ATOMIC_RELAXED);
}

void log_set_tag(const char *tag)
{
	conf.tag[0] = '\0';
	if (tag)
		snprintf(conf.tag, sizeof(conf.tag), "%s: ", tag);
}

static void emit(enum log_level level, const char *text)
{
	char line[MESSAGE_MAX + TAG_MAX + 32];
	int len;

	if (conf.targets & LOG_TARGET_SYSLOG)
		syslog((int)level, "%s%s", conf.tag, text);
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
	emit(level, text);
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
	emit(LOG_LEVEL_ERROR, text);
	return err;
}
