/* SPDX-License-Identifier: MIT */
/* A queue: what it holds, what the server was shown of it, and what is to be done again. */
#include "bdev_vhost_user.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vblk/util/le.h"
#include "vblk/util/math.h"

#define BIT64(n)       (1ull << (n))
#define STATUS_UNKNOWN 0xffu

static struct vu_queue *queue_of(struct bdev_queue *bq)
{
	return container_of(bq, struct vu_queue, base);
}

static bool has(const struct vu_queue *q, unsigned int bit)
{
	return q->features & BIT64(bit);
}

/* ---- lists ---- */

static void list_append(struct vu_list *list, struct vu_slot *slot)
{
	slot->next = NULL;
	slot->prev = list->last;
	if (list->last)
		list->last->next = slot;
	else
		list->first = slot;
	list->last = slot;
}

static void list_remove(struct vu_list *list, struct vu_slot *slot)
{
	if (slot->prev)
		slot->prev->next = slot->next;
	else
		list->first = slot->next;
	if (slot->next)
		slot->next->prev = slot->prev;
	else
		list->last = slot->prev;
}

/* All of @from before all of @to. */
static void list_put_in_front(struct vu_list *to, struct vu_list *from)
{
	if (!from->first)
		return;
	from->last->next = to->first;
	if (to->first)
		to->first->prev = from->last;
	else
		to->last = from->last;
	to->first = from->first;
	*from = (struct vu_list){ NULL, NULL };
}

/* ---- ends ---- */

static void queue_tell(struct vu_queue *q)
{
	vu_signal(q->conn->mail_fd);
}

/* One that had to be done again is: with the last of all queues, what is new goes on. */
static void redo_ended(struct vu_queue *q)
{
	if (--q->redo_cnt || !q->counted)
		return;
	q->counted = false;
	/* Pairs with queue_may_show(): what was done again is before what is new. */
	if (__atomic_sub_fetch(&q->conn->redoing_cnt, 1, __ATOMIC_ACQ_REL))
		return;
	/* Those that wait for it are other threads'. */
	__atomic_store_n(&q->conn->redo_ended, 1, __ATOMIC_RELEASE);
	queue_tell(q);
}

/* In no list any more. The slot may be in use again afterwards. */
static void slot_end(struct vu_queue *q, struct vu_slot *slot, int result)
{
	struct bdev_io *io = slot->io;

	slot->io = NULL;
	slot->is_flush = false;
	if (slot->is_redo) {
		slot->is_redo = false;
		redo_ended(q);
	}
	io->done(io, result);
}

