/* SPDX-License-Identifier: MIT */
#include "fake_vduse_priv.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- messages --- */

static void node_refresh(struct fake_vduse *k)
{
	uint64_t cnt;
	unsigned int i;
	bool waiting = k->broken;

	for (i = 0; i < k->msg_cnt; i++)
		waiting |= k->msgs[i].state == MSG_QUEUED;
	if (waiting)
		fake_vduse_signal(k->event_fd);
	else
		(void)!read(k->event_fd, &cnt, sizeof(cnt));
}

static uint32_t send_req(struct fake_vduse *k, struct vduse_dev_request req)
{
	uint32_t id;

	fake_vduse_lock(k);
	fake_vduse_need(k->msg_cnt < MSGS_MAX, "too many messages");
	id = k->msg_cnt++;
	req.request_id = id + 1000;
	k->msgs[id] = (struct msg){ .state = MSG_QUEUED, .req = req };
	node_refresh(k);
	fake_vduse_unlock(k);
	return id;
}

uint32_t fake_vduse_send_status(struct fake_vduse *k, uint8_t status)
{
	struct vduse_dev_request req = { .type = VDUSE_SET_STATUS };

	req.s.status = status;
	return send_req(k, req);
}

uint32_t fake_vduse_send(struct fake_vduse *k, uint32_t type, uint32_t arg)
{
	struct vduse_dev_request req = { .type = type };

	if (type == VDUSE_GET_VQ_STATE) {
		req.vq_state.index = arg;
	} else {
		req.iova.start = arg;
		req.iova.last = UINT64_MAX;
	}
	return send_req(k, req);
}

int fake_vduse_answer(struct fake_vduse *k, uint32_t id)
{
	int result;

	fake_vduse_lock(k);
	result = k->msgs[id].state == MSG_ANSWERED ? k->msgs[id].result
		 : k->msgs[id].state == MSG_LOST   ? FAKE_VDUSE_LOST
						   : FAKE_VDUSE_PENDING;
	fake_vduse_unlock(k);
	return result;
}

uint16_t fake_vduse_answered_state(struct fake_vduse *k)
{
	return k->answered_state;
}

static void do_reset(struct fake_vduse *k)
{
	unsigned int i;

	k->features = 0;
	k->bounce_mapped = false;
	for (i = 0; i < k->queue_cnt; i++) {
		struct fake_queue *q = &k->queues[i];

		q->ready = false;
		q->kicked = false;
		if (q->kick_fd >= 0)
			close(q->kick_fd);
		q->kick_fd = -1;
	}
}

static void msg_finish(struct fake_vduse *k, struct msg *msg, int result)
{
	if (msg->req.type != VDUSE_SET_STATUS)
		return;
	if (!msg->req.s.status) {
		/* Whatever the answer. */
		k->status = 0;
		do_reset(k);
	} else if (result == VDUSE_REQ_RESULT_OK) {
		k->status = msg->req.s.status;
	}
}

void fake_vduse_forget(struct fake_vduse *k, uint32_t id)
{
	fake_vduse_lock(k);
	k->msgs[id].state = MSG_LOST;
	msg_finish(k, &k->msgs[id], VDUSE_REQ_RESULT_FAILED);
	node_refresh(k);
	fake_vduse_unlock(k);
}

void fake_vduse_time_out(struct fake_vduse *k, uint32_t id)
{
	fake_vduse_lock(k);
	k->broken = true;
	fake_vduse_unlock(k);
	fake_vduse_forget(k, id);
}

static ssize_t sys_read(void *ctx, int fd, void *buf, size_t len)
{
	struct fake_vduse *k = ctx;
	ssize_t n = -EAGAIN;
	unsigned int i;

	if (len < sizeof(struct vduse_dev_request))
		return -EINVAL;
	fake_vduse_lock(k);
	fake_vduse_need(k->connected && fd == k->event_fd, "read of a node that is not open");
	for (i = 0; i < k->msg_cnt && n < 0; i++) {
		if (k->msgs[i].state != MSG_QUEUED)
			continue;
		memcpy(buf, &k->msgs[i].req, sizeof(k->msgs[i].req));
		k->msgs[i].state = MSG_READ;
		n = sizeof(k->msgs[i].req);
	}
	node_refresh(k);
	fake_vduse_unlock(k);
	return n;
}

