/* SPDX-License-Identifier: MIT */
#include "vblk/util/suggest.h"

#include <limits.h>
#include <string.h>

#include "vblk/util/math.h"

#define WORD_MAX 31 /* longer ones are not typing mistakes */

unsigned int suggest_distance(const char *a, const char *b)
{
	/* cost[i][j]: between the first i letters of a and the first j of b */
	unsigned int cost[WORD_MAX + 1][WORD_MAX + 1];
	size_t a_len = strlen(a), b_len = strlen(b);

	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return UINT_MAX;
	for (size_t i = 0; i <= a_len; i++)
		cost[i][0] = (unsigned int)i;
	for (size_t j = 0; j <= b_len; j++)
		cost[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= a_len; i++) {
		for (size_t j = 1; j <= b_len; j++) {
			unsigned int best = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN(best, cost[i - 1][j] + 1);
			best = MIN(best, cost[i][j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, cost[i - 2][j - 2] + 1);
			cost[i][j] = best;
		}
	}
	return cost[a_len][b_len];
}

const char *suggest_word(const char *typed, const char *const *words, size_t cnt)
{
	const char *best = NULL;
	unsigned int best_distance = 3; /* two mistakes are believable */

	for (size_t i = 0; i < cnt; i++) {
		unsigned int distance = suggest_distance(typed, words[i]);

		/* "ls" is two mistakes from "list" and from nearly everything short. */
		if (distance < best_distance && distance < strlen(words[i])) {
			best = words[i];
			best_distance = distance;
		}
	}
	return best;
}

const char *suggest_option(const char *typed, const char *const *options, size_t cnt)
{
	const char *found = NULL;

	if (typed[0] != '-' || typed[1] == '-' || !typed[1] || typed[2])
		return suggest_word(typed, options, cnt);
	for (size_t i = 0; i < cnt; i++) {
		if (strncmp(options[i], "--", 2) != 0 || options[i][2] != typed[1])
			continue;
		/* Of several nobody knows which. */
		if (found)
			return NULL;
		found = options[i];
	}
	return found;
}
