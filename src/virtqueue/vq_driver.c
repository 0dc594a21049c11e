/* SPDX-License-Identifier: MIT */
#include "vblk/virtqueue/vq_driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vblk/util/le.h"
#include "vblk/util/math.h"

/* A used_event this far behind is refreshed, before it looks like the future. */
#define EVENT_STALE_MAX 0x7fffu

/**
 * struct drv_head - what is known of the chain that begins at a descriptor
 * @desc_cnt: of the ring that it takes; 0: nothing in flight begins here
 */
struct drv_head {
	uint16_t desc_cnt;
	uint16_t token;
};

/**
 * struct vq_driver - all indexes run freely and wrap at 2^16
 * @next: by descriptor, the next one of its chain or of the free ones; the ring's copy is
 *        the device's to change
 * @avail_idx: next avail entry to fill
 * @published_idx: avail->idx as the device sees it
 * @used_idx: next used entry to look at
 * @seen_used_idx: used->idx as last loaded and checked
 * @used_event: copy of what is in the ring (EVENT_IDX)
 * @kick_unknown: the device may not look at the ring yet: kick it
 */
struct vq_driver {
	struct vq_driver_config cfg;
	struct drv_head *heads;
	uint16_t *next;
	uint16_t size_max;
	uint16_t free_head;
	uint16_t free_cnt;
	uint16_t avail_idx;
	uint16_t published_idx;
	uint16_t used_idx;
	uint16_t seen_used_idx;
	uint16_t used_event;
	unsigned int inflight_cnt;
	bool kick_unknown;
	bool broken;
};

int vq_driver_new(uint16_t size_max, struct vq_driver **ret_drv)
{
	struct vq_driver *drv;

	if (!is_power_of_two(size_max) || size_max > VQ_DRIVER_SIZE_MAX)
		return -EINVAL;
	drv = calloc(1, sizeof(*drv));
	if (!drv)
		return -ENOMEM;
	drv->size_max = size_max;
	drv->heads = calloc(size_max, sizeof(*drv->heads));
	drv->next = calloc(size_max, sizeof(*drv->next));
	if (!drv->heads || !drv->next) {
		vq_driver_free(drv);
		return -ENOMEM;
	}
	*ret_drv = drv;
	return 0;
}

void vq_driver_free(struct vq_driver *drv)
{
	if (!drv)
		return;
	free(drv->heads);
	free(drv->next);
	free(drv);
}

static uint16_t slot_of(const struct vq_driver *drv, uint16_t idx)
{
	return idx & (uint16_t)(drv->cfg.size - 1);
}

static bool ptr_is_usable(const void *p, uint64_t align_bytes)
{
	return p && is_aligned((uintptr_t)p, align_bytes);
}

static bool config_is_sane(const struct vq_driver *drv, const struct vq_driver_config *cfg)
{
	if (!is_power_of_two(cfg->size) || cfg->size > drv->size_max)
		return false;
	if (cfg->tables &&
	    (!cfg->table_len || !is_aligned((uintptr_t)cfg->tables, VQ_DRIVER_DESC_ALIGN)))
		return false;
	return ptr_is_usable(cfg->desc, VQ_DRIVER_DESC_ALIGN) &&
	       ptr_is_usable(cfg->avail, VQ_DRIVER_AVAIL_ALIGN) &&
	       ptr_is_usable(cfg->used, VQ_DRIVER_USED_ALIGN);
}

/* Behind the available ring; s2.7.6. */
static void used_event_set(struct vq_driver *drv, uint16_t idx)
{
	drv->used_event = idx;
	store_le16(&drv->cfg.avail->ring[drv->cfg.size], idx);
}

static void ring_clear(struct vq_driver *drv)
{
	const struct vq_driver_config *cfg = &drv->cfg;

	memset(cfg->desc, 0, vq_driver_desc_bytes(cfg->size));
	memset(cfg->avail, 0, vq_driver_avail_bytes(cfg->size));
	memset(cfg->used, 0, vq_driver_used_bytes(cfg->size));
	store_le16(&cfg->avail->idx, cfg->base_idx);
	store_le16(&cfg->used->idx, cfg->base_idx);
}

