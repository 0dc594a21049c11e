/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run_suite.h"
#include "vblk/host/host_disk.h"
#include "vblk/host/host_module.h"
#include "vblk/host/host_process.h"
#include "vblk/host/host_vdpa.h"

static char root[64];

static int remove_one(const char *path, const struct stat *st VBLK_UNUSED, int type VBLK_UNUSED,
		      struct FTW *ftw VBLK_UNUSED)
{
	return remove(path);
}

static void setup(void)
{
	strcpy(root, "/tmp/test_host.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static void teardown(void)
{
	nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Makes the directories above @path. */
static void make_parents(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		(void)mkdir(path, 0755);
		*p = '/';
	}
}

static const char *under(const char *path)
{
	static char full[512];

	snprintf(full, sizeof(full), "%s%s", root, path);
	return full;
}

static void put(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s", under(path));
	make_parents(full);
	f = fopen(full, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void put_link(const char *path, const char *target)
{
	char full[512];

	snprintf(full, sizeof(full), "%s", under(path));
	make_parents(full);
	ck_assert_int_eq(symlink(target, full), 0);
}

static const char *content(const char *path)
{
	static char text[256];
	FILE *f = fopen(under(path), "r");
	size_t n;

	ck_assert_ptr_nonnull(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	fclose(f);
	return text;
}

/* ---- modules ---- */

static const char *missing_text(void)
{
	static char text[HOST_MODULE_TEXT_MAX];

	return host_missing_text(root, host_missing_modules(root), text, sizeof(text));
}

#define RELEASE "6.12.5-test"
#define TREE	"/lib/modules/" RELEASE

START_TEST(missing_modules_are_named_with_what_to_do)
{
	put("/proc/sys/kernel/osrelease", RELEASE "\n");
	put(TREE "/modules.dep", "kernel/drivers/vdpa/vdpa.ko.xz: kernel/x/other.ko.xz\n"
				 "kernel/drivers/vdpa/vdpa_user/vduse.ko.xz: kernel/vdpa.ko.xz\n"
				 "kernel/drivers/virtio/virtio_vdpa.ko.xz:\n"
				 "kernel/drivers/block/virtio-blk.ko.xz:\n");
	ck_assert_uint_eq(host_missing_modules(root),
			  HOST_NO_VDUSE | HOST_NO_VDPA | HOST_NO_VIRTIO_VDPA | HOST_NO_VIRTIO_BLK);
	ck_assert_str_eq(missing_text(),
			 "the kernel modules vduse, vdpa, virtio_vdpa, virtio_blk are not loaded: "
			 "run 'modprobe -a vduse virtio_vdpa virtio_blk'");

	put("/dev/vduse/control", "");
	put("/sys/bus/virtio/drivers/virtio_blk/bind", "");
	put("/sys/bus/vdpa/drivers_probe", "");
	ck_assert_uint_eq(host_missing_modules(root), HOST_NO_VIRTIO_VDPA);
	ck_assert_str_eq(missing_text(), "the kernel module virtio_vdpa is not loaded: "
					 "run 'modprobe -a virtio_vdpa'");

	put("/sys/bus/vdpa/drivers/virtio_vdpa/bind", "");
	ck_assert_uint_eq(host_missing_modules(root), 0);
}
END_TEST

static const struct {
	const char *os;
	const char *advice;
} distros[] = {
	{ "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n", "linux-image-6.12-" },
	{ "ID=debian\nVERSION_ID=\"13\"\n", "package linux-image-" },
	{ "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\n", "linux-modules-extra-" RELEASE },
	{ "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "linux-modules-extra-" RELEASE },
	{ "ID=fedora\nVERSION_ID=40\n", "kernel-modules-" RELEASE },
	{ "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "CONFIG_VDPA_USER" },
	{ "", "CONFIG_VDPA_USER" },
};

START_TEST(kernel_without_vduse_is_told_with_what_the_distribution_offers)
{
	put("/proc/sys/kernel/osrelease", RELEASE "\n");
	put("/etc/os-release", distros[_i].os);
	put(TREE "/modules.builtin", "kernel/drivers/block/virtio_blk.ko\n");
	put(TREE "/modules.dep", "kernel/drivers/block/not_vduse.ko:\n");
	put("/sys/bus/virtio/drivers/virtio_blk/bind", "");
	ck_assert_ptr_nonnull(strstr(missing_text(), "this kernel (" RELEASE ") comes without "
						     "vduse, virtio_vdpa: "));
	ck_assert_ptr_nonnull(strstr(missing_text(), distros[_i].advice));
	ck_assert_ptr_null(strstr(missing_text(), "modprobe"));
}
END_TEST

START_TEST(kernel_whose_modules_are_gone_or_hidden_is_told_so)
{
	put("/proc/sys/kernel/osrelease", RELEASE "\n");
	ck_assert_ptr_nonnull(strstr(missing_text(), TREE " is missing): reboot"));
	put(TREE "/modules.dep", "");
	put("/sys/module/vduse/refcnt", "0");
	put("/sys/module/vdpa/refcnt", "0");
	put("/sys/bus/vdpa/drivers/virtio_vdpa/bind", "");
	put("/sys/bus/virtio/drivers/virtio_blk/bind", "");
	ck_assert_ptr_nonnull(strstr(missing_text(), "a container needs /dev/vduse/control"));
}
END_TEST

START_TEST(state_of_a_module_is_found)
{
	ck_assert_int_eq(host_module_state(root, RELEASE, "vduse"), HOST_MODULE_NO_TREE);
	put(TREE "/modules.dep", "a/vduse.ko: a/virtio_vdpa.ko\n");
	ck_assert_int_eq(host_module_state(root, RELEASE, "vduse"), HOST_MODULE_LOADABLE);
	ck_assert_int_eq(host_module_state(root, RELEASE, "virtio_vdpa"), HOST_MODULE_NONE);
	put("/sys/module/vduse/refcnt", "0");
	ck_assert_int_eq(host_module_state(root, RELEASE, "vduse"), HOST_MODULE_LOADED);
}
END_TEST

/* ---- vdpa device ---- */

static void put_vdpa(const char *driver)
{
	char target[64];

	put("/sys/bus/vdpa/devices/db/driver_override", "(null)\n");
	put("/sys/bus/vdpa/drivers/virtio_vdpa/bind", "");
	put("/sys/bus/vdpa/drivers/vhost_vdpa/unbind", "");
	if (!driver)
		return;
	snprintf(target, sizeof(target), "../../../bus/vdpa/drivers/%s", driver);
	put_link("/sys/bus/vdpa/devices/db/driver", target);
}

START_TEST(driver_is_the_last_part_of_the_link)
{
	char driver[HOST_NODE_MAX] = "x";

	ck_assert_int_eq(host_vdpa_driver(root, "db", driver), -ENODEV);
	ck_assert_int_eq(host_vdpa_driver(root, "../db", driver), -ENODEV);
	put_vdpa(NULL);
	ck_assert_int_eq(host_vdpa_driver(root, "db", driver), 0);
	ck_assert_str_eq(driver, "");
	put_link("/sys/bus/vdpa/devices/db/driver", "../../../bus/vdpa/drivers/vhost_vdpa");
	ck_assert_int_eq(host_vdpa_driver(root, "db", driver), 0);
	ck_assert_str_eq(driver, "vhost_vdpa");
}
END_TEST

START_TEST(bind_takes_the_device_from_vhost_vdpa)
{
	put_vdpa("vhost_vdpa");
	ck_assert_int_eq(host_vdpa_bind(root, "db"), 0);
	ck_assert_str_eq(content("/sys/bus/vdpa/devices/db/driver_override"), "virtio_vdpa");
	ck_assert_str_eq(content("/sys/bus/vdpa/drivers/vhost_vdpa/unbind"), "db");
	ck_assert_str_eq(content("/sys/bus/vdpa/drivers/virtio_vdpa/bind"), "db");
}
END_TEST

START_TEST(bind_of_an_unbound_device_unbinds_nothing)
{
	put_vdpa(NULL);
	ck_assert_int_eq(host_vdpa_bind(root, "db"), 0);
	ck_assert_str_eq(content("/sys/bus/vdpa/drivers/vhost_vdpa/unbind"), "");
	ck_assert_str_eq(content("/sys/bus/vdpa/drivers/virtio_vdpa/bind"), "db");
}
END_TEST

START_TEST(bind_of_a_bound_device_writes_nothing)
{
	put_vdpa("virtio_vdpa");
	ck_assert_int_eq(host_vdpa_bind(root, "db"), 0);
	ck_assert_str_eq(content("/sys/bus/vdpa/drivers/virtio_vdpa/bind"), "");
	ck_assert_int_eq(host_vdpa_bind(root, "other"), -ENODEV);
}
END_TEST

START_TEST(bind_without_the_driver_reports_it)
{
	put("/sys/bus/vdpa/devices/db/driver_override", "");
	ck_assert_int_eq(host_vdpa_bind(root, "db"), -ENOENT);
}
END_TEST

START_TEST(disk_is_found_below_the_virtio_device)
{
	char disk[HOST_NODE_MAX] = "";

	ck_assert_int_eq(host_vdpa_disk(root, "db", disk), -ENODEV);
	put("/sys/bus/vdpa/devices/db/uevent", "");
	ck_assert_int_eq(host_vdpa_disk(root, "db", disk), -ENXIO);
	put("/sys/bus/vdpa/devices/db/virtio3/uevent", "");
	ck_assert_int_eq(host_vdpa_disk(root, "db", disk), -ENXIO);
	put("/sys/bus/vdpa/devices/db/virtio3/block/vdc/size", "8\n");
	ck_assert_int_eq(host_vdpa_disk(root, "db", disk), 0);
	ck_assert_str_eq(disk, "vdc");
}
END_TEST

static void count_name(const char *name, void *ctx)
{
	ck_assert_str_ne(name, "control");
	(*(unsigned int *)ctx)++;
}

START_TEST(vduse_devices_are_listed_without_the_control_node)
{
	unsigned int cnt = 0;

	ck_assert_int_eq(host_vduse_each(root, count_name, &cnt), 0);
	put("/sys/class/vduse/control/uevent", "");
	put("/sys/class/vduse/db/uevent", "");
	put("/sys/class/vduse/log/uevent", "");
	ck_assert_int_eq(host_vduse_each(root, count_name, &cnt), 0);
	ck_assert_uint_eq(cnt, 2);
}
END_TEST

START_TEST(vduse_devices_have_numbers_of_their_own)
{
	uint64_t id, other;

	ck_assert_int_eq(host_vduse_id(root, "db", &id), -ENODEV);
	ck_assert_int_eq(host_vduse_id(root, "../db", &id), -ENODEV);
	put("/sys/class/vduse/db/uevent", "");
	put("/sys/class/vduse/log/uevent", "");
	ck_assert_int_eq(host_vduse_id(root, "db", &id), 0);
	ck_assert_int_eq(host_vduse_id(root, "log", &other), 0);
	ck_assert_uint_ne(id, other);
	ck_assert_int_eq(host_vduse_id(root, "db", &other), 0);
	ck_assert_uint_eq(id, other);
}
END_TEST

/* ---- users of a disk ---- */

static void put_disk(void)
{
	put("/sys/block/vda/dev", "253:0\n");
	put("/sys/block/vda/size", "2048\n");
	put("/sys/block/vda/queue/scheduler", "[none] mq-deadline\n");
	put("/sys/block/vda/vda1/dev", "253:1\n");
	put("/sys/block/vda/vda1/partition", "1\n");
	put("/proc/self/mountinfo", "22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n");
	put_link("/proc/self/ns/mnt", "mnt:[1]");
	put("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2  partition 100 0 -2\n");
}

static char users[1024];

static int find_users(void)
{
	return host_disk_users(root, "vda", users, sizeof(users));
}

START_TEST(unused_disk_has_no_users)
{
	put_disk();
	ck_assert_int_eq(find_users(), 0);
	ck_assert_str_eq(users, "");
	ck_assert_int_eq(host_disk_users(root, "vdz", users, sizeof(users)), -ENOENT);
	ck_assert_int_eq(host_disk_users(root, "..", users, sizeof(users)), -ENOENT);
}
END_TEST

static const struct {
	const char *mountinfo;
	const char *expect;
} mount_cases[] = {
	{ "30 22 253:0 / /mnt rw shared:2 - ext4 /dev/vda rw\n", "mounted on /mnt" },
	{ "30 22 253:1 / /mnt rw - xfs /dev/vda1 rw\n", "mounted on /mnt" },
	/* bind mount of a directory, several optional fields */
	{ "30 22 253:0 /d /srv/x rw shared:2 master:1 - ext4 /dev/vda rw\n", "mounted on /srv/x" },
	/* btrfs: an anonymous number, the source tells */
	{ "30 22 0:44 / /b rw - btrfs /dev/vda rw,subvol=/\n", "mounted on /b" },
	{ "30 22 253:0 / /a\\040b\\134c\\011d rw - ext4 /dev/vda rw\n", "mounted on /a b\\c\td" },
	/* not ours: 253:10, a source that only begins alike, a name without /dev */
	{ "30 22 253:10 / /x rw - ext4 /dev/vda10 rw\n", "" },
	{ "30 22 0:50 / /x rw - tmpfs vda rw\n", "" },
	/* not mountinfo at all */
	{ "garbage\n\n - \n1 2 3 - x\n30 22 253:0 / /mnt rw - ext4\n", "" },
};

START_TEST(mounts_are_found_by_number_or_source)
{
	put_disk();
	put("/proc/self/mountinfo", mount_cases[_i].mountinfo);
	ck_assert_int_eq(find_users(), mount_cases[_i].expect[0] ? 1 : 0);
	ck_assert_str_eq(users, mount_cases[_i].expect);
}
END_TEST

START_TEST(mount_of_another_namespace_names_a_process_once)
{
	put_disk();
	for (int pid = 100; pid < 103; pid++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
		put_link(path, "mnt:[2]");
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		put(path, "postgres\n");
		snprintf(path, sizeof(path), "/proc/%d/mountinfo", pid);
		put(path, "30 22 253:0 / /data rw - ext4 /dev/vda rw\n");
	}
	ck_assert_int_eq(find_users(), 1);
	ck_assert_ptr_nonnull(
		strstr(users, "mounted on /data in the mount namespace of postgres (pid 10"));
}
END_TEST

START_TEST(namespace_with_the_same_mount_adds_nothing_of_its_own_when_it_is_ours)
{
	put_disk();
	put("/proc/self/mountinfo", "30 22 253:0 / /mnt rw - ext4 /dev/vda rw\n");
	put_link("/proc/7/ns/mnt", "mnt:[1]");
	put("/proc/7/mountinfo", "30 22 253:0 / /mnt rw - ext4 /dev/vda rw\n");
	ck_assert_int_eq(find_users(), 1);
	ck_assert_str_eq(users, "mounted on /mnt");
}
END_TEST

START_TEST(swap_on_disk_and_partition)
{
	put_disk();
	put("/proc/swaps", "Filename Type Size Used Priority\n/dev/vda\tpartition 1 0 -2\n");
	ck_assert_int_eq(find_users(), 1);
	ck_assert_str_eq(users, "swap");
	put("/proc/swaps", "Filename Type Size Used Priority\n/dev/vda1\tpartition 1 0 -2\n");
	ck_assert_int_eq(find_users(), 1);
	ck_assert_str_eq(users, "swap on /dev/vda1");
}
END_TEST

/* The disk, its partition, and a volume, an array and a loop device that stand on these. */
static void put_stack(void)
{
	put_disk();
	put_link("/sys/class/block/vda", "../../block/vda");
	put_link("/sys/class/block/vda1", "../../block/vda/vda1");
	put("/sys/block/dm-0/dev", "254:0\n");
	put_link("/sys/block/dm-0/slaves/vda1", "../../vda/vda1");
	put_link("/sys/class/block/dm-0", "../../block/dm-0");
	put("/sys/block/md0/dev", "9:0\n");
	put_link("/sys/block/md0/slaves/sda", "../../sda");
	put_link("/sys/block/md0/slaves/dm-0", "../../dm-0");
	put_link("/sys/class/block/md0", "../../block/md0");
	put("/sys/block/loop3/dev", "7:3\n");
	put("/sys/block/loop3/loop/backing_file", "/srv/images/x\n");
	put_link("/sys/class/block/loop3", "../../block/loop3");
	put("/sys/block/sda/dev", "8:0\n");
	put("/sys/block/sda/sda2/dev", "8:2\n");
	put("/sys/block/sda/sda2/partition", "2\n");
	put_link("/sys/class/block/sda2", "../../block/sda/sda2");
	put_link("/sys/dev/block/253:1", "../../block/vda/vda1");
	put_link("/sys/dev/block/8:1", "../../block/sda/sda1");
	put("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
				    "23 22 253:1 / /srv rw - ext4 /dev/vda1 rw\n"
				    "24 23 8:1 / /srv/other rw - ext4 /dev/sda1 rw\n");
}

static const struct {
	const char *swap;
	bool expect;
} swap_cases[] = {
	{ "/dev/vda partition", true },
	{ "/dev/vda1\tpartition", true },
	{ "/dev/dm-0 partition", true },
	{ "/dev/md0 partition", true },
	{ "/dev/loop3 partition", true },
	{ "/srv/swap file", true },
	{ "/srv/a\\040b file", true },
	/* a mount below the mount, and names that only begin alike */
	{ "/srv/other/swap file", false },
	{ "/srvice/swap file", false },
	{ "/swap file", false },
	{ "/dev/sda2 partition", false },
	{ "/dev/zram0 partition", false },
};

START_TEST(swap_on_what_stands_on_the_disk_is_swap_on_the_disk)
{
	char text[256];

	put_stack();
	snprintf(text, sizeof(text), "Filename Type Size Used Priority\n%s 1 0 -2\n",
		 swap_cases[_i].swap);
	put("/proc/swaps", text);
	ck_assert_int_eq(host_disk_is_swap(root, "vda"), swap_cases[_i].expect);
}
END_TEST

START_TEST(swap_is_looked_for_in_all_lines)
{
	put_stack();
	put("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"
			   "/dev/vda partition 1 0 -3\n");
	ck_assert(host_disk_is_swap(root, "vda"));
	ck_assert(!host_disk_is_swap(root, "vdb"));
	ck_assert(!host_disk_is_swap("/nowhere", "vda"));
}
END_TEST

START_TEST(disk_that_stands_on_itself_ends_the_search)
{
	put_stack();
	put("/sys/block/dm-1/dev", "254:1\n");
	put_link("/sys/block/dm-1/slaves/dm-1", "../../dm-1");
	put_link("/sys/class/block/dm-1", "../../block/dm-1");
	put("/proc/swaps", "Filename Type Size Used Priority\n/dev/dm-1 partition 1 0 -2\n");
	ck_assert(!host_disk_is_swap(root, "vda"));
}
END_TEST

START_TEST(devices_on_top_are_named)
{
	put_disk();
	put("/sys/block/vda/holders/dm-0/uevent", "");
	put("/sys/block/dm-0/dm/name", "vg-data\n");
	put("/sys/block/vda/vda1/holders/md0/uevent", "");
	put("/sys/block/loop3/loop/backing_file", "/dev/vda\n");
	put("/sys/block/loop4/loop/backing_file", "/srv/vda\n");
	put("/sys/block/loop5/size", "0\n");
	ck_assert_int_eq(find_users(), 3);
	ck_assert_str_eq(users, "held by dm-0 (vg-data), held by md0, held by loop3");
}
END_TEST

START_TEST(btrfs_member_without_a_mount_of_its_name)
{
	put_disk();
	put("/sys/fs/btrfs/1234-5678/devices/vda", "");
	ck_assert_int_eq(find_users(), 1);
	ck_assert_str_eq(users, "held by btrfs 1234-5678");
}
END_TEST

START_TEST(processes_with_the_disk_open_except_udev)
{
	put_disk();
	put("/proc/123/comm", "dd\n");
	put_link("/proc/123/fd/0", "/dev/null");
	put_link("/proc/123/fd/3", "/dev/vda");
	put_link("/proc/123/fd/4", "/dev/vda1");
	put("/proc/124/comm", "(udev-worker)\n");
	put_link("/proc/124/fd/3", "/dev/vda");
	put("/proc/125/comm", "cat\n");
	put_link("/proc/125/fd/3", "/home/vda");
	put("/proc/irq/x", "");
	ck_assert_int_eq(find_users(), 1);
	ck_assert_str_eq(users, "open in dd (pid 123)");
}
END_TEST

START_TEST(more_than_five_users_are_counted)
{
	char lines[1024] = "";

	put_disk();
	for (int i = 0; i < 8; i++)
		snprintf(lines + strlen(lines), sizeof(lines) - strlen(lines),
			 "3%d 22 253:0 / /m%d rw - ext4 /dev/vda rw\n", i, i);
	put("/proc/self/mountinfo", lines);
	ck_assert_int_eq(find_users(), 8);
	ck_assert_str_eq(users, "mounted on /m0, mounted on /m1, mounted on /m2, mounted on /m3, "
				"mounted on /m4 and 3 more");
}
END_TEST

START_TEST(small_buffer_keeps_whole_users)
{
	char small[40];

	put_disk();
	put("/proc/self/mountinfo", "30 22 253:0 / /m1 rw - ext4 /dev/vda rw\n"
				    "31 22 253:0 / /m2-a-longer-name rw - ext4 /dev/vda rw\n");
	ck_assert_int_eq(host_disk_users(root, "vda", small, sizeof(small)), 2);
	ck_assert_str_eq(small, "mounted on /m1 and 1 more");
	ck_assert_int_eq(host_disk_users(root, "vda", small, 1), 2);
	ck_assert_str_eq(small, "");
}
END_TEST

START_TEST(attributes_are_read_and_written)
{
	char text[64];

	put_disk();
	ck_assert_int_eq(host_disk_get_attr(root, "vda", "size", text, sizeof(text)), 0);
	ck_assert_str_eq(text, "2048");
	ck_assert_int_eq(host_disk_set_queue_attr(root, "vda", "scheduler", "none"), 0);
	ck_assert_int_eq(host_disk_get_attr(root, "vda", "queue/scheduler", text, sizeof(text)), 0);
	ck_assert_int_eq(strncmp(text, "none", 4), 0);
	ck_assert_int_eq(host_disk_set_queue_attr(root, "vda", "nothing", "1"), -ENOENT);
	ck_assert_int_eq(host_disk_get_attr(root, "vda", "../x", text, sizeof(text)), -ENOENT);
}
END_TEST

START_TEST(claim_of_a_disk_that_is_not_there)
{
	int fd = -1;

	ck_assert_int_eq(host_disk_claim("no-such-disk", &fd), -ENOENT);
	ck_assert_int_eq(host_disk_claim("../etc/passwd", &fd), -ENOENT);
	ck_assert_int_eq(fd, -1);
}
END_TEST

static void sum_pids(pid_t pid, void *ctx)
{
	*(int *)ctx += (int)pid;
}

START_TEST(every_thread_of_a_process_is_found)
{
	int sum = 0;

	put("/proc/7/task/7/stat", "");
	put("/proc/7/task/20/stat", "");
	put("/proc/8/task/8/stat", "");
	host_process_each_thread(root, 7, sum_pids, &sum);
	ck_assert_int_eq(sum, 27);
	host_process_each_thread(root, 9, sum_pids, &sum);
	ck_assert_int_eq(sum, 27);
}
END_TEST

START_TEST(only_who_leads_a_session_says_what_it_weighs)
{
	char text[8] = "";
	int status;
	FILE *f;
	pid_t pid;

	put("/proc/self/autogroup", "");
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		if (host_session_set_nice(root, 5) != -EBUSY || setsid() < 0)
			_exit(1);
		_exit(host_session_set_nice(root, 1) < 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	f = fopen(under("/proc/self/autogroup"), "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
	fclose(f);
	ck_assert_str_eq(text, "1");
}
END_TEST

/* The real /proc must be digestible, whatever this machine is. */
START_TEST(real_proc_is_read_without_error)
{
	int r = host_disk_users("", "no-such-disk", users, sizeof(users));

	ck_assert_int_eq(r, -ENOENT);
	if (access("/sys/block/loop0/dev", F_OK) == 0)
		ck_assert_int_ge(host_disk_users("", "loop0", users, sizeof(users)), 0);
}
END_TEST

static TCase *vdpa_case(void)
{
	TCase *tc = tcase_create("vdpa");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, missing_modules_are_named_with_what_to_do);
	tcase_add_loop_test(tc, kernel_without_vduse_is_told_with_what_the_distribution_offers, 0,
			    ARRAY_SIZE(distros));
	tcase_add_test(tc, kernel_whose_modules_are_gone_or_hidden_is_told_so);
	tcase_add_test(tc, state_of_a_module_is_found);
	tcase_add_test(tc, driver_is_the_last_part_of_the_link);
	tcase_add_test(tc, bind_takes_the_device_from_vhost_vdpa);
	tcase_add_test(tc, bind_of_an_unbound_device_unbinds_nothing);
	tcase_add_test(tc, bind_of_a_bound_device_writes_nothing);
	tcase_add_test(tc, bind_without_the_driver_reports_it);
	tcase_add_test(tc, disk_is_found_below_the_virtio_device);
	tcase_add_test(tc, vduse_devices_are_listed_without_the_control_node);
	tcase_add_test(tc, vduse_devices_have_numbers_of_their_own);
	return tc;
}

static TCase *disk_case(void)
{
	TCase *tc = tcase_create("disk");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, unused_disk_has_no_users);
	tcase_add_loop_test(tc, mounts_are_found_by_number_or_source, 0, ARRAY_SIZE(mount_cases));
	tcase_add_test(tc, mount_of_another_namespace_names_a_process_once);
	tcase_add_test(tc, namespace_with_the_same_mount_adds_nothing_of_its_own_when_it_is_ours);
	tcase_add_test(tc, swap_on_disk_and_partition);
	tcase_add_loop_test(tc, swap_on_what_stands_on_the_disk_is_swap_on_the_disk, 0,
			    ARRAY_SIZE(swap_cases));
	tcase_add_test(tc, swap_is_looked_for_in_all_lines);
	tcase_add_test(tc, disk_that_stands_on_itself_ends_the_search);
	tcase_add_test(tc, devices_on_top_are_named);
	tcase_add_test(tc, btrfs_member_without_a_mount_of_its_name);
	tcase_add_test(tc, processes_with_the_disk_open_except_udev);
	tcase_add_test(tc, more_than_five_users_are_counted);
	tcase_add_test(tc, small_buffer_keeps_whole_users);
	tcase_add_test(tc, attributes_are_read_and_written);
	tcase_add_test(tc, claim_of_a_disk_that_is_not_there);
	tcase_add_test(tc, every_thread_of_a_process_is_found);
	tcase_add_test(tc, only_who_leads_a_session_says_what_it_weighs);
	tcase_add_test(tc, real_proc_is_read_without_error);
	return tc;
}

int main(void)
{
	Suite *s = suite_create("host");

	suite_add_tcase(s, vdpa_case());
	suite_add_tcase(s, disk_case());
	return run_suite(s);
}
