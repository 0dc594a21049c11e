/* SPDX-License-Identifier: MIT */
/* Inside of a vhost-user device. Everything is the control thread's but where said. */
#ifndef VBLK_VHU_PRIV_H
#define VBLK_VHU_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "vblk/mem/memmap.h"
#include "vblk/vhost_user/vhu_dev.h"
#include "vblk/vhu/vhu_sock.h"

/* As many as QEMU has use for. Each is an open file and a range of memguard's. */
#define VHU_SLOTS_MAX  509u
#define VHU_WHY_MAX    160u
#define VHU_LISTEN_MS  1000u /* until connections are accepted again after an error */
#define VHU_NUDGE_MS   100u  /* between looks at queues that do not stop */
#define VHU_OWED_MS    1000u /* until a client that does not read is told again */
#define VHU_MISSING_MS 2000u /* for starting a queue that has requests in flight */
#define VHU_MESSAGE_MS 3000u /* for a message of which a part has come */

/* --- what a descriptor is (vhu_fd.c) --- */

/* Descriptor of /proc/self/fd, or -errno. */
int vhu_fd_open_proc(void) VBLK_MUST_CHECK;
bool vhu_fd_is_eventfd(int proc_fd, int fd);
bool vhu_fd_is_stream(int fd);
/* Is it connected to the socket of this name? */
bool vhu_fd_leads_to(int fd, const struct sockaddr_un *name, socklen_t name_bytes);
/**
 * vhu_fd_memory() - is it memory that can be mapped, and that never makes us wait?
 * A file of tmpfs or hugetlbfs (so any memfd), or the memory of a VDUSE device. A file of another
 * filesystem is refused: a server for it that does not answer would stop the control thread in
 * fstat(), and a queue thread in a page fault.
 * @ret_size_bytes: UINT64_MAX where the file has none
 * @ret_align_bytes: its pages
 * Return: 0; -EBADF it is something else; -errno.
 */
int vhu_fd_memory(int proc_fd, int fd, uint64_t *ret_size_bytes,
		  uint64_t *ret_align_bytes) VBLK_MUST_CHECK;

/* --- memory of the client (vhu_mem.c) --- */

struct vhu_mapping;

/**
 * struct vhu_mem - the memory table
 * @map: of all mappings, by guest address; NULL before the first table
 */
struct vhu_mem {
	unsigned int cnt;
	struct vhu_mapping *mappings[VHU_SLOTS_MAX];
	struct memmap *map;
};

/*
 * Changes of the table; all queues idle. Descriptors are taken out of @msg. On failure nothing
 * has changed and *@ret_why says why. Return: 0; -EINVAL; -ENOENT; -ENOSPC; other -errno of mmap().
 */
int vhu_mem_set(struct vhu_mem *mem, int proc_fd, struct vhu_msg *msg,
		const char **ret_why) VBLK_MUST_CHECK;
int vhu_mem_add(struct vhu_mem *mem, int proc_fd, struct vhu_msg *msg,
		const char **ret_why) VBLK_MUST_CHECK;
int vhu_mem_remove(struct vhu_mem *mem, const struct vhu_region *region,
		   const char **ret_why) VBLK_MUST_CHECK;
void vhu_mem_drop(struct vhu_mem *mem);
/* Where [@uaddr, @uaddr + @len_bytes), which lies in one region, is with us; NULL: in none. */
void *vhu_mem_at(const struct vhu_mem *mem, uint64_t uaddr, uint64_t len_bytes);
uint64_t vhu_mem_bytes(const struct vhu_mem *mem);

/* --- requests in flight (vhu_inflight.c) --- */

/**
 * struct vhu_inflight_buf - a buffer that a client keeps
 * @base: NULL: the client has none
 */
struct vhu_inflight_buf {
	void *base;
	size_t bytes;
	uint16_t queue_cnt;
	uint16_t queue_size;
};

/* --- a queue (vhu_ring.c) --- */

/**
 * struct vhu_queue - a queue as the client describes it
 * @size, @addr, @base: last told; @base is also where it stopped last. 0, zeroed: not told
 * @has_addr: @addr was told
 * @kick_fd: owned; -1: not started by the client
 * @enabled: by the client
 * @ran: started since the client began anew with it, so its record is ours
 * @broken: met a fault or could not be started: not started again before the client begins anew
 * @stopping: the vdev was told to stop it
 * @told: mask of 1 << VHU_DEV_EVENT_*: the owner was told of it
 * @call_fd, @err_fd: constant numbers, whose files are exchanged: a thread that writes to one
 *                    meets the old file or the new one, and never another
 * @has_call, @has_err: somebody waits behind them; relaxed, the queue thread reads
 * @in_call: the queue thread writes to one of them; relaxed, it stores
 */
