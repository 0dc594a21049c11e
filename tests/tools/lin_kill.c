/* SPDX-License-Identifier: MIT */
#include "lin_kill.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "lin_gaps.h"
#include "lin_io.h"
#include "vblk/util/clock.h"

#define EARLY_US_MAX 50000u

static const char *const harm_names[] = {
	[LIN_KILL_WORKER] = "worker",
	[LIN_KILL_KEEPER] = "keeper",
	[LIN_KILL_BOTH] = "both",
	[LIN_KILL_EARLY] = "early",
	[LIN_STOP_WORKER] = "stop-worker",
	[LIN_STOP_KEEPER] = "stop-keeper",
	[LIN_STOP_KILL_WORKER] = "stop-kill",
	[LIN_STOP_KEEPER_KILL_WORKER] = "stop-keeper-kill",
};

static unsigned int kill_cnt;

int lin_kill_parse(const char *words, struct lin_kill *kill)
{
	char text[256], *save = NULL;

	snprintf(text, sizeof(text), "%s", words);
	kill->harm_cnt = 0;
	for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		unsigned int i = 0;

		while (i < LIN_HARMS && strcmp(word, harm_names[i]) != 0)
			i++;
		if (i == LIN_HARMS || kill->harm_cnt == LIN_HARMS)
			return -EINVAL;
		kill->harms[kill->harm_cnt++] = (enum lin_harm)i;
	}
	return kill->harm_cnt ? 0 : -EINVAL;
}

unsigned int lin_kill_cnt(void)
{
	return kill_cnt;
}

static void pause_us(unsigned int us)
{
	const struct timespec ts = { .tv_sec = us / 1000000,
				     .tv_nsec = (long)(us % 1000000) * 1000 };

	nanosleep(&ts, NULL);
}

static void pause_up_to_ms(struct lin_kill *kill, unsigned int ms)
{
	pause_us((unsigned int)((uint64_t)rand_r(&kill->seed) % (ms * 1000ull + 1)));
}

/* ---- who is who ---- */

static pid_t read_pid(const char *path)
{
	FILE *in = fopen(path, "re");
	long pid = 0;

	if (!in)
		return 0;
	if (fscanf(in, "%ld", &pid) != 1)
		pid = 0;
	fclose(in);
	return (pid_t)pid;
}

static pid_t keeper_pid(const struct lin_kill *kill)
{
	char path[4096];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/lock", kill->run_dir);
	pid = read_pid(path);
	if (pid <= 1)
		lin_fail("%s has no keeper's pid", path);
	return pid;
}

/* The first child; a killed one may still be seen for a moment. */
static pid_t child_of(pid_t keeper)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)keeper, (int)keeper);
	return read_pid(path);
}

/* Waits until the keeper has a worker that is not @old. */
static pid_t worker_pid(const struct lin_kill *kill, pid_t keeper, pid_t old)
{
	uint64_t end_ns = clock_now_ns() + kill->patience_ms * NSEC_PER_MSEC;
	pid_t pid;

	while ((pid = child_of(keeper)) <= 1 || pid == old) {
		if (clock_now_ns() > end_ns)
			lin_fail("the keeper (pid %d) started no worker", (int)keeper);
		pause_us(500);
	}
	return pid;
}

static void send_signal(pid_t pid, int sig)
{
	if (kill(pid, sig) < 0)
		lin_fail("cannot send signal %d to pid %d: %s", sig, (int)pid, strerror(errno));
}

/* Back when it is dead: until then it may still complete I/O. */
static void kill_dead(const struct lin_kill *how, pid_t pid)
{
	struct pollfd pfd = { .fd = pidfd_open(pid, 0), .events = POLLIN };

	if (pfd.fd < 0)
		lin_fail("there is no process %d any more", (int)pid);
	send_signal(pid, SIGKILL);
	if (poll(&pfd, 1, (int)how->patience_ms) != 1)
		lin_fail("process %d does not die", (int)pid);
	close(pfd.fd);
	kill_cnt++;
	lin_gap_submitted_from_now();
}

/* ---- harm ---- */

static void await_io(const struct lin_kill *kill, const char *after)
{
	if (!lin_gap_wait(kill->patience_ms))
		lin_fail("no I/O came back within %u s after: %s", kill->patience_ms / 1000, after);
}

static void revive(const struct lin_kill *kill)
{
	int status = system(kill->revive);

	if (status != 0)
		lin_fail("'%s' ended with status %#x", kill->revive, (unsigned int)status);
}

static void kill_early(struct lin_kill *kill, pid_t keeper, pid_t worker)
{
	lin_gap_begin();
	kill_dead(kill, worker);
	for (unsigned int i = 1; i < kill->burst; i++) {
		worker = worker_pid(kill, keeper, worker);
		pause_us((unsigned int)rand_r(&kill->seed) % EARLY_US_MAX);
		kill_dead(kill, worker);
	}
	(void)worker_pid(kill, keeper, worker);
}

static void kill_and_revive(const struct lin_kill *kill, pid_t keeper, pid_t worker, bool both)
{
	lin_gap_begin();
	kill_dead(kill, keeper);
	if (both) {
		kill_dead(kill, worker);
		revive(kill);
		return;
	}
	/* The orphan serves on. */
	await_io(kill, "death of the keeper");
	revive(kill);
}

static void stop(struct lin_kill *kill, enum lin_harm harm, pid_t keeper, pid_t worker)
{
	bool is_keeper = harm == LIN_STOP_KEEPER || harm == LIN_STOP_KEEPER_KILL_WORKER;
	pid_t stopped = is_keeper ? keeper : worker;

	send_signal(stopped, SIGSTOP);
	if (harm == LIN_STOP_KEEPER) {
		lin_gap_begin();
		await_io(kill, "SIGSTOP of the keeper");
	}
	if (harm == LIN_STOP_KEEPER_KILL_WORKER)
		kill_dead(kill, worker);
	pause_up_to_ms(kill, kill->pause_ms);
	lin_gap_begin();
	if (harm == LIN_STOP_KILL_WORKER)
		kill_dead(kill, stopped);
	else
		send_signal(stopped, SIGCONT);
}

void lin_kill_once(struct lin_kill *kill)
{
	enum lin_harm harm = kill->harms[kill->next++ % kill->harm_cnt];
	pid_t keeper = keeper_pid(kill);
	pid_t worker = worker_pid(kill, keeper, 0);

	switch (harm) {
	case LIN_KILL_WORKER:
		lin_gap_begin();
		kill_dead(kill, worker);
		break;
	case LIN_KILL_KEEPER:
	case LIN_KILL_BOTH:
		kill_and_revive(kill, keeper, worker, harm == LIN_KILL_BOTH);
		break;
	case LIN_KILL_EARLY:
		kill_early(kill, keeper, worker);
		break;
	case LIN_STOP_WORKER:
	case LIN_STOP_KEEPER:
	case LIN_STOP_KILL_WORKER:
	case LIN_STOP_KEEPER_KILL_WORKER:
		stop(kill, harm, keeper, worker);
		break;
	case LIN_HARMS:
		break;
	}
	await_io(kill, harm_names[harm]);
	lin_gap_count();
	if (harm != LIN_STOP_WORKER && harm != LIN_STOP_KEEPER && harm != LIN_KILL_KEEPER &&
	    harm != LIN_KILL_BOTH)
		(void)worker_pid(kill, keeper, worker);
	pause_up_to_ms(kill, kill->delay_ms);
}
