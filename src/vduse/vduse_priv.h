/* SPDX-License-Identifier: MIT */
/* Inside of a VDUSE device. */
#ifndef VBLK_VDUSE_PRIV_H
#define VBLK_VDUSE_PRIV_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include <linux/vduse.h>

#include "vblk/mem/memmap.h"
#include "vblk/vduse/vduse_dev.h"

/**
 * struct vduse_mapping - part of the driver's memory in our address space
 * @va: address asked for, inside [@base, @base + @map_bytes)
 * @base: NULL: nothing mapped
 * @fd: file behind it at @fd_offset_bytes, owned; -1 when closed already
 */
struct vduse_mapping {
	void *va;
	void *base;
	size_t map_bytes;
	int fd;
	uint64_t fd_offset_bytes;
};

/**
 * vduse_iotlb_get_fd() - first entry that overlaps [@start, @last]
 *
 * Return: a descriptor that the caller owns; -EINVAL when there is none (the kernel's answer).
 */
int vduse_iotlb_get_fd(const struct vduse_sys *sys, int dev_fd, uint64_t start, uint64_t last,
		       struct vduse_iotlb_entry *ret_entry) VBLK_MUST_CHECK;

/**
 * vduse_iotlb_map() - map [@iova, @iova + @len_bytes), which lies in one entry
 * @perm: VDUSE_ACCESS_* that is needed
 * Return: 0 and an owned mapping without its file; -EFAULT no entry holds all of it;
 *         -EACCES the driver does not allow @perm; other -errno.
 */
int vduse_iotlb_map(const struct vduse_sys *sys, int dev_fd, uint64_t iova, uint64_t len_bytes,
		    unsigned int perm, struct vduse_mapping *ret_mapping) VBLK_MUST_CHECK;
/* Copes with a zeroed one. */
void vduse_mapping_unmap(const struct vduse_sys *sys, struct vduse_mapping *mapping);

/**
 * vduse_iotlb_memmap() - map of all entries at or above @from_iova
 * @first: a region of the caller's to put in front, or NULL
 * Return: 0 and an owned reference; -ENOENT no entry at all; -E2BIG; -ENOTUNIQ entries
 *         overlap; other -errno.
 */
int vduse_iotlb_memmap(const struct vduse_sys *sys, int dev_fd, uint64_t from_iova,
		       const struct memmap_region *first, struct memmap **ret_map) VBLK_MUST_CHECK;

/**
 * struct vduse_mem - the driver's memory, for all queues of a device
 *
 * @lock is taken by queue threads at their first request after a start, possibly
 * for as long as VDUSE_IOTLB_REG_UMEM takes. The control thread takes it only in
 * vduse_mem_drop(), which is called with the vdev STOPPED: every queue thread has
 * then acknowledged its stop, which it does from its main loop and hence after
 * it left vduse_mem_get(); and it cannot enter again before the next vdev_start(),
 * which the same control thread has yet to call. So the control thread never waits.
 */
struct vduse_mem {
	/* Constant. */
	const struct vduse_sys *sys;
	int dev_fd;
	void *umem; /* NULL: not wanted or not to be had */
	size_t umem_bytes;
	int umem_fd;
	bool hides; /* addresses in @umem are names of what is in @umem_fd: umem_hide() */

	pthread_mutex_t lock;
	/* Under @lock. */
	struct memmap *map; /* owned reference, NULL until the first request */
	/* Under @lock; also loaded (relaxed) by the control thread for display. */
	bool umem_registered;
	bool umem_hidden;  /* it cannot be read here */
	bool map_is_plain; /* all that @map has is mapped here */
};

/*
 * @umem_bytes: bounce memory of our own to offer to the kernel; 0 = none
 * @umem_fd: borrowed file that holds it; 0 or less = one is made
 * @hides: it is not to be readable here, but for the moment in which the kernel pins it
 */
void vduse_mem_init(struct vduse_mem *mem, const struct vduse_sys *sys, int dev_fd,
		    uint64_t umem_bytes, int umem_fd, bool hides);
/* After the device descriptor was closed, which ends the registration. */
void vduse_mem_fini(struct vduse_mem *mem);
/* Any queue thread; an owned reference. Return: 0; -errno. */
int vduse_mem_get(struct vduse_mem *mem, struct memmap **ret_map) VBLK_MUST_CHECK;
/* Control thread, vdev STOPPED: the driver's mappings may have changed. */
void vduse_mem_drop(struct vduse_mem *mem);
/* Any thread: can this process read the driver's data? */
bool vduse_mem_is_mapped(const struct vduse_mem *mem);

/* A message whose answer waits for the queues. */
struct vduse_answer {
	bool pending;
	uint32_t request_id;
	uint64_t deadline_ns;
};

/* The three parts of a ring. */
struct vduse_ring {
	struct vduse_mapping desc;
	struct vduse_mapping avail;
	struct vduse_mapping used;
};

/**
 * struct vduse_direct - rings that are, or shall be, the server's (vduse_direct.c)
 * @record: NULL: they never are
 * @on: they were handed over, and are not back yet
 * @switching: queues are stopping for it
 * @look_ns: when to see whether it can be done, 0 = not
 */
struct vduse_direct {
	struct bdev_direct_record *record;
	int buf_fd;
	bool on;
	bool switching;
	uint64_t look_ns;
	uint32_t look_delay_ms;
};

struct vduse_dev {
	/* Constant; any thread. */
	const struct vduse_sys *sys;
	int fd;
	struct blk_params *blk; /* its capacity changes, by the control thread */
	struct bdev *bdev;	/* as well */
	void (*event)(void *ctx, enum vduse_event event, int arg);
	void *ctx;
	uint32_t drain_deadline_ms;
	uint8_t *inflight;  /* records of all queues, the owner's or @own_inflight */
	void *own_inflight; /* owned; NULL when the owner gave memory */
	struct vdev *vdev;
	uint64_t recovered_before; /* what the statistics had counted when we began */

