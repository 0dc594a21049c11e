/* SPDX-License-Identifier: MIT */
/* Options, run directory, record file and keeper-worker messages of vblkd. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inflight_file.h"
#include "link.h"
#include "options.h"
#include "run_dir.h"
#include "run_suite.h"
#include "vblk/util/compiler.h"
#include "vblk/virtqueue/vq_inflight.h"

#define DEVICE_ID 4711u

static char dir_template[] = "/tmp/vblkd-test.XXXXXX";
static char dir[sizeof(dir_template)];

static void setup(void)
{
	memcpy(dir, dir_template, sizeof(dir));
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(setenv("VBLKD_RUN_DIR", dir, 1), 0);
	/* What the tests provoke on purpose is no news. */
	log_setup("test", 0, LOG_LEVEL_ERROR);
}

static void teardown(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* ---- options ---- */

static enum options_result parse(struct vblkd_config *config, const char *const *words)
{
	char *argv[24] = { (char *)"vblkd" };
	int argc = 1;

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)words[argc - 1];
	config_init(config);
	return options_parse(argc, argv, config);
}

static const char *const refused[][6] = {
	{ NULL },
	{ "a", "b" },
	{ "--nonsense", "mem:1M" },
	{ "-x", "mem:1M" },
	{ "mem:1M", "--name" },
	{ "--name=", "mem:1M" },
	{ "--name=../x", "mem:1M" },
	{ "--name=control", "mem:1M" },
	{ "--name=.x", "mem:1M" },
	{ "--nam=x", "mem:1M" }, /* no abbreviations */
	{ "--direct=yes", "mem:1M" },
	{ "--serial=123456789012345678901", "mem:1M" },
	{ "--serial=a b", "mem:1M" },
	{ "--queues=0", "mem:1M" },
	{ "--queues=65", "mem:1M" },
	{ "--queues=2x", "mem:1M" },
	{ "--queue-size=100", "mem:1M" },
	{ "--queue-size=8", "mem:1M" },
	{ "--queue-size=2048", "mem:1M" },
	{ "--block-size=256", "mem:1M" },
	{ "--block-size=8K", "mem:1M" },
	{ "--block-size=1000", "mem:1M" },
	{ "--physical-block-size=2M", "mem:1M" },
	{ "--cache=none", "mem:1M" },
	{ "--discard=yes", "mem:1M" },
	{ "--msg-timeout=0", "mem:1M" },
	{ "--msg-timeout=-1", "mem:1M" },
	{ "--bounce-size=1K", "mem:1M" },
	{ "--bounce-size=2G", "mem:1M" },
	{ "--bounce-size=1048577", "mem:1M" },
	{ "--umem=maybe", "mem:1M" },
	{ "--poll=maybe", "mem:1M" },
	{ "--poll", "mem:1M" },
	{ "--log-level=loud", "mem:1M" },
	{ "--socket=", "mem:1M" },
	{ "--socket=/x/", "mem:1M" },
	{ "--socket=/x.sock", "--umem=auto", "mem:1M" },
	{ "--socket=/x.sock", "--bounce-size=2M", "mem:1M" },
	{ "--socket=/x.sock", "--msg-timeout=20", "mem:1M" },
	{ "--socket=/x.sock", "--attach-timeout=20", "mem:1M" },
	{ "--socket=/x.sock", "--socket-mode=999", "mem:1M" },
	{ "--socket=/x.sock", "--socket-mode=7777", "mem:1M" },
	{ "--socket=/x.sock", "--socket-mode=u+r", "mem:1M" },
	{ "--socket-mode=0600", "mem:1M" },
	{ "--served", "mem:1M" },
	{ "--detached", "--socket=/x.sock", "mem:1M" },
	{ "mem:12Q" },
	{ "null:" },
	{ "fault:eio:mem:12Q" },
	{ "/" }, /* no name can be made of it */
};

START_TEST(wrong_command_lines_are_usage_errors)
{
	struct vblkd_config config;

	ck_assert_int_eq(parse(&config, refused[_i]), OPTIONS_USAGE);
	config_fini(&config);
}
END_TEST