static ssize_t sys_write(void *ctx, int fd, const void *buf, size_t len)
{
	static const uint32_t zero[4];
	struct fake_vduse *k = ctx;
	struct vduse_dev_response resp;
	ssize_t n = -ENOENT;
	unsigned int i;

	if (len != sizeof(resp))
		return -EINVAL;
	memcpy(&resp, buf, sizeof(resp));
	fake_vduse_need(!memcmp(resp.reserved, zero, sizeof(zero)),
			"reserved words of an answer are set");
	fake_vduse_lock(k);
	fake_vduse_need(fd == k->event_fd, "write to something else");
	for (i = 0; i < k->msg_cnt; i++) {
		struct msg *msg = &k->msgs[i];

		if (msg->state != MSG_READ || msg->req.request_id != resp.request_id)
			continue;
		msg->state = MSG_ANSWERED;
		msg->result = (int)resp.result;
		k->answered_state = resp.vq_state.split.avail_index;
		msg_finish(k, msg, (int)resp.result);
		n = (ssize_t)len;
	}
	fake_vduse_unlock(k);
	return n;
}

/* --- ioctls --- */

static int get_fd(struct fake_vduse *k, struct vduse_iotlb_entry *e)
{
	uint64_t start = 0, last = FAKE_VDUSE_BOUNCE_BYTES - 1;
	uint8_t perm = VDUSE_ACCESS_RW;
	bool found = k->bounce_mapped && e->start <= last;
	unsigned int i;

	if (e->start > e->last)
		return -EINVAL;
	for (i = 0; i < k->queue_cnt && !found; i++) {
		if (!k->queues[i].ring)
			continue;
		start = fake_vduse_ring_iova(i);
		last = start + fake_vduse_ring_bytes(k->queues[i].size) - 1;
		perm = k->ring_perm;
		found = e->start <= last && e->last >= start;
	}
	if (!found)
		return -EINVAL;
	*e = (struct vduse_iotlb_entry){
		.offset = start, .start = start, .last = last, .perm = perm
	};
	k->file_cnt++;
	return dup(k->domain_fd);
}

static int vq_info(struct fake_vduse *k, struct vduse_vq_info *info)
{
	struct fake_queue *q = &k->queues[info->index];

	if (info->index >= k->queue_cnt)
		return -EINVAL;
	info->num = q->ready ? q->size : 0;
	info->ready = q->ready;
	info->split.avail_index = 0;
	if (!q->ready)
		return 0;
	info->desc_addr = fake_vduse_ring_iova(info->index);
	info->driver_addr = info->desc_addr + 16u * q->size;
	info->device_addr = info->desc_addr + fake_vduse_used_offset(q->size);
	return 0;
}

static int setup_kickfd(struct fake_vduse *k, const struct vduse_vq_eventfd *arg)
{
	struct fake_queue *q = &k->queues[arg->index];

	if (arg->index >= k->queue_cnt)
		return -EINVAL;
	if (q->kick_fd >= 0)
		close(q->kick_fd);
	q->kick_fd = arg->fd < 0 ? -1 : dup(arg->fd);
	if (q->kicked && q->ready && q->kick_fd >= 0) {
		fake_vduse_signal(q->kick_fd);
		q->kicked = false;
	}
	return 0;
}

static int inject(struct fake_vduse *k, uint32_t idx)
{
	if (!(k->status & VIRTIO_CONFIG_S_DRIVER_OK) || idx >= k->queue_cnt)
		return -EINVAL;
	k->queues[idx].irq_cnt++;
	pthread_cond_broadcast(&k->irq);
	return 0;
}

static int iova_info(struct fake_vduse *k, struct vduse_iova_info *info)
{
	if (!k->bounce_mapped || info->start > info->last)
		return -EINVAL;
	info->start = 0;
	info->last = FAKE_VDUSE_BOUNCE_BYTES - 1;
	info->capability = k->cap_umem ? VDUSE_IOVA_CAP_UMEM : 0;
	return 0;
}

