/* SPDX-License-Identifier: MIT */
#include "vblk/vhu/vhu_wire.h"

#include <errno.h>
#include <string.h>

#include "vblk/util/math.h"

#define FLAGS_KNOWN (VHU_FLAG_VERSION | VHU_FLAG_REPLY | VHU_FLAG_NEED_REPLY)
/* The specification's text has 20 bytes; a C compiler makes them 24, which all programs send. */
#define INFLIGHT_TEXT_BYTES 20u

enum payload {
	PAYLOAD_NONE,
	PAYLOAD_U64,
	PAYLOAD_VRING_FD, /* a number, and what it says about a descriptor */
	PAYLOAD_STATE,
	PAYLOAD_ADDR,
	PAYLOAD_MEM_TABLE,
	PAYLOAD_MEM_REG,
	PAYLOAD_CONFIG,
	PAYLOAD_INFLIGHT,
};

/**
 * struct rule - what a request looks like
 * @fd_min, @fd_max: descriptors of the request; payloads may ask for more precision
 * @reply: payload of the answer that it always has; PAYLOAD_NONE: only an acknowledgement
 * @reply_fds: descriptors of that answer
 */
struct rule {
	const char *name;
	enum payload request;
	uint8_t fd_min;
	uint8_t fd_max;
	enum payload reply;
	uint8_t reply_fds;
};