struct vhu_queue {
	uint16_t size;
	bool has_addr;
	bool enabled;
	bool ran;
	bool broken;
	bool stopping;
	uint32_t base;
	uint32_t told;
	struct vhu_vring_addr addr;
	int kick_fd;

	/* On a cache line of its own: the queue thread's. */
	int call_fd VBLK_CACHE_ALIGNED;
	int err_fd;
	bool has_call;
	bool has_err;
	bool in_call;
};

enum vhu_phase {
	VHU_PHASE_FREE,	   /* no client: one is accepted */
	VHU_PHASE_SERVING, /* one is served, others are refused */
	VHU_PHASE_CLOSING, /* it has gone, and its requests are in flight */
	VHU_PHASE_CLOSED,  /* retired or given up: none is accepted any more */
};

/**
 * struct vhu_dev - a device
 * @msg: the message that is being handled; waits for queues to stop while @waiting
 * @named: the queue that it names
 * @acks: it is acknowledged if it asks for that
 * @wce_known: the client knows the cache mode from us, or we from its in-flight buffer
 * @wce_told: we know it from the client
 */
struct vhu_dev {
	/* Constant; any thread. */
	struct blk_params *blk; /* its capacity changes */
	struct bdev *bdev;	/* as well */
	void (*event)(void *ctx, enum vhu_dev_event event, int arg);
	void *ctx;
	struct vdev *vdev;
	uint64_t features_offered;
	int listen_fd;
	struct sockaddr_un listen_name;
	socklen_t listen_name_bytes;
	int epoll_fd;
	int proc_fd;
	int sink_fd;	      /* eventfd that nobody reads */
	uint8_t *own_records; /* of clients that keep no buffer */
	uint64_t recovered_before;

	/* The device. */
	enum vhu_phase phase;
	bool retiring;
	bool given_up;
	uint64_t client_cnt;
	char why[VHU_WHY_MAX];
	uint64_t listen_ns;  /* when to accept again; 0 = not waiting */
	uint64_t nudge_ns;   /* when to look after queues that stop */
	uint64_t missing_ns; /* when a queue that is not started is told of */
	uint64_t owed_ns;    /* when to tell the client again */
	uint64_t message_ns; /* when a message must be there */

	/* The connection. */
	int conn_fd;
	int backend_fd;
	pid_t client_pid;
	uid_t client_uid;
	struct vhu_rx rx;
	struct vhu_msg msg;
	bool waiting;
	unsigned int named;
	bool acks;
	bool ran; /* a queue of it has been started */
	uint64_t features;
	uint64_t protocol_features;
	uint8_t status;
	bool write_back;
	bool wce_known;
	bool wce_told;
	bool config_known; /* the client has read it since it changed */
	struct vhu_mem mem;
	struct vhu_inflight_buf inflight;
	struct vhu_queue queues[VDEV_QUEUES_MAX];
};

static inline bool vhu_has_feature(const struct vhu_dev *dev, unsigned int bit)
{
	return dev->features & (1ull << bit);
}

static inline bool vhu_has_protocol(const struct vhu_dev *dev, enum vhu_protocol_feature bit)
{
	return dev->protocol_features & (1ull << bit);
}

/* Notes what is wrong with the client, and returns @err. */
int vhu_complain(struct vhu_dev *dev, int err, const char *fmt, ...) VBLK_PRINTF(3, 4);
/* The same, of the message that is being handled. */
int vhu_refuse(struct vhu_dev *dev, int err, const char *fmt, ...) VBLK_PRINTF(3, 4);

/* --- vhu_inflight.c --- */

int vhu_inflight_init(struct vhu_dev *dev) VBLK_MUST_CHECK;
void vhu_inflight_fini(struct vhu_dev *dev);
/* Makes a buffer, which is used from now on. Return: 0 with its descriptor, owned; -errno. */
int vhu_inflight_new(struct vhu_dev *dev, const struct vhu_inflight *want,
		     struct vhu_inflight *ret_made, int *ret_fd) VBLK_MUST_CHECK;
