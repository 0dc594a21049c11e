/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over files and directories named on the command line, so
 * that the corpus is an ordinary test without libFuzzer.
 */
#include "fuzz.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX_BYTES (1u << 20)

static unsigned int replayed_cnt;

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *buf;
	size_t len;

	if (!f) {
		perror(path);
		return 1;
	}
	buf = malloc(INPUT_MAX_BYTES);
	if (!buf)
		abort();
	len = fread(buf, 1, INPUT_MAX_BYTES, f);
	fclose(f);
	/* Exactly as long as the input, so that ASan sees reads behind it. */
	buf = realloc(buf, len ? len : 1);
	if (!buf)
		abort();
	LLVMFuzzerTestOneInput(buf, len);
	free(buf);
	replayed_cnt++;
	return 0;
}

static int replay_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *ent;
	int r = 0;

	if (!dir) {
		perror(path);
		return 1;
	}
	while (!r && (ent = readdir(dir))) {
		char name[PATH_MAX];

		if (ent->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, ent->d_name);
		r = replay_file(name);
	}
	closedir(dir);
	return r;
}

int main(int argc, char **argv)
{
	int r = 0;

	for (int i = 1; i < argc && !r; i++) {
		struct stat st;

		if (stat(argv[i], &st) < 0) {
			perror(argv[i]);
			return 1;
		}
		r = S_ISDIR(st.st_mode) ? replay_dir(argv[i]) : replay_file(argv[i]);
	}
	printf("%u inputs replayed\n", replayed_cnt);
	/* A corpus that is not found must not look like a pass. */
	return r || !replayed_cnt;
}
