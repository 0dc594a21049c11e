/* SPDX-License-Identifier: MIT */
/* What is done to the daemon of a device while the load runs. */
#ifndef TESTS_TOOLS_LIN_KILL_H
#define TESTS_TOOLS_LIN_KILL_H

#include "vblk/util/compiler.h"

enum lin_harm {
	LIN_KILL_WORKER,
	LIN_KILL_KEEPER,	     /* then --revive */
	LIN_KILL_BOTH,		     /* then --revive */
	LIN_KILL_EARLY,		     /* the worker, and its successors in their first 50 ms */
	LIN_STOP_WORKER,	     /* SIGSTOP, SIGCONT */
	LIN_STOP_KEEPER,	     /* I/O must go on meanwhile */
	LIN_STOP_KILL_WORKER,	     /* SIGSTOP, SIGKILL */
	LIN_STOP_KEEPER_KILL_WORKER, /* the worker dies while its keeper is stopped */
	LIN_HARMS,
};

struct lin_kill {
	const char *run_dir;
	/* Shell command that brings a device without a keeper back. */
	const char *revive;
	enum lin_harm harms[LIN_HARMS];
	unsigned int harm_cnt;
	unsigned int delay_ms; /* between two, at most */
	unsigned int pause_ms; /* how long somebody is stopped, at most */
	unsigned int burst;    /* kills of one LIN_KILL_EARLY */
	unsigned int patience_ms;
	unsigned int seed;
	unsigned int next; /* of @harms */
};

/* Return: 0; -EINVAL for an unknown word in the list @words ("worker,both"). */
int lin_kill_parse(const char *words, struct lin_kill *kill) VBLK_MUST_CHECK;
/* The next of them in turn, at a random moment; back when I/O goes on. lin_fail() if it does not.
 */
void lin_kill_once(struct lin_kill *kill);
/* Signals sent that ended a process. */
unsigned int lin_kill_cnt(void);

#endif