/* Uses the client's, and expects the queues with requests in it. */
int vhu_inflight_use(struct vhu_dev *dev, const struct vhu_inflight *has, int fd) VBLK_MUST_CHECK;
void vhu_inflight_drop(struct vhu_dev *dev);
/* Of queue @idx: the client's or our own. NULL: its ring is larger than the client's buffer. */
struct vq_inflight *vhu_inflight_record(const struct vhu_dev *dev, unsigned int idx);
/* Nothing of queue @idx is in flight, or ever will be done again. */
void vhu_inflight_clear(const struct vhu_dev *dev, unsigned int idx);
/* So that a successor knows it, too. */
void vhu_inflight_note_cache(const struct vhu_dev *dev);

/* --- vhu_ring.c --- */

int vhu_rings_init(struct vhu_dev *dev) VBLK_MUST_CHECK;
void vhu_rings_fini(struct vhu_dev *dev);
/* To the state that a new connection finds. Queues idle. */
void vhu_rings_reset(struct vhu_dev *dev);
/* The driver begins anew: what it knew of rings is forgotten, but not who is to be told. */
void vhu_rings_renew(struct vhu_dev *dev);
/* Would it run? Then is its ring right? 0; -errno with vhu_dev_why(). */
int vhu_ring_check(struct vhu_dev *dev, unsigned int idx) VBLK_MUST_CHECK;
/* Starts all idle queues that the client wants to run and that are ready for it. */
void vhu_rings_start(struct vhu_dev *dev);
void vhu_ring_stop(struct vhu_dev *dev, unsigned int idx, enum vdev_stop how);
void vhu_rings_stop(struct vhu_dev *dev, enum vdev_stop how);
/* Gets threads of queues that are to stop out of a wait for the client. Are there any such? */
bool vhu_rings_nudge(struct vhu_dev *dev);
/* The client ends queue @idx, which is idle, and was told where it stands. */
void vhu_ring_end(struct vhu_dev *dev, unsigned int idx);
/* The vdev says that it has. */
void vhu_ring_stopped(struct vhu_dev *dev, unsigned int idx);
bool vhu_rings_are_idle(const struct vhu_dev *dev);
unsigned int vhu_rings_running_cnt(const struct vhu_dev *dev);
/* Takes @fd; queue idle. */
void vhu_ring_set_kick(struct vhu_dev *dev, unsigned int idx, int fd);
/* Takes @fd, or -1 for none. */
void vhu_ring_set_call(struct vhu_dev *dev, unsigned int idx, int fd);
void vhu_ring_set_err(struct vhu_dev *dev, unsigned int idx, int fd);
/* Queue thread. */
void vhu_ring_call(struct vhu_dev *dev, unsigned int idx);
void vhu_ring_error(struct vhu_dev *dev, unsigned int idx);
/* Tells the owner, once until the client begins anew. */
void vhu_ring_tell(struct vhu_dev *dev, unsigned int idx, enum vhu_dev_event event);
/* Of queues that the others wait for and that the client does not start. */
void vhu_rings_tell_missing(struct vhu_dev *dev);

/* --- vhu_config.c --- */

uint64_t vhu_features_offered(const struct blk_params *blk);
/* Works out the cache mode, and has the queues go by it. */
void vhu_cache_apply(struct vhu_dev *dev);
bool vhu_cache_is_write_through(const struct vhu_dev *dev);
int vhu_config_get(struct vhu_dev *dev, const struct vhu_config *want,
		   struct vhu_config *ret_config) VBLK_MUST_CHECK;
int vhu_config_set(struct vhu_dev *dev, const struct vhu_config *config) VBLK_MUST_CHECK;
/* Tells the client of a change that it may not know, if it can be told now. */
void vhu_config_tell(struct vhu_dev *dev);

/* --- vhu_msg.c --- */

/* Handles dev->msg, now or when queues have stopped. */
void vhu_msg_handle(struct vhu_dev *dev);
/* A queue has stopped: goes on with the message that waits for it, if it was the last. */
void vhu_msg_go_on(struct vhu_dev *dev);

/* --- vhu_conn.c --- */

int vhu_conn_init(struct vhu_dev *dev) VBLK_MUST_CHECK;
void vhu_conn_handle(struct vhu_dev *dev);
/* Takes @fd, the socket for what we have to say, or -1 for none. Nothing may come from there. */
void vhu_backend_fd_set(struct vhu_dev *dev, int fd);
/* Polls what the phase and a waiting message allow. */
void vhu_conn_watch(struct vhu_dev *dev);
/* A message has been on its way in for too long. */
void vhu_conn_is_late(struct vhu_dev *dev);
/* Ends the connection. @err: 0, or what was wrong, with vhu_dev_why(). */
void vhu_conn_close(struct vhu_dev *dev, int err);
/* A queue has stopped. */
void vhu_conn_settle(struct vhu_dev *dev);

#endif
