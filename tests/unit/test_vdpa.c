/* SPDX-License-Identifier: MIT */
#include "run_suite.h"
#include "vdpa_msg.h"
#include "vdpa_request.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/vdpa.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A message under construction; the bytes are exactly those of the wire. */
static struct {
	union {
		struct nlmsghdr nlh;
		unsigned char bytes[4096];
	};
} m;

static void msg_begin(uint16_t type, uint16_t flags)
{
	memset(&m, 0, sizeof(m));
	m.nlh.nlmsg_len = NLMSG_HDRLEN;
	m.nlh.nlmsg_type = type;
	m.nlh.nlmsg_flags = flags;
}

static void msg_append(const void *data, size_t len)
{
	memcpy(m.bytes + m.nlh.nlmsg_len, data, len);
	m.nlh.nlmsg_len += (uint32_t)NLMSG_ALIGN(len);
}

static void msg_attr(uint16_t type, const void *data, size_t len)
{
	struct nlattr attr = { .nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = type };

	msg_append(&attr, sizeof(attr));
	msg_append(data, len);
}

static void msg_genl(uint8_t cmd)
{
	struct genlmsghdr genl = { .cmd = cmd, .version = 1 };

	msg_begin(28, 0);
	msg_append(&genl, sizeof(genl));
}

static void msg_err(int error, uint16_t flags, size_t request_payload)
{
	struct nlmsgerr err = { .error = error };
	char zero[256] = { 0 };

	msg_begin(NLMSG_ERROR, flags);
	err.msg.nlmsg_len = (uint32_t)(sizeof(err.msg) + request_payload);
	msg_append(&err, sizeof(err));
	if (!(flags & NLM_F_CAPPED))
		msg_append(zero, request_payload);
}

START_TEST(device_reply_gives_every_field)
{
	struct vdpa_dev_info info;
	uint32_t id = 2, vendor = 0x6b6c6276, vqs = 4;
	uint16_t size = 256;
	uint32_t unknown = 7;

	msg_genl(VDPA_CMD_DEV_NEW);
	msg_attr(VDPA_ATTR_MGMTDEV_DEV_NAME, "vduse", 6);
	msg_attr(VDPA_ATTR_DEV_NAME, "db", 3);
	msg_attr(VDPA_ATTR_DEV_ID, &id, sizeof(id));
	msg_attr(VDPA_ATTR_DEV_VENDOR_ID, &vendor, sizeof(vendor));
	msg_attr(VDPA_ATTR_DEV_MAX_VQS, &vqs, sizeof(vqs));
	msg_attr(VDPA_ATTR_DEV_MAX_VQ_SIZE, &size, sizeof(size));
	msg_attr(VDPA_ATTR_MAX + 5, &unknown, sizeof(unknown)); /* of a later kernel */
	ck_assert_int_eq(vdpa_msg_dev(&m.nlh, &info), 0);
	ck_assert_str_eq(info.name, "db");
	ck_assert_str_eq(info.mgmtdev, "vduse");
	ck_assert_uint_eq(info.device_id, 2);
	ck_assert_uint_eq(info.vendor_id, vendor);
	ck_assert_uint_eq(info.max_vqs, 4);
	ck_assert_uint_eq(info.max_vq_size, 256);
}
END_TEST

START_TEST(management_device_reply_gives_every_field)
{
	struct vdpa_mgmtdev_info info;
	uint64_t classes = 1u << 2, features = 1ull << 33;
	uint32_t vqs = 8;

	msg_genl(VDPA_CMD_MGMTDEV_NEW);
	msg_attr(VDPA_ATTR_MGMTDEV_DEV_NAME, "vduse", 6);
	msg_attr(VDPA_ATTR_MGMTDEV_SUPPORTED_CLASSES, &classes, sizeof(classes));
	msg_attr(VDPA_ATTR_DEV_MGMTDEV_MAX_VQS, &vqs, sizeof(vqs));
	msg_attr(VDPA_ATTR_DEV_SUPPORTED_FEATURES, &features, sizeof(features));
	ck_assert_int_eq(vdpa_msg_mgmtdev(&m.nlh, &info), 0);
	ck_assert_str_eq(info.name, "vduse");
	ck_assert_str_eq(info.bus, "");
	ck_assert(info.classes == classes && info.features == features);
	ck_assert_uint_eq(info.max_vqs, 8);
}
END_TEST

