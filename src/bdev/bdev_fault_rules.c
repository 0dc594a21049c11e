/* SPDX-License-Identifier: MIT */
#include "bdev_fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vblk/util/clock.h"
#include "vblk/util/math.h"
#include "vblk/util/parse.h"

#define WORD_MAX       64
#define WAIT_MAX_NS    (3600 * NSEC_PER_SEC)
#define WINDOW_DEFAULT 8u
#define ALL_OPS	       ((1u << BDEV_OP_CNT) - 1)

static const struct {
	const char *name;
	int error;
} errors[] = {
	{ "eio", EIO },	      { "enospc", ENOSPC },
	{ "eagain", EAGAIN }, { "eopnotsupp", EOPNOTSUPP },
	{ "erofs", EROFS },   { "enodev", ENODEV },
	{ "enxio", ENXIO },   { "etimedout", ETIMEDOUT },
	{ "enomem", ENOMEM }, { "einval", EINVAL },
	{ "edquot", EDQUOT }, { "eacces", EACCES },
	{ "eperm", EPERM },   { "ebadmsg", EBADMSG },
	{ "eilseq", EILSEQ }, { "estale", ESTALE },
	{ "eintr", EINTR },   { "efbig", EFBIG },
};

/* --- one word --- */

/* Text that ends where one of @stops or the end is; copied, as the parsers want whole strings. */
static int take_word(const char **text, const char *stops, char ret_word[WORD_MAX])
{
	size_t len = strcspn(*text, stops);

	if (len >= WORD_MAX)
		return -EINVAL;
	memcpy(ret_word, *text, len);
	ret_word[len] = '\0';
	*text += len;
	return 0;
}

static bool word_is(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && !memcmp(text, word, len);
}

static int parse_time_ns(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = { { "us", 1000 }, { "ms", NSEC_PER_MSEC }, { "s", NSEC_PER_SEC } };
	size_t digits = strspn(text, "0123456789");
	char number[WORD_MAX];
	uint64_t value;

	if (digits >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, digits);
	number[digits] = '\0';
	if (parse_u64(number, 0, WAIT_MAX_NS, &value) < 0)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (!strcmp(text + digits, units[i].name)) {
			if (value > WAIT_MAX_NS / units[i].ns)
				return -ERANGE;
			*ret_ns = value * units[i].ns;
			return 0;
		}
	return -EINVAL;
}

/* --- actions: the text behind "=", or NULL, gives their value --- */

static int set_delay(const char *value, struct fault_rule *rule)
{
	char word[WORD_MAX];
	int r;

	if (!value)
		return -EINVAL;
	r = take_word(&value, "-", word);
	if (r == 0)
		r = parse_time_ns(word, &rule->min_ns);
	rule->max_ns = rule->min_ns;
	if (r == 0 && *value)
		r = parse_time_ns(value + 1, &rule->max_ns);
	if (r == 0 && (rule->max_ns < rule->min_ns || !rule->max_ns))
		r = -EINVAL;
	return r;
}

static int set_hang(const char *value, struct fault_rule *rule)
{
	int r = value ? parse_time_ns(value, &rule->max_ns) : 0;

	if (r == 0 && value && !rule->max_ns)
		r = -EINVAL;
	rule->min_ns = rule->max_ns;
	return r;
}

static int set_reorder(const char *value, struct fault_rule *rule)
{
	uint64_t window = WINDOW_DEFAULT;
	int r = value ? parse_u64(value, 2, FAULT_WINDOW_MAX, &window) : 0;

	rule->window = (unsigned int)window;
	return r;
}

static int set_short(const char *value, struct fault_rule *rule)
{
	rule->error = -EIO;
	rule->op_mask &= 1u << BDEV_READ | 1u << BDEV_WRITE;
	return value || !rule->op_mask ? -EINVAL : 0;
}

static const struct {
	const char *name;
	enum fault_kind kind;
	int (*set)(const char *value, struct fault_rule *rule);
	const char *wants;
} actions[] = {
	{ "delay", FAULT_DELAY, set_delay,
	  "a time such as delay=20ms or delay=1ms-50ms, up to 1 h" },
	{ "hang", FAULT_HANG, set_hang,
	  "nothing, for ever, or a time such as hang=10s, up to 1 h" },
	{ "reorder", FAULT_REORDER, set_reorder, "nothing or a window of 2 to 64, as reorder=16" },
	{ "short", FAULT_SHORT, set_short, "no value, and reads or writes" },
};