static const struct rule rules[] = {
	[VHU_GET_FEATURES] = { "GET_FEATURES", PAYLOAD_NONE, 0, 0, PAYLOAD_U64, 0 },
	[VHU_SET_FEATURES] = { "SET_FEATURES", PAYLOAD_U64, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_SET_OWNER] = { "SET_OWNER", PAYLOAD_NONE, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_RESET_OWNER] = { "RESET_OWNER", PAYLOAD_NONE, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_SET_MEM_TABLE] = { "SET_MEM_TABLE", PAYLOAD_MEM_TABLE, 0, VHU_REGIONS_MAX,
				PAYLOAD_NONE, 0 },
	[VHU_SET_VRING_NUM] = { "SET_VRING_NUM", PAYLOAD_STATE, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_SET_VRING_ADDR] = { "SET_VRING_ADDR", PAYLOAD_ADDR, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_SET_VRING_BASE] = { "SET_VRING_BASE", PAYLOAD_STATE, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_GET_VRING_BASE] = { "GET_VRING_BASE", PAYLOAD_STATE, 0, 0, PAYLOAD_STATE, 0 },
	[VHU_SET_VRING_KICK] = { "SET_VRING_KICK", PAYLOAD_VRING_FD, 0, 1, PAYLOAD_NONE, 0 },
	[VHU_SET_VRING_CALL] = { "SET_VRING_CALL", PAYLOAD_VRING_FD, 0, 1, PAYLOAD_NONE, 0 },
	[VHU_SET_VRING_ERR] = { "SET_VRING_ERR", PAYLOAD_VRING_FD, 0, 1, PAYLOAD_NONE, 0 },
	[VHU_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", PAYLOAD_NONE, 0, 0, PAYLOAD_U64,
					0 },
	[VHU_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", PAYLOAD_U64, 0, 0, PAYLOAD_NONE,
					0 },
	[VHU_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", PAYLOAD_NONE, 0, 0, PAYLOAD_U64, 0 },
	[VHU_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", PAYLOAD_STATE, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", PAYLOAD_NONE, 1, 1, PAYLOAD_NONE, 0 },
	[VHU_GET_CONFIG] = { "GET_CONFIG", PAYLOAD_CONFIG, 0, 0, PAYLOAD_CONFIG, 0 },
	[VHU_SET_CONFIG] = { "SET_CONFIG", PAYLOAD_CONFIG, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", PAYLOAD_INFLIGHT, 0, 0, PAYLOAD_INFLIGHT, 1 },
	[VHU_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", PAYLOAD_INFLIGHT, 1, 1, PAYLOAD_NONE, 0 },
	[VHU_RESET_DEVICE] = { "RESET_DEVICE", PAYLOAD_NONE, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", PAYLOAD_NONE, 0, 0, PAYLOAD_U64, 0 },
	[VHU_ADD_MEM_REG] = { "ADD_MEM_REG", PAYLOAD_MEM_REG, 1, 1, PAYLOAD_NONE, 0 },
	/* Some send a descriptor although they should not: it is closed unused. */
	[VHU_REM_MEM_REG] = { "REM_MEM_REG", PAYLOAD_MEM_REG, 0, 1, PAYLOAD_NONE, 0 },
	[VHU_SET_STATUS] = { "SET_STATUS", PAYLOAD_U64, 0, 0, PAYLOAD_NONE, 0 },
	[VHU_GET_STATUS] = { "GET_STATUS", PAYLOAD_NONE, 0, 0, PAYLOAD_U64, 0 },
};

static const struct rule *rule_of(uint32_t request)
{
	if (request >= ARRAY_SIZE(rules) || !rules[request].name)
		return NULL;
	return &rules[request];
}

const char *vhu_request_str(uint32_t request)
{
	const struct rule *rule = rule_of(request);

	return rule ? rule->name : "?";
}

bool vhu_has_reply(uint32_t request)
{
	const struct rule *rule = rule_of(request);

	return rule && rule->reply != PAYLOAD_NONE;
}

void vhu_msg_init(struct vhu_msg *msg, uint32_t request, uint32_t flags, uint32_t size_bytes)
{
	memset(msg, 0, sizeof(*msg));
	msg->hdr = (struct vhu_header){ request, VHU_VERSION | flags, size_bytes };
}

void vhu_msg_init_u64(struct vhu_msg *msg, uint32_t request, uint32_t flags, uint64_t u64)
{
	vhu_msg_init(msg, request, flags, sizeof(u64));
	msg->payload.u64 = u64;
}

int vhu_check_header(const struct vhu_header *hdr)
{
	if ((hdr->flags & VHU_FLAG_VERSION) != VHU_VERSION || hdr->flags & ~FLAGS_KNOWN)
		return -EPROTO;
	if (hdr->size > sizeof(union vhu_payload))
		return -EMSGSIZE;
	return 0;
}

static bool config_is_right(const struct vhu_msg *msg)
{
	const struct vhu_config *config = &msg->payload.config;

	return msg->hdr.size >= VHU_CONFIG_HDR && msg->hdr.size - VHU_CONFIG_HDR == config->size;
}

static bool mem_table_is_right(const struct vhu_msg *msg)
{
	const struct vhu_mem_table *table = &msg->payload.mem_table;

	return msg->hdr.size >= offsetof(struct vhu_mem_table, regions) &&
	       table->region_cnt <= VHU_REGIONS_MAX &&
	       msg->hdr.size == offsetof(struct vhu_mem_table, regions) +
					table->region_cnt * sizeof(table->regions[0]) &&
	       msg->fd_cnt == table->region_cnt;
}

static bool vring_fd_is_right(const struct vhu_msg *msg)
{
	uint64_t u64 = msg->payload.u64;

	return msg->hdr.size == sizeof(u64) &&
	       !(u64 & ~(uint64_t)(VHU_VRING_IDX_MASK | VHU_VRING_NOFD)) &&
	       msg->fd_cnt == (u64 & VHU_VRING_NOFD ? 0 : 1);
}

static bool payload_is_right(const struct vhu_msg *msg, enum payload payload)
{
	uint32_t size = msg->hdr.size;

	switch (payload) {
	case PAYLOAD_NONE:
		return size == 0;
	case PAYLOAD_U64:
		return size == sizeof(msg->payload.u64);
	case PAYLOAD_VRING_FD:
		return vring_fd_is_right(msg);
	case PAYLOAD_STATE:
		return size == sizeof(msg->payload.state);
	case PAYLOAD_ADDR:
		return size == sizeof(msg->payload.addr);
	case PAYLOAD_MEM_TABLE:
		return mem_table_is_right(msg);
	case PAYLOAD_MEM_REG:
		return size == sizeof(msg->payload.mem_reg);
	case PAYLOAD_CONFIG:
		return config_is_right(msg);
	case PAYLOAD_INFLIGHT:
		return size == sizeof(msg->payload.inflight) || size == INFLIGHT_TEXT_BYTES;
	}
	return false;
}

int vhu_check_request(const struct vhu_msg *msg)
{
	const struct rule *rule = rule_of(msg->hdr.request);

	if (vhu_check_header(&msg->hdr) < 0 || msg->hdr.flags & VHU_FLAG_REPLY)
		return -EPROTO;
	if (!rule)
		return -EOPNOTSUPP;
	if (msg->fd_cnt < rule->fd_min || msg->fd_cnt > rule->fd_max ||
	    !payload_is_right(msg, rule->request))
		return -EPROTO;
	return 0;
}

int vhu_check_reply(const struct vhu_msg *msg, uint32_t request)
{
	const struct rule *rule = rule_of(request);

	if (!rule || vhu_check_header(&msg->hdr) < 0 || !(msg->hdr.flags & VHU_FLAG_REPLY) ||
	    msg->hdr.request != request || msg->fd_cnt != rule->reply_fds)
		return -EPROTO;
	if (rule->reply == PAYLOAD_CONFIG && !msg->hdr.size)
		return 0;
	if (!payload_is_right(msg, rule->reply == PAYLOAD_NONE ? PAYLOAD_U64 : rule->reply))
		return -EPROTO;
	return 0;
}

int vhu_check_backend_request(const struct vhu_msg *msg)
{
	if (vhu_check_header(&msg->hdr) < 0 || msg->hdr.flags & VHU_FLAG_REPLY)
		return -EPROTO;
	if (msg->hdr.request != VHU_BACKEND_CONFIG_CHANGE)
		return -EOPNOTSUPP;
	return msg->hdr.size || msg->fd_cnt ? -EPROTO : 0;
}
