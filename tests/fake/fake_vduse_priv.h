/* SPDX-License-Identifier: MIT */
/* Inside of the fake: shared by its kernel half and its driver half. */
#ifndef TESTS_FAKE_VDUSE_PRIV_H
#define TESTS_FAKE_VDUSE_PRIV_H

#include <pthread.h>
#include <sys/ioctl.h>

#include <linux/vduse.h>

#include "fake_vduse_sys.h"

#define MSGS_MAX	2048u
#define FAILS_MAX	4u
#define CALLS_MAX	32u
#define RING_STRIDE	(64u * 1024u)
#define WAIT_PATIENCE_S 20

enum msg_state {
	MSG_FREE,
	MSG_QUEUED,
	MSG_READ,
	MSG_ANSWERED,
	MSG_LOST
};

struct msg {
	enum msg_state state;
	struct vduse_dev_request req;
	int result;
};

struct fake_queue {
	struct ring *ring;
	void *ring_va; /* the driver's mapping of the coherent part */
	uint16_t size;
	bool ready;
	bool kicked;
	int kick_fd;
	unsigned int irq_cnt;
};

struct fake_vduse {
	struct vduse_sys sys;
	pthread_mutex_t lock;
	pthread_cond_t irq;
	unsigned int queue_cnt;
	uint16_t queue_size;
	struct fake_queue queues[FAKE_VDUSE_QUEUES_MAX];
	uint8_t status;
	uint64_t features;
	bool connected;
	bool broken;
	int event_fd; /* the device node: readable while messages wait */
	int domain_fd;
	bool bounce_mapped;
	bool cap_umem;
	uint64_t umem_uaddr; /* 0 = none */
	void *umem_pages;    /* as the kernel has them pinned, whatever becomes of the address */
	bool umem_foreign;
	uint8_t ring_perm;
	uint8_t config[72];
	uint64_t capacity_seen; /* little-endian sectors */
	unsigned int config_irq_cnt;
	struct msg msgs[MSGS_MAX];
	unsigned int msg_cnt;
	uint16_t answered_state;
	struct {
		unsigned long request;
		int err;
		unsigned int cnt;
	} fails[FAILS_MAX];
	unsigned int calls[CALLS_MAX];
	unsigned int map_cnt;
	unsigned int file_cnt;
};

/* Aborts with @what unless @ok. */
void fake_vduse_need(bool ok, const char *what);
void fake_vduse_signal(int fd);
void fake_vduse_lock(struct fake_vduse *k);
void fake_vduse_unlock(struct fake_vduse *k);

/* Where the ring of queue @idx is, and how long. */
uint64_t fake_vduse_ring_iova(unsigned int idx);
uint64_t fake_vduse_used_offset(uint16_t size);
uint64_t fake_vduse_ring_bytes(uint16_t size);
void fake_vduse_queue_drop(struct fake_queue *q);
/* What the driver sees as bounce memory from now on; with the lock. */
void fake_vduse_bounce_move(struct fake_vduse *k, bool to_umem);

#endif