enum malformed {
	NAME_WITHOUT_NUL,
	NAME_EMPTY_ATTR,
	NAME_TOO_LONG,
	NAME_MISSING,
	ID_TOO_SHORT,
	NO_GENL_HEADER,
	MALFORMED_CNT,
};

static void make_malformed(enum malformed kind)
{
	char name[VDPA_NAME_MAX + 8];

	msg_genl(VDPA_CMD_DEV_NEW);
	switch (kind) {
	case NAME_WITHOUT_NUL:
		msg_attr(VDPA_ATTR_DEV_NAME, "db", 2);
		break;
	case NAME_EMPTY_ATTR:
		msg_attr(VDPA_ATTR_DEV_NAME, "", 0);
		break;
	case NAME_TOO_LONG:
		memset(name, 'x', sizeof(name));
		name[sizeof(name) - 1] = '\0';
		msg_attr(VDPA_ATTR_DEV_NAME, name, sizeof(name));
		break;
	case NAME_MISSING:
		break;
	case ID_TOO_SHORT:
		msg_attr(VDPA_ATTR_DEV_NAME, "db", 3);
		msg_attr(VDPA_ATTR_DEV_ID, "\2", 1);
		break;
	case NO_GENL_HEADER:
		m.nlh.nlmsg_len = NLMSG_HDRLEN;
		break;
	case MALFORMED_CNT:
		break;
	}
}

START_TEST(malformed_device_reply_is_refused)
{
	struct vdpa_dev_info info = { .name = "kept" };

	make_malformed((enum malformed)_i);
	ck_assert_int_eq(vdpa_msg_dev(&m.nlh, &info), -EBADMSG);
	ck_assert_str_eq(info.name, "kept");
}
END_TEST

/* Every errno that vdpa_nl.h promises; ENODEV, EINVAL and friends must not be mixed up. */
static const int kernel_errors[] = { EPERM,  ENOENT, ENODEV,	 EINVAL,    EEXIST,
				     ENOMEM, EBUSY,  EOPNOTSUPP, ETIMEDOUT, EIO };

