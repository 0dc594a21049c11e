/* SPDX-License-Identifier: MIT */
#include "openmetrics.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 4096
#define NAME_MAX_BYTES 256
#define FAMILIES_MAX   256
#define LABELS_MAX     16

struct label {
	char name[NAME_MAX_BYTES];
	char value[1024];
};

/* A histogram of one set of labels, while its samples come. */
struct histogram {
	char labels[LINE_MAX_BYTES]; /* "" : none is open */
	double le;
	double cumulative;
	bool has_inf, has_count, has_sum;
	double count;
};

struct reader {
	char *why;
	unsigned int line_nr;
	char families[FAMILIES_MAX][NAME_MAX_BYTES]; /* all so far, the last one is open */
	unsigned int family_cnt;
	char type[32];
	bool has_unit, has_help, has_samples;
	struct histogram histogram;
	char **samples; /* "name{labels}", all so far */
	unsigned int sample_cnt;
};

static bool bad(struct reader *r, const char *what, const char *about)
{
	snprintf(r->why, OPENMETRICS_WHY_MAX, "line %u: %s: %.300s", r->line_nr, what, about);
	return false;
}

static size_t name_len(const char *s)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";

	return strspn(s, first) ? strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					    "_0123456789")
				: 0;
}

/* ---- families ---- */

static bool end_histogram(struct reader *r)
{
	struct histogram *h = &r->histogram;

	if (!h->labels[0])
		return true;
	if (!h->has_inf || !h->has_count || !h->has_sum)
		return bad(r, "a histogram lacks +Inf, _count or _sum", h->labels);
	if (h->count != h->cumulative)
		return bad(r, "_count is not what the bucket +Inf has", h->labels);
	*h = (struct histogram){ .le = 0 };
	return true;
}

static const char *family(const struct reader *r)
{
	return r->family_cnt ? r->families[r->family_cnt - 1] : "";
}

static bool open_family(struct reader *r, const char *name)
{
	if (!strcmp(family(r), name))
		return r->has_samples ? bad(r, "metadata after samples", name) : true;
	if (!end_histogram(r))
		return false;
	for (unsigned int i = 0; i < r->family_cnt; i++)
		if (!strcmp(r->families[i], name))
			return bad(r, "a family comes twice", name);
	if (r->family_cnt == FAMILIES_MAX)
		return bad(r, "too many families", name);
	strcpy(r->families[r->family_cnt++], name);
	r->type[0] = '\0';
	r->has_unit = r->has_help = r->has_samples = false;
	return true;
}

static bool read_unit(struct reader *r, const char *unit)
{
	size_t len = strlen(family(r)), unit_len = strlen(unit);

	if (r->has_unit)
		return bad(r, "a second UNIT", family(r));
	r->has_unit = true;
	if (len < unit_len + 2 || strcmp(family(r) + len - unit_len, unit) != 0 ||
	    family(r)[len - unit_len - 1] != '_')
		return bad(r, "the name does not end with its unit", family(r));
	return true;
}

static bool read_type(struct reader *r, const char *type)
{
	static const char *const types[] = { "gauge", "counter", "info", "histogram" };

	if (r->type[0])
		return bad(r, "a second TYPE", family(r));
	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++)
		if (!strcmp(types[i], type))
			strcpy(r->type, type);
	return r->type[0] ? true : bad(r, "unknown type", type);
}

/* "TYPE name type" */
static bool read_metadata(struct reader *r, const char *line)
{
	char name[NAME_MAX_BYTES];
	const char *rest = line + 5;
	size_t len = name_len(rest);

	if (!len || len >= sizeof(name) || rest[len] != ' ')
		return bad(r, "not a name and one space", line);
	memcpy(name, rest, len);
	name[len] = '\0';
	if (!open_family(r, name))
		return false;
	rest += len + 1;
	if (!strncmp(line, "TYPE ", 5))
		return read_type(r, rest);
	if (!strncmp(line, "UNIT ", 5))
		return read_unit(r, rest);
	if (strncmp(line, "HELP ", 5) != 0)
		return bad(r, "unknown metadata", line);
	if (r->has_help)
		return bad(r, "a second HELP", name);
	r->has_help = true;
	return true;
}

/* ---- samples ---- */

/* name="value", escaped. Return: behind it; NULL after bad(). */
static const char *read_label(struct reader *r, const char *at, struct label *ret_label)
{
	size_t len = name_len(at), n = 0;

	if (!len || len >= NAME_MAX_BYTES || at[len] != '=' || at[len + 1] != '"') {
		bad(r, "not a label", at);
		return NULL;
	}
	memcpy(ret_label->name, at, len);
	ret_label->name[len] = '\0';
	for (at += len + 2; *at && *at != '"'; at++) {
		if (*at == '\\' && !strchr("\\\"n", *++at)) {
			bad(r, "an escape that there is not", at - 1);
			return NULL;
		}
		if (!*at || n + 1 == sizeof(ret_label->value))
			break;
		ret_label->value[n++] = *at;
	}
	ret_label->value[n] = '\0';
	if (*at != '"') {
		bad(r, "a label's value does not end", ret_label->name);
		return NULL;
	}
	return at + 1;
}

/* "{...}". Return: behind it; NULL after bad(). */
static const char *read_labels(struct reader *r, const char *at, struct label labels[LABELS_MAX],
			       unsigned int *ret_cnt)
{
	unsigned int cnt = 0;

	while (*at != '}') {
		if (cnt == LABELS_MAX) {
			bad(r, "too many labels", at);
			return NULL;
		}
		at = read_label(r, at, &labels[cnt]);
		if (!at)
			return NULL;
		for (unsigned int i = 0; i < cnt; i++) {
			if (!strcmp(labels[i].name, labels[cnt].name)) {
				bad(r, "a label comes twice", labels[i].name);
				return NULL;
			}
		}
		cnt++;
		if (*at == ',' && at[1] != '}')
			at++;
		else if (*at != '}') {
			bad(r, "neither , nor } behind a label", at);
			return NULL;
		}
	}
	*ret_cnt = cnt;
	return at + 1;
}