START_TEST(socket_gives_the_name_and_other_defaults)
{
	const char *const disk[] = { "mem:1M", NULL };
	const char *const served[] = { "--socket=/run/vm/db.v2.sock", "mem:1M", NULL };
	const char *const plain[] = {
		"--socket=/run/x",    "--indirect=off", "--poll=off", "--name=n",
		"--socket-mode=0660", "mem:1M",		NULL
	};
	struct vblkd_config config;

	ck_assert_int_eq(parse(&config, disk), OPTIONS_RUN);
	ck_assert_str_eq(config.socket, "");
	ck_assert(!config.indirect);
	ck_assert_int_eq(config.poll, VDEV_POLL_OFF);
	config_fini(&config);
	ck_assert_int_eq(parse(&config, served), OPTIONS_RUN);
	ck_assert_str_eq(config.socket, "/run/vm/db.v2.sock");
	ck_assert_str_eq(config.name, "db");
	ck_assert_str_eq(config.serial, "db");
	ck_assert_uint_eq(config.socket_mode, 0600);
	ck_assert(config.indirect);
	ck_assert_int_eq(config.poll, VDEV_POLL_ADAPTIVE);
	config_fini(&config);
	ck_assert_int_eq(parse(&config, plain), OPTIONS_RUN);
	ck_assert_str_eq(config.name, "n");
	ck_assert_uint_eq(config.socket_mode, 0660);
	ck_assert(!config.indirect);
	ck_assert_int_eq(config.poll, VDEV_POLL_OFF);
	config_fini(&config);
}
END_TEST

START_TEST(every_option_reaches_the_configuration)
{
	const char *const words[] = { "--name=db",
				      "--serial",
				      "S-1",
				      "--read-only",
				      "--queues=2",
				      "--queue-size=64",
				      "--block-size=4K",
				      "--physical-block-size=16K",
				      "--direct",
				      "--cache=writethrough",
				      "--discard=off",
				      "--msg-timeout=120",
				      "--bounce-size=256M",
				      "--umem=on",
				      "--poll=adaptive",
				      "mem:1M",
				      NULL };
	struct vblkd_config config;

	ck_assert_int_eq(parse(&config, words), OPTIONS_RUN);
	ck_assert_str_eq(config.name, "db");
	ck_assert_str_eq(config.serial, "S-1");
	ck_assert_str_eq(config.bdev.spec, "mem:1M");
	ck_assert(config.bdev.read_only && config.bdev.direct && config.bdev.writethrough);
	ck_assert(!config.bdev.discard);
	ck_assert_uint_eq(config.queues, 2);
	ck_assert_uint_eq(config.queue_size, 64);
	ck_assert_uint_eq(config.bdev.logical_block_bytes, 4096);
	ck_assert_uint_eq(config.bdev.physical_block_bytes, 16384);
	ck_assert_uint_eq(config.msg_timeout_s, 120);
	ck_assert_uint_eq(config.bounce_bytes, 256u << 20);
	ck_assert_int_eq(config.umem, VDUSE_UMEM_ON);
	ck_assert_int_eq(config.poll, VDEV_POLL_ADAPTIVE);
	config_fini(&config);
}
END_TEST

START_TEST(name_and_serial_come_from_the_image)
{
	const char *const words[] = { "/nonexistent/my db.qcow.img", NULL };
	struct vblkd_config config;

	ck_assert_int_eq(parse(&config, words), OPTIONS_RUN);
	ck_assert_str_eq(config.name, "my_db");
	ck_assert_str_eq(config.serial, "my_db");
	ck_assert(config.bdev.discard && !config.bdev.writethrough && !config.bdev.direct);
	ck_assert_uint_eq(config.msg_timeout_s, CONFIG_MSG_TIMEOUT_DEFAULT_S);
	config_fini(&config);
}
END_TEST

START_TEST(path_behind_fault_rules_is_absolute_too)
{
	static const struct {
		const char *backend, *before;
		bool is_path;
	} cases[] = {
		{ ".", "", true },
		{ "file:.", "", true },
		{ "fault:eio@0+4K,reorder:.", "fault:eio@0+4K,reorder:", true },
		{ "fault:eio:fault:hang:file:.", "fault:eio:fault:hang:", true },
		{ "fault:eio:mem:1M", "fault:eio:mem:1M", false },
	};
	char cwd[PATH_MAX], want[PATH_MAX + 64];

	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *const words[] = { "--name=x", cases[i].backend, NULL };
		struct vblkd_config config;

		snprintf(want, sizeof(want), "%s%s", cases[i].before, cases[i].is_path ? cwd : "");
		ck_assert_int_eq(parse(&config, words), OPTIONS_RUN);
		ck_assert_str_eq(config.bdev.spec, want);
		config_fini(&config);
	}
}
END_TEST

