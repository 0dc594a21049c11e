/* SPDX-License-Identifier: MIT */
#include "status_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "stuck.h"
#include "vblk/host/host_vdpa.h"
#include "vblk/util/clock.h"

json_t *status_hex(uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%" PRIx64, value);
	return json_string(text);
}

json_t *status_timestamp(time_t when)
{
	char text[32] = "";
	struct tm tm;

	if (gmtime_r(&when, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static json_t *node(const char *disk)
{
	char text[HOST_NODE_MAX + 8] = "";

	if (*disk)
		snprintf(text, sizeof(text), "/dev/%s", disk);
	return json_string(text);
}

static json_t *counters(const uint64_t values[BDEV_OP_CNT])
{
	json_t *obj = json_object();

	for (int op = 0; op < BDEV_OP_CNT; op++)
		json_object_set_new(obj, bdev_op_str((enum bdev_op)op),
				    json_integer((json_int_t)values[op]));
	return obj;
}

static json_t *queue_json(const struct vdev *vdev, unsigned int idx, unsigned int *ret_inflight)
{
	struct vdev_queue_info info;
	json_t *obj = json_object();

	vdev_queue_info(vdev, idx, &info);
	*ret_inflight += info.inflight_cnt;
	json_object_set_new(obj, "requests", counters(info.stats.requests));
	json_object_set_new(obj, "bytes", counters(info.stats.bytes));
	json_object_set_new(obj, "errors", counters(info.stats.errors));
	json_object_set_new(obj, "other_requests",
			    json_integer((json_int_t)info.stats.other_requests));
	json_object_set_new(obj, "batches", json_integer((json_int_t)info.stats.batches));
	json_object_set_new(obj, "interrupts", json_integer((json_int_t)info.stats.interrupts));
	json_object_set_new(obj, "recovered", json_integer((json_int_t)info.stats.recovered));
	json_object_set_new(obj, "inflight", json_integer(info.inflight_cnt));
	json_object_set_new(obj, "fault",
			    json_string(info.fault == VQ_FAULT_NONE ? ""
								    : vq_fault_str(info.fault)));
	return obj;
}

static json_t *stuck_json(const struct stuck_list *list, unsigned int idx)
{
	const struct stuck_request *req = &list->req[idx];
	uint64_t age_ms = stuck_age_ms(list, idx);
	json_t *obj = json_object();

	json_object_set_new(obj, "queue", json_integer(req->queue_idx));
	json_object_set_new(obj, "operation", json_string(bdev_op_str(req->held.op)));
	json_object_set_new(obj, "offset_bytes", json_integer((json_int_t)req->held.offset_bytes));
	json_object_set_new(obj, "length_bytes", json_integer((json_int_t)req->held.len_bytes));
	json_object_set_new(obj, "age_ms", json_integer((json_int_t)age_ms));
	json_object_set_new(obj, "since",
			    status_timestamp(time(NULL) - (time_t)(age_ms / MSEC_PER_SEC)));
	return obj;
}

static void add_stuck(json_t *obj, const struct vdev *vdev)
{
	json_t *requests = json_array();
	struct stuck_list list;

	stuck_find(vdev, STUCK_SHOW_MS, &list);
	for (unsigned int i = 0; i < list.cnt; i++)
		json_array_append_new(requests, stuck_json(&list, i));
	json_object_set_new(obj, "stuck", json_integer(list.total_cnt));
	json_object_set_new(obj, "stuck_requests", requests);
}

static void add_live(json_t *obj, const struct vdev *vdev)
{
	json_t *queues = json_array();
	unsigned int inflight = 0;

	for (unsigned int i = 0; i < vdev_queue_cnt(vdev); i++)
		json_array_append_new(queues, queue_json(vdev, i, &inflight));
	json_object_set_new(obj, "inflight", json_integer(inflight));
	add_stuck(obj, vdev);
	json_object_set_new(obj, "per_queue", queues);
}

static const char *poll_name(enum vdev_poll_mode mode)
{
	switch (mode) {
	case VDEV_POLL_OFF:
		return "off";
	case VDEV_POLL_ADAPTIVE:
		return "adaptive";
	case VDEV_POLL_ON:
		return "on";
	}
	return "";
}

static void add_config(json_t *obj, const struct vblkd_config *config, const struct blk_params *blk,
		       const struct status_facts *facts)
{
	const struct bdev_limits *limits = &blk->limits;

	json_object_set_new(obj, "name", json_string(config->name));
	json_object_set_new(obj, "version", json_string(VBLK_VERSION));
	json_object_set_new(obj, "backend", json_string(config->backend));
	json_object_set_new(obj, "backend_type", json_string(facts->bdev->ops->name));
	json_object_set_new(obj, "serial", json_string(config->serial));
	json_object_set_new(obj, "size_bytes", json_integer((json_int_t)limits->capacity_bytes));
	json_object_set_new(obj, "logical_block_bytes", json_integer(limits->logical_block_bytes));
	json_object_set_new(obj, "physical_block_bytes",
			    json_integer(limits->physical_block_bytes));
	json_object_set_new(obj, "queues", json_integer(blk->queue_cnt));
	json_object_set_new(obj, "queue_size", json_integer(blk->queue_size));
	json_object_set_new(obj, "poll", json_string(poll_name(config->poll)));
	json_object_set_new(obj, "read_only", json_boolean(limits->read_only));
	json_object_set_new(obj, "cache",
			    json_string(config->bdev.writethrough ? "writethrough" : "writeback"));
	json_object_set_new(obj, "direct", json_boolean(limits->direct));
	json_object_set_new(obj, "discard", json_boolean(limits->max_discard_bytes > 0));
	if (config->socket[0])
		json_object_set_new(obj, "socket", json_string(config->socket));
	if (config->bdev.direct_rings)
		json_object_set_new(obj, "direct_rings", json_true());
	json_object_set_new(obj, "user", json_string(config->user));
	if (!config->socket[0])
		json_object_set_new(obj, "msg_timeout_s", json_integer(config->msg_timeout_s));
}

static void add_server(json_t *obj, const struct bdev *bdev)
{
	char why[BDEV_WHY_MAX];
	int r = bdev_server(bdev, why);

	if (!r)
		return;
	json_object_set_new(obj, "server_connected", json_boolean(r > 0));
	if (r < 0)
		json_object_set_new(obj, "server_error", json_string(why));
}

json_t *status_json(const struct vblkd_config *config, const struct blk_params *blk,
		    const struct status_facts *facts, const struct vdev *vdev)
{
	json_t *obj = json_object();

	if (!obj)
		return NULL;
	add_config(obj, config, blk, facts);
	add_server(obj, facts->bdev);
	json_object_set_new(obj, "node", node(facts->disk));
	json_object_set_new(obj, "state", json_string(facts->state));
	json_object_set_new(obj, "pid", json_integer(facts->keeper_pid));
	json_object_set_new(obj, "worker_pid", json_integer(facts->worker_pid));
	json_object_set_new(obj, "restarts", json_integer(facts->restarts));
	json_object_set_new(obj, "upgrades", json_integer(facts->upgrades));
	json_object_set_new(obj, "started_at", status_timestamp(facts->started_at));
	if (vdev)
		add_live(obj, vdev);
	return obj;
}