int vq_driver_start(struct vq_driver *drv, const struct vq_driver_config *cfg)
{
	if (!config_is_sane(drv, cfg))
		return -EINVAL;
	drv->cfg = *cfg;
	ring_clear(drv);
	memset(drv->heads, 0, drv->size_max * sizeof(*drv->heads));
	for (unsigned int i = 0; i < cfg->size; i++)
		drv->next[i] = (uint16_t)(i + 1);
	drv->free_head = 0;
	drv->free_cnt = cfg->size;
	drv->avail_idx = drv->published_idx = cfg->base_idx;
	drv->used_idx = drv->seen_used_idx = cfg->base_idx;
	drv->inflight_cnt = 0;
	drv->kick_unknown = true;
	drv->broken = false;
	used_event_set(drv, cfg->base_idx);
	return 0;
}

static unsigned int descs_for(const struct vq_driver *drv, unsigned int buf_cnt)
{
	return drv->cfg.tables ? 1 : buf_cnt;
}

bool vq_driver_has_room(const struct vq_driver *drv, unsigned int buf_cnt)
{
	return descs_for(drv, buf_cnt) <= drv->free_cnt;
}

/* Relaxed stores: vq_driver_publish() releases them together. */
static void desc_store(struct vring_desc *desc, uint64_t addr, uint32_t len_bytes, uint16_t flags,
		       uint16_t next)
{
	__atomic_store_n(&desc->addr, htole64(addr), __ATOMIC_RELAXED);
	store_le32(&desc->len, len_bytes);
	store_le16(&desc->flags, flags);
	store_le16(&desc->next, next);
}

static uint16_t flags_of(unsigned int i, unsigned int readable_cnt, unsigned int cnt)
{
	return (uint16_t)((i >= readable_cnt ? VRING_DESC_F_WRITE : 0) |
			  (i + 1 < cnt ? VRING_DESC_F_NEXT : 0));
}

static uint16_t store_indirect(struct vq_driver *drv, const struct vq_driver_buf *bufs,
			       unsigned int readable_cnt, unsigned int cnt)
{
	uint16_t head = drv->free_head;
	size_t first = (size_t)head * drv->cfg.table_len;

	for (unsigned int i = 0; i < cnt; i++)
		desc_store(&drv->cfg.tables[first + i], bufs[i].addr, bufs[i].len_bytes,
			   flags_of(i, readable_cnt, cnt), (uint16_t)(i + 1));
	desc_store(&drv->cfg.desc[head], drv->cfg.tables_addr + first * sizeof(struct vring_desc),
		   (uint32_t)(cnt * sizeof(struct vring_desc)), VRING_DESC_F_INDIRECT, 0);
	drv->free_head = drv->next[head];
	return head;
}

static uint16_t store_direct(struct vq_driver *drv, const struct vq_driver_buf *bufs,
			     unsigned int readable_cnt, unsigned int cnt)
{
	uint16_t head = drv->free_head;

	for (unsigned int i = 0; i < cnt; i++) {
		uint16_t at = drv->free_head;

		drv->free_head = drv->next[at];
		desc_store(&drv->cfg.desc[at], bufs[i].addr, bufs[i].len_bytes,
			   flags_of(i, readable_cnt, cnt), i + 1 < cnt ? drv->free_head : 0);
	}
	return head;
}

int vq_driver_post(struct vq_driver *drv, const struct vq_driver_buf *bufs,
		   unsigned int readable_cnt, unsigned int writable_cnt, uint16_t token)
{
	unsigned int cnt = readable_cnt + writable_cnt;
	uint16_t head;

	if (!cnt || cnt > (drv->cfg.tables ? drv->cfg.table_len : drv->cfg.size))
		return -EINVAL;
	if (!vq_driver_has_room(drv, cnt))
		return -EAGAIN;
	if (drv->cfg.tables)
		head = store_indirect(drv, bufs, readable_cnt, cnt);
	else
		head = store_direct(drv, bufs, readable_cnt, cnt);
	drv->heads[head] = (struct drv_head){
		.desc_cnt = (uint16_t)descs_for(drv, cnt),
		.token = token,
	};
	drv->free_cnt = (uint16_t)(drv->free_cnt - drv->heads[head].desc_cnt);
	drv->inflight_cnt++;
	store_le16(&drv->cfg.avail->ring[slot_of(drv, drv->avail_idx)], head);
	drv->avail_idx++;
	return 0;
}

/* Behind the used ring; s2.7.8. */
static uint16_t avail_event_load(const struct vq_driver *drv)
{
	return load_le16((const uint16_t *)(const void *)&drv->cfg.used->ring[drv->cfg.size]);
}

