/* SPDX-License-Identifier: MIT */
#include "handover.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vblk/util/cleanup.h"
#include "vblk/util/math.h"
#include "vblk/vdev/vdev.h"

#define FIXED_FDS_CNT 9u
#define FDS_MAX	      (FIXED_FDS_CNT + BDEV_HANDOVER_FDS_MAX)

static int invalid(char why[BDEV_WHY_MAX], const char *what)
{
	snprintf(why, BDEV_WHY_MAX, "the record of the running program %s", what);
	return -EINVAL;
}

/* All descriptors of the record, to treat them alike. Return: how many. */
static unsigned int list_fds(const struct handover *h, int ret_fds[FDS_MAX])
{
	const int fixed[FIXED_FDS_CNT] = { h->run_dir_fd, h->lock_fd,	      h->ctl_fd,
					   h->listen_fd,  h->link_fd,	      h->umem_fd,
					   h->bus_fd,	  h->serve.socket.fd, h->serve.fence_fd };
	unsigned int cnt = 0;

	for (unsigned int i = 0; i < FIXED_FDS_CNT; i++)
		if (fixed[i] >= 0)
			ret_fds[cnt++] = fixed[i];
	memcpy(ret_fds + cnt, h->bdev.fds, h->bdev.fd_cnt * sizeof(*ret_fds));
	return cnt + h->bdev.fd_cnt;
}

int handover_keep_fds(const struct handover *handover, bool keep)
{
	int fds[FDS_MAX];
	unsigned int cnt = list_fds(handover, fds);
	int r = 0;

	for (unsigned int i = 0; i < cnt; i++)
		if (fcntl(fds[i], F_SETFD, keep ? 0 : FD_CLOEXEC) < 0 && r == 0)
			r = -errno;
	return r;
}

/* ---- writing ---- */

static json_t *config_json(const struct vblkd_config *config)
{
	const struct bdev_params *bdev = &config->bdev;

	return json_pack(
		"{s:s, s:s, s:s, s:i, s:i, s:b, s:i, s:I, s:i, s:i, s:i, s:b, s:s, s:b, s:i, s:i, s:i, s:b, s:b, s:b, s:b, s:b}",
		"name", config->name, "serial", config->serial, "backend", config->backend,
		"queues", config->queues, "queue_size", config->queue_size, "indirect",
		config->indirect, "msg_timeout_s", (int)config->msg_timeout_s, "bounce_bytes",
		(json_int_t)config->bounce_bytes, "umem", (int)config->umem, "attach_timeout_s",
		(int)config->attach_timeout_s, "log_level", (int)config->log_level, "detached",
		config->detached, "user", config->user, "seccomp", config->seccomp, "poll",
		(int)config->poll, "logical_block_bytes", (int)bdev->logical_block_bytes,
		"physical_block_bytes", (int)bdev->physical_block_bytes, "read_only",
		bdev->read_only, "direct", bdev->direct, "writethrough", bdev->writethrough,
		"discard", bdev->discard, "direct_rings", bdev->direct_rings);
}

static json_t *limits_json(const struct bdev_limits *limits)
{
	return json_pack(
		"{s:I, s:i, s:i, s:i, s:i, s:I, s:i, s:I, s:b, s:I, s:b, s:b, s:b, s:b, s:I, s:I, s:I, s:b}",
		"capacity_bytes", (json_int_t)limits->capacity_bytes, "logical_block_bytes",
		(int)limits->logical_block_bytes, "physical_block_bytes",
		(int)limits->physical_block_bytes, "opt_io_bytes", (int)limits->opt_io_bytes,
		"buf_align_bytes", (int)limits->buf_align_bytes, "max_discard_bytes",
		(json_int_t)limits->max_discard_bytes, "discard_align_bytes",
		(int)limits->discard_align_bytes, "max_write_zeroes_bytes",
		(json_int_t)limits->max_write_zeroes_bytes, "write_zeroes_may_unmap",
		limits->write_zeroes_may_unmap, "max_secure_erase_bytes",
		(json_int_t)limits->max_secure_erase_bytes, "read_only", limits->read_only,
		"volatile_cache", limits->volatile_cache, "rotational", limits->rotational,
		"direct", limits->direct, "max_segs", (json_int_t)limits->max_segs, "max_seg_bytes",
		(json_int_t)limits->max_seg_bytes, "max_ranges", (json_int_t)limits->max_ranges,
		"remote", limits->remote);
}

