/* SPDX-License-Identifier: MIT */
#include "lin_data.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define WORD_BYTES 8u

/* Bytes 1 to 4: epoch; 5 and 6: word in the block and block; 7: run. */
static uint64_t place_word(const struct lin_place *place, uint32_t word)
{
	return (uint64_t)place->epoch << 8 | (uint64_t)(place->block << 9 | word) << 40 |
	       (uint64_t)place->run << 56;
}

void lin_fill(void *buf, uint32_t block_bytes, const struct lin_place *place, uint8_t value)
{
	uint64_t *words = buf;

	for (uint32_t i = 0; i < block_bytes / WORD_BYTES; i++)
		words[i] = place_word(place, i) | value;
}

static int foreign(uint64_t word, uint32_t idx, const struct lin_place *place, char why[static 256])
{
	struct lin_place seen = {
		.epoch = (uint32_t)(word >> 8),
		.block = (uint32_t)(word >> 49) & (LIN_BLOCKS_MAX - 1),
		.run = (uint8_t)(word >> 56),
	};

	snprintf(
		why, 256,
		"block %u, word %u, epoch %u: holds %#018llx%s (as if block %u, word %u, epoch %u)",
		place->block, idx, place->epoch, (unsigned long long)word,
		seen.run != place->run ? ", which nobody here has written" : "", seen.block,
		(uint32_t)(word >> 40) & 511, seen.epoch);
	return -EILSEQ;
}

int lin_read(const void *buf, uint32_t block_bytes, const struct lin_place *place,
	     uint8_t value_max, uint8_t *ret_values, char why[static 256])
{
	const uint32_t sector_words = LIN_SECTOR_BYTES / WORD_BYTES;
	const uint64_t *words = buf;
	unsigned int reg = 0;

	for (uint32_t i = 0; i < block_bytes / WORD_BYTES; i++) {
		uint8_t value = (uint8_t)words[i];

		if ((words[i] ^ value) != place_word(place, i) || value > value_max)
			return foreign(words[i], i, place, why);
		if (i % sector_words == 0 || i % sector_words == sector_words - 1)
			ret_values[reg++] = value;
	}
	return 0;
}