/* ---- run directory ---- */

START_TEST(second_keeper_of_a_name_is_refused_with_the_pid)
{
	struct run_dir first, second;
	int pid = 0;

	ck_assert_int_eq(run_dir_open("a", &first, &pid), 0);
	ck_assert_int_eq(run_dir_open("a", &second, &pid), -EBUSY);
	ck_assert_int_eq(pid, getpid());
	run_dir_close(&first);
	ck_assert_int_eq(run_dir_open("a", &second, &pid), 0);
	run_dir_remove(&second);
}
END_TEST

START_TEST(removed_directory_leaves_nothing)
{
	struct run_dir rd;
	char path[128];
	json_t *state = json_pack("{s:s}", "name", "a");
	int pid, fd = -1;

	ck_assert_int_eq(run_dir_open("a", &rd, &pid), 0);
	ck_assert_int_eq(run_dir_write_state(&rd, state), 0);
	ck_assert_int_eq(run_dir_listen(&rd, &fd), 0);
	/* A left-over socket is replaced. */
	close(fd);
	ck_assert_int_eq(run_dir_listen(&rd, &fd), 0);
	close(fd);
	run_dir_remove(&rd);
	json_decref(state);
	snprintf(path, sizeof(path), "%s/a", dir);
	ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(directory_that_others_can_write_is_refused)
{
	struct run_dir rd;
	char path[128];
	int pid;

	snprintf(path, sizeof(path), "%s/a", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(chmod(path, 0777), 0);
	ck_assert_int_eq(run_dir_open("a", &rd, &pid), -EPERM);
}
END_TEST

START_TEST(planted_link_is_refused)
{
	struct run_dir rd;
	char path[128];
	int pid;

	snprintf(path, sizeof(path), "%s/a", dir);
	ck_assert_int_eq(symlink("/tmp", path), 0);
	ck_assert_int_lt(run_dir_open("a", &rd, &pid), 0);
}
END_TEST

START_TEST(directory_above_that_others_can_write_is_refused)
{
	struct run_dir rd;
	int pid;

	ck_assert_int_eq(chmod(dir, _i ? 0702 : 0720), 0);
	ck_assert_int_eq(run_dir_open("a", &rd, &pid), -EPERM);
	ck_assert_int_eq(chmod(dir, 0700), 0);
	ck_assert_int_eq(run_dir_open("a", &rd, &pid), 0);
	run_dir_remove(&rd);
}
END_TEST

START_TEST(directory_of_somebody_else_is_refused)
{
	struct run_dir rd;
	char path[128];
	int pid;

	if (geteuid() != 0)
		return;
	snprintf(path, sizeof(path), "%s/a", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(chown(path, 65534, 65534), 0);
	ck_assert_int_eq(run_dir_open("a", &rd, &pid), -EPERM);
}
END_TEST

/* ---- record of requests in flight ---- */

static void make_device(struct vblkd_config *config, struct blk_params *blk)
{
	const char *const words[] = { "--name=db", "mem:1M", NULL };
	struct bdev_limits limits = {
		.capacity_bytes = 1 << 20,
		.logical_block_bytes = 512,
		.physical_block_bytes = 4096,
		.volatile_cache = true,
	};

	ck_assert_int_eq(parse(config, words), OPTIONS_RUN);
	blk_params_init(blk, &limits, 2, 64, "S");
}

START_TEST(record_is_taken_over_with_its_content)
{
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	struct vq_inflight *rec;
	char why[BDEV_WHY_MAX] = "";
	uint64_t size;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why),
			 -ENOENT);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	rec = (void *)((char *)inflight_file_records(&file) + vq_inflight_bytes(64));
	rec->seq[63] = 42;
	inflight_file_close(&file);
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why), 0);
	rec = (void *)((char *)inflight_file_records(&file) + vq_inflight_bytes(64));
	ck_assert_uint_eq(rec->seq[63], 42);
	inflight_file_close(&file);
	config_fini(&config);
	close(fd);
}
END_TEST

/* Each spoils one fact of the device the record was made for. */
static void other_backend(struct vblkd_config *config, struct blk_params *blk VBLK_UNUSED)
{
	free(config->backend);
	config->backend = strdup("mem:2M");
}