bool vq_driver_publish(struct vq_driver *drv)
{
	uint16_t old_idx = drv->published_idx;

	if (old_idx == drv->avail_idx)
		return false;
	/* Pairs with the device's acquire: entries and descriptors are visible. */
	store_release_le16(&drv->cfg.avail->idx, drv->avail_idx);
	drv->published_idx = drv->avail_idx;
	/* Pairs with the device's fence between asking for kicks and looking at avail->idx:
	 * we see that it wants one, or it sees the requests. */
	fence_full();
	if (drv->kick_unknown) {
		drv->kick_unknown = false;
		return true;
	}
	if (!drv->cfg.event_idx)
		return !(load_le16(&drv->cfg.used->flags) & VRING_USED_F_NO_NOTIFY);
	/* Wanted when avail_event is one of the entries old_idx .. avail_idx - 1, modulo 2^16. */
	return (uint16_t)(drv->avail_idx - avail_event_load(drv) - 1) <
	       (uint16_t)(drv->avail_idx - old_idx);
}

static int break_queue(struct vq_driver *drv)
{
	drv->broken = true;
	return -EBADMSG;
}

/* Is an entry waiting? Loads used->idx only when none is known of. */
static int look_for_used(struct vq_driver *drv)
{
	uint16_t idx;

	if (drv->seen_used_idx != drv->used_idx)
		return 1;
	/* Pairs with the device's release: the entries and what it wrote are visible. */
	idx = load_acquire_le16(&drv->cfg.used->idx);
	/* Each request takes one entry of either ring. */
	if ((uint16_t)(idx - drv->used_idx) > (uint16_t)(drv->published_idx - drv->used_idx))
		return break_queue(drv);
	drv->seen_used_idx = idx;
	return idx != drv->used_idx;
}

static void chain_free(struct vq_driver *drv, uint16_t head)
{
	uint16_t last = head, desc_cnt = drv->heads[head].desc_cnt;

	for (unsigned int i = 1; i < desc_cnt; i++)
		last = drv->next[last];
	drv->next[last] = drv->free_head;
	drv->free_head = head;
	drv->free_cnt = (uint16_t)(drv->free_cnt + desc_cnt);
	drv->heads[head].desc_cnt = 0;
	drv->inflight_cnt--;
}

/* One that is left behind suppresses interrupts only until the index has wrapped to it. */
static void used_event_keep_behind(struct vq_driver *drv)
{
	if (drv->cfg.event_idx && (uint16_t)(drv->used_idx - drv->used_event) >= EVENT_STALE_MAX)
		used_event_set(drv, (uint16_t)(drv->used_idx - 1));
}

int vq_driver_reap(struct vq_driver *drv, uint16_t *ret_token, uint32_t *ret_written_bytes)
{
	const struct vring_used_elem *elem;
	uint32_t id;
	int r;

	if (drv->broken)
		return -EBADMSG;
	r = look_for_used(drv);
	if (r <= 0)
		return r;
	elem = &drv->cfg.used->ring[slot_of(drv, drv->used_idx)];
	id = load_le32(&elem->id);
	if (id >= drv->cfg.size || !drv->heads[id].desc_cnt)
		return break_queue(drv);
	*ret_token = drv->heads[id].token;
	*ret_written_bytes = load_le32(&elem->len);
	chain_free(drv, (uint16_t)id);
	drv->used_idx++;
	used_event_keep_behind(drv);
	return 1;
}

bool vq_driver_irq_enable(struct vq_driver *drv)
{
	if (drv->cfg.event_idx)
		used_event_set(drv, drv->used_idx);
	else
		store_le16(&drv->cfg.avail->flags, 0);
	/* Pairs with the device's fence between storing used->idx and looking whether an
	 * interrupt is wanted: it sees that, or we see its entries here. */
	fence_full();
	return !drv->broken && look_for_used(drv) != 0;
}

void vq_driver_irq_suppress(struct vq_driver *drv)
{
	/* With EVENT_IDX it is enough not to advance used_event. */
	if (!drv->cfg.event_idx)
		store_le16(&drv->cfg.avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

unsigned int vq_driver_inflight_cnt(const struct vq_driver *drv)
{
	return drv->inflight_cnt;
}

bool vq_driver_is_broken(const struct vq_driver *drv)
{
	return drv->broken;
}
