/* SPDX-License-Identifier: MIT */
#include "args.h"

#include <stdio.h>
#include <string.h>

#include "command.h"
#include "vblk/util/log.h"
#include "vblk/util/suggest.h"

/* @ret_value: behind '=', or NULL. */
static const struct arg_option *find(const struct arg_option *options, size_t option_cnt,
				     const char *arg, const char **ret_value)
{
	size_t len = strcspn(arg, "=");

	for (size_t i = 0; i < option_cnt; i++) {
		if (strlen(options[i].name) != len || strncmp(options[i].name, arg, len) != 0)
			continue;
		*ret_value = arg[len] ? arg + len + 1 : NULL;
		return &options[i];
	}
	return NULL;
}

static int usage(const char *command, const char *what, const char *arg)
{
	log_error("%s '%s' (see 'vblkctl help %s')", what, arg, command);
	return EXIT_USAGE;
}

#define OPTIONS_MAX 16

static int unknown_option(const char *command, const char *arg, const struct arg_option *options,
			  size_t option_cnt)
{
	const char *names[OPTIONS_MAX + 1] = { "--help" }, *near;
	size_t cnt = 1;
	char typed[32];

	for (size_t i = 0; i < option_cnt && cnt <= OPTIONS_MAX; i++)
		names[cnt++] = options[i].name;
	snprintf(typed, sizeof(typed), "%.*s", (int)strcspn(arg, "="), arg);
	near = suggest_option(typed, names, cnt);
	if (near)
		log_error("unknown option '%s'; did you mean '%s'? (see 'vblkctl help %s')", arg,
			  near, command);
	else
		log_error("unknown option '%s' (see 'vblkctl help %s')", arg, command);
	return EXIT_USAGE;
}

/* Return: arguments used up; 0 after a message. */
static int take_option(int argc, char **argv, int i, const struct arg_option *options,
		       size_t option_cnt)
{
	const struct arg_option *option;
	const char *value;

	option = find(options, option_cnt, argv[i], &value);
	if (!option) {
		(void)unknown_option(argv[0], argv[i], options, option_cnt);
		return 0;
	}
	if (option->flag) {
		if (value && !option->value) {
			(void)usage(argv[0], "no value belongs to option", option->name);
			return 0;
		}
		*option->flag = true;
		if (value)
			*option->value = value;
		return 1;
	}
	if (!value && i + 1 == argc) {
		(void)usage(argv[0], "a value is missing for option", option->name);
		return 0;
	}
	*option->value = value ? value : argv[i + 1];
	return value ? 1 : 2;
}

/* @ret_words: room for @max of them. Return: how many; -1 after a message. */
static int take_all(int argc, char **argv, const struct arg_option *options, size_t option_cnt,
		    const char **ret_words, int max)
{
	bool words_only = false;
	int cnt = 0;

	for (int i = 1; i < argc;) {
		if (!words_only && !strcmp(argv[i], "--")) {
			words_only = true;
			i++;
		} else if (!words_only && argv[i][0] == '-' && argv[i][1]) {
			int used = take_option(argc, argv, i, options, option_cnt);

			if (!used)
				return -1;
			i += used;
		} else if (cnt == max) {
			(void)usage(argv[0], "one argument too many:", argv[i]);
			return -1;
		} else {
			ret_words[cnt++] = argv[i++];
		}
	}
	return cnt;
}

static int missing(const char *command, const char *word)
{
	log_error("%s needs a %s (see 'vblkctl help %s')", command, word, command);
	return EXIT_USAGE;
}

int args_parse(int argc, char **argv, const struct arg_option *options, size_t option_cnt,
	       const char *word, const char **ret_word)
{
	const char *found = NULL;
	int cnt = take_all(argc, argv, options, option_cnt, &found, word ? 1 : 0);

	if (cnt < 0)
		return EXIT_USAGE;
	if (word && !cnt)
		return missing(argv[0], word);
	if (ret_word)
		*ret_word = found;
	return 0;
}

int args_parse_two(int argc, char **argv, const struct arg_option *options, size_t option_cnt,
		   const char *word, const char **ret_word, const char **ret_second)
{
	const char *found[2] = { NULL, NULL };
	int cnt = take_all(argc, argv, options, option_cnt, found, 2);

	if (cnt < 0)
		return EXIT_USAGE;
	if (!cnt)
		return missing(argv[0], word);
	*ret_word = found[0];
	*ret_second = found[1];
	return 0;
}

int args_parse_optional(int argc, char **argv, const struct arg_option *options, size_t option_cnt,
			const char **ret_word)
{
	const char *found = NULL;

	if (take_all(argc, argv, options, option_cnt, &found, 1) < 0)
		return EXIT_USAGE;
	*ret_word = found;
	return 0;
}
