/* SPDX-License-Identifier: MIT */
#include "fake_vhu_server.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vblk/mem/memmap.h"
#include "vblk/util/compiler.h"
#include "vblk/util/le.h"
#include "vblk/util/math.h"
#include "vblk/vhu/vhu_sock.h"
#include "vblk/virtqueue/vq.h"

#define QUEUES_MAX 4u
#define RING_MAX   1024u
#define DISK_BYTES (1u << 20)
#define IOV_MAX_   256u
#define BIT64(n)   (1ull << (n))

#define MUST(cond)                                                                 \
	do {                                                                       \
		if (!(cond)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                   \
		}                                                                  \
	} while (0)

struct fake_ring {
	struct vq *vq;
	struct vq_config cfg;
	struct vhu_vring_addr addr;
	int kick_fd, call_fd;
	bool enabled, running;
	struct iovec iov[IOV_MAX_];
};

struct fake_vhu {
	struct fake_vhu_options options;
	char path[108];
	int listen_fd, stop_fd;
	pthread_t thread;
	pthread_mutex_t lock; /* the rest, but while the thread polls */
	uint8_t disk[DISK_BYTES];
	enum fake_vhu_fault fault;
	bool held, silent;
	bool mute; /* has lied and waits for what the client does */
	struct fake_vhu_req log[FAKE_VHU_LOG_MAX];
	unsigned int log_cnt, connections;

	/* of the connection */
	int sock_fd, backend_fd;
	uint64_t features, protocol;
	struct memmap *map;
	struct vhu_mem_table table;
	void *bases[VHU_REGIONS_MAX];
	struct fake_ring rings[QUEUES_MAX];
};

static void signal_fd(int fd)
{
	uint64_t one = 1;

	if (fd >= 0)
		MUST(write(fd, &one, sizeof(one)) == sizeof(one));
}

/* ---- memory and rings ---- */

static void drop_memory(struct fake_vhu *srv)
{
	for (unsigned int i = 0; i < srv->table.region_cnt; i++)
		MUST(munmap(srv->bases[i], srv->table.regions[i].size_bytes +
						   srv->table.regions[i].mmap_offset_bytes) == 0);
	srv->table.region_cnt = 0;
	memmap_unref(srv->map);
	srv->map = NULL;
}

static void take_memory(struct fake_vhu *srv, const struct vhu_msg *msg)
{
	const struct vhu_mem_table *table = &msg->payload.mem_table;
	struct memmap_region regions[VHU_REGIONS_MAX];

	for (unsigned int i = 0; i < QUEUES_MAX; i++)
		MUST(!srv->rings[i].running);
	drop_memory(srv);
	srv->table = *table;
	for (unsigned int i = 0; i < table->region_cnt; i++) {
		const struct vhu_region *r = &table->regions[i];
		uint64_t bytes = r->size_bytes + r->mmap_offset_bytes;

		srv->bases[i] =
			mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, msg->fds[i], 0);
		MUST(srv->bases[i] != MAP_FAILED);
		MUST(r->gaddr == r->uaddr);
		regions[i] = (struct memmap_region){
			.iova = r->gaddr,
			.len_bytes = r->size_bytes,
			.va = (uint8_t *)srv->bases[i] + r->mmap_offset_bytes,
			.perm = MEMMAP_READ | MEMMAP_WRITE,
			.fd = -1,
		};
	}
	MUST(memmap_new(regions, table->region_cnt, NULL, NULL, &srv->map) == 0);
}

static void *at(struct fake_vhu *srv, uint64_t addr, uint64_t bytes)
{
	uint64_t got;
	void *p = memmap_translate(srv->map, addr, bytes, MEMMAP_READ | MEMMAP_WRITE, &got);

	MUST(p && got == bytes);
	return p;
}

