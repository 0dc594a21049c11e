/* SPDX-License-Identifier: MIT */
/* openmetrics-check: standard input is OpenMetrics text, or exit code 1 and the reason. */
#include <stdio.h>
#include <stdlib.h>

#include "openmetrics.h"

#define TEXT_MAX (4u << 20)

int main(void)
{
	char *text = malloc(TEXT_MAX), why[OPENMETRICS_WHY_MAX];
	size_t len;
	int cnt;

	if (!text)
		return EXIT_FAILURE;
	len = fread(text, 1, TEXT_MAX - 1, stdin);
	text[len] = '\0';
	cnt = openmetrics_check(text, why);
	free(text);
	if (cnt < 0) {
		fprintf(stderr, "%s\n", why);
		return EXIT_FAILURE;
	}
	printf("%d samples\n", cnt);
	return EXIT_SUCCESS;
}
