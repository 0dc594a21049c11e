/* SPDX-License-Identifier: MIT */
#include "log_journal.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#define DATAGRAM_MAX 4096

int journal_find(const char *path, struct sockaddr_un *ret_addr)
{
	int fd, r = 0;

	*ret_addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(ret_addr->sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	strcpy(ret_addr->sun_path, path);
	if (connect(fd, (struct sockaddr *)ret_addr, sizeof(*ret_addr)) < 0) {
		r = -errno;
		ret_addr->sun_path[0] = '\0';
	}
	close(fd);
	return r;
}

/* A text that may have more than one line goes with its length, others with "=". */
static size_t put_message(char buf[DATAGRAM_MAX], const char *device, const char *text)
{
	static const char key[] = "MESSAGE\n";
	size_t at = sizeof(key) - 1 + sizeof(uint64_t), len;
	uint64_t le_len;

	memcpy(buf, key, sizeof(key) - 1);
	len = (size_t)snprintf(buf + at, DATAGRAM_MAX / 2, "%s%s%s", device ? device : "",
			       device ? ": " : "", text);
	if (len >= DATAGRAM_MAX / 2)
		len = DATAGRAM_MAX / 2 - 1;
	le_len = htole64(len);
	memcpy(buf + sizeof(key) - 1, &le_len, sizeof(le_len));
	buf[at + len] = '\n';
	return at + len + 1;
}

static size_t put_text(char *buf, size_t at, const char *key, const char *value)
{
	int n = value ? snprintf(buf + at, DATAGRAM_MAX - at, "%s=%s\n", key, value) : 0;

	return n > 0 && (size_t)n < DATAGRAM_MAX - at ? at + (size_t)n : at;
}

static size_t put_number(char *buf, size_t at, const char *key, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	return put_text(buf, at, key, text);
}

int journal_send(int fd, const struct sockaddr_un *addr, const struct journal_msg *msg)
{
	char buf[DATAGRAM_MAX];
	size_t len = put_message(buf, msg->device, msg->text);

	len = put_number(buf, len, "PRIORITY", (int)msg->level);
	len = put_number(buf, len, "SYSLOG_FACILITY", LOG_DAEMON >> 3);
	len = put_text(buf, len, "SYSLOG_IDENTIFIER", msg->ident);
	len = put_text(buf, len, "VBLKD_DEVICE", msg->device);
	len = put_text(buf, len, "MESSAGE_ID", msg->fields.message_id);
	if (msg->fields.queue >= 0)
		len = put_number(buf, len, "VBLKD_QUEUE", msg->fields.queue);
	if (msg->err)
		len = put_number(buf, len, "ERRNO", -msg->err);
	if (sendto(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)addr,
		   sizeof(*addr)) >= 0 ||
	    errno == EAGAIN || errno == ENOBUFS)
		return 0;
	return -errno;
}

bool log_stderr_is_journal(void)
{
	const char *stream = secure_getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	char rest;

	return stream && sscanf(stream, "%llu:%llu%c", &dev, &ino, &rest) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}
