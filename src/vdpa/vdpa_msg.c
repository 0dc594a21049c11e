/* SPDX-License-Identifier: MIT */
#include "vdpa_msg.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/vdpa.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/genl/genl.h>
#include <netlink/msg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* minlen 1: libnl looks at the last byte of a string without asking whether there is one. */
#define NAME_POLICY                                                      \
	{                                                                \
		.type = NLA_STRING, .minlen = 1, .maxlen = VDPA_NAME_MAX \
	}

static const struct nla_policy policy[VDPA_ATTR_MAX + 1] = {
	[VDPA_ATTR_MGMTDEV_BUS_NAME] = NAME_POLICY,
	[VDPA_ATTR_MGMTDEV_DEV_NAME] = NAME_POLICY,
	[VDPA_ATTR_MGMTDEV_SUPPORTED_CLASSES] = { .type = NLA_U64 },
	[VDPA_ATTR_DEV_NAME] = NAME_POLICY,
	[VDPA_ATTR_DEV_ID] = { .type = NLA_U32 },
	[VDPA_ATTR_DEV_VENDOR_ID] = { .type = NLA_U32 },
	[VDPA_ATTR_DEV_MAX_VQS] = { .type = NLA_U32 },
	[VDPA_ATTR_DEV_MAX_VQ_SIZE] = { .type = NLA_U16 },
	[VDPA_ATTR_DEV_MGMTDEV_MAX_VQS] = { .type = NLA_U32 },
	[VDPA_ATTR_DEV_SUPPORTED_FEATURES] = { .type = NLA_U64 },
};

/* Newer kernels know more attributes; nla_parse() passes over them. */
static int parse_attrs(const struct nlmsghdr *nlh, struct nlattr *attrs[VDPA_ATTR_MAX + 1])
{
	if (genlmsg_parse((struct nlmsghdr *)nlh, 0, attrs, VDPA_ATTR_MAX, policy) < 0)
		return -EBADMSG;
	return 0;
}

static void copy_name(char dst[VDPA_NAME_MAX], struct nlattr *attr)
{
	snprintf(dst, VDPA_NAME_MAX, "%s", attr ? nla_get_string(attr) : "");
}

static uint32_t get_u32(struct nlattr *attr)
{
	return attr ? nla_get_u32(attr) : 0;
}

static uint64_t get_u64(struct nlattr *attr)
{
	return attr ? nla_get_u64(attr) : 0;
}

int vdpa_msg_dev(const struct nlmsghdr *nlh, struct vdpa_dev_info *ret_info)
{
	struct nlattr *attrs[VDPA_ATTR_MAX + 1];
	struct nlattr *vq_size;
	int r;

	r = parse_attrs(nlh, attrs);
	if (r < 0)
		return r;
	if (!attrs[VDPA_ATTR_DEV_NAME])
		return -EBADMSG;

	copy_name(ret_info->name, attrs[VDPA_ATTR_DEV_NAME]);
	copy_name(ret_info->mgmtdev, attrs[VDPA_ATTR_MGMTDEV_DEV_NAME]);
	ret_info->device_id = get_u32(attrs[VDPA_ATTR_DEV_ID]);
	ret_info->vendor_id = get_u32(attrs[VDPA_ATTR_DEV_VENDOR_ID]);
	ret_info->max_vqs = get_u32(attrs[VDPA_ATTR_DEV_MAX_VQS]);
	vq_size = attrs[VDPA_ATTR_DEV_MAX_VQ_SIZE];
	ret_info->max_vq_size = vq_size ? nla_get_u16(vq_size) : 0;
	return 0;
}

