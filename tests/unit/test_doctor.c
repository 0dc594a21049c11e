/* SPDX-License-Identifier: MIT */
/* vblkctl doctor, on hosts made of a directory and of facts. */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "run_suite.h"
#include "vblk/util/math.h"

#define RELEASE "6.12.5-test"

static char root[64];
static struct doctor_facts facts;
static struct device devices[2];
static struct doctor doctor;

static void put(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *p = full + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		(void)mkdir(full, 0755);
		*p = '/';
	}
	f = fopen(full, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

/* A host with which nothing is wrong. */
static void setup(void)
{
	strcpy(root, "/tmp/test_doctor.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	put("/dev/vduse/control", "");
	put("/sys/bus/vdpa/drivers/virtio_vdpa/bind", "");
	put("/sys/bus/virtio/drivers/virtio_blk/bind", "");
	put("/proc/sys/kernel/osrelease", RELEASE "\n");
	put("/proc/sys/vm/min_free_kbytes", "67584\n");
	put("/proc/self/uid_map", "         0          0 4294967295\n");
	facts = (struct doctor_facts){
		.caps = UINT64_MAX,
		.nofile = { .rlim_cur = 1024, .rlim_max = 4096 },
		.memlock = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY },
		.vduse = { .umem = true },
		.has_program = true,
		.has_user = true,
		.user_gid = 997,
	};
	memset(devices, 0, sizeof(devices));
	doctor = (struct doctor){ .root = root, .facts = &facts, .devices = devices };
}

static int remove_one(const char *path, const struct stat *st VBLK_UNUSED, int type VBLK_UNUSED,
		      struct FTW *ftw VBLK_UNUSED)
{
	return remove(path);
}

static void teardown(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	json_decref(doctor.lines);
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		json_decref(devices[i].status);
}

static void examine(void)
{
	json_decref(doctor.lines);
	doctor.lines = json_array();
	doctor.worst = DOCTOR_OK;
	doctor_check(&doctor);
}

/* The text of the one line about @check that is not "ok"; the verdict must be @verdict. */
static const char *complaint(const char *check, const char *verdict)
{
	const char *found = NULL;

	for (size_t i = 0; i < json_array_size(doctor.lines); i++) {
		const json_t *line = json_array_get(doctor.lines, i);
		const char *is = json_string_value(json_object_get(line, "verdict"));
		const char *text = json_string_value(json_object_get(line, "text"));

		if (!strcmp(is, "ok"))
			continue;
		ck_assert_msg(!strcmp(json_string_value(json_object_get(line, "check")), check),
			      "another complaint: %s", text);
		ck_assert_str_eq(is, verdict);
		ck_assert_msg(!found, "two complaints: %s; %s", found, text);
		found = text;
	}
	ck_assert_msg(found != NULL, "no complaint about %s", check);
	return found;
}

static void expect(const char *check, const char *verdict, const char *text)
{
	examine();
	ck_assert_msg(strstr(complaint(check, verdict), text) != NULL, "'%s' is not in '%s'", text,
		      complaint(check, verdict));
	ck_assert_int_eq(doctor.worst,
			 !strcmp(verdict, "problem") ? DOCTOR_PROBLEM : DOCTOR_WARNING);
}

START_TEST(good_host_has_only_good_lines)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(f);
	examine();
	ck_assert_int_eq(doctor.worst, DOCTOR_OK);
	doctor_print(f, &doctor);
	fclose(f);
	ck_assert_str_eq(
		text,
		"ok       kernel    Linux " RELEASE "\n"
		"ok       modules   vduse, vdpa, virtio_vdpa and virtio_blk are there\n"
		"ok       vduse     devices can be made; interface version 0 of 0 to 0\n"
		"ok       umem      data in flight can be in memory of vblkd's own (--umem)\n"
		"ok       netlink   the vdpa bus takes VDUSE block devices\n"
		"ok       user      root, with all capabilities that are needed; daemons run as vblkd\n"
		"ok       limits    open files and locked memory are enough, or raised at the start\n"
		"ok       io_uring  rings can be made, every operation is known\n"
		"ok       memory    the kernel keeps enough free, also for swap on a disk\n"
		"ok       program   vblkd is installed\n"
		"\nThis host is ready for disks.\n");
	free(text);
}
END_TEST