static json_t *bdev_json(const struct bdev_handover *bdev)
{
	json_t *fds = json_array();

	for (unsigned int i = 0; i < bdev->fd_cnt; i++)
		json_array_append_new(fds, json_integer(bdev->fds[i]));
	return json_pack("{s:s, s:o, s:i, s:o}", "kind", bdev->kind, "limits",
			 limits_json(&bdev->limits), "length_align_bytes",
			 (int)bdev->length_align_bytes, "fds", fds);
}

static int format_of(const struct handover *h)
{
	if (h->config.socket[0])
		return HANDOVER_FORMAT_SERVE;
	return h->config.bdev.direct_rings ? HANDOVER_FORMAT_DIRECT : HANDOVER_FORMAT;
}

static json_t *serve_json(const struct handover *h)
{
	const struct handover_serve *serve = &h->serve;

	return json_pack("{s:s, s:i, s:b, s:i, s:I, s:I, s:i, s:I, s:I, s:I}", "path",
			 h->config.socket, "mode", (int)h->config.socket_mode, "inherited",
			 h->config.socket_fd >= 0, "fd", serve->socket.fd, "dev",
			 (json_int_t)serve->socket.dev, "ino", (json_int_t)serve->socket.ino,
			 "fence_fd", serve->fence_fd, "features", (json_int_t)serve->features,
			 "capacity_bytes", (json_int_t)serve->capacity_bytes, "size_number",
			 (json_int_t)serve->size_number);
}

static json_t *record_json(const struct handover *h)
{
	json_t *obj = json_pack(
		"{s:i, s:s, s:s, s:o, s:o, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:s, s:I, s:b, s:b}",
		"vblkd_handover", format_of(h), "version", h->version, "program", h->program,
		"config", config_json(&h->config), "bdev", bdev_json(&h->bdev), "run_dir",
		h->run_dir, "run_dir_fd", h->run_dir_fd, "lock_fd", h->lock_fd, "ctl_fd", h->ctl_fd,
		"listen_fd", h->listen_fd, "umem_fd", h->umem_fd, "bus_fd", h->bus_fd, "link_fd",
		h->link_fd, "link_version", (int)h->link_version, "worker_pid", (int)h->worker_pid,
		"restarts", (int)h->restarts, "upgrades", (int)h->upgrades, "started_at",
		(json_int_t)h->started_at, "disk", h->disk, "bounce_bytes",
		(json_int_t)h->bounce_bytes, "created", h->created, "adopted", h->adopted);

	if (obj && h->config.socket[0] && json_object_set_new(obj, "serve", serve_json(h)) < 0) {
		json_decref(obj);
		return NULL;
	}
	return obj;
}

