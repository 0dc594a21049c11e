/* SPDX-License-Identifier: MIT */
/*
 * lincheck - is a disk a set of registers? Threads read and write a few blocks
 * of it with O_DIRECT, and what they saw is checked for linearizability; at
 * will, the daemon below the disk is killed or stopped meanwhile, and how long
 * I/O stood still is measured.
 *
 * It ends with 0 if all is well, with 1 at the first thing that is not, saying
 * what was seen; with 2 at wrong usage.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lin_data.h"
#include "lin_gaps.h"
#include "lin_io.h"
#include "lin_kill.h"
#include "vblk/util/clock.h"
#include "vblk/util/parse.h"

#define EXIT_USAGE 2

static const char usage[] =
	"usage: lincheck [OPTION]... DISK\n"
	"  --offset SIZE       where the blocks are [0]; one more is read\n"
	"  --block-size SIZE   512 to 4K [4K]\n"
	"  --blocks N          how many blocks [8]\n"
	"  --threads N         readers and writers [6]\n"
	"  --writes PERCENT    of all I/O [50]\n"
	"  --overlap           writes of one block at the same time; not with a --kill of\n"
	"                      workers, whose successors may change their order\n"
	"  --epoch-ms N        check and forget after this time [2000]\n"
	"  --seconds N         how long; without --kill [10]\n"
	"  --patience-s N      an I/O that takes longer is a failure [60]\n"
	"  --kill WHAT,...     in turn: worker, keeper, both, early, stop-worker,\n"
	"                      stop-keeper, stop-kill, stop-keeper-kill\n"
	"  --kills N           how many [10]; with --seconds, until they are over\n"
	"  --run-dir DIR       of the device\n"
	"  --revive COMMAND    how a device without a keeper is taken over\n"
	"  --delay-ms N        time between two, at most [300]\n"
	"  --pause-ms N        how long a process is stopped, at most [2000]\n"
	"  --burst N           kills of one 'early' [10]\n"
	"  --seed N            for the random numbers [time]\n"
	"  --gaps FILE         append the gaps, in microseconds\n";

struct settings {
	struct lin_load load;
	struct lin_kill kill;
	unsigned int kills;
	unsigned int seconds;
	const char *gaps;
};

static VBLK_NORETURN void wrong_usage(const char *what)
{
	fprintf(stderr, "lincheck: %s\n%s", what, usage);
	exit(EXIT_USAGE);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
	uint64_t value;

	if (parse_size_bytes(text, &value) < 0 || value < min || value > max)
		wrong_usage(text);
	return value;
}

static const struct option options[] = {
	{ "offset", required_argument, NULL, 'o' },
	{ "block-size", required_argument, NULL, 'b' },
	{ "blocks", required_argument, NULL, 'n' },
	{ "threads", required_argument, NULL, 't' },
	{ "writes", required_argument, NULL, 'w' },
	{ "epoch-ms", required_argument, NULL, 'e' },
	{ "seconds", required_argument, NULL, 's' },
	{ "patience-s", required_argument, NULL, 'p' },
	{ "kill", required_argument, NULL, 'k' },
	{ "kills", required_argument, NULL, 'N' },
	{ "run-dir", required_argument, NULL, 'r' },
	{ "revive", required_argument, NULL, 'R' },
	{ "delay-ms", required_argument, NULL, 'd' },
	{ "pause-ms", required_argument, NULL, 'P' },
	{ "burst", required_argument, NULL, 'B' },
	{ "seed", required_argument, NULL, 'S' },
	{ "gaps", required_argument, NULL, 'g' },
	{ "overlap", no_argument, NULL, 'O' },

	{ NULL, 0, NULL, 0 },
};

static void set_load(struct lin_load *load, int option, const char *value)
{
	switch (option) {
	case 'O':
		load->overlap = true;
		return;
	case 'o':
		load->offset_bytes = number(value, 0, 1ull << 40);
		return;
	case 'b':
		load->block_bytes = (uint32_t)number(value, LIN_SECTOR_BYTES, LIN_BLOCK_MAX);
		if (load->block_bytes & (load->block_bytes - 1))
			wrong_usage("--block-size needs a power of two");
		return;
	case 'n':
		load->block_cnt = (uint32_t)number(value, 1, LIN_BLOCKS_MAX - 1);
		return;
	case 't':
		load->thread_cnt = (unsigned int)number(value, 1, 64);
		return;
	case 'w':
		load->write_percent = (unsigned int)number(value, 0, 100);
		return;
	case 'e':
		load->epoch_ms = (unsigned int)number(value, 1, 1000000);
		return;
	}
}

static void set_kill(struct lin_kill *kill, int option, const char *value)
{
	switch (option) {
	case 'p':
		kill->patience_ms = (unsigned int)number(value, 1, 100000) * 1000;
		return;
	case 'k':
		if (lin_kill_parse(value, kill) < 0)
			wrong_usage(value);
		return;
	case 'r':
		kill->run_dir = value;
		return;
	case 'R':
		kill->revive = value;
		return;
	case 'd':
		kill->delay_ms = (unsigned int)number(value, 0, 1000000);
		return;
	case 'P':
		kill->pause_ms = (unsigned int)number(value, 0, 1000000);
		return;
	case 'B':
		kill->burst = (unsigned int)number(value, 1, 1000);
		return;
	case 'S':
		kill->seed = (unsigned int)number(value, 0, UINT32_MAX);
		return;
	}
}

static void parse_options(int argc, char **argv, struct settings *set)
{
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case '?':
			wrong_usage("unknown option");
		case 's':
			set->seconds = (unsigned int)number(optarg, 1, 1000000);
			break;
		case 'N':
			set->kills = (unsigned int)number(optarg, 1, LIN_GAPS_MAX);
			break;
		case 'g':
			set->gaps = optarg;
			break;
		default:
			set_load(&set->load, option, optarg);
			set_kill(&set->kill, option, optarg);
		}
	}
	if (optind != argc - 1)
		wrong_usage("one disk is needed");
	set->load.path = argv[optind];
	if (set->kill.harm_cnt && !set->kill.run_dir)
		wrong_usage("--kill needs --run-dir");
	for (unsigned int i = 0; i < set->kill.harm_cnt; i++)
		if (!set->kill.revive &&
		    (set->kill.harms[i] == LIN_KILL_KEEPER || set->kill.harms[i] == LIN_KILL_BOTH))
			wrong_usage("this --kill needs --revive");
}

/* Without harm: only see that I/O goes on. */
static void watch(struct settings *set, uint64_t end_ns)
{
	const struct timespec step = { .tv_nsec = 50 * NSEC_PER_MSEC };

	while (clock_now_ns() < end_ns) {
		lin_gap_begin();
		if (!lin_gap_wait(set->kill.patience_ms))
			lin_fail("no I/O ended for %u s", set->kill.patience_ms / 1000);
		nanosleep(&step, NULL);
	}
}