START_TEST(json_has_the_same_lines)
{
	json_t *json;

	facts.has_program = false;
	examine();
	json = doctor_json(&doctor);
	ck_assert_str_eq(json_string_value(json_object_get(json, "verdict")), "problem");
	ck_assert_uint_eq(json_array_size(json_object_get(json, "checks")), 10);
	json_decref(json);
}
END_TEST

/* One file of the host is different. */
static const struct {
	const char *path; /* without content: removed */
	const char *content;
	const char *check, *verdict, *text;
} files[] = {
	{ "/dev/vduse/control", NULL, "modules", "problem", "vduse" },
	{ "/sys/bus/vdpa/drivers/virtio_vdpa/bind", NULL, "modules", "problem", "virtio_vdpa" },
	{ "/proc/sys/kernel/io_uring_disabled", "2\n", "io_uring", "problem",
	  "sysctl kernel.io_uring_disabled=0" },
	{ "/proc/sys/kernel/io_uring_disabled", "1\n", "io_uring", "problem", "switched off" },
	{ "/proc/sys/vm/min_free_kbytes", "4096\n", "memory", "warning",
	  "sysctl vm.min_free_kbytes=16384" },
	{ "/proc/sys/kernel/hung_task_panic", "1\n", "memory", "warning", "hung_task_panic=0" },
	{ "/proc/self/uid_map", "0 1000 1\n", "user", "problem", "root of the host" },
};

START_TEST(each_file_has_its_verdict)
{
	char full[512];

	if (files[_i].content) {
		put(files[_i].path, files[_i].content);
	} else {
		snprintf(full, sizeof(full), "%s%s", root, files[_i].path);
		ck_assert_int_eq(remove(full), 0);
		*strrchr(full, '/') = '\0';
		(void)remove(full);
	}
	expect(files[_i].check, files[_i].verdict, files[_i].text);
}
END_TEST

START_TEST(io_uring_for_one_group_is_a_warning)
{
	put("/proc/sys/kernel/io_uring_disabled", "1\n");
	put("/proc/sys/kernel/io_uring_group", "998\n");
	expect("io_uring", "warning", "only group 998");
	facts.user_gid = 998;
	examine();
	ck_assert_int_eq(doctor.worst, DOCTOR_OK);
}
END_TEST

static const struct {
	int ring;
	const char *ring_missing;
	const char *text;
} rings[] = {
	{ -ENOSYS, "", "has no io_uring" },
	{ -EPERM, "", "seccomp" },
	{ -ENOMEM, "", "Cannot allocate memory" },
	{ 0, "FALLOCATE, READ", "does not know FALLOCATE, READ" },
};

START_TEST(ring_that_cannot_be_made_is_a_problem)
{
	facts.ring = rings[_i].ring;
	strcpy(facts.ring_missing, rings[_i].ring_missing);
	expect("io_uring", "problem", rings[_i].text);
}
END_TEST

static const struct {
	int netlink;
	const char *text;
} netlinks[] = {
	{ -ETIMEDOUT, "does not answer" },
	{ -ENOENT, "network namespace" },
	{ -ENODEV, "modprobe vduse" },
	{ -ENOMEM, "Cannot allocate memory" },
};

START_TEST(netlink_that_does_not_serve_is_a_problem)
{
	facts.netlink = netlinks[_i].netlink;
	expect("netlink", "problem", netlinks[_i].text);
}
END_TEST

START_TEST(vduse_that_refuses_is_a_problem)
{
	facts.vduse_result = -EPERM;
	expect("vduse", "problem", "Operation not permitted");
}
END_TEST

START_TEST(missing_umem_is_a_warning)
{
	facts.vduse.umem = false;
	expect("umem", "warning", "--umem=on does not work");
}
END_TEST

static const unsigned int needed_caps[] = { CAP_NET_ADMIN, CAP_SYS_RESOURCE, CAP_SETPCAP,
					    CAP_SETUID,	   CAP_SETGID,	     CAP_CHOWN };

START_TEST(missing_capability_is_a_problem)
{
	facts.caps &= ~(1ull << needed_caps[_i]);
	expect("user", "problem", "CAP_");
}
END_TEST

START_TEST(missing_user_is_a_warning_and_needs_less)
{
	facts.has_user = false;
	facts.caps &= ~(1ull << CAP_SETUID | 1ull << CAP_SETGID | 1ull << CAP_CHOWN);
	expect("user", "warning", "daemons run as root");
}
END_TEST

