/* SPDX-License-Identifier: MIT */
#include "stats_json.h"

#include <time.h>

#include "status_json.h"
#include "vblk/util/clock.h"
#include "vblk/util/math.h"

/* Out of memory a process with less rights has written: any number may be there. */
static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)MIN(value, (uint64_t)INT64_MAX));
}

/* Only operations that there were: 64 queues have to fit into a message. */
static json_t *by_operation(const uint64_t values[STATS_OP_CNT])
{
	json_t *obj = json_object();

	for (int op = 0; op < STATS_OP_CNT; op++)
		if (values[op])
			json_object_set_new(obj, bdev_op_str((enum bdev_op)op), number(values[op]));
	return obj;
}

static json_t *counters_json(const struct stats_queue *stats, unsigned int inflight_cnt)
{
	json_t *obj = json_object();

	json_object_set_new(obj, "requests", by_operation(stats->requests));
	json_object_set_new(obj, "bytes", by_operation(stats->bytes));
	json_object_set_new(obj, "errors", by_operation(stats->errors));
	json_object_set_new(obj, "latency_sum_ns", by_operation(stats->latency_sum_ns));
	json_object_set_new(obj, "get_ids", number(stats->get_ids));
	json_object_set_new(obj, "other_requests", number(stats->other_requests));
	json_object_set_new(obj, "batches", number(stats->batches));
	json_object_set_new(obj, "interrupts", number(stats->interrupts));
	json_object_set_new(obj, "kicks", number(stats->kicks));
	json_object_set_new(obj, "uring_enters", number(stats->uring_enters));
	json_object_set_new(obj, "inline_ends", number(stats->inline_ends));
	json_object_set_new(obj, "recovered", number(stats->recovered));
	json_object_set_new(obj, "inflight", number(inflight_cnt));
	json_object_set_new(obj, "inflight_max", number(stats->inflight_max));
	return obj;
}

static json_t *buckets_json(const uint64_t latency[STATS_BUCKET_CNT])
{
	json_t *list = json_array(), *bucket;
	uint64_t limit_ns;

	for (unsigned int i = 0; i < STATS_BUCKET_CNT; i++) {
		if (!latency[i])
			continue;
		limit_ns = stats_bucket_limit_ns(i);
		bucket = json_object();
		json_object_set_new(bucket, "below_ns", limit_ns ? number(limit_ns) : json_null());
		json_object_set_new(bucket, "count", number(latency[i]));
		json_array_append_new(list, bucket);
	}
	return list;
}

static json_t *latency_json(const struct stats_queue *stats)
{
	json_t *obj = json_object();

	for (int op = 0; op < STATS_OP_CNT; op++)
		if (stats->requests[op])
			json_object_set_new(obj, bdev_op_str((enum bdev_op)op),
					    buckets_json(stats->latency[op]));
	return obj;
}

json_t *stats_json(const struct vdev *vdev, const struct stats_facts *facts, int queue_idx)
{
	struct stats_queue total = { .get_ids = 0 }, asked = total;
	json_t *obj = json_object(), *queues = json_array();
	unsigned int inflight_cnt = 0;
	struct vdev_queue_info info;
	uint64_t now_ns = clock_now_ns();
	uint64_t age_ns = now_ns - MIN(facts->since_ns, now_ns);

	for (unsigned int i = 0; i < vdev_queue_cnt(vdev); i++) {
		vdev_queue_info(vdev, i, &info);
		stats_merge(&total, &info.stats);
		inflight_cnt += info.inflight_cnt;
		if (queue_idx == (int)i)
			asked = info.stats;
		json_array_append_new(queues, counters_json(&info.stats, info.inflight_cnt));
	}
	if (queue_idx == STATS_ALL_QUEUES)
		asked = total;
	json_object_set_new(obj, "name", json_string(facts->name));
	json_object_set_new(obj, "since",
			    status_timestamp(time(NULL) - (time_t)(age_ns / NSEC_PER_SEC)));
	json_object_set_new(obj, "age_ms", number(age_ns / NSEC_PER_MSEC));
	json_object_set_new(obj, "restarts", json_integer(facts->restarts));
	json_object_set_new(obj, "total", counters_json(&total, inflight_cnt));
	json_object_set_new(obj, "per_queue", queues);
	json_object_set_new(obj, "latency", latency_json(&asked));
	return obj;
}
