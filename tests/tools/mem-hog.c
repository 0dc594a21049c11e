/* SPDX-License-Identifier: MIT */
/*
 * mem-hog - use more memory than there is, and check every page of it.
 *
 * usage: mem-hog MEGABYTES PASSES
 *
 * Each pass checks what the pass before wrote, page by page, and writes
 * something new. "pass N" is printed at the end of each. Exit status: 0, or 1 at
 * the first wrong page.
 */
#include <err.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096u
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))

static uint64_t word_of(uint64_t page, uint64_t pass, unsigned int i)
{
	return (page * 1000003u + pass) * 0x9e3779b97f4a7c15ull + i;
}

static void page_check(const uint64_t *words, uint64_t page, uint64_t pass)
{
	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		if (words[i] != word_of(page, pass, i))
			errx(1, "page %" PRIu64 ", word %u: %#" PRIx64 " instead of %#" PRIx64,
			     page, i, words[i], word_of(page, pass, i));
}

static void page_fill(uint64_t *words, uint64_t page, uint64_t pass)
{
	for (unsigned int i = 0; i < PAGE_WORDS; i++)
		words[i] = word_of(page, pass, i);
}

int main(int argc, char **argv)
{
	uint64_t page_cnt, pass_cnt;
	uint64_t *memory;

	if (argc != 3)
		errx(2, "usage: mem-hog MEGABYTES PASSES");
	page_cnt = strtoull(argv[1], NULL, 10) * (1 << 20) / PAGE_BYTES;
	pass_cnt = strtoull(argv[2], NULL, 10);
	if (!page_cnt)
		errx(2, "not that size");
	memory = mmap(NULL, page_cnt * PAGE_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "no address space");
	/* Huge pages would be swapped in pieces of another size. */
	(void)madvise(memory, page_cnt * PAGE_BYTES, MADV_NOHUGEPAGE);
	for (uint64_t pass = 1; pass <= pass_cnt; pass++) {
		for (uint64_t page = 0; page < page_cnt; page++) {
			uint64_t *words = memory + page * PAGE_WORDS;

			if (pass > 1)
				page_check(words, page, pass - 1);
			page_fill(words, page, pass);
		}
		printf("pass %" PRIu64 "\n", pass);
		fflush(stdout);
	}
	return 0;
}
