/* SPDX-License-Identifier: MIT */
/* Features, the configuration space, and the cache mode that a driver may choose in it. */
#include "vhu_priv.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "vblk/util/clock.h"
#include "vblk/util/math.h"

#define FEATURE(bit) (1ull << (bit))
#define WCE_AT	     offsetof(struct virtio_blk_config, wce)

_Static_assert(sizeof(struct virtio_blk_config) <= VHU_CONFIG_MAX, "fits into a message");

uint64_t vhu_features_offered(const struct blk_params *blk)
{
	uint64_t features =
		blk->features | FEATURE(VHU_F_PROTOCOL_FEATURES) | FEATURE(VIRTIO_F_RING_PACKED);

	if (blk_params_offer(blk, VIRTIO_BLK_F_FLUSH))
		features |= FEATURE(VIRTIO_BLK_F_CONFIG_WCE);
	return features;
}

/*
 * virtio 1.2 s5.2.6.2: a completed write is stable if neither FLUSH nor CONFIG_WCE were
 * negotiated, or if CONFIG_WCE was and writeback is 0. Without FLUSH there is no other way to
 * make it so, whatever writeback says. A client that goes on after a restart of ours may have
 * set writeback to 0, and has no reason to say so again.
 */
bool vhu_cache_is_write_through(const struct vhu_dev *dev)
{
	if (!dev->features || !blk_params_offer(dev->blk, VIRTIO_BLK_F_FLUSH))
		return false;
	if (!vhu_has_feature(dev, VIRTIO_BLK_F_FLUSH))
		return true;
	return vhu_has_feature(dev, VIRTIO_BLK_F_CONFIG_WCE) &&
	       (!dev->write_back || !dev->wce_known);
}

void vhu_cache_apply(struct vhu_dev *dev)
{
	vdev_set_write_through(dev->vdev, vhu_cache_is_write_through(dev));
}

static bool has_write_back(const struct vhu_dev *dev)
{
	return blk_params_offer(dev->blk, VIRTIO_BLK_F_FLUSH) && dev->write_back &&
	       (!dev->features || vhu_has_feature(dev, VIRTIO_BLK_F_FLUSH));
}

int vhu_config_get(struct vhu_dev *dev, const struct vhu_config *want,
		   struct vhu_config *ret_config)
{
	struct virtio_blk_config config;
	uint8_t space[VHU_CONFIG_MAX] = { 0 };

	blk_config_fill(dev->blk, &config);
	config.wce = has_write_back(dev);
	memcpy(space, &config, sizeof(config));
	*ret_config = (struct vhu_config){ want->offset, want->size, want->flags, { 0 } };
	memcpy(ret_config->data, space + want->offset, want->size);
	dev->config_known = true;
	dev->wce_known = true;
	vhu_cache_apply(dev);
	return 0;
}

/* Where in @config the cache mode is, or NULL. */
static const uint8_t *wce_of(const struct vhu_config *config)
{
	return config->offset <= WCE_AT && WCE_AT - config->offset < config->size
		       ? &config->data[WCE_AT - config->offset]
		       : NULL;
}

int vhu_config_set(struct vhu_dev *dev, const struct vhu_config *config)
{
	const uint8_t *wce = wce_of(config);
	bool migrated = config->flags == VHU_CONFIG_MIGRATED;

	if (!range_fits(config->offset, config->size, VHU_CONFIG_MAX))
		return vhu_refuse(dev, -EINVAL, "there is no such field");
	if (config->flags && !migrated)
		return vhu_refuse(dev, -EINVAL, "unknown flags");
	/* After a migration all of it may come; what is the disk's does not change by that. */
	if (!migrated && (!wce || config->size != 1))
		return vhu_refuse(dev, -EPERM, "read-only fields");
	if (!wce || !blk_params_offer(dev->blk, VIRTIO_BLK_F_FLUSH))
		return migrated ? 0 : vhu_refuse(dev, -EPERM, "there is no cache to switch");
	if (*wce > 1)
		return vhu_refuse(dev, -EINVAL, "writeback is neither 0 nor 1");
	dev->write_back = *wce;
	dev->wce_known = true;
	dev->wce_told = true;
	vhu_inflight_note_cache(dev);
	vhu_cache_apply(dev);
	return 0;
}

void vhu_config_tell(struct vhu_dev *dev)
{
	struct vhu_msg msg;
	int r;

	dev->owed_ns = 0;
	/* Nothing is to be sent while all rings are stopped. */
	if (dev->config_known || dev->backend_fd < 0 || !vhu_rings_running_cnt(dev))
		return;
	vhu_msg_init(&msg, VHU_BACKEND_CONFIG_CHANGE, 0, 0);
	r = vhu_send(dev->backend_fd, &msg);
	if (r == -EAGAIN)
		dev->owed_ns = clock_now_ns() + VHU_OWED_MS * NSEC_PER_MSEC;
	else
		/* Told, or nobody to tell. It knows once it asks, and is not told twice. */
		dev->config_known = true;
}
