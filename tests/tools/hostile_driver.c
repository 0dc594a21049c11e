/* SPDX-License-Identifier: MIT */
/*
 * hostile-driver - a driver of /dev/vhost-vdpa-N that breaks the rules
 *
 * usage: hostile-driver NODE CONTROL LOG [NAME]
 *
 * NODE is the vhost-vdpa device, CONTROL the daemon's socket, LOG the file its
 * messages go to. First a driver that keeps the rules, then one attack after
 * the other (only NAME, if given); after each one: the other queue serves, the
 * daemon answers, its worker is the same process, the log has one line if a
 * queue stopped and none otherwise, and after a reset both queues serve.
 */
#include "hostile.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_WAIT_MS 5000
#define LOG_MAX		(4u << 20)
#define GOOD_ROUNDS	12u

static const char *control_path, *log_path;
static long worker_pid;
static unsigned int told_cnt; /* lines about queue 0 that are accounted for */

/* ---- the daemon from outside ---- */

static int control_connect(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", control_path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("cannot connect to the daemon: %m");
	return fd;
}

static void control_ask(char *buf, size_t len)
{
	static const char call[] = "{\"method\":\"io.vblkd.Device.GetStatus\"}";
	int fd = control_connect();
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	size_t at = 0;

	if (write(fd, call, sizeof(call)) != (ssize_t)sizeof(call))
		die("cannot ask the daemon: %m");
	do {
		ssize_t n;

		if (poll(&pfd, 1, CONTROL_WAIT_MS) != 1)
			die("the daemon does not answer");
		n = read(fd, buf + at, len - 1 - at);
		if (n <= 0)
			die("the daemon hung up");
		at += (size_t)n;
	} while (buf[at - 1] != '\0' && at < len - 1);
	buf[at] = '\0';
	(void)close(fd);
}

static long field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	if (!at)
		die("no %s in: %s", name, text);
	return strtol(at + strlen(name) + strspn(at + strlen(name), "\": "), NULL, 10);
}

void hostile_check_control(void)
{
	static char answer[65536];
	long pid;

	control_ask(answer, sizeof(answer));
	pid = field(answer, "\"worker_pid\"");
	if (!worker_pid)
		worker_pid = pid;
	if (pid != worker_pid || field(answer, "\"restarts\"") != 0)
		die("the worker died");
}

