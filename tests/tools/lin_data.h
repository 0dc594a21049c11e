/* SPDX-License-Identifier: MIT */
/*
 * What lincheck writes into blocks, and how it reads it.
 *
 * A block device does not promise that a read which overlaps a write sees all or
 * nothing of it, and neither does every processor for 8 bytes (a copy by bytes
 * is legal). So the register of the check is one byte: it cannot be torn. Each
 * 8-byte word has the value in its first byte; its other bytes say which epoch,
 * block, word and run it belongs to. An epoch has at most LIN_VALUES writes to a
 * block, all other bytes are the same in all of them, and its first write
 * overlaps nothing: so the other bytes must always be right, and data of an
 * older epoch, of another block or of nobody is seen for what it is.
 */
#ifndef TESTS_TOOLS_LIN_DATA_H
#define TESTS_TOOLS_LIN_DATA_H

#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

#define LIN_SECTOR_BYTES 512u
#define LIN_BLOCK_MAX	 4096u
/* Two a sector, its first and its last word: a sector is what may be torn off. */
#define LIN_REGS_MAX (2u * LIN_BLOCK_MAX / LIN_SECTOR_BYTES)
/* Which the words have room for. */
#define LIN_BLOCKS_MAX 128u

struct lin_place {
	uint32_t epoch;
	uint32_t block;
	uint8_t run;
};

static inline unsigned int lin_regs(uint32_t block_bytes)
{
	return 2u * block_bytes / LIN_SECTOR_BYTES;
}

void lin_fill(void *buf, uint32_t block_bytes, const struct lin_place *place, uint8_t value);

/*
 * @ret_values: of the block's registers
 * Return: 0; -EILSEQ with a sentence in @why when a word is not of this place,
 * or its value above @value_max.
 */
int lin_read(const void *buf, uint32_t block_bytes, const struct lin_place *place,
	     uint8_t value_max, uint8_t *ret_values, char why[static 256]) VBLK_MUST_CHECK;

#endif
