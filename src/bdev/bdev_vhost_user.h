/* SPDX-License-Identifier: MIT */
/*
 * The disk of another program, a vhost-user-blk server: what its files share.
 *
 *   bdev_vhost_user.c        open, resize, hand over
 *   bdev_vhost_user_conf.c     what the server's configuration means
 *   bdev_vhost_user_area.c   memory of ours that the server sees: rings, headers, status bytes
 *   bdev_vhost_user_mem.c    the driver's memory, as the server knows it
 *   bdev_vhost_user_conn.c   the thread that owns the connection
 *   bdev_vhost_user_queue.c  a queue: its ring, requests in flight, held and done again
 *   bdev_vhost_user_direct.c   the driver's own rings in the hands of the server
 *   bdev_vhost_user_relay.c  its interrupts then
 *
 * Who does what. One thread of ours connects, tells the server of memory and rings, and
 * connects again when it is gone; all waiting for the server's answers is its. A queue thread
 * owns its ring and its requests and never waits for that thread. Between them:
 *
 *   epoch      the connection's number; the connection thread counts it up when one is lost
 *   up_epoch   = epoch: there is a server, and what it can stands in server
 *   busy       of a queue: it has shown requests to the server
 *   acked      of a queue: the epoch whose beginning it has heard of
 *   asked      of a queue: "my ring is ready, start it" or "I am done with it"
 *   answered   of a queue: the connection thread has done what this word asked
 *
 * A queue shows requests only while answered = asked and its epoch is the current one. When a
 * server is lost, what it was shown may have been done in part or in full, and is done again by
 * the next one. As long as any queue has such requests, nothing new is shown, on any queue: what
 * is done again can then only meet what was in flight together with it. To know of all of them,
 * no ring is started before every queue that was busy has acked. A queue sets busy, then looks
 * at epoch; the connection thread counts epoch, then looks at busy: one of them sees the other.
 *
 * What the old server itself still has at work is the server's to end before it, or its successor,
 * serves anybody; vblkd(8) says so.
 */
#ifndef VBLK_BDEV_VHOST_USER_H
#define VBLK_BDEV_VHOST_USER_H

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#include "bdev_priv.h"
#include "vblk/bdev/bdev_direct.h"
#include "vblk/vhu_client/vhu_client.h"
#include "vblk/virtqueue/vq_driver.h"

#define VU_QUEUES_MAX 64u
/* Segments of one request that we make use of. */
#define VU_SEGS_MAX 126u
/* Segments and: header, range, status. */
#define VU_BUFS_MAX (VU_SEGS_MAX + 3u)
/* What an ordinary server can have. */
#define VU_RING_MAX 1024u
/* The area is one region. */
#define VU_REGIONS_MAX (VHU_CLIENT_REGIONS_MAX - 1u)
/* Memories of the driver at a time: the present one, and one that a queue still has. */
#define VU_SETS_MAX 4u

/**
 * struct vu_server_conf - what a server's configuration space and features say
 * @features: accepted
 * @seg_max, @size_max_bytes: of the data of one request; @size_max_bytes 0: any
 */
struct vu_server_conf {
	uint64_t features;
	uint64_t capacity_bytes;
	uint32_t block_bytes;
	uint32_t physical_bytes;
	uint32_t opt_io_bytes;
	uint32_t seg_max;
	uint32_t size_max_bytes;
	uint32_t queue_cnt;
	uint64_t max_discard_bytes;
	uint32_t discard_align_bytes;
	uint64_t max_write_zeroes_bytes;
	bool write_zeroes_may_unmap;
	uint64_t max_secure_erase_bytes;
	uint32_t max_ranges;
	bool read_only;
	bool has_flush;
};

/**
 * struct vu_shared - a page that keeper, worker and whoever asks for the size have
 * @asked: counted up by who wants to know the size now; then the eventfd is written
 * @answered: value of @asked that @capacity_bytes is the answer to
 * @path: of the socket, for the program that takes over, whatever its working directory is
 * @server_err: 0 the server is there; -errno why not. New members come behind those that a
 *              program of any version has
 */
