/* SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>

#define TEXT_MAX 1024

static const char *const words[] = { "ok", "warning", "problem" };

void doctor_say(struct doctor *doctor, enum doctor_verdict verdict, const char *check,
		const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (verdict > doctor->worst)
		doctor->worst = verdict;
	/* Names of devices and files may be no UTF-8; the line must not get lost for that. */
	(void)json_array_append_new(doctor->lines,
				    json_pack("{s:s, s:s, s:o}", "check", check, "verdict",
					      words[verdict], "text", json_string_nocheck(text)));
}

int64_t doctor_read_number(const struct doctor *doctor, const char *path, int64_t missing)
{
	char full[PATH_MAX];
	long long number;
	FILE *f;

	if (snprintf(full, sizeof(full), "%s%s", doctor->root, path) >= (int)sizeof(full))
		return missing;
	f = fopen(full, "re");
	if (!f)
		return missing;
	if (fscanf(f, "%lld", &number) != 1)
		number = missing;
	fclose(f);
	return number;
}

void doctor_check(struct doctor *doctor)
{
	doctor_check_kernel(doctor);
	doctor_check_process(doctor);
	doctor_check_host(doctor);
}

static const char *summary(enum doctor_verdict worst)
{
	switch (worst) {
	case DOCTOR_OK:
		return "This host is ready for disks.";
	case DOCTOR_WARNING:
		return "This host is ready for disks; see the warnings.";
	case DOCTOR_PROBLEM:
		return "See the problems first; vblkd(7) tells more.";
	}
	return "";
}

static const char *field(const json_t *line, const char *key)
{
	const char *value = json_string_value(json_object_get(line, key));

	return value ? value : "";
}

void doctor_print(FILE *f, const struct doctor *doctor)
{
	for (size_t i = 0; i < json_array_size(doctor->lines); i++) {
		const json_t *line = json_array_get(doctor->lines, i);

		fprintf(f, "%-8s %-9s %s\n", field(line, "verdict"), field(line, "check"),
			field(line, "text"));
	}
	fprintf(f, "\n%s\n", summary(doctor->worst));
}

json_t *doctor_json(const struct doctor *doctor)
{
	return json_pack("{s:s, s:O}", "verdict", words[doctor->worst], "checks", doctor->lines);
}