static int result_of(const struct vu_queue *q, const struct vu_slot *slot)
{
	const struct vu_wire *wire = &q->area.wires[slot - q->slots];

	switch (__atomic_load_n(&wire->status, __ATOMIC_RELAXED)) {
	case VIRTIO_BLK_S_OK:
		return 0;
	case VIRTIO_BLK_S_UNSUPP:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

/* Every write was to be durable, and the server has a cache. */
static bool wants_flush(const struct vu_queue *q, const struct vu_slot *slot)
{
	return has(q, VIRTIO_BLK_F_FLUSH) && !slot->is_flush && slot->io->op != BDEV_READ &&
	       slot->io->op != BDEV_FLUSH && !q->dev->base.limits.volatile_cache;
}

static void slot_finished(struct vu_queue *q, struct vu_slot *slot)
{
	int result = result_of(q, slot);

	/* Stored once, so that queues do not take the line from each other. */
	if (__atomic_load_n(&q->conn->served_epoch, __ATOMIC_RELAXED) != q->epoch)
		__atomic_store_n(&q->conn->served_epoch, q->epoch, __ATOMIC_RELAXED);
	list_remove(&q->shown, slot);
	if (result == 0 && wants_flush(q, slot)) {
		struct vu_list one = { slot, slot };

		slot->is_flush = true;
		slot->next = slot->prev = NULL;
		list_put_in_front(&q->waiting, &one);
		return;
	}
	slot_end(q, slot, result);
}

/* ---- what the server is shown ---- */

/* Adds the pieces of one buffer to @q->bufs from @cnt on. Returns the new count; -EIO. */
static int add_buffer(struct vu_queue *q, unsigned int cnt, const struct iovec *iov)
{
	const uint8_t *va = iov->iov_base;
	uint64_t left_bytes = iov->iov_len;

	while (left_bytes) {
		const struct vu_region *region = q->regions;
		uint64_t at = 0, piece_bytes;
		unsigned int i;

		for (i = 0; i < q->region_cnt; i++, region++) {
			at = (uint64_t)((uintptr_t)va - (uintptr_t)region->va);
			if ((uintptr_t)va >= (uintptr_t)region->va && at < region->len_bytes)
				break;
		}
		/* Header in front; range never together with data. */
		if (i == q->region_cnt || cnt - 1 >= q->seg_max)
			return -EIO;
		piece_bytes = MIN(left_bytes, region->len_bytes - at);
		piece_bytes = MIN(piece_bytes, (uint64_t)q->size_max_bytes);
		q->bufs[cnt++] = (struct vq_driver_buf){ region->addr + at, (uint32_t)piece_bytes };
		va += piece_bytes;
		left_bytes -= piece_bytes;
	}
	return (int)cnt;
}

static int add_data(struct vu_queue *q, unsigned int cnt, const struct bdev_io *io)
{
	int r = (int)cnt;

	for (unsigned int i = 0; r >= 0 && i < io->iov_cnt; i++)
		r = add_buffer(q, (unsigned int)r, &io->iov[i]);
	return r;
}

/* What the server did not accept it must not be asked for. */
static bool server_can(const struct vu_queue *q, enum bdev_op op)
{
	switch (op) {
	case BDEV_READ:
	case BDEV_WRITE:
	case BDEV_FLUSH:
		return true;
	case BDEV_DISCARD:
		return has(q, VIRTIO_BLK_F_DISCARD);
	case BDEV_WRITE_ZEROES:
		return has(q, VIRTIO_BLK_F_WRITE_ZEROES);
	case BDEV_SECURE_ERASE:
		return has(q, VIRTIO_BLK_F_SECURE_ERASE);
	}
	return false;
}

static uint32_t type_of(const struct vu_slot *slot)
{
	if (slot->is_flush)
		return VIRTIO_BLK_T_FLUSH;
	switch (slot->io->op) {
	case BDEV_READ:
		return VIRTIO_BLK_T_IN;
	case BDEV_WRITE:
		return VIRTIO_BLK_T_OUT;
	case BDEV_FLUSH:
		return VIRTIO_BLK_T_FLUSH;
	case BDEV_DISCARD:
		return VIRTIO_BLK_T_DISCARD;
	case BDEV_WRITE_ZEROES:
		return VIRTIO_BLK_T_WRITE_ZEROES;
	case BDEV_SECURE_ERASE:
		return VIRTIO_BLK_T_SECURE_ERASE;
	}
	return VIRTIO_BLK_T_IN;
}

static void fill_range(struct vu_wire *wire, const struct bdev_io *io)
{
	bool unmap = io->op == BDEV_WRITE_ZEROES && io->flags & BDEV_IO_MAY_UNMAP;

	wire->range = (struct virtio_blk_discard_write_zeroes){
		.sector = htole64(io->offset_bytes >> SECTOR_SHIFT),
		.num_sectors = htole32((uint32_t)(io->len_bytes >> SECTOR_SHIFT)),
		.flags = htole32(unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0),
	};
}

/* Descriptors of a request in @q->bufs. Return: 0; -EIO memory that the server does not have. */
static int slot_build(struct vu_queue *q, struct vu_slot *slot, unsigned int *ret_readable_cnt,
		      unsigned int *ret_writable_cnt)
{
	struct vu_wire *wire = &q->area.wires[slot - q->slots];
	const struct bdev_io *io = slot->io;
	uint32_t type = type_of(slot);
	bool has_data = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_OUT;
	int cnt = 1;

	wire->hdr = (struct virtio_blk_outhdr){
		.type = htole32(type),
		.sector = has_data ? htole64(io->offset_bytes >> SECTOR_SHIFT) : 0,
	};
	wire->status = STATUS_UNKNOWN;
	q->bufs[0] =
		(struct vq_driver_buf){ vu_area_addr_of(&q->area, &wire->hdr), sizeof(wire->hdr) };
	if (has_data)
		cnt = add_data(q, 1, io);
	if (cnt < 0)
		return cnt;
	if (!has_data && type != VIRTIO_BLK_T_FLUSH) {
		fill_range(wire, io);
		q->bufs[cnt++] = (struct vq_driver_buf){ vu_area_addr_of(&q->area, &wire->range),
							 sizeof(wire->range) };
	}
	*ret_readable_cnt = type == VIRTIO_BLK_T_IN ? 1 : (unsigned int)cnt;
	q->bufs[cnt++] = (struct vq_driver_buf){ vu_area_addr_of(&q->area, &wire->status), 1 };
	*ret_writable_cnt = (unsigned int)cnt - *ret_readable_cnt;
	return 0;
}

/* Return: 0; -EAGAIN the ring is full; other: it has ended with that. */
static int slot_show(struct vu_queue *q, struct vu_slot *slot)
{
	unsigned int readable_cnt, writable_cnt;
	int r = 0;

	assert(slot->io);
	if (!server_can(q, slot->io->op))
		r = -EOPNOTSUPP;
	else if (slot->io->op == BDEV_FLUSH && !has(q, VIRTIO_BLK_F_FLUSH))
		r = 1;
	else
		r = slot_build(q, slot, &readable_cnt, &writable_cnt);
	if (r == 0)
		r = vq_driver_post(q->drv, q->bufs, readable_cnt, writable_cnt,
				   (uint16_t)(slot - q->slots));
	if (r == -EAGAIN)
		return r;
	list_remove(&q->waiting, slot);
	if (r == 0) {
		list_append(&q->shown, slot);
		return 0;
	}
	/* 1: a server without a cache has nothing to flush. */
	slot_end(q, slot, r > 0 ? 0 : r == -EINVAL ? -EIO : r);
	return r;
}

/* ---- the ring and its server ---- */

static void queue_ask(struct vu_queue *q, bool run)
{
	uint32_t low = ++q->ask_number << 1 | (run ? VU_ASK_RUN : 0);

	q->live = false;
	/* Pairs with wish_of(): the ring is ready. */
	__atomic_store_n(&q->asked, (uint64_t)q->epoch << VU_ASK_EPOCH_SHIFT | low,
			 __ATOMIC_RELEASE);
	queue_tell(q);
}

static void slot_mark_redo(struct vu_queue *q, struct vu_slot *slot)
{
	slot->is_flush = false;
	if (slot->is_redo)
		return;
	slot->is_redo = true;
	q->redo_cnt++;
}

/* A server is lost. What it was shown goes in front of all that waits, in its order. */
static void queue_ack(struct vu_queue *q, uint32_t epoch)
{
	struct vu_slot *slot;

	for (slot = q->shown.first; slot; slot = slot->next)
		slot_mark_redo(q, slot);
	/* Writes whose flush waits are in front already. */
	for (slot = q->waiting.first; slot; slot = slot->next)
		if (slot->is_flush)
			slot_mark_redo(q, slot);
	list_put_in_front(&q->waiting, &q->shown);
	if (q->redo_cnt && !q->counted) {
		q->counted = true;
		__atomic_fetch_add(&q->conn->redoing_cnt, 1, __ATOMIC_RELAXED);
	}
	q->epoch = epoch;
	q->live = false;
	/* Pairs with all_have_acked(): redoing_cnt has us, whichever of the two it looks at. */
	__atomic_store_n(&q->acked, epoch, __ATOMIC_RELEASE);
	__atomic_store_n(&q->busy, 0, __ATOMIC_RELEASE);
	queue_tell(q);
}

/* What the server of this epoch can. Return: false: there is none. */
static bool queue_learn(struct vu_queue *q)
{
	const struct vu_server_conf *server = &q->conn->server;
	bool is_up;

	/* Cheap, and the lock is only for when another server takes its place meanwhile. */
	if (__atomic_load_n(&q->conn->up_epoch, __ATOMIC_ACQUIRE) != q->epoch)
		return false;
	pthread_mutex_lock(&q->dev->lock);
	is_up = __atomic_load_n(&q->conn->up_epoch, __ATOMIC_RELAXED) == q->epoch;
	q->features = server->features;
	q->seg_max = MIN(server->seg_max, VU_SEGS_MAX);
	q->size_max_bytes = server->size_max_bytes ? server->size_max_bytes : UINT32_MAX;
	pthread_mutex_unlock(&q->dev->lock);
	return is_up;
}

/* A fresh ring for it. */
static void queue_make_ring(struct vu_queue *q)
{
	struct vq_driver_config cfg = {
		.size = vu_ring_size(q->features, q->conn->depth),
		.desc = q->area.desc,
		.avail = q->area.avail,
		.used = q->area.used,
		.event_idx = has(q, VIRTIO_RING_F_EVENT_IDX),
	};
	int r;

	if (has(q, VIRTIO_RING_F_INDIRECT_DESC)) {
		cfg.tables = q->area.tables;
		cfg.tables_addr = vu_area_addr_of(&q->area, q->area.tables);
		cfg.table_len = VU_BUFS_MAX;
	}
	q->ring_size = cfg.size;
	r = vq_driver_start(q->drv, &cfg);
	assert(r == 0);
}

static bool queue_is_answered(const struct vu_queue *q)
{
	/* Pairs with answer(). */
	return __atomic_load_n(&q->answered, __ATOMIC_ACQUIRE) == q->asked;
}

/* What the connection thread has to say. */
static void queue_look(struct vu_queue *q)
{
	/* Pairs with lose_server(). */
	uint32_t epoch = __atomic_load_n(&q->conn->epoch, __ATOMIC_ACQUIRE);

	if (epoch != q->epoch)
		queue_ack(q, epoch);
	if (q->live || !q->has_map || q->broken_epoch == epoch)
		return;
	if (vu_ask_epoch(q->asked) == epoch) {
		if (!queue_is_answered(q))
			return;
		if (q->asked & VU_ASK_RUN) {
			q->live = true;
			return;
		}
	}
	if (!queue_learn(q))
		return;
	queue_make_ring(q);
	queue_ask(q, true);
}

/* Before something is shown: either we see a new epoch, or all_have_acked() sees us busy. */
static void queue_be_busy(struct vu_queue *q)
{
	if (q->busy)
		return;
	__atomic_store_n(&q->busy, 1, __ATOMIC_SEQ_CST);
	fence_full();
	queue_look(q);
}

/* The other way round, so that it does not wait for a word of ours in vain. */
static void queue_be_idle(struct vu_queue *q)
{
	if (!q->busy || q->shown.first)
		return;
	__atomic_store_n(&q->busy, 0, __ATOMIC_SEQ_CST);
	fence_full();
	queue_look(q);
}

static bool queue_may_show(const struct vu_queue *q, const struct vu_slot *slot)
{
	/* Pairs with redo_ended(). */
	return slot->is_redo || !__atomic_load_n(&q->conn->redoing_cnt, __ATOMIC_ACQUIRE);
}

static void queue_show_waiting(struct vu_queue *q)
{
	struct vu_slot *slot;

	if (!q->waiting.first)
		return;
	queue_look(q);
	if (q->live)
		queue_be_busy(q);
	if (!q->live)
		return;
	while ((slot = q->waiting.first) && queue_may_show(q, slot))
		if (slot_show(q, slot) == -EAGAIN)
			break;
	if (vq_driver_publish(q->drv))
		vu_signal(q->kick_fd);
	queue_be_idle(q);
}

/* The server lies: the connection thread looks for another one. */
static void queue_is_broken(struct vu_queue *q)
{
	q->live = false;
	__atomic_store_n(&q->broken_epoch, q->epoch, __ATOMIC_RELEASE);
	queue_tell(q);
}

static void queue_reap(struct vu_queue *q)
{
	uint32_t written_bytes;
	uint16_t token;
	int r;

	do {
		while ((r = vq_driver_reap(q->drv, &token, &written_bytes)) > 0)
			slot_finished(q, &q->slots[token]);
	} while (r == 0 && vq_driver_irq_enable(q->drv));
	if (r < 0)
		queue_is_broken(q);
	queue_be_idle(q);
}

/* ---- the eventfd that tells of both ---- */

static void call_arm(struct vu_queue *q)
{
	struct io_uring_sqe *sqe = loop_get_sqe(q->base.loop);

	if (q->one_shot)
		io_uring_prep_poll_add(sqe, q->call_fd, POLLIN);
	else
		io_uring_prep_poll_multishot(sqe, q->call_fd, POLLIN);
	loop_sqe_bind(sqe, &q->call_op);
	q->armed = true;
}

/* The next poll would fire at once for what this one has told of. */
static void call_consume(struct vu_queue *q)
{
	uint64_t cnt;
	struct iovec iov = { .iov_base = &cnt, .iov_len = sizeof(cnt) };

	(void)preadv2(q->call_fd, &iov, 1, -1, RWF_NOWAIT);
}

static void call_came(struct loop_op *op, int res, uint32_t cqe_flags)
{
	struct vu_queue *q = container_of(op, struct vu_queue, call_op);

	if (!(cqe_flags & IORING_CQE_F_MORE)) {
		q->armed = false;
		if (res == -ECANCELED || q->cancelling)
			return;
		q->one_shot |= res == -EINVAL;
		call_consume(q);
		call_arm(q);
	}
	queue_look(q);
	if (q->live && q->shown.first)
		queue_reap(q);
	queue_show_waiting(q);
}

static void call_cancelled(struct loop_op *op, int res VBLK_UNUSED, uint32_t cqe_flags VBLK_UNUSED)
{
	container_of(op, struct vu_queue, cancel_op)->cancelling = false;
}

static void call_disarm(struct vu_queue *q)
{
	struct io_uring_sqe *sqe;

	if (!q->armed)
		return;
	sqe = loop_get_sqe(q->base.loop);
	io_uring_prep_cancel(sqe, &q->call_op, 0);
	loop_sqe_bind(sqe, &q->cancel_op);
	q->cancelling = true;
	/* An error here is one of the ring itself, which ends all its requests. */
	while (q->armed || q->cancelling)
		if (loop_wait(q->base.loop) < 0)
			return;
}

/* ---- struct bdev_ops ---- */

static int queue_init(struct vu_queue *q, unsigned int depth)
{
	int r;

	q->kick_fd = eventfd(0, EFD_CLOEXEC);
	if (q->kick_fd < 0)
		return -errno;
	q->call_fd = eventfd(0, EFD_CLOEXEC);
	if (q->call_fd < 0)
		return -errno;
	r = vq_driver_new(VU_RING_MAX, &q->drv);
	if (r < 0)
		return r;
	pthread_mutex_lock(&q->dev->lock);
	r = vu_conn_join(q, depth);
	pthread_mutex_unlock(&q->dev->lock);
	if (r < 0)
		return r;
	q->epoch = __atomic_load_n(&q->conn->epoch, __ATOMIC_ACQUIRE);
	__atomic_store_n(&q->acked, q->epoch, __ATOMIC_RELEASE);
	return 0;
}

int vu_queue_new(struct bdev *bdev, struct loop *loop, unsigned int depth,
		 struct bdev_queue **ret_bq)
{
	size_t bytes = align_up(sizeof(struct vu_queue) + depth * sizeof(struct vu_slot),
				_Alignof(struct vu_queue));
	struct vu_queue *q;
	int r;

	/* Every request has a place in the ring where it takes only one. */
	if (depth > VU_RING_MAX)
		return -EINVAL;
	q = aligned_alloc(_Alignof(struct vu_queue), bytes);
	if (!q)
		return -ENOMEM;
	memset(q, 0, bytes);
	q->base.bdev = bdev;
	q->base.loop = loop;
	q->dev = container_of(bdev, struct vu_bdev, base);
	q->kick_fd = q->call_fd = -1;
	q->call_op.complete = call_came;
	q->cancel_op.complete = call_cancelled;
	r = queue_init(q, depth);
	if (r < 0) {
		vu_queue_free(&q->base);
		return r;
	}
	call_arm(q);
	*ret_bq = &q->base;
	return 0;
}

void vu_queue_free(struct bdev_queue *bq)
{
	struct vu_queue *q = queue_of(bq);

	call_disarm(q);
	vu_conn_leave(q);
	vq_driver_free(q->drv);
	if (q->kick_fd >= 0)
		(void)close(q->kick_fd);
	if (q->call_fd >= 0)
		(void)close(q->call_fd);
	free(q);
}

static void map_let_go(struct vu_queue *q)
{
	if (!q->map)
		return;
	pthread_mutex_lock(&q->dev->lock);
	vu_mem_put(&q->conn->mem, q->map);
	pthread_mutex_unlock(&q->dev->lock);
	q->map = NULL;
	q->has_map = false;
	q->region_cnt = 0;
	queue_ask(q, false);
}

void vu_queue_map_changed(struct bdev_queue *bq, const struct memmap *map)
{
	struct vu_queue *q = queue_of(bq);
	const struct vu_set *set;

	map_let_go(q);
	if (!map)
		return;
	pthread_mutex_lock(&q->dev->lock);
	set = vu_mem_get(&q->conn->mem, map);
	if (set) {
		q->map = map;
		q->region_cnt = set->cnt;
		memcpy(q->regions, set->regions, sizeof(q->regions));
	}
	pthread_mutex_unlock(&q->dev->lock);
	/* Without a region it runs, and its requests fail. */
	q->has_map = true;
	queue_look(q);
}

void vu_queue_submit(struct bdev_queue *bq, struct bdev_io *io)
{
	struct vu_queue *q = queue_of(bq);
	struct vu_slot *slot = &q->slots[io->slot_idx];

	slot->io = io;
	list_append(&q->waiting, slot);
}

void vu_queue_commit(struct bdev_queue *bq)
{
	queue_show_waiting(queue_of(bq));
}