/* --- filters --- */

static int set_range(const char *value, struct fault_rule *rule)
{
	char word[WORD_MAX];
	int r;

	r = take_word(&value, "+", word);
	if (r < 0 || !*value)
		return -EINVAL;
	r = parse_size_bytes(word, &rule->offset_bytes);
	if (r == 0)
		r = parse_size_bytes(value + 1, &rule->len_bytes);
	return r == 0 && !rule->len_bytes ? -EINVAL : r;
}

static int set_nth(const char *value, struct fault_rule *rule)
{
	return parse_u64(value, 1, UINT32_MAX, &rule->nth);
}

static int set_percent(const char *value, struct fault_rule *rule)
{
	uint64_t percent;
	int r = parse_u64(value, 1, 100, &percent);

	if (r == 0)
		rule->percent = (unsigned int)percent;
	return r;
}

static int set_limit(const char *value, struct fault_rule *rule)
{
	return parse_u64(value, 1, UINT32_MAX, &rule->limit);
}

#define FILTER_CHARS "@/%#"
static const struct {
	char character;
	int (*set)(const char *value, struct fault_rule *rule);
	const char *wants;
} filters[] = {
	{ '@', set_range, "offset and length, as @1M+64K" },
	{ '/', set_nth, "a number, as /100 for every 100th" },
	{ '%', set_percent, "1 to 100, as %5 for 5 of 100" },
	{ '#', set_limit, "a number, as #1 for at most once" },
};

/* --- rules --- */

static int set_error(const char *name, struct fault_rule *rule)
{
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		if (!strcmp(name, errors[i].name)) {
			rule->kind = FAULT_ERROR;
			rule->error = -errors[i].error;
			return 0;
		}
	}
	return -ENOENT;
}

static int parse_action(const char *word, struct fault_rule *rule, char why[BDEV_WHY_MAX])
{
	size_t len = strcspn(word, "=");
	const char *value = word[len] ? word + len + 1 : NULL;

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (!word_is(word, len, actions[i].name))
			continue;
		rule->kind = actions[i].kind;
		if (actions[i].set(value, rule) == 0)
			return 0;
		return bdev_why(why, -EINVAL, "fault rule '%s': %s takes %s", word, actions[i].name,
				actions[i].wants);
	}
	if (set_error(word, rule) == 0)
		return 0;
	return bdev_why(why, -EINVAL,
			"fault rule '%s': unknown operation or action (operations: read, write, "
			"flush, discard, write-zeroes, secure-erase; actions: delay=TIME, hang, "
			"reorder, short, or an error such as eio, enospc, eagain, eopnotsupp)",
			word);
}

/* Filters stand behind the action, in any order; @text ends where the rule does. */
static int parse_filters(const char *text, struct fault_rule *rule, char why[BDEV_WHY_MAX])
{
	char word[WORD_MAX];

	while (*text) {
		char character = *text++;
		size_t i = 0;

		if (take_word(&text, FILTER_CHARS, word) < 0)
			return bdev_why(why, -EINVAL, "fault rule: '%c%s' is too long", character,
					text);
		while (filters[i].character != character)
			i++;
		if (filters[i].set(word, rule) < 0)
			return bdev_why(why, -EINVAL,
					"fault rule: '%c%s' does not fit: it takes %s", character,
					word, filters[i].wants);
	}
	return 0;
}

/* "write=" at the beginning; the rest is the action's. */
static const char *parse_op(const char *word, struct fault_rule *rule)
{
	size_t len = strcspn(word, "=");

	rule->op_mask = ALL_OPS;
	for (int op = 0; word[len] && op < BDEV_OP_CNT; op++) {
		if (word_is(word, len, bdev_op_str((enum bdev_op)op))) {
			rule->op_mask = 1u << op;
			return word + len + 1;
		}
	}
	return word;
}

static int parse_rule(const char *item, struct fault_rules *rules, char why[BDEV_WHY_MAX])
{
	struct fault_rule rule = { .kind = FAULT_ERROR };
	char word[WORD_MAX];
	int r;

	if (rules->cnt == FAULT_RULES_MAX)
		return bdev_why(why, -EINVAL, "more than %u fault rules", FAULT_RULES_MAX);
	if (take_word(&item, FILTER_CHARS, word) < 0)
		return bdev_why(why, -EINVAL, "fault rule '%s' is too long", item);
	r = parse_action(parse_op(word, &rule), &rule, why);
	if (r == 0)
		r = parse_filters(item, &rule, why);
	if (r == 0)
		rules->rule[rules->cnt++] = rule;
	return r;
}