struct vu_shared {
	uint32_t asked;
	uint32_t answered;
	uint64_t capacity_bytes;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int32_t server_err;
};
#define VU_SHARED_BYTES_MIN offsetof(struct vu_shared, server_err)

struct vu_conn;

/**
 * struct vu_bdev - the backend
 * @ask_fd: somebody wants to know the size; @told_fd: the server has said that it changed, or
 *          has come or gone
 * @lock: of what queue threads share beside words of struct vu_conn; held shortly
 * @conn: while there are queues
 */
struct vu_bdev {
	struct bdev base;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	unsigned int queue_cnt;
	bool can_direct; /* may work on the driver's rings */
	struct vu_shared *shared;
	int shared_fd;
	int ask_fd;
	int told_fd;
	pthread_mutex_t lock;
	struct vu_conn *conn;
};

/* One request's part of the area. */
struct vu_wire {
	struct virtio_blk_outhdr hdr;
	struct virtio_blk_discard_write_zeroes range;
	uint8_t status;
	uint8_t padding[31];
};
_Static_assert(sizeof(struct vu_wire) == 64, "a cache line each");

/**
 * struct vu_area - memory of one queue that the server sees, part of one file
 * @base: mapped; @addr: how the server calls it
 */
struct vu_area {
	uint8_t *base;
	size_t bytes;
	uint64_t addr;
	struct vu_wire *wires;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	struct vring_desc *tables;
};

/* Where the area is for the server; the driver's memory comes behind it. */
#define VU_AREA_ADDR (1ull << 30)

/* Bytes of one queue's area, whole pages. */
size_t vu_area_bytes(unsigned int depth);
/* Maps the one of queue @idx of @fd, and touches it. Return: 0; -errno. */
int vu_area_map(int fd, unsigned int idx, unsigned int depth,
		struct vu_area *ret_area) VBLK_MUST_CHECK;
void vu_area_unmap(struct vu_area *area);

static inline uint64_t vu_area_addr_of(const struct vu_area *area, const void *p)
{
	return area->addr + (uint64_t)((const uint8_t *)p - area->base);
}

/* Where a part of the driver's memory is here, and how the server calls it. */
struct vu_region {
	const uint8_t *va;
	uint64_t len_bytes;
	uint64_t addr;
};

/**
 * struct vu_set - a memory of the driver's, with queues that use it
 * @map: its name; not touched, and nobody's reference
 */
struct vu_set {
	const struct memmap *map;
	unsigned int user_cnt;
	unsigned int cnt;
	struct vu_region regions[VU_REGIONS_MAX];
	int fds[VU_REGIONS_MAX];
	uint64_t fd_offset_bytes[VU_REGIONS_MAX];
};

/**
 * struct vu_mem - under vu_bdev.lock
 * @gen: changes with the regions
 * @next_addr: never used twice
 */
struct vu_mem {
	struct vu_set sets[VU_SETS_MAX];
	uint32_t gen;
	uint64_t next_addr;
};

void vu_mem_init(struct vu_mem *mem, uint64_t area_bytes);
void vu_mem_fini(struct vu_mem *mem);
/* The regions of @map, for one queue more. NULL: there is no room for it. */
const struct vu_set *vu_mem_get(struct vu_mem *mem, const struct memmap *map);
void vu_mem_put(struct vu_mem *mem, const struct memmap *map);
/*
 * All regions, with the area in front; descriptors are copies, the caller's to close.
 * @ret_regions: room for VHU_CLIENT_REGIONS_MAX. Return: how many; -errno.
 */
int vu_mem_table(const struct vu_mem *mem, int area_fd, uint64_t area_bytes,
		 struct vhu_client_region *ret_regions) VBLK_MUST_CHECK;

