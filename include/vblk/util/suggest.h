/* SPDX-License-Identifier: MIT */
/* What somebody meant who typed a word that does not exist. */
#ifndef VBLK_UTIL_SUGGEST_H
#define VBLK_UTIL_SUGGEST_H

#include <stddef.h>

/* Typing mistakes between @a and @b: letters left out, added, replaced, or two swapped. */
unsigned int suggest_distance(const char *a, const char *b);

/* The word of @words[@cnt] that was probably meant by @typed; NULL when none is near. */
const char *suggest_word(const char *typed, const char *const *words, size_t cnt);

/* The same for options with their dashes; one letter ("-h") stands for what begins with it. */
const char *suggest_option(const char *typed, const char *const *options, size_t cnt);

#endif