static void ring_start(struct fake_vhu *srv, struct fake_ring *ring)
{
	uint64_t n = ring->cfg.size;

	if (ring->running || !ring->enabled || ring->kick_fd < 0)
		return;
	ring->cfg.desc = at(srv, ring->addr.desc_uaddr, n * 16);
	ring->cfg.avail = at(srv, ring->addr.avail_uaddr, 6 + n * 2);
	ring->cfg.used = at(srv, ring->addr.used_uaddr, 6 + n * 8);
	ring->cfg.event_idx = srv->features & BIT64(VIRTIO_RING_F_EVENT_IDX);
	ring->cfg.indirect = srv->features & BIT64(VIRTIO_RING_F_INDIRECT_DESC);
	MUST(vq_start(ring->vq, &ring->cfg) == 0);
	vq_set_map(ring->vq, srv->map);
	ring->running = true;
}

static void ring_stop(struct fake_ring *ring)
{
	if (ring->running)
		vq_stop(ring->vq);
	ring->running = ring->enabled = false;
	if (ring->kick_fd >= 0)
		close(ring->kick_fd);
	if (ring->call_fd >= 0)
		close(ring->call_fd);
	ring->kick_fd = ring->call_fd = -1;
}

static void hang_up(struct fake_vhu *srv)
{
	for (unsigned int i = 0; i < QUEUES_MAX; i++)
		ring_stop(&srv->rings[i]);
	drop_memory(srv);
	if (srv->sock_fd >= 0)
		close(srv->sock_fd);
	if (srv->backend_fd >= 0)
		close(srv->backend_fd);
	srv->sock_fd = srv->backend_fd = -1;
	srv->protocol = srv->features = 0;
	srv->silent = srv->mute = false;
}

/* ---- requests ---- */

static uint8_t do_ranges(struct fake_vhu *srv, uint32_t type, const struct iovec *iov)
{
	struct virtio_blk_discard_write_zeroes range;
	uint64_t from, bytes;

	MUST(iov->iov_len == sizeof(range));
	memcpy(&range, iov->iov_base, sizeof(range));
	from = le64toh(range.sector) << SECTOR_SHIFT;
	bytes = (uint64_t)le32toh(range.num_sectors) << SECTOR_SHIFT;
	if (!range_fits(from, bytes, DISK_BYTES))
		return VIRTIO_BLK_S_IOERR;
	memset(srv->disk + from, type == VIRTIO_BLK_T_WRITE_ZEROES ? 0 : 0xdd, bytes);
	return VIRTIO_BLK_S_OK;
}

static uint8_t do_data(struct fake_vhu *srv, uint32_t type, uint64_t sector,
		       const struct iovec *iov, unsigned int cnt, uint32_t *written_bytes)
{
	uint64_t pos = sector << SECTOR_SHIFT;

	for (unsigned int i = 0; i < cnt; i++) {
		if (!range_fits(pos, iov[i].iov_len, DISK_BYTES))
			return VIRTIO_BLK_S_IOERR;
		if (type == VIRTIO_BLK_T_IN)
			memcpy(iov[i].iov_base, srv->disk + pos, iov[i].iov_len);
		else
			memcpy(srv->disk + pos, iov[i].iov_base, iov[i].iov_len);
		pos += iov[i].iov_len;
		*written_bytes += type == VIRTIO_BLK_T_IN ? (uint32_t)iov[i].iov_len : 0;
	}
	return VIRTIO_BLK_S_OK;
}

static uint32_t do_request(struct fake_vhu *srv, unsigned int idx, const struct vq_chain *chain)
{
	const struct iovec *iov = chain->iov;
	struct virtio_blk_outhdr hdr;
	uint8_t status = VIRTIO_BLK_S_UNSUPP;
	uint32_t written_bytes = 0;
	unsigned int cnt = chain->readable_cnt + chain->writable_cnt;
	uint32_t type;

	MUST(iov[0].iov_len == sizeof(hdr) && iov[cnt - 1].iov_len == 1);
	memcpy(&hdr, iov[0].iov_base, sizeof(hdr));
	type = le32toh(hdr.type);
	if (type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT)
		status = do_data(srv, type, le64toh(hdr.sector), iov + 1, cnt - 2, &written_bytes);
	else if (type == VIRTIO_BLK_T_FLUSH)
		status = VIRTIO_BLK_S_OK;
	else if (type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES)
		status = do_ranges(srv, type, iov + 1);
	*(uint8_t *)iov[cnt - 1].iov_base = status;
	MUST(srv->log_cnt < FAKE_VHU_LOG_MAX);
	srv->log[srv->log_cnt++] =
		(struct fake_vhu_req){ type, le64toh(hdr.sector), srv->connections, idx };
	return written_bytes + 1;
}

