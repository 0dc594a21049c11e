/* SPDX-License-Identifier: MIT */
#include "lin_history.h"

struct cluster {
	bool has_write;
	bool has_read;
	uint64_t write_start_ns;
	uint64_t first_read_end_ns;
	uint64_t min_end_ns;
	uint64_t max_start_ns;
};

static struct lin_result wrong(enum lin_verdict verdict, unsigned int value, unsigned int other)
{
	return (struct lin_result){ verdict, (uint8_t)value, (uint8_t)other };
}

/* Return: false if no history can have this operation. */
static bool cluster_add(struct cluster *cluster, const struct lin_op *op)
{
	if (op->end_ns < op->start_ns || (op->is_write && cluster->has_write))
		return false;
	if (!cluster->has_write && !cluster->has_read) {
		cluster->min_end_ns = op->end_ns;
		cluster->max_start_ns = op->start_ns;
	}
	if (op->end_ns < cluster->min_end_ns)
		cluster->min_end_ns = op->end_ns;
	if (op->start_ns > cluster->max_start_ns)
		cluster->max_start_ns = op->start_ns;
	if (op->is_write) {
		cluster->has_write = true;
		cluster->write_start_ns = op->start_ns;
		return true;
	}
	if (!cluster->has_read || op->end_ns < cluster->first_read_end_ns)
		cluster->first_read_end_ns = op->end_ns;
	cluster->has_read = true;
	return true;
}

static bool is_forward(const struct cluster *cluster)
{
	return cluster->min_end_ns < cluster->max_start_ns;
}

/*
 * @a has a forward zone. Where @b has one too, this says that they overlap; else
 * that the zone of @b, which begins with the start, is inside that of @a.
 */
static bool contradicts(const struct cluster *a, const struct cluster *b)
{
	return a->min_end_ns < b->max_start_ns && b->min_end_ns < a->max_start_ns;
}

static struct lin_result check_zones(const struct cluster *clusters)
{
	for (unsigned int a = 0; a < LIN_VALUES; a++) {
		if (!clusters[a].has_write || !is_forward(&clusters[a]))
			continue;
		for (unsigned int b = 0; b < LIN_VALUES; b++)
			if (a != b && clusters[b].has_write &&
			    contradicts(&clusters[a], &clusters[b]))
				return wrong(LIN_CONFLICT, a, b);
	}
	return wrong(LIN_OK, 0, 0);
}

struct lin_result lin_check(const struct lin_op *ops, size_t cnt)
{
	struct cluster clusters[LIN_VALUES] = { 0 };

	for (size_t i = 0; i < cnt; i++)
		if (!cluster_add(&clusters[ops[i].value], &ops[i]))
			return wrong(LIN_BAD_HISTORY, ops[i].value, 0);
	for (unsigned int v = 0; v < LIN_VALUES; v++) {
		const struct cluster *cluster = &clusters[v];

		if (!cluster->has_read)
			continue;
		if (!cluster->has_write)
			return wrong(LIN_NEVER_WRITTEN, v, 0);
		if (cluster->first_read_end_ns < cluster->write_start_ns)
			return wrong(LIN_FUTURE_READ, v, 0);
	}
	return check_zones(clusters);
}

const char *lin_verdict_str(enum lin_verdict verdict)
{
	switch (verdict) {
	case LIN_OK:
		return "nothing wrong";
	case LIN_BAD_HISTORY:
		return "the history itself is wrong";
	case LIN_NEVER_WRITTEN:
		return "a value was read that was never written";
	case LIN_FUTURE_READ:
		return "a value was read before its write began";
	case LIN_CONFLICT:
		return "a stale read or a lost write";
	}
	return "?";
}
