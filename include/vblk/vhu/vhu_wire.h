/* SPDX-License-Identifier: MIT */
/*
 * Messages of vhost-user: their structures, names, and the checks of what came
 * from the other side. Pure: no socket, no state.
 * Source: QEMU docs/interop/vhost-user.rst. All numbers are in native byte order.
 */
#ifndef VBLK_VHU_VHU_WIRE_H
#define VBLK_VHU_VHU_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

/* From the front-end (client) to the back-end (server). */
enum vhu_request {
	VHU_GET_FEATURES = 1,
	VHU_SET_FEATURES = 2,
	VHU_SET_OWNER = 3,
	VHU_RESET_OWNER = 4,
	VHU_SET_MEM_TABLE = 5,
	VHU_SET_LOG_BASE = 6,
	VHU_SET_LOG_FD = 7,
	VHU_SET_VRING_NUM = 8,
	VHU_SET_VRING_ADDR = 9,
	VHU_SET_VRING_BASE = 10,
	VHU_GET_VRING_BASE = 11,
	VHU_SET_VRING_KICK = 12,
	VHU_SET_VRING_CALL = 13,
	VHU_SET_VRING_ERR = 14,
	VHU_GET_PROTOCOL_FEATURES = 15,
	VHU_SET_PROTOCOL_FEATURES = 16,
	VHU_GET_QUEUE_NUM = 17,
	VHU_SET_VRING_ENABLE = 18,
	VHU_SET_BACKEND_REQ_FD = 21,
	VHU_GET_CONFIG = 24,
	VHU_SET_CONFIG = 25,
	VHU_GET_INFLIGHT_FD = 31,
	VHU_SET_INFLIGHT_FD = 32,
	VHU_RESET_DEVICE = 34,
	VHU_GET_MAX_MEM_SLOTS = 36,
	VHU_ADD_MEM_REG = 37,
	VHU_REM_MEM_REG = 38,
	VHU_SET_STATUS = 39,
	VHU_GET_STATUS = 40,
};

/* From the back-end, over the socket of VHU_SET_BACKEND_REQ_FD. */
enum vhu_backend_request {
	VHU_BACKEND_CONFIG_CHANGE = 2,
};

/* Bit number beside the virtio features. */
#define VHU_F_PROTOCOL_FEATURES 30u

/* Bit numbers of the protocol features. */
enum vhu_protocol_feature {
	VHU_PROTOCOL_F_MQ = 0,
	VHU_PROTOCOL_F_REPLY_ACK = 3,
	VHU_PROTOCOL_F_BACKEND_REQ = 5,
	VHU_PROTOCOL_F_CONFIG = 9,
	VHU_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHU_PROTOCOL_F_RESET_DEVICE = 13,
	VHU_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHU_PROTOCOL_F_STATUS = 16,
};

#define VHU_VERSION	    1u
#define VHU_FLAG_VERSION    3u /* mask */
#define VHU_FLAG_REPLY	    4u
#define VHU_FLAG_NEED_REPLY 8u

#define VHU_FDS_MAX	    8u
#define VHU_REGIONS_MAX	    8u	 /* of VHU_SET_MEM_TABLE */
#define VHU_CONFIG_MAX	    256u /* bytes of configuration space in one message */
#define VHU_CONFIG_HDR	    12u	 /* bytes of struct vhu_config before its data */
#define VHU_VRING_IDX_MASK  0xffu
#define VHU_VRING_NOFD	    0x100u /* in the payload of SET_VRING_KICK, CALL, ERR */
#define VHU_CONFIG_MIGRATED 1u	   /* vhu_config.flags: live migration, read-only fields too */

/**
 * struct vhu_header - before every payload
 * @size: bytes of the payload
 */
struct vhu_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size;
};

/* @num: a size, an index, or 0 and 1, as the request says */
struct vhu_vring_state {
	uint32_t idx;
	uint32_t num;
};

/**
 * struct vhu_vring_addr - where a ring is, in addresses of the front-end's process
 * For a packed ring: the ring, the device event structure, the driver event structure.
 */
struct vhu_vring_addr {
	uint32_t idx;
	uint32_t flags;
	uint64_t desc_uaddr;
	uint64_t used_uaddr;
	uint64_t avail_uaddr;
	uint64_t log_gaddr;
};