struct vu_slot {
	struct bdev_io *io;
	struct vu_slot *next;
	struct vu_slot *prev;
	bool is_redo;  /* a server that is gone may have done it */
	bool is_flush; /* the write is done, what makes it durable is not */
};

struct vu_list {
	struct vu_slot *first, *last;
};

/* A word of vu_queue.asked: the epoch that it is about, a number, and the wish. */
#define VU_ASK_RUN	   1u
#define VU_ASK_EPOCH_SHIFT 32u

static inline uint32_t vu_ask_epoch(uint64_t word)
{
	return (uint32_t)(word >> VU_ASK_EPOCH_SHIFT);
}

struct vu_queue {
	struct bdev_queue base;
	/* Constant; both threads. */
	struct vu_bdev *dev;
	struct vu_conn *conn;
	unsigned int idx;
	int kick_fd;
	int call_fd; /* the server writes it, and the connection thread for news of its own */
	struct vu_area area;

	/* Queue thread stores (release), connection thread loads (acquire). */
	uint64_t asked VBLK_CACHE_ALIGNED;
	uint32_t acked;
	uint32_t broken_epoch; /* whose server broke the rules of the ring */
	uint32_t busy;	       /* sequentially consistent with vu_conn.epoch */
	uint16_t ring_size;    /* ordered by @asked */

	/* Connection thread stores (release), queue thread loads (acquire). */
	uint64_t answered VBLK_CACHE_ALIGNED;

	/* Queue thread. */
	struct loop_op call_op VBLK_CACHE_ALIGNED;
	struct loop_op cancel_op;
	bool armed, one_shot, cancelling;
	struct vq_driver *drv;
	uint32_t epoch;
	uint32_t ask_number;
	uint64_t features; /* of the server of @epoch */
	uint32_t size_max_bytes;
	uint32_t seg_max;
	bool has_map;
	bool live;    /* the server looks at the ring */
	bool counted; /* in vu_conn.redoing_cnt */
	unsigned int redo_cnt;
	const struct memmap *map;
	unsigned int region_cnt;
	struct vu_region regions[VU_REGIONS_MAX];
	struct vu_list shown;	/* to the server, in that order */
	struct vu_list waiting; /* in order; what is done again comes first */
	struct vq_driver_buf bufs[VU_BUFS_MAX];
	struct vu_slot slots[];
};

/**
 * struct vu_conn - the connection, as long as there are queues
 * @queues: under vu_bdev.lock
 */
struct vu_conn {
	struct vu_bdev *dev;
	pthread_t thread;
	int stop_fd;
	int mail_fd; /* queue threads: look at our words */
	int area_fd;
	uint64_t area_bytes;
	unsigned int depth;

	/* Connection thread stores. */
	uint32_t epoch VBLK_CACHE_ALIGNED; /* sequentially consistent with vu_queue.busy */
	uint32_t up_epoch;

	/* Queue threads count. */
	uint32_t redoing_cnt VBLK_CACHE_ALIGNED;
	uint32_t served_epoch; /* whose server has ended a request */
	uint32_t redo_ended; /* release: all queues are to be woken; the connection thread clears it
			      */

	/* Under vu_bdev.lock. */
	struct vu_server_conf server; /* of @up_epoch */
	struct vu_queue *queues[VU_QUEUES_MAX] VBLK_CACHE_ALIGNED;
	unsigned int user_cnt;
	struct vu_mem mem;

	/* Connection thread. */
	struct vhu_client *client;
	bool told; /* the server has memory of @told_gen */
	uint32_t told_gen;
	bool started[VU_QUEUES_MAX];
	unsigned int interval_ms;
	bool in_doubt; /* the last server was of no use */

	struct vu_direct *direct; /* NULL: the server never gets the driver's rings */
};

/* --- bdev_vhost_user_conf.c --- */