int handover_write(const struct handover *handover, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	json_t *record = record_json(handover);
	int r;

	if (!record)
		return -ENOMEM;
	fd = memfd_create("vblkd-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		r = -errno;
	else
		r = json_dumpfd(record, fd, JSON_COMPACT) < 0 ? -EIO : 0;
	json_decref(record);
	if (r < 0)
		return r;
	if (lseek(fd, 0, SEEK_SET) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

/* ---- reading ---- */

/* The text of @key; false when it is none, or too long. */
static bool get_text(const json_t *obj, const char *key, char *buf, size_t len)
{
	const char *text = json_string_value(json_object_get(obj, key));

	return text && (size_t)snprintf(buf, len, "%s", text) < len;
}

/* The number of @key; false when it is none of @min to @max. */
static bool get_number(const json_t *obj, const char *key, json_int_t min, json_int_t max,
		       json_int_t *ret)
{
	const json_t *value = json_object_get(obj, key);

	*ret = json_integer_value(value);
	return json_is_integer(value) && *ret >= min && *ret <= max;
}

static bool get_u32(const json_t *obj, const char *key, uint32_t *ret)
{
	json_int_t value;

	if (!get_number(obj, key, 0, UINT32_MAX, &value))
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool get_u64(const json_t *obj, const char *key, uint64_t *ret)
{
	json_int_t value;

	if (!get_number(obj, key, 0, INT64_MAX, &value))
		return false;
	*ret = (uint64_t)value;
	return true;
}

static bool get_bool(const json_t *obj, const char *key, bool *ret)
{
	const json_t *value = json_object_get(obj, key);

	*ret = json_is_true(value);
	return json_is_boolean(value);
}

static bool get_fd(const json_t *obj, const char *key, int *ret)
{
	json_int_t value;

	if (!get_number(obj, key, STDERR_FILENO + 1, INT_MAX, &value))
		return false;
	*ret = (int)value;
	return true;
}

/* As get_fd(), and -1 for none. */
static bool get_optional_fd(const json_t *obj, const char *key, int *ret)
{
	json_int_t value;

	if (!get_number(obj, key, -1, INT_MAX, &value) || (value >= 0 && value <= STDERR_FILENO))
		return false;
	*ret = (int)value;
	return true;
}

/* Older programs do not have it; to those that take over it changes nothing but speed. */
static bool get_poll(const json_t *obj, struct vblkd_config *config)
{
	json_int_t poll;

	if (!json_object_get(obj, "poll"))
		return true;
	if (!get_number(obj, "poll", VDEV_POLL_OFF, VDEV_POLL_ON, &poll))
		return false;
	config->poll = (enum vdev_poll_mode)poll;
	return true;
}

static bool get_shape(const json_t *obj, struct vblkd_config *config)
{
	json_int_t queues, queue_size, umem, level;

	if (!get_number(obj, "queues", 1, VDEV_QUEUES_MAX, &queues) ||
	    !get_number(obj, "queue_size", 1, UINT16_MAX, &queue_size) ||
	    !get_number(obj, "umem", VDUSE_UMEM_AUTO, VDUSE_UMEM_OFF, &umem) ||
	    !get_number(obj, "log_level", LOG_LEVEL_ERROR, LOG_LEVEL_DEBUG, &level) ||
	    !is_power_of_two((uint64_t)queue_size))
		return false;
	config->queues = (uint16_t)queues;
	config->queue_size = (uint16_t)queue_size;
	config->umem = (enum vduse_umem)umem;
	config->log_level = (enum log_level)level;
	return true;
}

static bool get_direct_rings(const json_t *obj, struct bdev_params *bdev)
{
	return !json_object_get(obj, "direct_rings") ||
	       get_bool(obj, "direct_rings", &bdev->direct_rings);
}

static bool get_config(const json_t *obj, struct vblkd_config *config)
{
	const char *backend = json_string_value(json_object_get(obj, "backend"));
	struct bdev_params *bdev = &config->bdev;

	if (!backend || !get_shape(obj, config) ||
	    !get_text(obj, "name", config->name, sizeof(config->name)) ||
	    parse_device_name(config->name) < 0 ||
	    !get_text(obj, "serial", config->serial, sizeof(config->serial)) ||
	    !get_bool(obj, "indirect", &config->indirect) ||
	    !get_u32(obj, "msg_timeout_s", &config->msg_timeout_s) ||
	    !get_u64(obj, "bounce_bytes", &config->bounce_bytes) ||
	    !get_u32(obj, "attach_timeout_s", &config->attach_timeout_s) ||
	    !get_bool(obj, "detached", &config->detached) ||
	    !get_text(obj, "user", config->user, sizeof(config->user)) ||
	    !get_bool(obj, "seccomp", &config->seccomp) || !get_poll(obj, config) ||
	    !get_u32(obj, "logical_block_bytes", &bdev->logical_block_bytes) ||
	    !get_u32(obj, "physical_block_bytes", &bdev->physical_block_bytes) ||
	    !get_bool(obj, "read_only", &bdev->read_only) ||
	    !get_bool(obj, "direct", &bdev->direct) ||
	    !get_bool(obj, "writethrough", &bdev->writethrough) ||
	    !get_bool(obj, "discard", &bdev->discard) || !get_direct_rings(obj, bdev))
		return false;
	config->backend = strdup(backend);
	bdev->spec = config->backend;
	bdev->queue_cnt = config->queues;
	bdev->queue_size = config->queue_size;
	return config->backend != NULL;
}

/* A program that does not know these had no backend with them. */
static bool get_limits_of_server(const json_t *obj, struct bdev_limits *limits)
{
	return !json_object_get(obj, "remote") ||
	       (get_u32(obj, "max_segs", &limits->max_segs) &&
		get_u32(obj, "max_seg_bytes", &limits->max_seg_bytes) &&
		(!json_object_get(obj, "max_ranges") ||
		 get_u32(obj, "max_ranges", &limits->max_ranges)) &&
		get_bool(obj, "remote", &limits->remote));
}

static bool get_limits(const json_t *obj, struct bdev_limits *limits)
{
	return get_u64(obj, "capacity_bytes", &limits->capacity_bytes) &&
	       get_u32(obj, "logical_block_bytes", &limits->logical_block_bytes) &&
	       get_u32(obj, "physical_block_bytes", &limits->physical_block_bytes) &&
	       get_u32(obj, "opt_io_bytes", &limits->opt_io_bytes) &&
	       get_u32(obj, "buf_align_bytes", &limits->buf_align_bytes) &&
	       get_u64(obj, "max_discard_bytes", &limits->max_discard_bytes) &&
	       get_u32(obj, "discard_align_bytes", &limits->discard_align_bytes) &&
	       get_u64(obj, "max_write_zeroes_bytes", &limits->max_write_zeroes_bytes) &&
	       get_bool(obj, "write_zeroes_may_unmap", &limits->write_zeroes_may_unmap) &&
	       get_u64(obj, "max_secure_erase_bytes", &limits->max_secure_erase_bytes) &&
	       get_bool(obj, "read_only", &limits->read_only) &&
	       get_bool(obj, "volatile_cache", &limits->volatile_cache) &&
	       get_bool(obj, "rotational", &limits->rotational) &&
	       get_bool(obj, "direct", &limits->direct) && get_limits_of_server(obj, limits) &&
	       /* what others divide and shift by */
	       limits->capacity_bytes && is_power_of_two(limits->logical_block_bytes) &&
	       is_power_of_two(limits->physical_block_bytes) &&
	       is_power_of_two(limits->buf_align_bytes);
}

/* The kind stays text of ours: the record's does not outlive the reading. */
static bool get_kind(const json_t *obj, struct bdev_handover *bdev)
{
	static const char *const kinds[] = { "file", "mem", "null", "vhost-user" };
	const char *kind = json_string_value(json_object_get(obj, "kind"));

	for (size_t i = 0; kind && i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kind, kinds[i]))
			bdev->kind = kinds[i];
	return bdev->kind != NULL;
}

static bool get_bdev(const json_t *obj, struct bdev_handover *bdev)
{
	const json_t *fds = json_object_get(obj, "fds");
	size_t cnt = json_array_size(fds);

	if (!get_kind(obj, bdev) || !get_limits(json_object_get(obj, "limits"), &bdev->limits) ||
	    !get_u32(obj, "length_align_bytes", &bdev->length_align_bytes) ||
	    !is_power_of_two(bdev->length_align_bytes) || !json_is_array(fds) ||
	    cnt > BDEV_HANDOVER_FDS_MAX)
		return false;
	for (size_t i = 0; i < cnt; i++) {
		const json_t *fd = json_array_get(fds, i);

		if (!json_is_integer(fd) || json_integer_value(fd) <= STDERR_FILENO ||
		    json_integer_value(fd) > INT_MAX)
			return false;
		bdev->fds[i] = (int)json_integer_value(fd);
	}
	bdev->fd_cnt = (unsigned int)cnt;
	return true;
}

static bool get_process(const json_t *obj, struct handover *h)
{
	json_int_t worker_pid, started_at;
	uint32_t link_version, restarts, upgrades;

	if (!get_number(obj, "worker_pid", 2, INT_MAX, &worker_pid) ||
	    !get_number(obj, "started_at", 0, INT64_MAX, &started_at) ||
	    !get_u32(obj, "link_version", &link_version) || !get_u32(obj, "restarts", &restarts) ||
	    !get_u32(obj, "upgrades", &upgrades))
		return false;
	h->worker_pid = (pid_t)worker_pid;
	h->started_at = (time_t)started_at;
	h->link_version = link_version;
	h->restarts = restarts;
	h->upgrades = upgrades;
	return true;
}

/* Instead of a VDUSE device; a record of one has no such part. */
static bool get_door(const json_t *obj, struct handover *h)
{
	const json_t *part = json_object_get(obj, "serve");
	struct handover_serve *serve = &h->serve;
	json_int_t mode, dev, ino;
	bool inherited;

	if (!part)
		return get_fd(obj, "ctl_fd", &h->ctl_fd);
	if (!get_text(part, "path", h->config.socket, sizeof(h->config.socket)) ||
	    !get_number(part, "mode", 0, 0777, &mode) || !get_bool(part, "inherited", &inherited) ||
	    !get_fd(part, "fd", &serve->socket.fd) ||
	    !get_number(part, "dev", INT64_MIN, INT64_MAX, &dev) ||
	    !get_number(part, "ino", INT64_MIN, INT64_MAX, &ino) ||
	    !get_fd(part, "fence_fd", &serve->fence_fd) ||
	    !get_u64(part, "features", &serve->features) ||
	    !get_u64(part, "capacity_bytes", &serve->capacity_bytes) ||
	    !get_u32(part, "size_number", &serve->size_number) || !h->config.socket[0] ||
	    !serve->capacity_bytes)
		return false;
	memcpy(serve->socket.path, h->config.socket, sizeof(serve->socket.path));
	serve->socket.dev = (dev_t)dev;
	serve->socket.ino = (ino_t)ino;
	h->config.socket_mode = (mode_t)mode;
	h->config.socket_fd = inherited ? serve->socket.fd : -1;
	return true;
}

static bool get_record(const json_t *obj, struct handover *h)
{
	return get_text(obj, "version", h->version, sizeof(h->version)) &&
	       get_text(obj, "program", h->program, sizeof(h->program)) &&
	       get_text(obj, "run_dir", h->run_dir, sizeof(h->run_dir)) &&
	       get_text(obj, "disk", h->disk, sizeof(h->disk)) &&
	       get_fd(obj, "run_dir_fd", &h->run_dir_fd) && get_fd(obj, "lock_fd", &h->lock_fd) &&
	       get_door(obj, h) && get_fd(obj, "listen_fd", &h->listen_fd) &&
	       get_fd(obj, "link_fd", &h->link_fd) &&
	       get_optional_fd(obj, "umem_fd", &h->umem_fd) &&
	       get_optional_fd(obj, "bus_fd", &h->bus_fd) &&
	       get_u64(obj, "bounce_bytes", &h->bounce_bytes) &&
	       get_bool(obj, "created", &h->created) && get_bool(obj, "adopted", &h->adopted) &&
	       get_process(obj, h) && get_config(json_object_get(obj, "config"), &h->config) &&
	       get_bdev(json_object_get(obj, "bdev"), &h->bdev);
}

static bool is_type(int fd, mode_t type)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

static bool fds_differ(const struct handover *h)
{
	int fds[FDS_MAX];
	unsigned int cnt = list_fds(h, fds);

	for (unsigned int i = 0; i < cnt; i++)
		for (unsigned int k = 0; k < i; k++)
			if (fds[i] == fds[k])
				return false;
	return true;
}

static int check_fds(const struct handover *h, char why[BDEV_WHY_MAX])
{
	if (!fds_differ(h))
		return invalid(why, "names a descriptor twice");
	/* Never passed on by accident to a process that is started later. */
	if (handover_keep_fds(h, false) < 0)
		return invalid(why, "names a descriptor that is not open");
	if (!is_type(h->run_dir_fd, S_IFDIR) || !is_type(h->lock_fd, S_IFREG) ||
	    !is_type(h->listen_fd, S_IFSOCK) || !is_type(h->link_fd, S_IFSOCK) ||
	    (h->config.socket[0] &&
	     (!is_type(h->serve.socket.fd, S_IFSOCK) || !is_type(h->serve.fence_fd, S_IFIFO))))
		return invalid(why, "names a descriptor of something else");
	return 0;
}

static int parse(const json_t *obj, struct handover *h, char why[BDEV_WHY_MAX])
{
	const json_t *format = json_object_get(obj, "vblkd_handover");

	if (!json_is_integer(format))
		return invalid(why, "cannot be read");
	if (json_integer_value(format) < HANDOVER_FORMAT ||
	    json_integer_value(format) > HANDOVER_FORMAT_SERVE)
		return invalid(why, "has another format: detach and attach instead");
	if (!get_record(obj, h))
		return invalid(why, "is not complete");
	return check_fds(h, why);
}

int handover_read(int fd, struct handover *ret_handover, char why[BDEV_WHY_MAX])
{
	json_t *obj;
	int r;

	memset(ret_handover, 0, sizeof(*ret_handover));
	ret_handover->ctl_fd = ret_handover->serve.socket.fd = ret_handover->serve.fence_fd = -1;
	config_init(&ret_handover->config);
	/* The check before it has read the same open file. */
	if (lseek(fd, 0, SEEK_SET) < 0)
		return invalid(why, "is not there");
	obj = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
	r = parse(obj, ret_handover, why);
	json_decref(obj);
	if (r < 0)
		handover_fini(ret_handover);
	return r;
}

void handover_fini(struct handover *handover)
{
	config_fini(&handover->config);
}