/**
 * struct vhu_region - memory of the front-end, in a file of its own
 * @gaddr: address in descriptors
 * @uaddr: address in struct vhu_vring_addr
 */
struct vhu_region {
	uint64_t gaddr;
	uint64_t size_bytes;
	uint64_t uaddr;
	uint64_t mmap_offset_bytes;
};

struct vhu_mem_table {
	uint32_t region_cnt;
	uint32_t padding;
	struct vhu_region regions[VHU_REGIONS_MAX];
};

struct vhu_mem_reg {
	uint64_t padding;
	struct vhu_region region;
};

struct vhu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHU_CONFIG_MAX];
};

struct vhu_inflight {
	uint64_t mmap_size_bytes;
	uint64_t mmap_offset_bytes;
	uint16_t queue_cnt;
	uint16_t queue_size;
	uint32_t padding; /* not in the specification's text, but everybody sends it */
};

_Static_assert(sizeof(struct vhu_header) == 12, "as on the wire");
_Static_assert(sizeof(struct vhu_vring_addr) == 40, "as on the wire");
_Static_assert(sizeof(struct vhu_mem_table) == 264, "as on the wire");
_Static_assert(sizeof(struct vhu_mem_reg) == 40, "as on the wire");
_Static_assert(offsetof(struct vhu_config, data) == VHU_CONFIG_HDR, "as on the wire");
_Static_assert(sizeof(struct vhu_inflight) == 24, "as on the wire");

union vhu_payload {
	uint64_t u64;
	struct vhu_vring_state state;
	struct vhu_vring_addr addr;
	struct vhu_mem_table mem_table;
	struct vhu_mem_reg mem_reg;
	struct vhu_config config;
	struct vhu_inflight inflight;
};

/**
 * struct vhu_msg - a message; it is sent as the header and hdr.size bytes of the payload
 * @fds: @fd_cnt descriptors that go with it
 */
struct vhu_msg {
	struct vhu_header hdr;
	union vhu_payload payload;
	unsigned int fd_cnt;
	int fds[VHU_FDS_MAX];
};

/* For messages; "?" for a number that has no name. Static. */
const char *vhu_request_str(uint32_t request);

/* Of the payload of VHU_SET_VRING_KICK, CALL and ERR. */
static inline unsigned int vhu_vring_idx_of(uint64_t u64)
{
	return (unsigned int)(u64 & VHU_VRING_IDX_MASK);
}

/*
 * An empty message of @size_bytes payload, all zeroes, without descriptors.
 * @flags: VHU_FLAG_*, the version is added
 */
void vhu_msg_init(struct vhu_msg *msg, uint32_t request, uint32_t flags, uint32_t size_bytes);
/* With one number. */
void vhu_msg_init_u64(struct vhu_msg *msg, uint32_t request, uint32_t flags, uint64_t u64);

/* Can this be the beginning of a message? 0; -EPROTO version or flags; -EMSGSIZE too long. */
int vhu_check_header(const struct vhu_header *hdr) VBLK_MUST_CHECK;

/**
 * vhu_check_request() - is this a request of a front-end as it should be?
 * Sizes, counts that agree with them, number of descriptors; not what the numbers mean, among
 * which is the offset of a vhu_config.
 * Return: 0; -EPROTO no; -EOPNOTSUPP a request that is not in enum vhu_request, or of a feature
 *         that is not in enum vhu_protocol_feature: nothing of its payload was looked at.
 */
int vhu_check_request(const struct vhu_msg *msg) VBLK_MUST_CHECK;
/*
 * A reply to @request: the payload that belongs to it, or a number where that is an
 * acknowledgement. VHU_GET_CONFIG may be answered with an empty payload, which says that it failed.
 * Return: 0; -EPROTO no.
 */
int vhu_check_reply(const struct vhu_msg *msg, uint32_t request) VBLK_MUST_CHECK;
/* The same for the other direction. Return: 0; -EPROTO; -EOPNOTSUPP. */
int vhu_check_backend_request(const struct vhu_msg *msg) VBLK_MUST_CHECK;

/* Does the back-end always answer this one with a payload, whatever was negotiated? */
bool vhu_has_reply(uint32_t request);

#endif
