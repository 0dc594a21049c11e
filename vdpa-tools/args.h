/* SPDX-License-Identifier: MIT */
#ifndef VBLKCTL_ARGS_H
#define VBLKCTL_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "vblk/util/compiler.h"

/**
 * struct arg_option - one option of a command, with its "--"
 * @flag: set to true; or @value: receives the argument. With both, an argument may follow "=".
 */
struct arg_option {
	const char *name;
	bool *flag;
	const char **value;
};

/**
 * args_parse() - options by their whole words ("--x", "--x=V", "--x V"), in any place
 * @word: what the one further argument is called, "NAME"; NULL: the command takes none
 * @ret_word: borrowed from @argv
 * Return: 0; EXIT_USAGE after a message.
 */
int args_parse(int argc, char **argv, const struct arg_option *options, size_t option_cnt,
	       const char *word, const char **ret_word) VBLK_MUST_CHECK;

/**
 * args_parse_two() - the same for a command that takes a second argument, if it is given
 * @ret_second: NULL when it is not
 */
int args_parse_two(int argc, char **argv, const struct arg_option *options, size_t option_cnt,
		   const char *word, const char **ret_word,
		   const char **ret_second) VBLK_MUST_CHECK;

/* The same for a command that needs none. @ret_word: NULL when it is not given */
int args_parse_optional(int argc, char **argv, const struct arg_option *options, size_t option_cnt,
			const char **ret_word) VBLK_MUST_CHECK;

#endif