static void other_name(struct vblkd_config *config, struct blk_params *blk VBLK_UNUSED)
{
	strcpy(config->name, "dc");
}

static void other_queues(struct vblkd_config *config VBLK_UNUSED, struct blk_params *blk)
{
	blk->queue_cnt = 1;
}

static void other_blocks(struct vblkd_config *config VBLK_UNUSED, struct blk_params *blk)
{
	blk->limits.logical_block_bytes = 4096;
}

static void other_features(struct vblkd_config *config VBLK_UNUSED, struct blk_params *blk)
{
	blk->features ^= 1ull << 5; /* VIRTIO_BLK_F_RO */
}

static void (*const spoilers[])(struct vblkd_config *, struct blk_params *) = {
	other_backend, other_name, other_queues, other_blocks, other_features,
};

START_TEST(record_of_another_device_is_refused_with_a_reason)
{
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	char why[BDEV_WHY_MAX] = "";
	uint64_t size;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	inflight_file_close(&file);
	spoilers[_i](&config, &blk);
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why),
			 -ESTALE);
	ck_assert_str_ne(why, "");
	config_fini(&config);
	close(fd);
}
END_TEST

/* A mistake of the command line, told as one, however deep. */
START_TEST(wrong_fault_rules_are_wrong_usage)
{
	static const char *const specs[] = { "fault:eio", "fault::mem:1M", "fault:wrte=eio:mem:1M",
					     "fault:eio:fault:delay=soon:mem:1M" };
	const char *const words[] = { "--name=x", specs[_i], NULL };
	struct vblkd_config config;

	ck_assert_int_eq(parse(&config, words), OPTIONS_USAGE);
	config_fini(&config);
}
END_TEST

/* The size that was decided on counts, whatever the backend has become meanwhile. */
START_TEST(record_keeps_the_size_of_the_disk)
{
	static const uint64_t decided[] = { 1 << 20, 3 << 20, 512 };
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	char why[BDEV_WHY_MAX] = "";
	uint64_t size = 0;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	ck_assert_uint_eq(inflight_file_news(&file)->decided, 0);
	ck_assert_uint_eq(inflight_file_set_capacity(&file, decided[_i]), 1);
	inflight_file_close(&file);
	blk.limits.capacity_bytes = 2 << 20;
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why), 0);
	ck_assert_uint_eq(size, decided[_i]);
	ck_assert_uint_eq(inflight_file_news(&file)->decided, 1);
	ck_assert_uint_eq(inflight_file_news(&file)->told, 0);
	inflight_file_close(&file);
	config_fini(&config);
	close(fd);
}
END_TEST

/* Deleted and made anew by somebody else; not where one of the two is not known. */
START_TEST(record_of_an_earlier_device_is_refused)
{
	static const struct {
		uint64_t recorded, present;
		int result;
	} cases[] = { { 7, 8, -ENODEV }, { 7, 7, 0 }, { 0, 8, 0 }, { 7, 0, 0 } };
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	char why[BDEV_WHY_MAX] = "";
	uint64_t present = cases[_i].present, size;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, cases[_i].recorded, &file), 0);
	inflight_file_close(&file);
	ck_assert_int_eq(inflight_file_check(fd, &config, present, why), cases[_i].result);
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, present, &file, &size, why),
			 cases[_i].result);
	if (!cases[_i].result)
		inflight_file_close(&file);
	config_fini(&config);
	close(fd);
}
END_TEST

START_TEST(record_with_an_impossible_size_is_refused)
{
	static const uint64_t impossible[] = { 0, 513, 1ull << 63 };
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	char why[BDEV_WHY_MAX] = "";
	uint64_t size;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	(void)inflight_file_set_capacity(&file, impossible[_i]);
	inflight_file_close(&file);
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why),
			 -ESTALE);
	ck_assert_ptr_nonnull(strstr(why, "size"));
	config_fini(&config);
	close(fd);
}
END_TEST

START_TEST(new_record_is_clean)
{
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	char *at;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	at = inflight_file_records(&file);
	for (unsigned int i = 0; i < blk.queue_cnt; i++)
		ck_assert_uint_eq(
			((struct vq_inflight *)(void *)(at + i * vq_inflight_bytes(64)))->size,
			VQ_INFLIGHT_CLEAN);
	inflight_file_close(&file);
	config_fini(&config);
	close(fd);
}
END_TEST

static void plant_symlink(const char *path, const char *real)
{
	ck_assert_int_eq(rename(path, real), 0);
	ck_assert_int_eq(symlink(real, path), 0);
}