static int reg_umem(struct fake_vduse *k, const struct vduse_iova_umem *arg)
{
	if (arg->reserved[0] || arg->reserved[1] || arg->reserved[2])
		return -EINVAL;
	if (k->umem_uaddr || k->umem_foreign)
		return -EEXIST;
	if (!k->bounce_mapped || arg->iova || arg->size != FAKE_VDUSE_BOUNCE_BYTES ||
	    arg->uaddr % 4096)
		return -EINVAL;
	k->umem_uaddr = arg->uaddr;
	k->umem_pages = mremap((void *)(uintptr_t)arg->uaddr, 0, arg->size, MREMAP_MAYMOVE);
	fake_vduse_need(k->umem_pages != MAP_FAILED, "cannot pin the registered memory");
	fake_vduse_bounce_move(k, true);
	return 0;
}

static void umem_forget(struct fake_vduse *k)
{
	if (k->umem_uaddr) {
		fake_vduse_bounce_move(k, false);
		munmap(k->umem_pages, FAKE_VDUSE_BOUNCE_BYTES);
	}
	k->umem_uaddr = 0;
	k->umem_foreign = false;
}

static int dereg_umem(struct fake_vduse *k, const struct vduse_iova_umem *arg)
{
	if (!k->umem_uaddr && !k->umem_foreign)
		return -ENOENT;
	if (arg->iova || arg->size != FAKE_VDUSE_BOUNCE_BYTES)
		return -EINVAL;
	umem_forget(k);
	return 0;
}

static int vq_setup(struct fake_vduse *k, const struct vduse_vq_config *arg)
{
	static const uint16_t zero[13];

	fake_vduse_need(!memcmp(arg->reserved, zero, sizeof(zero)),
			"reserved words of VQ_SETUP are set");
	return arg->index < k->queue_cnt ? 0 : -EINVAL;
}

static int set_config(struct fake_vduse *k, const struct vduse_config_data *arg)
{
	if (!arg->length || arg->offset > sizeof(k->config) ||
	    arg->length > sizeof(k->config) - arg->offset)
		return -EINVAL;
	memcpy(k->config + arg->offset, arg->buffer, arg->length);
	return 0;
}