START_TEST(without_root_only_that_is_a_problem)
{
	facts.euid = 1000;
	facts.caps = 0;
	facts.memlock.rlim_max = 65536;
	facts.vduse_result = DOCTOR_NOT_ASKED;
	expect("user", "problem", "sudo vblkctl doctor");
}
END_TEST

START_TEST(few_open_files_are_a_warning)
{
	facts.nofile.rlim_cur = 256;
	expect("limits", "warning", "ulimit -n 1024");
}
END_TEST

START_TEST(missing_program_is_a_problem)
{
	facts.has_program = false;
	expect("program", "problem", "install it again");
}
END_TEST

static const struct {
	enum device_condition condition;
	const char *status;
	const char *verdict, *text;
} conditions[] = {
	{ DEVICE_ORPHAN, "{\"backend\":\"/a\"}", "problem", "run 'vblkctl attach --name=db" },
	{ DEVICE_REMAINS, "{}", "warning", "vblkctl detach db" },
	{ DEVICE_SILENT, "{}", "warning", "does not answer" },
	{ DEVICE_ANSWERS, "{\"broken\":true}", "problem", "vblkctl detach --force db" },
	{ DEVICE_ANSWERS, "{\"state\":\"ready\",\"stuck\":2}", "problem", "vblkctl show db" },
	{ DEVICE_ANSWERS,
	  "{\"state\":\"ready\",\"stuck\":2,\"server_connected\":false,"
	  "\"server_error\":\"start it\"}",
	  "problem", "server of its backend: start it" },
};

START_TEST(each_device_that_needs_a_hand_is_told_of)
{
	devices[0] = (struct device){ .name = "good", .condition = DEVICE_ANSWERS };
	devices[0].status = json_loads("{\"state\":\"ready\"}", 0, NULL);
	devices[1] = (struct device){ .name = "db", .condition = conditions[_i].condition };
	devices[1].status = json_loads(conditions[_i].status, 0, NULL);
	doctor.device_cnt = 1;
	examine();
	ck_assert_int_eq(doctor.worst, DOCTOR_OK);
	doctor.device_cnt = 2;
	expect("devices", conditions[_i].verdict, conditions[_i].text);
}
END_TEST

START_TEST(scheduler_of_a_disk_that_does_not_turn_is_a_warning)
{
	devices[0] = (struct device){ .name = "db", .node = "/dev/vdb" };
	devices[0].status = json_loads("{\"state\":\"ready\"}", 0, NULL);
	doctor.device_cnt = 1;
	put("/sys/block/vdb/queue/scheduler", "none [mq-deadline]\n");
	put("/sys/block/vdb/queue/rotational", "1\n");
	examine();
	ck_assert_int_eq(doctor.worst, DOCTOR_OK);
	put("/sys/block/vdb/queue/rotational", "0\n");
	expect("devices", "warning", "echo none >/sys/block/vdb/queue/scheduler");
	put("/sys/block/vdb/queue/scheduler", "[none] mq-deadline\n");
	examine();
	ck_assert_int_eq(doctor.worst, DOCTOR_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("doctor");
	TCase *tc = tcase_create("host");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, good_host_has_only_good_lines);
	tcase_add_test(tc, json_has_the_same_lines);
	tcase_add_loop_test(tc, each_file_has_its_verdict, 0, ARRAY_SIZE(files));
	tcase_add_test(tc, io_uring_for_one_group_is_a_warning);
	tcase_add_loop_test(tc, ring_that_cannot_be_made_is_a_problem, 0, ARRAY_SIZE(rings));
	tcase_add_loop_test(tc, netlink_that_does_not_serve_is_a_problem, 0, ARRAY_SIZE(netlinks));
	tcase_add_test(tc, vduse_that_refuses_is_a_problem);
	tcase_add_test(tc, missing_umem_is_a_warning);
	tcase_add_loop_test(tc, missing_capability_is_a_problem, 0, ARRAY_SIZE(needed_caps));
	tcase_add_test(tc, missing_user_is_a_warning_and_needs_less);
	tcase_add_test(tc, without_root_only_that_is_a_problem);
	tcase_add_test(tc, few_open_files_are_a_warning);
	tcase_add_test(tc, missing_program_is_a_problem);
	tcase_add_loop_test(tc, each_device_that_needs_a_hand_is_told_of, 0,
			    ARRAY_SIZE(conditions));
	tcase_add_test(tc, scheduler_of_a_disk_that_does_not_turn_is_a_warning);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