static void plant_hard_link(const char *path, const char *real)
{
	ck_assert_int_eq(link(path, real), 0);
}

static void plant_writable(const char *path, const char *real VBLK_UNUSED)
{
	ck_assert_int_eq(chmod(path, 0620), 0);
}

static void plant_fifo(const char *path, const char *real VBLK_UNUSED)
{
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
}

static void plant_owner(const char *path, const char *real)
{
	if (geteuid() == 0)
		ck_assert_int_eq(chown(path, 65534, 65534), 0);
	else
		plant_hard_link(path, real);
}

static void (*const plants[])(const char *path, const char *real) = {
	plant_symlink, plant_hard_link, plant_writable, plant_fifo, plant_owner,
};

START_TEST(record_that_is_not_ours_alone_is_refused_and_replaced)
{
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	uint64_t size;
	char why[BDEV_WHY_MAX] = "", path[128], real[128];
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	inflight_file_close(&file);
	snprintf(path, sizeof(path), "%s/inflight", dir);
	snprintf(real, sizeof(real), "%s/planted", dir);
	plants[_i](path, real);
	ck_assert_int_lt(inflight_file_check(fd, &config, DEVICE_ID, why), 0);
	ck_assert_int_lt(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why), 0);
	/* A new device takes none of it. */
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	inflight_file_close(&file);
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why), 0);
	inflight_file_close(&file);
	config_fini(&config);
	close(fd);
}
END_TEST

START_TEST(record_of_another_boot_is_refused_and_says_so)
{
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	uint64_t size;
	char why[BDEV_WHY_MAX] = "", id[37] = "";
	char *at;
	int boot = open("/proc/sys/kernel/random/boot_id", O_RDONLY);
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	ck_assert_int_eq(read(boot, id, 36), 36);
	close(boot);
	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	at = memmem(file.base, 4096, id, 36);
	ck_assert_ptr_nonnull(at);
	at[0] = at[0] == '0' ? '1' : '0';
	inflight_file_close(&file);
	ck_assert_int_eq(inflight_file_check(fd, &config, DEVICE_ID, why), -ESTALE);
	ck_assert_ptr_nonnull(strstr(why, "earlier boot"));
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why),
			 -ESTALE);
	config_fini(&config);
	close(fd);
}
END_TEST

/* What the first daemon was given, what its successor; sizes of make_device() are 512 and 4096. */
static const struct {
	unsigned int was_lbs, was_pbs;
	bool was_discard;
	unsigned int now_lbs, now_pbs;
	bool now_discard;
	bool fits;
} spellings[] = {
	{ 0, 0, true, 0, 0, true, true },	{ 0, 0, true, 512, 4096, true, true },
	{ 0, 0, true, 512, 0, false, true },	{ 0, 0, true, 4096, 4096, true, false },
	{ 0, 0, true, 512, 8192, true, false }, { 512, 4096, true, 512, 4096, true, true },
	{ 512, 0, true, 0, 0, true, false },	{ 0, 4096, true, 0, 0, true, false },
	{ 0, 0, false, 0, 0, true, false },
};

START_TEST(default_may_be_spelled_out_to_take_over)
{
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	uint64_t size;
	char why[BDEV_WHY_MAX] = "";
	int fd = open(dir, O_RDONLY | O_DIRECTORY);
	int want = spellings[_i].fits ? 0 : -ESTALE;

	make_device(&config, &blk);
	/* A backend that cannot discard, whatever was wished. */
	blk.features &= ~(1ull << VIRTIO_BLK_F_DISCARD);
	ck_assert_uint_eq(blk.limits.logical_block_bytes, 512);
	ck_assert_uint_eq(blk.limits.physical_block_bytes, 4096);
	config.bdev.logical_block_bytes = spellings[_i].was_lbs;
	config.bdev.physical_block_bytes = spellings[_i].was_pbs;
	config.bdev.discard = spellings[_i].was_discard;
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	inflight_file_close(&file);
	config.bdev.logical_block_bytes = spellings[_i].now_lbs;
	config.bdev.physical_block_bytes = spellings[_i].now_pbs;
	config.bdev.discard = spellings[_i].now_discard;
	ck_assert_int_eq(inflight_file_check(fd, &config, DEVICE_ID, why), want);
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why),
			 want);
	inflight_file_close(&file);
	config_fini(&config);
	close(fd);
}
END_TEST