START_TEST(kernel_errno_arrives_unchanged)
{
	char text[64];

	msg_err(-kernel_errors[_i], NLM_F_CAPPED, 40);
	ck_assert_int_eq(vdpa_msg_error(&m.nlh, text, sizeof(text)), -kernel_errors[_i]);
	ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(extended_ack_text_is_found_behind_capped_and_whole_request)
{
	uint16_t flags = NLM_F_ACK_TLVS | (_i ? NLM_F_CAPPED : 0);
	char text[64];

	msg_err(-ENODEV, flags, 33);
	msg_attr(NLMSGERR_ATTR_MSG, "Fail to find the specified management device", 45);
	ck_assert_int_eq(vdpa_msg_error(&m.nlh, text, sizeof(text)), -ENODEV);
	ck_assert_str_eq(text, "Fail to find the specified management device");
}
END_TEST

START_TEST(extended_ack_that_lies_about_lengths_reads_nothing_outside)
{
	struct nlmsgerr *err = (struct nlmsgerr *)(m.bytes + NLMSG_HDRLEN);
	struct nlattr *attr;
	char text[8];

	msg_err(-EINVAL, NLM_F_ACK_TLVS, 0);
	msg_attr(NLMSGERR_ATTR_MSG, "text that is longer than the buffer", 36);
	ck_assert_int_eq(vdpa_msg_error(&m.nlh, text, sizeof(text)), -EINVAL);
	ck_assert_str_eq(text, "text th");

	attr = (struct nlattr *)(m.bytes + NLMSG_HDRLEN + sizeof(*err));
	attr->nla_len = 0xffff;
	ck_assert_int_eq(vdpa_msg_error(&m.nlh, text, sizeof(text)), -EINVAL);
	ck_assert_str_eq(text, "");

	err->msg.nlmsg_len = 0xffffffff;
	ck_assert_int_eq(vdpa_msg_error(&m.nlh, text, sizeof(text)), -EINVAL);

	m.nlh.nlmsg_len = NLMSG_HDRLEN + 4;
	ck_assert_int_eq(vdpa_msg_error(&m.nlh, text, sizeof(text)), -EBADMSG);
}
END_TEST

START_TEST(success_and_positive_numbers)
{
	char text[8];

	msg_err(0, NLM_F_CAPPED, 20);
	ck_assert_int_eq(vdpa_msg_error(&m.nlh, text, sizeof(text)), 0);
	msg_err(5, NLM_F_CAPPED, 20);
	ck_assert_int_eq(vdpa_msg_error(&m.nlh, text, sizeof(text)), -EBADMSG);
}
END_TEST

START_TEST(libnl_codes_become_errnos)
{
	ck_assert_int_eq(vdpa_msg_errno_from_nl(0), 0);
	ck_assert_int_eq(vdpa_msg_errno_from_nl(-NLE_OBJ_NOTFOUND), -ENOENT);
	ck_assert_int_eq(vdpa_msg_errno_from_nl(NLE_NODEV), -ENODEV);
	for (int code = 1; code <= NLE_MAX; code++)
		ck_assert_int_lt(vdpa_msg_errno_from_nl(-code), 0);
}
END_TEST

START_TEST(open_without_the_module_says_enoent)
{
	struct vdpa_nl *nl = NULL;
	int r = vdpa_nl_open(&nl);

	if (!r) { /* a host that has vdpa: the family is there */
		ck_assert_str_eq(vdpa_nl_last_message(nl), "");
		vdpa_nl_close(nl);
		return;
	}
	ck_assert_int_eq(r, -ENOENT);
	ck_assert_ptr_null(nl);
}
END_TEST

/* ---- round trips, with the family "nlctrl" that every kernel has ---- */

static struct vdpa_nl *open_nlctrl(void)
{
	struct vdpa_nl *nl = NULL;

	ck_assert_int_eq(vdpa_nl_open_family("nlctrl", -1, &nl), 0);
	return nl;
}

static int count_reply(const struct nlmsghdr *nlh VBLK_UNUSED, void *ctx)
{
	(*(int *)ctx)++;
	return *(int *)ctx == 1 ? -EBADMSG : 0;
}

static int accept_reply(const struct nlmsghdr *nlh VBLK_UNUSED, void *ctx)
{
	(*(int *)ctx)++;
	return 0;
}

static int request(struct vdpa_nl *nl, uint8_t cmd, int flags, const char *family,
		   int (*reply)(const struct nlmsghdr *nlh, void *ctx), int *cnt)
{
	struct nl_msg *msg = vdpa_request_new(nl, cmd, flags);

	ck_assert_ptr_nonnull(msg);
	if (family)
		ck_assert_int_eq(vdpa_request_put_name(msg, CTRL_ATTR_FAMILY_NAME, family), 0);
	return vdpa_request_run(nl, msg, reply, cnt);
}

START_TEST(kernel_answers_are_taken_to_their_end)
{
	struct vdpa_nl *nl = open_nlctrl();
	int cnt = 0;

	ck_assert_int_eq(request(nl, CTRL_CMD_GETFAMILY, NLM_F_ACK, "nlctrl", accept_reply, &cnt),
			 0);
	ck_assert_int_eq(cnt, 1);
	ck_assert_int_eq(request(nl, CTRL_CMD_GETFAMILY, NLM_F_ACK, "no-such", accept_reply, &cnt),
			 -ENOENT);
	ck_assert_int_eq(request(nl, 99, NLM_F_ACK, NULL, NULL, NULL), -EOPNOTSUPP);
	cnt = 0;
	ck_assert_int_eq(request(nl, CTRL_CMD_GETFAMILY, NLM_F_DUMP, NULL, accept_reply, &cnt), 0);
	ck_assert_int_ge(cnt, 1);
	/* A reply that cannot be parsed is reported, and leaves the socket in step. */
	cnt = 0;
	ck_assert_int_eq(request(nl, CTRL_CMD_GETFAMILY, NLM_F_DUMP, NULL, count_reply, &cnt),
			 -EBADMSG);
	cnt = 0;
	ck_assert_int_eq(request(nl, CTRL_CMD_GETFAMILY, NLM_F_ACK, "nlctrl", accept_reply, &cnt),
			 0);
	ck_assert_int_eq(cnt, 1);
	vdpa_nl_close(nl);
}
END_TEST

/* A question that its asker did not live to see the answer of. */
static void ask_and_forget(int fd)
{
	const struct {
		struct nlmsghdr nlh;
		struct genlmsghdr genl;
	} question = {
		.nlh = { .nlmsg_len = sizeof(question),
			 .nlmsg_type = GENL_ID_CTRL,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			 .nlmsg_seq = 7 },
		.genl = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 },
	};

	ck_assert_int_eq(send(fd, &question, sizeof(question), 0), (int)sizeof(question));
}