static bool take_fault(struct fake_vhu *srv, enum fake_vhu_fault fault)
{
	if (srv->fault != fault)
		return false;
	srv->fault = FAKE_VHU_FINE;
	return true;
}

/* Return: false: it has hung up. */
static bool do_ring(struct fake_vhu *srv, unsigned int idx)
{
	struct fake_ring *ring = &srv->rings[idx];
	struct vring_used *used = ring->cfg.used;
	struct vq_chain chain;
	bool before = false, after = false;
	unsigned int cnt = 0;

	if (!ring->running || srv->held || srv->mute)
		return true;
	do {
		while (vq_pop(ring->vq, ring->iov, IOV_MAX_, &chain) == 1) {
			before |= take_fault(srv, FAKE_VHU_DIE_BEFORE);
			after |= take_fault(srv, FAKE_VHU_DIE_AFTER);
			vq_push(ring->vq, chain.head, before ? 0 : do_request(srv, idx, &chain));
			cnt++;
		}
		MUST(vq_fault(ring->vq) == VQ_FAULT_NONE);
		if (before || after) {
			hang_up(srv);
			return false;
		}
	} while (vq_kick_enable(ring->vq));
	if (cnt && take_fault(srv, FAKE_VHU_BAD_USED_ID)) {
		store_le32(&used->ring[le16toh(used->idx) % ring->cfg.size].id, 7777);
		(void)vq_publish(ring->vq);
		srv->mute = true;
		signal_fd(ring->call_fd);
	} else if (cnt && take_fault(srv, FAKE_VHU_BAD_USED_IDX)) {
		store_le16(&used->idx, (uint16_t)(le16toh(used->idx) + 999));
		srv->mute = true;
		signal_fd(ring->call_fd);
	} else if (vq_publish(ring->vq)) {
		signal_fd(ring->call_fd);
	}
	return true;
}

/* ---- messages ---- */

static void reply(struct fake_vhu *srv, struct vhu_msg *msg)
{
	msg->hdr.flags = VHU_VERSION | VHU_FLAG_REPLY;
	msg->fd_cnt = 0;
	if (take_fault(srv, FAKE_VHU_BAD_REPLY))
		msg->hdr.request++;
	(void)(vhu_send(srv->sock_fd, msg) == 0);
}

static void reply_u64(struct fake_vhu *srv, struct vhu_msg *msg, uint64_t u64)
{
	msg->hdr.size = sizeof(u64);
	msg->payload.u64 = u64;
	reply(srv, msg);
}

static void set_fd(struct vhu_msg *msg, int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = msg->fd_cnt ? vhu_msg_steal_fd(msg, 0) : -1;
}

static void get_config(struct fake_vhu *srv, struct vhu_msg *msg)
{
	struct vhu_config *config = &msg->payload.config;

	/* As strict as qemu-storage-daemon of 2022. */
	if (config->offset || config->size > 60)
		msg->hdr.size = 0;
	else
		memcpy(config->data, &srv->options.config, config->size);
	reply(srv, msg);
}

static void get_base(struct fake_vhu *srv, struct vhu_msg *msg)
{
	struct fake_ring *ring = &srv->rings[msg->payload.state.idx];

	if (ring->running)
		msg->payload.state.num = vq_last_avail_idx(ring->vq);
	ring_stop(ring);
	reply(srv, msg);
}