/* Complete lines about queue 0; @ret_last: the last of them. One may be half written as we look. */
static unsigned int log_read(const char **ret_last)
{
	static char text[LOG_MAX];
	int fd = open(log_path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	unsigned int cnt = 0;

	if (n < 0)
		die("cannot read the log: %m");
	(void)close(fd);
	while (n > 0 && text[n - 1] != '\n')
		n--;
	text[n] = '\0';
	if (strstr(text, "queue 1 "))
		die("the log speaks of queue 1");
	*ret_last = "";
	for (const char *at = text; (at = strstr(at, "queue 0 ")); at++) {
		*ret_last = at;
		cnt++;
	}
	return cnt;
}

static bool log_has(const char *text)
{
	uint64_t end = now_ms() + DRV_WAIT_MS;
	const char *last;

	while (log_read(&last) == told_cnt) {
		if (now_ms() >= end)
			return false;
		(void)poll(NULL, 0, 5);
	}
	/* Up to the end of its line. */
	return memmem(last, strcspn(last, "\n"), text, strlen(text)) != NULL;
}

void hostile_wait_broken(void)
{
	if (!log_has(""))
		die("the queue did not stop");
}

/* ---- one attack ---- */

static void check_serves(struct drv *d, unsigned int idx, const char *when)
{
	uint64_t area = WITNESS_IOVA, data = WITNESS_DATA_IOVA;
	uint8_t pattern = (uint8_t)(1 + rnd(255));

	memset(drv_va(d, data), pattern, 4096);
	if (drv_request(d, &d->q[idx], VIRTIO_BLK_T_OUT, 2048, area, data, 4096, DRV_WAIT_MS) !=
	    VIRTIO_BLK_S_OK)
		die("%s: queue %u does not write", when, idx);
	memset(drv_va(d, data), 0, 4096);
	if (drv_request(d, &d->q[idx], VIRTIO_BLK_T_IN, 2048, area, data, 4096, DRV_WAIT_MS) !=
	    VIRTIO_BLK_S_OK)
		die("%s: queue %u does not read", when, idx);
	for (unsigned int i = 0; i < 4096; i++)
		if (((uint8_t *)drv_va(d, data))[i] != pattern)
			die("%s: queue %u gave other data than were written", when, idx);
}

static void check_broken(const struct attack *a)
{
	const char *last;

	if (!log_has(a->text)) {
		(void)log_read(&last);
		die("the log does not say '%s' of queue 0 but: %.*s", a->text,
		    (int)strcspn(last, "\n"), last);
	}
	told_cnt++;
}

static void check_answered(struct drv *d, const struct attack *a)
{
	struct vring_used_elem elem;
	uint8_t status = *(uint8_t *)drv_va(d, AREA_IOVA + 16);

	if (!drv_reap(&d->q[0], DRV_WAIT_MS, &elem))
		die("no answer");
	status = *(uint8_t *)drv_va(d, AREA_IOVA + 16);
	if (elem.id != 0)
		die("head %u came back instead of 0", elem.id);
	if (a->outcome == UNUSED && (elem.len != 0 || status != DRV_NO_ANSWER))
		die("%u bytes written, status %u, and there was no room", elem.len, status);
	if (a->outcome == ANSWERED && status != a->status)
		die("status %u, not %u", status, a->status);
	check_serves(d, 0, "after it");
}

static void check_outcome(struct drv *d, const struct attack *a)
{
	switch (a->outcome) {
	case BROKEN:
		check_broken(a);
		break;
	case ANSWERED:
	case UNUSED:
		check_answered(d, a);
		break;
	case ANY:
		break;
	}
}

static void check_log_is_quiet(const struct attack *a)
{
	const char *last;
	unsigned int cnt = log_read(&last);

	if (a->outcome == ANY)
		told_cnt = cnt;
	if (cnt != told_cnt)
		die("%u lines too much in the log, the last: %.*s", cnt - told_cnt,
		    (int)strcspn(last, "\n"), last);
}

static void restore(struct drv *d)
{
	for (unsigned int i = 0; i < REGION_CNT; i++)
		if (ftruncate(d->region[i].fd, (off_t)d->region[i].len_bytes) < 0)
			die("ftruncate: %m");
}

static void attack(struct drv *d, const struct attack *a)
{
	uint64_t begin = now_ms();

	(void)printf("%s", a->name);
	(void)fflush(stdout);
	drv_start(d, FEATURES_ALL);
	a->run(d, a);
	check_outcome(d, a);
	if (a->outcome != ANY)
		check_serves(d, 1, "with queue 0 attacked");
	hostile_check_control();
	check_log_is_quiet(a);
	restore(d);
	drv_reset(d);
	drv_start(d, FEATURES_ALL);
	check_serves(d, 0, "after a reset");
	check_serves(d, 1, "after a reset");
	drv_reset(d);
	check_log_is_quiet(a);
	(void)printf(": as expected, %u ms\n", (unsigned int)(now_ms() - begin));
	(void)fflush(stdout);
}

static unsigned int attack_all(struct drv *d, const struct attack *attacks, unsigned int cnt,
			       const char *only)
{
	unsigned int done_cnt = 0;

	for (unsigned int i = 0; i < cnt; i++) {
		if (only && strcmp(only, attacks[i].name) != 0)
			continue;
		attack(d, &attacks[i]);
		done_cnt++;
	}
	return done_cnt;
}

int main(int argc, char **argv)
{
	const char *only = argc > 4 ? argv[4] : NULL;
	static struct drv d;
	unsigned int cnt;

	if (argc < 4)
		die("usage: hostile-driver NODE CONTROL LOG [NAME]");
	control_path = argv[2];
	log_path = argv[3];
	drv_open(&d, argv[1]);
	hostile_check_control();
	if (!only)
		hostile_behave(&d, GOOD_ROUNDS);
	cnt = attack_all(&d, hostile_chains, hostile_chains_cnt, only);
	cnt += attack_all(&d, hostile_requests, hostile_requests_cnt, only);
	cnt += attack_all(&d, hostile_deeds, hostile_deeds_cnt, only);
	if (!cnt)
		die("no attack '%s'", only);
	/*
	 * The kernel forgets nothing by itself: what is left mapped at the close would lie
	 * over the memory of the next driver (seen with Linux 6.12).
	 */
	for (unsigned int i = 0; i < REGION_CNT; i++)
		if (drv_region_unmap(&d, (enum drv_region_id)i) < 0)
			die("region %u cannot be unmapped", i);
	(void)printf("%u attacks, all as expected\n", cnt);
	return 0;
}