static bool read_number(const char *text, double *ret)
{
	char *end;

	if (!strcmp(text, "+Inf")) {
		*ret = INFINITY;
		return true;
	}
	if (!*text || strspn(text, "0123456789+-.e") != strlen(text))
		return false;
	*ret = strtod(text, &end);
	return !*end;
}

static bool note_sample(struct reader *r, const char *line, size_t len)
{
	for (unsigned int i = 0; i < r->sample_cnt; i++)
		if (strlen(r->samples[i]) == len && !strncmp(r->samples[i], line, len))
			return bad(r, "a sample comes twice", line);
	r->samples = realloc(r->samples, (r->sample_cnt + 1) * sizeof(*r->samples));
	r->samples[r->sample_cnt++] = strndup(line, len);
	r->has_samples = true;
	return true;
}

static bool check_bucket(struct reader *r, const char *le_text, double value)
{
	struct histogram *h = &r->histogram;
	double le;

	if (!le_text || !read_number(le_text, &le))
		return bad(r, "a bucket without a right le", le_text ? le_text : "");
	if (h->has_inf || h->has_count || h->has_sum || le <= h->le || value < h->cumulative)
		return bad(r, "buckets are not in order", h->labels);
	h->le = le;
	h->cumulative = value;
	h->has_inf = isinf(le);
	return true;
}

static bool check_histogram(struct reader *r, const char *suffix, const struct label *labels,
			    unsigned int cnt, double value)
{
	struct histogram *h = &r->histogram;
	char set[LINE_MAX_BYTES] = "=";
	const char *le = NULL;

	for (unsigned int i = 0; i < cnt; i++) {
		if (!strcmp(labels[i].name, "le")) {
			le = labels[i].value;
			continue;
		}
		snprintf(set + strlen(set), sizeof(set) - strlen(set), "%s=%s,", labels[i].name,
			 labels[i].value);
	}
	if (strcmp(set, h->labels) != 0) {
		if (!end_histogram(r))
			return false;
		strcpy(h->labels, set);
		h->le = -INFINITY;
	}
	if (!strcmp(suffix, "_bucket"))
		return check_bucket(r, le, value);
	if (le)
		return bad(r, "le is for buckets", set);
	if (!strcmp(suffix, "_count")) {
		h->has_count = true;
		h->count = value;
	} else {
		h->has_sum = true;
	}
	return true;
}

static bool suffix_fits(const char *type, const char *suffix)
{
	if (!strcmp(type, "counter"))
		return !strcmp(suffix, "_total");
	if (!strcmp(type, "info"))
		return !strcmp(suffix, "_info");
	if (!strcmp(type, "histogram"))
		return !strcmp(suffix, "_bucket") || !strcmp(suffix, "_count") ||
		       !strcmp(suffix, "_sum");
	return !strcmp(type, "gauge") && !*suffix;
}

static bool read_sample(struct reader *r, const char *line)
{
	static struct label labels[LABELS_MAX];
	size_t len = name_len(line), family_len = strlen(family(r));
	char name[NAME_MAX_BYTES];
	const char *at = line + len, *suffix;
	unsigned int cnt = 0;
	double value;

	if (!len || len >= sizeof(name))
		return bad(r, "not a sample", line);
	memcpy(name, line, len);
	name[len] = '\0';
	if (*at == '{')
		at = read_labels(r, at + 1, labels, &cnt);
	if (!at)
		return false;
	suffix = name + family_len;
	if (!family_len || strncmp(name, family(r), family_len) != 0 ||
	    !suffix_fits(r->type, suffix))
		return bad(r, "a sample that does not belong to the family before it", name);
	if (!note_sample(r, line, (size_t)(at - line)))
		return false;
	if (*at != ' ' || !read_number(at + 1, &value))
		return bad(r, "not one space and a number", line);
	if (strcmp(r->type, "gauge") != 0 && (value < 0 || isinf(value)))
		return bad(r, "negative or infinite", line);
	if (!strcmp(r->type, "info") && value != 1)
		return bad(r, "info is not 1", line);
	return strcmp(r->type, "histogram") != 0 || check_histogram(r, suffix, labels, cnt, value);
}

/* ---- lines ---- */

static bool read_line(struct reader *r, const char *line)
{
	if (!strncmp(line, "# ", 2))
		return read_metadata(r, line + 2);
	return read_sample(r, line);
}

static bool read_text(struct reader *r, const char *text)
{
	char line[LINE_MAX_BYTES];

	for (;; r->line_nr++) {
		size_t len = strcspn(text, "\n");

		if (!text[len])
			return bad(r, "no # EOF at the end", "");
		if (len >= sizeof(line))
			return bad(r, "too long for this reader", "");
		memcpy(line, text, len);
		line[len] = '\0';
		text += len + 1;
		if (!strcmp(line, "# EOF"))
			return *text ? bad(r, "more behind # EOF", text) : end_histogram(r);
		if (!read_line(r, line))
			return false;
	}
}

int openmetrics_check(const char *text, char why[OPENMETRICS_WHY_MAX])
{
	struct reader *r = calloc(1, sizeof(*r));
	int cnt;

	r->why = why;
	r->line_nr = 1;
	cnt = read_text(r, text) ? (int)r->sample_cnt : -1;
	for (unsigned int i = 0; i < r->sample_cnt; i++)
		free(r->samples[i]);
	free(r->samples);
	free(r);
	return cnt;
}