static void run(struct settings *set)
{
	uint64_t end_ns = clock_now_ns() + set->seconds * NSEC_PER_SEC;

	if (!set->kill.harm_cnt) {
		watch(set, end_ns);
		return;
	}
	while (set->seconds ? clock_now_ns() < end_ns : lin_gap_cnt() < set->kills)
		lin_kill_once(&set->kill);
}

int main(int argc, char **argv)
{
	struct settings set = {
		.load = {
			.block_bytes = 4096,
			.block_cnt = 8,
			.thread_cnt = 6,
			.write_percent = 50,
			.epoch_ms = 2000,
		},
		.kill = {
			.delay_ms = 300,
			.pause_ms = 2000,
			.burst = 10,
			.patience_ms = 60000,
			.seed = (unsigned int)clock_now_ns(),
		},
		.kills = 10,
	};
	int r;

	parse_options(argc, argv, &set);
	if (!set.kill.harm_cnt && !set.seconds)
		set.seconds = 10;
	printf("seed %u\n", set.kill.seed);
	r = lin_load_start(&set.load);
	if (r < 0)
		lin_fail("cannot start on %s: %s", set.load.path, strerror(-r));
	run(&set);
	lin_load_end();
	if (set.kill.harm_cnt)
		printf("%u processes killed\n", lin_kill_cnt());
	r = lin_gap_report(set.gaps);
	if (r < 0)
		lin_fail("cannot write %s: %s", set.gaps, strerror(-r));
	return EXIT_SUCCESS;
}
