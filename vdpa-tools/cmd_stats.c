/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <poll.h>
#include <unistd.h>

#include "args.h"
#include "command.h"
#include "device.h"
#include "out.h"
#include "stats.h"
#include "vblk/util/cleanup.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"
#include "vblk/util/math.h"

#define WATCH_SECONDS_MAX 86400u
#define ROWS_DEFAULT	  24u

/**
 * struct watched - one device in the table
 * @before: at the report before, at @before_ns; 0: not seen yet
 * @seen: in this report
 */
struct watched {
	char name[DEVICE_NAME_MAX + 1];
	struct stats_queue before;
	uint64_t before_ns;
	bool seen;
};

/**
 * struct report - what stats is to show, and showed
 * @name: of one device; NULL: all
 * @since_head: lines since the head of the table was printed, 0: not yet
 */
struct report {
	const char *name;
	bool json;
	bool watch;
	unsigned int interval_s;
	struct watched *watched;
	size_t watched_cnt;
	unsigned int since_head;
};

/* The place of @name, a new one when need be; NULL without memory. */
static struct watched *watched_of(struct report *report, const char *name)
{
	struct watched *grown;

	for (size_t i = 0; i < report->watched_cnt; i++)
		if (!strcmp(report->watched[i].name, name))
			return &report->watched[i];
	grown = realloc(report->watched, (report->watched_cnt + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	report->watched = grown;
	grown += report->watched_cnt++;
	memset(grown, 0, sizeof(*grown));
	strcpy(grown->name, name);
	return grown;
}

/* The window may have another size by now. */
static unsigned int terminal_rows(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row < 4)
		return ROWS_DEFAULT;
	return size.ws_row;
}

/* Again as soon as it has scrolled out of sight. */
static void print_head_if_due(struct report *report)
{
	if (report->since_head && report->since_head + 2 < terminal_rows())
		return;
	stats_print_head(stdout);
	report->since_head = 1;
}

/* Since the report before; the first one, and one after a new start of the counters: since then. */
static void print_rates(struct report *report, const char *name, const json_t *stats)
{
	struct watched *watched = watched_of(report, name);
	uint64_t now_ns = clock_now_ns();
	struct stats_queue now, interval;
	double seconds;

	if (!watched)
		return;
	stats_read(stats, &now);
	interval = now;
	if (watched->before_ns && stats_subtract(&interval, &watched->before))
		seconds = (double)(now_ns - watched->before_ns) / 1e9;
	else
		seconds = (double)json_integer_value(json_object_get(stats, "age_ms")) / 1e3;
	stats_print_row(stdout, name, &interval, MAX(seconds, 1e-3));
	watched->before = now;
	watched->before_ns = now_ns;
}

static int print_json_line(json_t *stats)
{
	int r = json_dumpf(stats, stdout, JSON_COMPACT);

	return r < 0 || fputc('\n', stdout) == EOF ? -EIO : 0;
}

/* @list: where JSON is collected, or NULL. Return: 0; -errno nobody answered. */
static int report_device(struct report *report, const char *name, json_t *list)
{
	json_t *stats;
	int r;

	if (!report->json)
		print_head_if_due(report);
	r = stats_ask(name, &stats);
	if (r < 0) {
		if (!report->json)
			stats_print_row(stdout, name, NULL, 0);
		report->since_head++;
		return r;
	}
	if (!report->json)
		print_rates(report, name, stats);
	else if (list)
		json_array_append(list, stats);
	else if (report->watch)
		r = print_json_line(stats);
	else
		r = out_json(stdout, json_incref(stats));
	report->since_head++;
	json_decref(stats);
	return r;
}

static int report_all(struct report *report)
{
	json_t *list = report->json ? json_array() : NULL;
	struct device *devices;
	size_t cnt;
	int r;

	r = device_list(&devices, &cnt);
	for (size_t i = 0; r == 0 && i < cnt; i++)
		(void)report_device(report, devices[i].name, list);
	if (r == 0)
		device_list_free(devices, cnt);
	if (list && r == 0)
		r = report->watch ? print_json_line(list) : out_json(stdout, json_incref(list));
	json_decref(list);
	return r;
}

static int report_once(struct report *report)
{
	int r = report->name ? report_device(report, report->name, NULL) : report_all(report);

	if (fflush(stdout) != 0 || ferror(stdout))
		return -EPIPE;
	return r;
}

/* Waits for the next report. Return: false when the user has seen enough. */
static bool next_report(int signal_fd, uint64_t when_ns)
{
	struct pollfd pfd = { .fd = signal_fd, .events = POLLIN };
	uint64_t now_ns = clock_now_ns();
	int left_ms = now_ns < when_ns ? (int)((when_ns - now_ns) / NSEC_PER_MSEC) + 1 : 0;

	return poll(&pfd, 1, left_ms) == 0;
}

static int watch(struct report *report)
{
	_cleanup_close_ int signal_fd = -1;
	uint64_t when_ns = clock_now_ns();
	sigset_t signals;
	int r;

	/* Ends between two reports, never in the middle of a line. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (signal_fd < 0)
		return -errno;
	(void)signal(SIGPIPE, SIG_IGN);
	do {
		r = report_once(report);
		/* A data path that is just being started again answers the next time. */
		if (r == -EPIPE || r == -ENOENT || r == -EOPNOTSUPP || r == -EACCES)
			return r;
		when_ns += report->interval_s * NSEC_PER_SEC;
	} while (next_report(signal_fd, when_ns));
	return 0;
}

static int parse_interval(const char *text, unsigned int *ret_seconds)
{
	uint64_t seconds;

	if (parse_u64(text, 1, WATCH_SECONDS_MAX, &seconds) < 0) {
		log_error("'%s' is no interval: 1 to %u seconds", text, WATCH_SECONDS_MAX);
		return EXIT_USAGE;
	}
	*ret_seconds = (unsigned int)seconds;
	return 0;
}

static void explain(const struct report *report, int error)
{
	if (error == -EPIPE)
		return; /* whoever read has gone, or main() says that output failed */
	if (!report->name)
		log_errno(error, "cannot list devices");
	else if (error == -EOPNOTSUPP)
		log_error("the daemon of '%s' is too old to have statistics: "
			  "'vblkctl upgrade %s' replaces it",
			  report->name, report->name);
	else if (error == -EACCES || error == -EPERM)
		log_error("only root can see the statistics of devices (try sudo)");
	else
		log_errno(error,
			  "the daemon of '%s' does not answer ('vblkctl show %s' tells more)",
			  report->name, report->name);
}

int cmd_stats(int argc, char **argv)
{
	struct report report = { .interval_s = 1 };
	const char *name, *interval = NULL;
	const struct arg_option options[] = { { "--json", &report.json, NULL },
					      { "--watch", &report.watch, &interval } };
	struct device device;
	int r;

	r = args_parse(argc, argv, options, ARRAY_SIZE(options), "NAME", &name);
	if (!r && interval)
		r = parse_interval(interval, &report.interval_s);
	if (r)
		return r;
	if (strcmp(name, "all") != 0) {
		r = device_find(name, &device);
		if (r)
			return r;
		report.name = strdupa(device.name);
		device_fini(&device);
	}
	r = report.watch ? watch(&report) : report_once(&report);
	free(report.watched);
	if (r < 0)
		explain(&report, r);
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}