static int inject_config(struct fake_vduse *k)
{
	if (!(k->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return -EINVAL;
	k->config_irq_cnt++;
	memcpy(&k->capacity_seen, k->config, sizeof(k->capacity_seen));
	return 0;
}

static int dispatch(struct fake_vduse *k, unsigned long request, void *arg)
{
	switch (request) {
	case VDUSE_IOTLB_GET_FD:
		return get_fd(k, arg);
	case VDUSE_DEV_GET_FEATURES:
		*(uint64_t *)arg = k->features;
		return 0;
	case VDUSE_VQ_SETUP:
		return vq_setup(k, arg);
	case VDUSE_VQ_GET_INFO:
		return vq_info(k, arg);
	case VDUSE_VQ_SETUP_KICKFD:
		return setup_kickfd(k, arg);
	case VDUSE_VQ_INJECT_IRQ:
		return inject(k, *(uint32_t *)arg);
	case VDUSE_DEV_SET_CONFIG:
		return set_config(k, arg);
	case VDUSE_DEV_INJECT_CONFIG_IRQ:
		return inject_config(k);
	case VDUSE_IOTLB_GET_INFO:
		return iova_info(k, arg);
	case VDUSE_IOTLB_REG_UMEM:
		return reg_umem(k, arg);
	case VDUSE_IOTLB_DEREG_UMEM:
		return dereg_umem(k, arg);
	default:
		return -ENOTTY;
	}
}

static int scripted_failure(struct fake_vduse *k, unsigned long request)
{
	unsigned int i;

	for (i = 0; i < FAILS_MAX; i++)
		if (k->fails[i].cnt && k->fails[i].request == request) {
			k->fails[i].cnt--;
			return k->fails[i].err;
		}
	return 0;
}

static int sys_ioctl(void *ctx, int fd, unsigned long request, void *arg)
{
	struct fake_vduse *k = ctx;
	int r;

	fake_vduse_lock(k);
	fake_vduse_need(k->connected && fd == k->event_fd, "ioctl on a node that is not open");
	k->calls[_IOC_NR(request) % CALLS_MAX]++;
	r = k->broken ? -EPERM : scripted_failure(k, request);
	if (!r)
		r = dispatch(k, request, arg);
	fake_vduse_unlock(k);
	return r;
}

/* --- the other calls --- */

static int sys_open(void *ctx, const char *path, int flags)
{
	struct fake_vduse *k = ctx;
	int r = -ENOENT;

	fake_vduse_need((flags & (O_CLOEXEC | O_NONBLOCK)) == (O_CLOEXEC | O_NONBLOCK),
			"flags of open");
	fake_vduse_lock(k);
	if (!strncmp(path, "/dev/vduse/", 11)) {
		r = k->connected ? -EBUSY : k->event_fd;
		k->connected = true;
	}
	fake_vduse_unlock(k);
	return r;
}

static void sys_close(void *ctx, int fd)
{
	struct fake_vduse *k = ctx;
	unsigned int i;

	fake_vduse_lock(k);
	if (fd == k->event_fd) {
		fake_vduse_need(k->connected, "node closed twice");
		k->connected = false;
		umem_forget(k);
		for (i = 0; i < k->msg_cnt; i++)
			if (k->msgs[i].state == MSG_READ)
				k->msgs[i].state = MSG_QUEUED;
		node_refresh(k);
	} else {
		fake_vduse_need(k->file_cnt > 0, "file closed twice");
		k->file_cnt--;
		close(fd);
	}
	fake_vduse_unlock(k);
}

static int sys_mmap(void *ctx, size_t len, int prot, int fd, off_t offset, void **ret_va)
{
	struct fake_vduse *k = ctx;
	void *va = mmap(NULL, len, prot, MAP_SHARED, fd, offset);

	if (va == MAP_FAILED)
		return -errno;
	fake_vduse_need(fcntl(fd, F_GETFD) & FD_CLOEXEC,
			"file of the domain without close-on-exec");
	fake_vduse_lock(k);
	k->map_cnt++;
	fake_vduse_unlock(k);
	*ret_va = va;
	return 0;
}

static void sys_munmap(void *ctx, void *va, size_t len)
{
	struct fake_vduse *k = ctx;

	fake_vduse_lock(k);
	fake_vduse_need(k->map_cnt > 0, "more unmapped than mapped");
	k->map_cnt--;
	fake_vduse_unlock(k);
	munmap(va, len);
}

/* --- for tests --- */

struct fake_vduse *fake_vduse_new(unsigned int queue_cnt, uint16_t queue_size)
{
	struct fake_vduse *k = calloc(1, sizeof(*k));
	unsigned int i;

	fake_vduse_need(k && queue_cnt <= FAKE_VDUSE_QUEUES_MAX, "parameters");
	k->sys = (struct vduse_sys){
		.open = sys_open,
		.close = sys_close,
		.ioctl = sys_ioctl,
		.read = sys_read,
		.write = sys_write,
		.mmap = sys_mmap,
		.munmap = sys_munmap,
		.ctx = k,
	};
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->irq, NULL);
	k->queue_cnt = queue_cnt;
	k->queue_size = queue_size;
	k->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	k->domain_fd = -1;
	k->cap_umem = true;
	k->ring_perm = VDUSE_ACCESS_RW;
	for (i = 0; i < queue_cnt; i++)
		k->queues[i].kick_fd = -1;
	return k;
}

void fake_vduse_free(struct fake_vduse *k)
{
	unsigned int i;

	fake_vduse_need(!k->connected, "the node is still open");
	for (i = 0; i < k->queue_cnt; i++) {
		fake_vduse_queue_drop(&k->queues[i]);
		if (k->queues[i].kick_fd >= 0)
			close(k->queues[i].kick_fd);
	}
	if (k->domain_fd >= 0)
		close(k->domain_fd);
	close(k->event_fd);
	pthread_cond_destroy(&k->irq);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

const struct vduse_sys *fake_vduse_sys(struct fake_vduse *k)
{
	return &k->sys;
}

void fake_vduse_set_status(struct fake_vduse *k, uint8_t status)
{
	fake_vduse_lock(k);
	k->status = status;
	fake_vduse_unlock(k);
}

void fake_vduse_set_features(struct fake_vduse *k, uint64_t features)
{
	fake_vduse_lock(k);
	k->features = features;
	fake_vduse_unlock(k);
}

void fake_vduse_set_ready(struct fake_vduse *k, unsigned int idx)
{
	fake_vduse_lock(k);
	k->queues[idx].ready = true;
	fake_vduse_unlock(k);
}

struct ring *fake_vduse_ring(struct fake_vduse *k, unsigned int idx)
{
	return k->queues[idx].ring;
}

void fake_vduse_set_ring_perm(struct fake_vduse *k, uint8_t perm)
{
	k->ring_perm = perm;
}

void fake_vduse_kick(struct fake_vduse *k, unsigned int idx)
{
	struct fake_queue *q = &k->queues[idx];

	fake_vduse_lock(k);
	if (q->kick_fd >= 0 && q->ready)
		fake_vduse_signal(q->kick_fd);
	else
		q->kicked = true;
	fake_vduse_unlock(k);
}

unsigned int fake_vduse_irq_cnt(struct fake_vduse *k, unsigned int idx)
{
	unsigned int cnt;

	fake_vduse_lock(k);
	cnt = k->queues[idx].irq_cnt;
	fake_vduse_unlock(k);
	return cnt;
}

void fake_vduse_wait_irq(struct fake_vduse *k, unsigned int idx, unsigned int cnt)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_PATIENCE_S;
	fake_vduse_lock(k);
	while (k->queues[idx].irq_cnt < cnt && r == 0)
		r = pthread_cond_timedwait(&k->irq, &k->lock, &until);
	fake_vduse_unlock(k);
	fake_vduse_need(r == 0, "no interrupt came");
}

unsigned int fake_vduse_config_irq_cnt(struct fake_vduse *k)
{
	unsigned int cnt;

	fake_vduse_lock(k);
	cnt = k->config_irq_cnt;
	fake_vduse_unlock(k);
	return cnt;
}

uint64_t fake_vduse_capacity(struct fake_vduse *k)
{
	uint64_t sectors;

	fake_vduse_lock(k);
	memcpy(&sectors, k->config, sizeof(sectors));
	fake_vduse_unlock(k);
	return le64toh(sectors) * 512;
}

uint64_t fake_vduse_capacity_seen(struct fake_vduse *k)
{
	return le64toh(k->capacity_seen) * 512;
}

bool fake_vduse_has_kickfd(struct fake_vduse *k, unsigned int idx)
{
	return k->queues[idx].kick_fd >= 0;
}

void fake_vduse_fail(struct fake_vduse *k, unsigned long request, int err, unsigned int cnt)
{
	unsigned int i;

	fake_vduse_lock(k);
	for (i = 0; i < FAILS_MAX && k->fails[i].cnt; i++)
		;
	fake_vduse_need(i < FAILS_MAX, "too many failures at once");
	k->fails[i].request = request;
	k->fails[i].err = err;
	k->fails[i].cnt = cnt;
	fake_vduse_unlock(k);
}

unsigned int fake_vduse_call_cnt(struct fake_vduse *k, unsigned long request)
{
	unsigned int cnt;

	fake_vduse_lock(k);
	cnt = k->calls[_IOC_NR(request) % CALLS_MAX];
	fake_vduse_unlock(k);
	return cnt;
}

void fake_vduse_no_umem(struct fake_vduse *k)
{
	k->cap_umem = false;
}

void fake_vduse_foreign_umem(struct fake_vduse *k)
{
	k->umem_foreign = true;
}

bool fake_vduse_has_umem(struct fake_vduse *k)
{
	return k->umem_uaddr;
}

unsigned int fake_vduse_map_cnt(struct fake_vduse *k)
{
	return k->map_cnt;
}

unsigned int fake_vduse_file_cnt(struct fake_vduse *k)
{
	return k->file_cnt;
}