static uint64_t handle_quiet(struct fake_vhu *srv, struct vhu_msg *msg)
{
	uint32_t idx = msg->payload.state.idx;

	switch (msg->hdr.request) {
	case VHU_SET_FEATURES:
		srv->features = msg->payload.u64;
		break;
	case VHU_SET_PROTOCOL_FEATURES:
		srv->protocol = msg->payload.u64;
		break;
	case VHU_SET_BACKEND_REQ_FD:
		set_fd(msg, &srv->backend_fd);
		break;
	case VHU_SET_MEM_TABLE:
		if (take_fault(srv, FAKE_VHU_REFUSE_MEMORY) || srv->options.no_memory)
			return 1;
		take_memory(srv, msg);
		break;
	case VHU_SET_VRING_NUM:
		if (srv->options.ring_max && msg->payload.state.num > srv->options.ring_max)
			return 1;
		srv->rings[idx].cfg.size = (uint16_t)msg->payload.state.num;
		break;
	case VHU_SET_VRING_BASE:
		MUST(msg->payload.state.num == 0);
		break;
	case VHU_SET_VRING_ADDR:
		srv->rings[msg->payload.addr.idx].addr = msg->payload.addr;
		break;
	case VHU_SET_VRING_CALL:
		set_fd(msg, &srv->rings[vhu_vring_idx_of(msg->payload.u64)].call_fd);
		/* As libvhost-user does. */
		signal_fd(srv->rings[vhu_vring_idx_of(msg->payload.u64)].call_fd);
		break;
	case VHU_SET_VRING_KICK:
		set_fd(msg, &srv->rings[vhu_vring_idx_of(msg->payload.u64)].kick_fd);
		break;
	case VHU_SET_VRING_ENABLE:
		srv->rings[idx].enabled = msg->payload.state.num;
		ring_start(srv, &srv->rings[idx]);
		break;
	default:
		MUST(msg->hdr.request == VHU_SET_OWNER);
	}
	return 0;
}

static void handle(struct fake_vhu *srv, struct vhu_msg *msg)
{
	uint64_t protocol = BIT64(VHU_PROTOCOL_F_MQ) | BIT64(VHU_PROTOCOL_F_REPLY_ACK) |
			    BIT64(VHU_PROTOCOL_F_BACKEND_REQ) | BIT64(VHU_PROTOCOL_F_CONFIG);

	MUST(vhu_check_request(msg) == 0);
	if (take_fault(srv, FAKE_VHU_SILENT))
		srv->silent = true;
	if (srv->silent)
		return;
	switch (msg->hdr.request) {
	case VHU_GET_FEATURES:
		reply_u64(srv, msg, srv->options.features);
		break;
	case VHU_GET_PROTOCOL_FEATURES:
		reply_u64(srv, msg, protocol & ~srv->options.no_protocol);
		break;
	case VHU_GET_QUEUE_NUM:
		reply_u64(srv, msg, srv->options.queue_cnt);
		break;
	case VHU_GET_CONFIG:
		get_config(srv, msg);
		break;
	case VHU_GET_VRING_BASE:
		get_base(srv, msg);
		break;
	default: {
		uint64_t r = handle_quiet(srv, msg);

		if (msg->hdr.flags & VHU_FLAG_NEED_REPLY)
			reply_u64(srv, msg, r);
	}
	}
}

static void read_messages(struct fake_vhu *srv, struct vhu_rx *rx)
{
	struct vhu_msg msg;
	int r;

	while ((r = vhu_rx_recv(rx, srv->sock_fd, &msg)) == 0) {
		handle(srv, &msg);
		vhu_msg_close_fds(&msg);
	}
	if (r != -EAGAIN)
		hang_up(srv);
}

static void misbehave(struct fake_vhu *srv)
{
	struct vhu_msg msg;

	if (srv->backend_fd >= 0 && take_fault(srv, FAKE_VHU_BAD_NEWS))
		MUST(write(srv->backend_fd, "Hello, world, how are you?", 26) == 26);
	if (!take_fault(srv, FAKE_VHU_UNASKED))
		return;
	vhu_msg_init_u64(&msg, VHU_GET_FEATURES, VHU_FLAG_REPLY, 1);
	/* It may be gone by itself. */
	(void)(vhu_send(srv->sock_fd, &msg) == 0);
}