int vdpa_msg_mgmtdev(const struct nlmsghdr *nlh, struct vdpa_mgmtdev_info *ret_info)
{
	struct nlattr *attrs[VDPA_ATTR_MAX + 1];
	int r;

	r = parse_attrs(nlh, attrs);
	if (r < 0)
		return r;
	if (!attrs[VDPA_ATTR_MGMTDEV_DEV_NAME])
		return -EBADMSG;

	copy_name(ret_info->name, attrs[VDPA_ATTR_MGMTDEV_DEV_NAME]);
	copy_name(ret_info->bus, attrs[VDPA_ATTR_MGMTDEV_BUS_NAME]);
	ret_info->classes = get_u64(attrs[VDPA_ATTR_MGMTDEV_SUPPORTED_CLASSES]);
	ret_info->features = get_u64(attrs[VDPA_ATTR_DEV_SUPPORTED_FEATURES]);
	ret_info->max_vqs = get_u32(attrs[VDPA_ATTR_DEV_MGMTDEV_MAX_VQS]);
	return 0;
}

/* Where the extended ack's attributes begin: behind the copy of our request, which the
 * kernel shortens to its header when NLM_F_CAPPED is set. */
static size_t tlv_offset_bytes(const struct nlmsghdr *nlh, const struct nlmsgerr *err)
{
	size_t offset_bytes = sizeof(*err);

	if (!(nlh->nlmsg_flags & NLM_F_CAPPED) && err->msg.nlmsg_len > sizeof(err->msg))
		offset_bytes += err->msg.nlmsg_len - sizeof(err->msg);
	return NLMSG_ALIGN(offset_bytes);
}

int vdpa_msg_error(const struct nlmsghdr *nlh, char *text, size_t len)
{
	const struct nlmsgerr *err = nlmsg_data(nlh);
	struct nlattr *attr;
	size_t payload_bytes, offset_bytes;

	text[0] = '\0';
	if (nlh->nlmsg_len < (uint32_t)nlmsg_size(sizeof(*err)))
		return -EBADMSG;
	payload_bytes = nlh->nlmsg_len - NLMSG_HDRLEN;
	offset_bytes = tlv_offset_bytes(nlh, err);
	if ((nlh->nlmsg_flags & NLM_F_ACK_TLVS) && offset_bytes < payload_bytes) {
		attr = nla_find((struct nlattr *)((char *)err + offset_bytes),
				(int)(payload_bytes - offset_bytes), NLMSGERR_ATTR_MSG);
		if (attr)
			snprintf(text, len, "%.*s", nla_len(attr), (char *)nla_data(attr));
	}
	/* A positive number would be read as success by callers. */
	return err->error > 0 ? -EBADMSG : err->error;
}

int vdpa_msg_errno_from_nl(int nlerr)
{
	static const struct {
		int nlerr;
		int err;
	} map[] = {
		{ NLE_INTR, EINTR },	       { NLE_BAD_SOCK, EBADF },
		{ NLE_AGAIN, EAGAIN },	       { NLE_NOMEM, ENOMEM },
		{ NLE_EXIST, EEXIST },	       { NLE_INVAL, EINVAL },
		{ NLE_RANGE, ERANGE },	       { NLE_MSGSIZE, EMSGSIZE },
		{ NLE_OPNOTSUPP, EOPNOTSUPP }, { NLE_AF_NOSUPPORT, EAFNOSUPPORT },
		{ NLE_OBJ_NOTFOUND, ENOENT },  { NLE_SEQ_MISMATCH, EBADMSG },
		{ NLE_MSG_OVERFLOW, ENOBUFS }, { NLE_MSG_TRUNC, ENOBUFS },
		{ NLE_NOADDR, EADDRNOTAVAIL }, { NLE_MSG_TOOSHORT, EBADMSG },
		{ NLE_NOACCESS, EACCES },      { NLE_PERM, EPERM },
		{ NLE_BUSY, EBUSY },	       { NLE_PROTO_MISMATCH, EPROTONOSUPPORT },
		{ NLE_NODEV, ENODEV },	       { NLE_DUMP_INTR, EAGAIN },
	};

	if (!nlerr)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (map[i].nlerr == abs(nlerr))
			return -map[i].err;
	return -EIO;
}