/* All features that we can make use of. */
uint64_t vu_features_wanted(void);
/* Of our ring that a server with @features is shown; @depth: most requests in flight. */
uint16_t vu_ring_size(uint64_t features, unsigned int depth);
/* How many bytes of the configuration space to ask for. */
uint32_t vu_conf_bytes(uint64_t features);
/* @config: vu_conf_bytes() of it, the rest zero. Return: 0; -EPROTO it makes no sense. */
int vu_conf_parse(const struct vhu_client_facts *facts, const struct virtio_blk_config *config,
		  struct vu_server_conf *ret_conf) VBLK_MUST_CHECK;
/* Asks for it. Return: as vu_conf_parse() and the client's. */
int vu_conf_ask(struct vhu_client *client, struct vu_server_conf *ret_conf) VBLK_MUST_CHECK;
/* Return: 0; -errno with @why. */
int vu_conf_limits(const struct vu_server_conf *conf, const struct bdev_params *params,
		   struct bdev_limits *ret_limits, char why[BDEV_WHY_MAX]) VBLK_MUST_CHECK;
/* Can this server go on with a disk that was attached with @limits? */
bool vu_conf_fits(const struct vu_server_conf *conf, const struct bdev_limits *limits,
		  unsigned int queue_cnt);

/* --- bdev_vhost_user_conn.c --- */

/* With @dev->lock held: joins the connection, or begins it. Return: 0; -errno. */
int vu_conn_join(struct vu_queue *q, unsigned int depth) VBLK_MUST_CHECK;
/* The last one ends the thread, and waits for that. */
void vu_conn_leave(struct vu_queue *q);
void vu_signal(int event_fd);
/* Never blocks, whoever has made it blocking or not. */
void vu_consume(int event_fd);

/* --- bdev_vhost_user_direct.c; where conn->direct is NULL they do nothing --- */

/* With all that a sandbox would not let be made later. Return: 0; -errno. */
int vu_direct_new(struct vu_conn *conn, struct vu_direct **ret_direct) VBLK_MUST_CHECK;
/* The connection thread has ended. */
void vu_direct_free(struct vu_direct *direct);
/* The rest: connection thread. Decides what the connection to come is for, and asks for that. */
void vu_direct_prepare(struct vu_conn *conn, struct vhu_client_params *params);
/* Of a server that has answered: can it have the driver's rings? True if it need not. */
bool vu_direct_fits(const struct vu_conn *conn, const struct vu_server_conf *conf);
/* @r: what came of the attempt to connect. */
void vu_direct_tried(struct vu_conn *conn, int r);
/* Return: 1 the connection is for our own rings; 0 all is as it should be; -ESTALE it is for what
 * is not wanted any more; other -errno. */
int vu_direct_do_rings(struct vu_conn *conn) VBLK_MUST_CHECK;
/* The connection is closed. */
void vu_direct_lost(struct vu_conn *conn);

/* --- bdev_vhost_user_relay.c --- */

struct vu_relay;
/* A thread that passes on what comes from @call_fds, which are borrowed. Return: 0; -errno. */
int vu_relay_new(const int *call_fds, unsigned int cnt,
		 struct vu_relay **ret_relay) VBLK_MUST_CHECK;
void vu_relay_free(struct vu_relay *relay);
/* To whom, before anything can come. The same each time. */
void vu_relay_use(struct vu_relay *relay, void (*inject)(void *ctx, unsigned int idx), void *ctx);

/* --- bdev_vhost_user_queue.c --- */

int vu_queue_new(struct bdev *bdev, struct loop *loop, unsigned int depth,
		 struct bdev_queue **ret_bq) VBLK_MUST_CHECK;
void vu_queue_free(struct bdev_queue *bq);
void vu_queue_map_changed(struct bdev_queue *bq, const struct memmap *map);
void vu_queue_submit(struct bdev_queue *bq, struct bdev_io *io);
void vu_queue_commit(struct bdev_queue *bq);

#endif