/* Woken by kicks alone, so that one which is missing is seen. */
static void serve(struct fake_vhu *srv)
{
	struct pollfd fds[2 + QUEUES_MAX];
	struct vhu_rx rx;

	vhu_rx_init(&rx);
	while (srv->sock_fd >= 0) {
		uint64_t cnt;

		fds[0] = (struct pollfd){ srv->stop_fd, POLLIN, 0 };
		fds[1] = (struct pollfd){ srv->sock_fd, POLLIN, 0 };
		for (unsigned int i = 0; i < QUEUES_MAX; i++)
			fds[2 + i] =
				(struct pollfd){ srv->rings[i].running ? srv->rings[i].kick_fd : -1,
						 POLLIN, 0 };
		pthread_mutex_unlock(&srv->lock);
		MUST(poll(fds, ARRAY_SIZE(fds), -1) > 0);
		pthread_mutex_lock(&srv->lock);
		if (fds[0].revents)
			MUST(read(srv->stop_fd, &cnt, sizeof(cnt)) > 0);
		if (srv->listen_fd < 0)
			break;
		misbehave(srv);
		for (unsigned int i = 0; i < QUEUES_MAX; i++) {
			if (fds[2 + i].revents)
				MUST(read(srv->rings[i].kick_fd, &cnt, sizeof(cnt)) > 0);
			if (!do_ring(srv, i))
				break;
		}
		if (srv->sock_fd >= 0 && fds[1].revents)
			read_messages(srv, &rx);
	}
	vhu_rx_fini(&rx);
	hang_up(srv);
}

static void *server_main(void *arg)
{
	struct fake_vhu *srv = arg;
	struct pollfd fds[2];
	uint64_t cnt;

	pthread_mutex_lock(&srv->lock);
	while (srv->listen_fd >= 0) {
		fds[0] = (struct pollfd){ srv->listen_fd, POLLIN, 0 };
		fds[1] = (struct pollfd){ srv->stop_fd, POLLIN, 0 };
		pthread_mutex_unlock(&srv->lock);
		MUST(poll(fds, 2, -1) > 0);
		pthread_mutex_lock(&srv->lock);
		if (fds[1].revents)
			MUST(read(srv->stop_fd, &cnt, sizeof(cnt)) > 0);
		if (!fds[0].revents || srv->listen_fd < 0)
			continue;
		srv->sock_fd = accept(srv->listen_fd, NULL, NULL);
		MUST(srv->sock_fd >= 0);
		srv->connections++;
		serve(srv);
	}
	pthread_mutex_unlock(&srv->lock);
	return NULL;
}

/* ---- from outside ---- */

void fake_vhu_usual(struct fake_vhu_options *options)
{
	*options = (struct fake_vhu_options){
		.features = BIT64(VIRTIO_F_VERSION_1) | BIT64(VHU_F_PROTOCOL_FEATURES) |
			    BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX) |
			    BIT64(VIRTIO_BLK_F_SEG_MAX) | BIT64(VIRTIO_BLK_F_BLK_SIZE) |
			    BIT64(VIRTIO_BLK_F_FLUSH) | BIT64(VIRTIO_BLK_F_MQ) |
			    BIT64(VIRTIO_BLK_F_DISCARD) | BIT64(VIRTIO_BLK_F_WRITE_ZEROES),
		.queue_cnt = 2,
		.config = {
			.capacity = htole64(DISK_BYTES >> SECTOR_SHIFT),
			.seg_max = htole32(32),
			.blk_size = htole32(512),
			.num_queues = htole16(2),
			.max_discard_sectors = htole32(128),
			.max_discard_seg = htole32(1),
			.discard_sector_alignment = htole32(8),
			.max_write_zeroes_sectors = htole32(64),
			.max_write_zeroes_seg = htole32(1),
			.write_zeroes_may_unmap = 1,
		},
	};
}