/* 0: no records; 1: nothing; 2: larger than it can be. */
START_TEST(truncated_record_is_refused)
{
	struct vblkd_config config;
	struct inflight_file file;
	struct blk_params blk;
	char why[BDEV_WHY_MAX] = "", path[128];
	uint64_t size;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);

	make_device(&config, &blk);
	ck_assert_int_eq(inflight_file_create(fd, &config, &blk, DEVICE_ID, &file), 0);
	inflight_file_close(&file);
	snprintf(path, sizeof(path), "%s/inflight", dir);
	ck_assert_int_eq(truncate(path, _i == 0 ? 4096 : _i == 1 ? 0 : 1ll << 40), 0);
	ck_assert_int_eq(inflight_file_adopt(fd, &config, &blk, DEVICE_ID, &file, &size, why),
			 -ESTALE);
	config_fini(&config);
	close(fd);
}
END_TEST

/* ---- link ---- */

START_TEST(messages_arrive_whole_and_terminated)
{
	struct link_msg out = { .type = LINK_STATE, .number = 7 }, in;
	int fds[2];

	ck_assert_int_eq(link_new(fds), 0);
	ck_assert_int_eq(link_recv(fds[1], &in), 0);
	memset(out.text, 'x', sizeof(out.text));
	ck_assert_int_eq(link_send(fds[0], &out), 0);
	ck_assert_int_eq(link_recv(fds[1], &in), 1);
	ck_assert_uint_eq(in.number, 7);
	ck_assert_uint_eq(strlen(in.text), sizeof(in.text) - 1);
	close(fds[0]);
	ck_assert_int_eq(link_recv(fds[1], &in), -EPIPE);
	ck_assert_int_eq(link_send(fds[1], &out), -EPIPE);
	close(fds[1]);
}
END_TEST

START_TEST(message_of_wrong_length_is_refused)
{
	struct link_msg in;
	int fds[2];

	ck_assert_int_eq(link_new(fds), 0);
	ck_assert_int_eq(send(fds[0], "abc", 3, 0), 3);
	ck_assert_int_eq(link_recv(fds[1], &in), -EBADMSG);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("daemon");
	TCase *tc = tcase_create("daemon");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, wrong_command_lines_are_usage_errors, 0, ARRAY_SIZE(refused));
	tcase_add_test(tc, every_option_reaches_the_configuration);
	tcase_add_test(tc, socket_gives_the_name_and_other_defaults);
	tcase_add_test(tc, name_and_serial_come_from_the_image);
	tcase_add_test(tc, path_behind_fault_rules_is_absolute_too);
	tcase_add_test(tc, second_keeper_of_a_name_is_refused_with_the_pid);
	tcase_add_test(tc, removed_directory_leaves_nothing);
	tcase_add_test(tc, directory_that_others_can_write_is_refused);
	tcase_add_test(tc, planted_link_is_refused);
	tcase_add_test(tc, record_is_taken_over_with_its_content);
	tcase_add_loop_test(tc, record_of_another_device_is_refused_with_a_reason, 0,
			    ARRAY_SIZE(spoilers));
	tcase_add_loop_test(tc, record_keeps_the_size_of_the_disk, 0, 3);
	tcase_add_loop_test(tc, wrong_fault_rules_are_wrong_usage, 0, 4);
	tcase_add_loop_test(tc, record_of_an_earlier_device_is_refused, 0, 4);
	tcase_add_loop_test(tc, record_with_an_impossible_size_is_refused, 0, 3);
	tcase_add_loop_test(tc, truncated_record_is_refused, 0, 3);
	tcase_add_test(tc, new_record_is_clean);
	tcase_add_loop_test(tc, record_that_is_not_ours_alone_is_refused_and_replaced, 0,
			    ARRAY_SIZE(plants));
	tcase_add_test(tc, record_of_another_boot_is_refused_and_says_so);
	tcase_add_loop_test(tc, default_may_be_spelled_out_to_take_over, 0,
			    sizeof(spellings) / sizeof(spellings[0]));
	tcase_add_loop_test(tc, directory_above_that_others_can_write_is_refused, 0, 2);
	tcase_add_test(tc, directory_of_somebody_else_is_refused);
	tcase_add_test(tc, messages_arrive_whole_and_terminated);
	tcase_add_test(tc, message_of_wrong_length_is_refused);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