	/* Has its own rules. */
	struct vduse_mem mem;

	/* Everything below: control thread. */
	uint8_t status;
	uint64_t features;
	bool broken;
	bool want_running;    /* the driver said DRIVER_OK and did not reset since */
	bool retiring;	      /* a successor takes over: queues are not started any more */
	bool rings_in_use;    /* a start must go on where the ring stands, not afresh */
	bool reset_wanted;    /* status 0 came and queues are not drained yet */
	bool given_up;	      /* all requests fail, no driver is accepted any more */
	bool memory_reported; /* one VDUSE_EVENT_MEMORY until something changes */
	/* Until the driver resets: told of already; not to be started again. */
	bool queue_told[VDEV_QUEUES_MAX];
	bool queue_stopped[VDEV_QUEUES_MAX];
	struct vduse_answer reset;
	struct vduse_answer iotlb;
	uint64_t retry_ns; /* when to try again to start; 0 = not */
	uint32_t retry_delay_ms;
	uint32_t size_number;	  /* of the capacity in the kernel's configuration */
	uint32_t *size_told;	  /* of the one that the driver knows; NULL = nobody asks */
	bool config_untold;	  /* it changed, and the driver could not be told so far */
	uint64_t config_retry_ns; /* when to try again to tell it; 0 = not */
	uint32_t config_delay_ms;
	struct vduse_ring rings[VDEV_QUEUES_MAX];
	struct vdev_ring vdev_rings[VDEV_QUEUES_MAX];
	struct vduse_direct direct;
};

/**
 * vduse_rings_map() - ask the kernel for the rings, map them, give it the kick eventfds
 * Fills dev->vdev_rings; queues that the driver does not use are disabled.
 * Return: number of enabled queues; -errno, and nothing is mapped. A ring that is not
 *         where or what it must be is told of, and its queue disabled.
 */
int vduse_rings_map(struct vduse_dev *dev) VBLK_MUST_CHECK;
/* vdev STOPPED. */
void vduse_rings_unmap(struct vduse_dev *dev);
/* What the kernel says of queue @idx. */
int vduse_ring_query(struct vduse_dev *dev, unsigned int idx,
		     struct vduse_vq_info *ret_info) VBLK_MUST_CHECK;
/* True when the kernel says a queue is ready that we do not serve. */
bool vduse_rings_have_more(struct vduse_dev *dev);
/* The driver has forgotten its requests: so do the records. */
void vduse_rings_clear_records(struct vduse_dev *dev);

/* Gives the kernel the capacity of dev->blk. Return: 0; -errno. */
int vduse_config_write(struct vduse_dev *dev, uint64_t capacity_bytes) VBLK_MUST_CHECK;
/* A predecessor has not, or it is not known that it has, told the driver the capacity. */
bool vduse_config_is_owed(const struct vduse_dev *dev);
/* Has the driver read the configuration again, now or as soon as it can hear of it. */
void vduse_config_tell(struct vduse_dev *dev);
/* Status 0 came: the next driver reads all of it anyway. */
void vduse_config_forget(struct vduse_dev *dev);
/* @now_ns is at or behind dev->config_retry_ns. */
void vduse_config_retry(struct vduse_dev *dev, uint64_t now_ns);

/* The ring of queue @idx is not usable: tells it once. */
void vduse_dev_tell_unusable(struct vduse_dev *dev, unsigned int idx);

/* Starts the queues when the driver wants them and nothing of the past is left. */
void vduse_dev_start(struct vduse_dev *dev);
/* Nobody takes requests any more, as soon as can be: see vduse_dev_is_stopped(). */
void vduse_dev_stop(struct vduse_dev *dev);
/* Neither the queues nor a server hold anything of the driver's. */
bool vduse_dev_is_stopped(const struct vduse_dev *dev);
/* Does the kernel have the driver's data in memory of its own? 1; 0; -errno. */
int vduse_bounce_is_in_use(const struct vduse_sys *sys, int dev_fd, uint64_t *ret_bytes);
/* Queue thread, and threads of the backend. */
void vduse_dev_inject_irq(void *ctx, unsigned int idx);

/* With rings mapped and stopped: are they the server's turn? */
bool vduse_direct_is_due(struct vduse_dev *dev);
/* Hands the rings over. Return: 0; -errno. */
int vduse_direct_start(struct vduse_dev *dev) VBLK_MUST_CHECK;
/* Asks for them back, if they are not ours. */
void vduse_direct_stop(struct vduse_dev *dev);
/* Queues were started on them: they may be the server's later. */
void vduse_direct_look_later(struct vduse_dev *dev);
/* @now_ns is at or behind dev->direct.look_ns. */
void vduse_direct_look(struct vduse_dev *dev, uint64_t now_ns);

/* vduse_dev_is_stopped(): lets the driver's memory go, answers what waited for it, goes on. */
void vduse_dev_settle(struct vduse_dev *dev);

/* Reads and answers one message. Return: 0; -EAGAIN none waits; other -errno. */
int vduse_msg_handle(struct vduse_dev *dev) VBLK_MUST_CHECK;
/* Answers a message that waited, if it does. @result: VDUSE_REQ_RESULT_* */
void vduse_msg_answer(struct vduse_dev *dev, struct vduse_answer *answer, uint32_t result);
/* Refuses what waited too long. */
void vduse_msg_expire(struct vduse_dev *dev, uint64_t now_ns);

static inline int vduse_ioctl(const struct vduse_dev *dev, unsigned long request, void *arg)
{
	return dev->sys->ioctl(dev->sys->ctx, dev->fd, request, arg);
}

#endif