struct fake_vhu *fake_vhu_new(const char *path, const struct fake_vhu_options *options)
{
	struct fake_vhu *srv = calloc(1, sizeof(*srv));
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	MUST(srv && strlen(path) < sizeof(addr.sun_path));
	srv->options = *options;
	srv->options.features &= ~options->no_features;
	strcpy(srv->path, path);
	strcpy(addr.sun_path, path);
	(void)unlink(path);
	srv->sock_fd = srv->backend_fd = -1;
	for (unsigned int i = 0; i < QUEUES_MAX; i++) {
		srv->rings[i].kick_fd = srv->rings[i].call_fd = -1;
		MUST(vq_new(RING_MAX, &srv->rings[i].vq) == 0);
	}
	srv->stop_fd = eventfd(0, EFD_CLOEXEC);
	srv->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(bind(srv->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	MUST(listen(srv->listen_fd, 4) == 0);
	pthread_mutex_init(&srv->lock, NULL);
	MUST(pthread_create(&srv->thread, NULL, server_main, srv) == 0);
	return srv;
}

void fake_vhu_free(struct fake_vhu *srv)
{
	pthread_mutex_lock(&srv->lock);
	/* First: nobody is let in any more. */
	(void)shutdown(srv->listen_fd, SHUT_RDWR);
	close(srv->listen_fd);
	srv->listen_fd = -1;
	(void)unlink(srv->path);
	signal_fd(srv->stop_fd);
	pthread_mutex_unlock(&srv->lock);
	(void)pthread_join(srv->thread, NULL);
	for (unsigned int i = 0; i < QUEUES_MAX; i++)
		vq_free(srv->rings[i].vq);
	close(srv->stop_fd);
	pthread_mutex_destroy(&srv->lock);
	free(srv);
}

void fake_vhu_peek(struct fake_vhu *srv, uint32_t offset_bytes, void *buf, size_t len_bytes)
{
	pthread_mutex_lock(&srv->lock);
	memcpy(buf, srv->disk + offset_bytes, len_bytes);
	pthread_mutex_unlock(&srv->lock);
}

void fake_vhu_poke(struct fake_vhu *srv, uint32_t offset_bytes, const void *buf, size_t len_bytes)
{
	pthread_mutex_lock(&srv->lock);
	memcpy(srv->disk + offset_bytes, buf, len_bytes);
	pthread_mutex_unlock(&srv->lock);
}

void fake_vhu_inject(struct fake_vhu *srv, enum fake_vhu_fault fault)
{
	pthread_mutex_lock(&srv->lock);
	srv->fault = fault;
	signal_fd(srv->stop_fd);
	pthread_mutex_unlock(&srv->lock);
}

void fake_vhu_hold(struct fake_vhu *srv, bool held)
{
	pthread_mutex_lock(&srv->lock);
	srv->held = held;
	signal_fd(srv->stop_fd);
	pthread_mutex_unlock(&srv->lock);
}

void fake_vhu_resize(struct fake_vhu *srv, uint64_t sectors)
{
	struct vhu_msg msg;

	pthread_mutex_lock(&srv->lock);
	srv->options.config.capacity = htole64(sectors);
	vhu_msg_init(&msg, VHU_BACKEND_CONFIG_CHANGE, 0, 0);
	/* The client may just be going. */
	if (srv->backend_fd >= 0)
		(void)(vhu_send(srv->backend_fd, &msg) == 0);
	pthread_mutex_unlock(&srv->lock);
}

unsigned int fake_vhu_log(struct fake_vhu *srv, struct fake_vhu_req *ret_log)
{
	unsigned int cnt;

	pthread_mutex_lock(&srv->lock);
	cnt = srv->log_cnt;
	memcpy(ret_log, srv->log, cnt * sizeof(*ret_log));
	pthread_mutex_unlock(&srv->lock);
	return cnt;
}

unsigned int fake_vhu_connections(struct fake_vhu *srv)
{
	unsigned int cnt;

	pthread_mutex_lock(&srv->lock);
	cnt = srv->connections;
	pthread_mutex_unlock(&srv->lock);
	return cnt;
}

unsigned int fake_vhu_running(struct fake_vhu *srv)
{
	unsigned int cnt = 0;

	pthread_mutex_lock(&srv->lock);
	for (unsigned int i = 0; i < QUEUES_MAX; i++)
		cnt += srv->rings[i].running;
	pthread_mutex_unlock(&srv->lock);
	return cnt;
}

uint64_t fake_vhu_mapped_bytes(struct fake_vhu *srv)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&srv->lock);
	for (unsigned int i = 0; i < srv->table.region_cnt; i++)
		bytes += srv->table.regions[i].size_bytes;
	pthread_mutex_unlock(&srv->lock);
	return bytes;
}