static int parse_item(const char *item, struct fault_rules *rules, char why[BDEV_WHY_MAX])
{
	if (!*item)
		return bdev_why(why, -EINVAL,
				"a fault rule is empty (for example fault:read=eio@1M+64K:PATH)");
	if (strncmp(item, "seed=", 5) != 0)
		return parse_rule(item, rules, why);
	if (parse_u64(item + 5, 0, UINT32_MAX, &rules->seed) < 0)
		return bdev_why(why, -EINVAL, "fault rule '%s': seed takes a number", item);
	return 0;
}

int fault_rules_parse(const char *text, size_t len, struct fault_rules *ret_rules,
		      char why[BDEV_WHY_MAX])
{
	const char *end = text + len;
	struct fault_rules rules = { .cnt = 0 };
	char item[4 * WORD_MAX];

	for (;;) {
		const char *comma = memchr(text, ',', (size_t)(end - text));
		size_t item_len = (size_t)((comma ? comma : end) - text);
		int r;

		if (item_len >= sizeof(item))
			return bdev_why(why, -EINVAL, "a fault rule is too long");
		memcpy(item, text, item_len);
		item[item_len] = '\0';
		r = parse_item(item, &rules, why);
		if (r < 0)
			return r;
		if (!comma)
			break;
		text = comma + 1;
	}
	*ret_rules = rules;
	return 0;
}

/* --- use --- */

static bool rule_concerns(const struct fault_rule *rule, const struct bdev_io *io)
{
	if (!(rule->op_mask & 1u << io->op))
		return false;
	if (!rule->len_bytes)
		return true;
	/* A flush has no place and is in no range. */
	return io->len_bytes && io->offset_bytes < rule->offset_bytes + rule->len_bytes &&
	       rule->offset_bytes < io->offset_bytes + io->len_bytes;
}

static bool rule_strikes(const struct fault_rules *rules, unsigned int idx,
			 struct fault_counters *counters, uint64_t *random,
			 const struct bdev_io *io)
{
	const struct fault_rule *rule = &rules->rule[idx];
	uint64_t nr;

	if (!rule_concerns(rule, io))
		return false;
	nr = __atomic_add_fetch(&counters->matched_cnt[idx], 1, __ATOMIC_RELAXED);
	if (rule->nth && nr % rule->nth)
		return false;
	if (rule->percent && fault_random(random) % 100 >= rule->percent)
		return false;
	nr = __atomic_add_fetch(&counters->struck_cnt[idx], 1, __ATOMIC_RELAXED);
	return !rule->limit || nr <= rule->limit;
}

static uint64_t pick_ns(const struct fault_rule *rule, uint64_t *random)
{
	return rule->min_ns + fault_random(random) % (rule->max_ns - rule->min_ns + 1);
}

struct fault_verdict fault_judge(const struct fault_rules *rules, struct fault_counters *counters,
				 uint64_t *random, const struct bdev_io *io)
{
	struct fault_verdict verdict = { .error = 0 };

	for (unsigned int i = 0; i < rules->cnt; i++) {
		const struct fault_rule *rule = &rules->rule[i];
		bool is_end = rule->kind == FAULT_ERROR || rule->kind == FAULT_SHORT;
		bool is_wait = rule->kind == FAULT_DELAY || rule->kind == FAULT_HANG;

		/* One that comes too late is not asked, so it does not count. */
		if ((is_end && verdict.error) || (is_wait && (verdict.wait_ns || verdict.hangs)) ||
		    (rule->kind == FAULT_REORDER && verdict.window) ||
		    !rule_strikes(rules, i, counters, random, io))
			continue;
		if (is_end) {
			verdict.error = rule->error;
			verdict.is_short = rule->kind == FAULT_SHORT;
		} else if (is_wait) {
			verdict.hangs = rule->kind == FAULT_HANG;
			verdict.wait_ns = pick_ns(rule, random);
		} else {
			verdict.window = rule->window;
		}
	}
	return verdict;
}
