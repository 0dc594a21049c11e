/* SPDX-License-Identifier: MIT */
/*
 * Messages for the administrator. Only src/daemon and vdpa-tools call these;
 * lower modules return -errno. One failure is one message. The exception is a
 * fault that a driver or peer causes on the data path: see ratelimit.h.
 */
#ifndef VBLK_UTIL_LOG_H
#define VBLK_UTIL_LOG_H

#include <stdbool.h>

#include "vblk/util/compiler.h"

/* Values are those of syslog(3), as systemd's "<N>" prefix wants them. */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/**
 * struct log_fields - facts of a message beside its text, for the journal
 * @message_id: 32 hexadecimal digits that are those of every message of its kind, or NULL
 * @queue: index of the queue that it is about, or -1
 */
struct log_fields {
	const char *message_id;
	int queue;
};

/* Bit mask of where messages go. */
enum log_target {
	LOG_TARGET_STDERR = 1,
	LOG_TARGET_SYSLOG = 2,
};

/**
 * log_setup() - call once per process, before threads exist
 * @ident:   program name in front of messages on stderr and in syslog; static string
 * @targets: mask of enum log_target
 */
void log_setup(const char *ident, unsigned int targets, enum log_level max_level);
void log_set_targets(unsigned int targets);
/*
 * Where LOG_TARGET_SYSLOG leads to: the journal's socket @path (NULL: systemd's) if there is one,
 * else syslog(3). The journal gets fields: MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, VBLKD_DEVICE (the
 * tag), and VBLKD_QUEUE, MESSAGE_ID, ERRNO where they apply. A journal that does not read loses
 * messages; nobody waits for it.
 * Return: is there one?
 */
bool log_use_journal(const char *path);
/* Does systemd say, by JOURNAL_STREAM, that standard error is read by its journal? */
bool log_stderr_is_journal(void);
/* Only syslog from now on, and standard output and error lead nowhere. */
void log_leave_terminal(void);
void log_set_level(enum log_level max_level);
bool log_level_is_on(enum log_level level);
/* By its name: "error", "warning", "notice", "info", "debug". Return: 0; -EINVAL. */
int log_level_parse(const char *name, enum log_level *ret_level) VBLK_MUST_CHECK;
/*
 * Prefixes every later message in syslog with "@tag: "; copied; NULL removes it. A terminal
 * does without: whoever typed the command knows which device it is about.
 */
void log_set_tag(const char *tag);

void log_msg(enum log_level level, const char *fmt, ...) VBLK_PRINTF(2, 3);

/* The same with @fields. */
void log_event(enum log_level level, const struct log_fields *fields, const char *fmt, ...)
	VBLK_PRINTF(3, 4);

/* Logs "<message>: <strerror(-err)>" at error level and returns @err. */
int log_errno(int err, const char *fmt, ...) VBLK_PRINTF(2, 3);

#define log_error(...)	 log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_msg(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_msg(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)	 log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