START_TEST(socket_with_answers_to_others_is_used)
{
	const struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	struct vdpa_nl *nl;
	int fd, cnt = 0;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&any, sizeof(any)), 0);
	ask_and_forget(fd);
	ck_assert_int_eq(vdpa_nl_open_family("nlctrl", fd, &nl), 0);
	ask_and_forget(fd);
	ck_assert_int_eq(request(nl, CTRL_CMD_GETFAMILY, NLM_F_ACK, "nlctrl", accept_reply, &cnt),
			 0);
	ck_assert_int_eq(cnt, 1);
	vdpa_nl_close(nl);
	/* It stays, for the next one. */
	ck_assert_int_eq(vdpa_nl_open_family("nlctrl", fd, &nl), 0);
	ck_assert_int_eq(request(nl, CTRL_CMD_GETFAMILY, NLM_F_ACK, "no-such", NULL, NULL),
			 -ENOENT);
	vdpa_nl_close(nl);
	close(fd);
}
END_TEST

START_TEST(what_is_no_socket_is_refused)
{
	struct vdpa_nl *nl = NULL;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	ck_assert_int_lt(vdpa_nl_open_on(fd, &nl), 0);
	ck_assert_ptr_null(nl);
	close(fd);
}
END_TEST

START_TEST(sockets_are_not_inherited)
{
	struct vdpa_nl *nl;
	int first = open("/dev/null", O_RDONLY), fd;

	close(first);
	nl = open_nlctrl();
	fd = first; /* the lowest free one, which the socket took */
	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	vdpa_nl_close(nl);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

START_TEST(names_are_sent_with_their_nul_and_checked)
{
	struct vdpa_nl *nl = open_nlctrl();
	struct nl_msg *msg = vdpa_request_new(nl, VDPA_CMD_DEV_NEW, NLM_F_ACK);
	char longest[VDPA_NAME_MAX + 1];
	struct nlattr *attr;

	memset(longest, 'x', sizeof(longest));
	longest[VDPA_NAME_MAX] = '\0';
	ck_assert_int_eq(vdpa_request_put_name(msg, VDPA_ATTR_DEV_NAME, ""), -EINVAL);
	ck_assert_int_eq(vdpa_request_put_name(msg, VDPA_ATTR_DEV_NAME, longest), -EINVAL);
	ck_assert_int_eq(vdpa_request_put_name(msg, VDPA_ATTR_DEV_NAME, "db"), 0);
	attr = nlmsg_find_attr(nlmsg_hdr(msg), GENL_HDRLEN, VDPA_ATTR_DEV_NAME);
	ck_assert_ptr_nonnull(attr);
	ck_assert_int_eq(nla_len(attr), 3);
	ck_assert_int_eq(memcmp(nla_data(attr), "db", 3), 0);
	nlmsg_free(msg);
	vdpa_nl_close(nl);
}
END_TEST

START_TEST(close_accepts_null)
{
	vdpa_nl_close(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vdpa");
	TCase *tc = tcase_create("messages");

	tcase_add_test(tc, device_reply_gives_every_field);
	tcase_add_test(tc, management_device_reply_gives_every_field);
	tcase_add_loop_test(tc, malformed_device_reply_is_refused, 0, MALFORMED_CNT);
	tcase_add_loop_test(tc, kernel_errno_arrives_unchanged, 0, ARRAY_SIZE(kernel_errors));
	tcase_add_loop_test(tc, extended_ack_text_is_found_behind_capped_and_whole_request, 0, 2);
	tcase_add_test(tc, extended_ack_that_lies_about_lengths_reads_nothing_outside);
	tcase_add_test(tc, success_and_positive_numbers);
	tcase_add_test(tc, libnl_codes_become_errnos);
	tcase_add_test(tc, open_without_the_module_says_enoent);
	tcase_add_test(tc, kernel_answers_are_taken_to_their_end);
	tcase_add_test(tc, socket_with_answers_to_others_is_used);
	tcase_add_test(tc, what_is_no_socket_is_refused);
	tcase_add_test(tc, sockets_are_not_inherited);
	tcase_add_test(tc, names_are_sent_with_their_nul_and_checked);
	tcase_add_test(tc, close_accepts_null);
	suite_add_tcase(s, tc);
	return run_suite(s);
}
