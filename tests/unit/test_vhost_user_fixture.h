/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user device at work in a thread, with a disk that the test holds in its
 * hand, and a client made of single messages that can say anything. Everything
 * that goes wrong here aborts the test.
 */
#ifndef TESTS_UNIT_TEST_VHOST_USER_FIXTURE_H
#define TESTS_UNIT_TEST_VHOST_USER_FIXTURE_H

#include <check.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>

#include "fake_bdev.h"
#include "ring_builder.h"
#include "vblk/vhost_user/vhu_dev.h"
#include "vblk/vhu/vhu_sock.h"

#define QUEUES	    2
#define RING_SIZE   16
#define ARENA_BYTES (1u << 20)
#define PATIENCE_MS 10000
#define BIT64(n)    (1ull << (n))
/* Addresses of the client's process are others than those in descriptors. */
#define UADDR(gaddr) ((gaddr) + 0x7f0000000000ull)
#define EVENT_CNT    (VHU_DEV_EVENT_QUEUE_UNSTUCK + 1)

#define FEATURES_USUAL                                                                            \
	(BIT64(VHU_F_PROTOCOL_FEATURES) | BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_BLK_F_FLUSH) | \
	 BIT64(VIRTIO_BLK_F_MQ) | BIT64(VIRTIO_RING_F_INDIRECT_DESC))
#define PROTOCOL_USUAL                                                               \
	(BIT64(VHU_PROTOCOL_F_MQ) | BIT64(VHU_PROTOCOL_F_REPLY_ACK) |                \
	 BIT64(VHU_PROTOCOL_F_BACKEND_REQ) | BIT64(VHU_PROTOCOL_F_CONFIG) |          \
	 BIT64(VHU_PROTOCOL_F_INFLIGHT_SHMFD) | BIT64(VHU_PROTOCOL_F_RESET_DEVICE) | \
	 BIT64(VHU_PROTOCOL_F_CONFIGURE_MEM_SLOTS) | BIT64(VHU_PROTOCOL_F_STATUS))

/* @lock: of all that vhu_dev functions touch, and of the counts of events. */
struct vhu_fixture {
	char dir[64], path[108];
	int listen_fd;
	struct blk_params blk;
	struct fake_bdev *fake;
	struct vhu_dev *dev;
	pthread_t thread;
	int stop_fd;
	pthread_mutex_t lock;
	pthread_cond_t heard;
	unsigned int event_cnt[EVENT_CNT];
	int event_arg[EVENT_CNT];
	char why[200];

	/* The client. */
	int conn_fd;
	struct ring *rings[QUEUES];
	int kick_fd[QUEUES], call_fd[QUEUES], err_fd[QUEUES];
	bool reply_ack;
};

extern struct vhu_fixture fx;

/* The device, then rings; no client is connected. */
void fx_setup(void);
void fx_teardown(void);
/* With other rings or another disk: between these two. */
void fx_server_start(void);
void fx_server_stop(void);
/* Waits until @event was told @cnt times since the server was started. */
void fx_wait_event(enum vhu_dev_event event, unsigned int cnt);
unsigned int fx_event_cnt(enum vhu_dev_event event);
struct vhu_dev_info fx_info(void);

void fx_connect(void);
void fx_disconnect(void);
void fx_send(const struct vhu_msg *msg);
/* The next message from the server; owns its descriptors. */
struct vhu_msg fx_recv(void);
/* The server closes the connection, and says nothing before. */
void fx_expect_closed(void);

/* Requests; the first of them return what the server says: the acknowledgement, or 0 without. */
uint64_t fx_tell(struct vhu_msg *msg);
uint64_t fx_tell_u64(uint32_t request, uint64_t u64);
uint64_t fx_tell_state(uint32_t request, uint32_t idx, uint32_t num);
uint64_t fx_tell_fd(uint32_t request, unsigned int idx, int fd);
uint64_t fx_tell_none(uint32_t request);
uint64_t fx_ask_u64(uint32_t request);
struct vhu_config fx_get_config(uint32_t offset, uint32_t size);
uint64_t fx_set_config(uint32_t offset, uint32_t flags, const void *data, uint32_t size);
uint32_t fx_get_base(unsigned int idx);

/* What clients do. */
void fx_negotiate(uint64_t features, uint64_t protocol);
void fx_msg_mem_table(struct vhu_msg *ret_msg);
void fx_msg_mem_reg(struct vhu_msg *ret_msg, uint32_t request, unsigned int idx);
uint64_t fx_set_memory(void);
uint64_t fx_set_addr(unsigned int idx);
void fx_ring_start_but_enable(unsigned int idx);
/* All messages of it; ends with ENABLE. */
void fx_ring_start(unsigned int idx);
/* Connects, negotiates the usual, and starts all rings. */
void fx_run(void);

struct ring_blk_req fx_submit(unsigned int idx, uint32_t type, uint64_t sector);
void fx_kick(unsigned int idx);
/* Waits for the interrupt, unless it is done already. Return: VIRTIO_BLK_S_* */
uint8_t fx_wait_status(unsigned int idx, const struct ring_blk_req *req);
/* The same, of a request that succeeds. */
void fx_wait_done(unsigned int idx, const struct ring_blk_req *req);
/* Reads from the disk and finds it working. */
void fx_check_works(unsigned int idx);

#endif
