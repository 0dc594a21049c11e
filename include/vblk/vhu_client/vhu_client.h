/* SPDX-License-Identifier: MIT */
/*
 * The front-end's side of one vhost-user connection: what a server is asked and
 * told. Everything that it sends is checked; what is not as it must be ends the
 * connection. Rings themselves are vq_driver.h's.
 *
 * Functions wait for the server, each for params.timeout_ms at most, and come back at once when
 * params.stop_fd becomes readable. So they belong into a thread that nobody waits for.
 *
 * Errors after which only vhu_client_close() makes sense: all of them but -EREMOTEIO.
 *   -ETIMEDOUT  no answer in time
 *   -ECANCELED  stop_fd
 *   -EPIPE, -ECONNRESET, ...  it is gone
 *   -EPROTO     it breaks the protocol
 *   -EREMOTEIO  it refused what it was asked
 *
 * Context: one thread at a time.
 * Source: QEMU docs/interop/vhost-user.rst
 */
#ifndef VBLK_VHU_CLIENT_VHU_CLIENT_H
#define VBLK_VHU_CLIENT_VHU_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

/* Regions of vhu_client_set_memory(); every server takes so many. */
#define VHU_CLIENT_REGIONS_MAX 8u

struct vhu_client;

/**
 * struct vhu_client_params - how to connect
 * @path: of the socket
 * @features: virtio feature bits to accept where the server offers them
 * @timeout_ms: for each answer, and for being let in
 * @stop_fd: borrowed; readable: whatever is done ends. -1 = none
 * @inflight: where it can, have the server keep what it has in flight in a buffer, see
 *            vhu_client_inflight_new(); its rings do not start without one then
 */
struct vhu_client_params {
	const char *path;
	uint64_t features;
	unsigned int timeout_ms;
	int stop_fd;
	bool inflight;
};

/**
 * struct vhu_client_facts - what the server said
 * @features: accepted of those wanted
 * @offered: all bits that it offers
 * @protocol_features: in use, bits of enum vhu_protocol_feature
 * @queue_cnt: as many rings as it can have; 1 where it does not say
 */
struct vhu_client_facts {
	uint64_t features;
	uint64_t offered;
	uint64_t protocol_features;
	unsigned int queue_cnt;
};

/**
 * vhu_client_open() - connect and negotiate, up to where memory and rings can be told
 *
 * A server that serves somebody else may let us wait in its queue, so -ETIMEDOUT.
 *
 * Return: 0; -ENOENT, -ECONNREFUSED, -EACCES, other -errno of connect(2); -ENAMETOOLONG;
 *         -EOPNOTSUPP it has no protocol features, or not VHU_PROTOCOL_F_CONFIG: it is no
 *         block device that can be used; and those above.
 */
int vhu_client_open(const struct vhu_client_params *params,
		    struct vhu_client **ret_client) VBLK_MUST_CHECK;
/* As vhu_client_open() on a connected socket, which it takes, also on failure. */
int vhu_client_open_fd(const struct vhu_client_params *params, int sock_fd,
		       struct vhu_client **ret_client) VBLK_MUST_CHECK;
/* The server drops what it was given. NULL is fine. */
void vhu_client_close(struct vhu_client *client);

const struct vhu_client_facts *vhu_client_facts(const struct vhu_client *client);
/* From now on, instead of what vhu_client_params say. */
void vhu_client_set_timeout(struct vhu_client *client, unsigned int timeout_ms);

/* The first @len_bytes of the configuration space. -EREMOTEIO: it has not so many. */
int vhu_client_get_config(struct vhu_client *client, void *config,
			  uint32_t len_bytes) VBLK_MUST_CHECK;

/**
 * struct vhu_client_region - memory for the server
 * @addr: how descriptors and rings call it
 * @fd: borrowed
 * @ring_add: struct vhu_client_ring calls it @addr + @ring_add; no server likes address 0 there
 */
struct vhu_client_region {
	uint64_t addr;
	uint64_t len_bytes;
	int fd;
	uint64_t fd_offset_bytes;
	uint64_t ring_add;
};

/* Instead of what it had; no ring may run. @cnt: up to VHU_CLIENT_REGIONS_MAX. */
int vhu_client_set_memory(struct vhu_client *client, const struct vhu_client_region *regions,
			  unsigned int cnt) VBLK_MUST_CHECK;

/**
 * struct vhu_client_ring - a split ring, whose parts lie in the memory told
 * @base_idx: where both indexes are
 * @kick_fd, @call_fd: eventfds, borrowed. The server may make them non-blocking, and it may
 *                     write @call_fd when it is told of it
 */
struct vhu_client_ring {
	unsigned int idx;
	uint16_t size;
	uint16_t base_idx;
	uint64_t desc_addr;
	uint64_t avail_addr;
	uint64_t used_addr;
	int kick_fd;
	int call_fd;
};

/* Return: 0, also where the server does not tell; -EREMOTEIO no ring is as large; -errno. */
int vhu_client_ring_try_size(struct vhu_client *client, unsigned int idx,
			     uint16_t size) VBLK_MUST_CHECK;

/* From its return on, the server looks at the ring when it is kicked. */
int vhu_client_ring_start(struct vhu_client *client,
			  const struct vhu_client_ring *ring) VBLK_MUST_CHECK;
/* The server is done with the ring. @ret_base_idx: where it would go on */
int vhu_client_ring_stop(struct vhu_client *client, unsigned int idx,
			 uint16_t *ret_base_idx) VBLK_MUST_CHECK;

/* Of VHU_PROTOCOL_F_INFLIGHT_SHMFD: it was wanted, and the server has it. */
bool vhu_client_has_inflight(const struct vhu_client *client);

/**
 * struct vhu_client_inflight - the server's record of what it has in flight
 * What is in it is the server's affair; so is whatever the file has beyond these bytes.
 */
struct vhu_client_inflight {
	uint64_t len_bytes;
	uint64_t fd_offset_bytes;
	uint16_t queue_cnt;
	uint16_t queue_size;
};

/**
 * vhu_client_inflight_new() - a fresh one, for rings of up to @queue_size
 * Return: 0, @ret_fd owned by the caller; -EOPNOTSUPP without vhu_client_has_inflight(); and those
 *         above, of which -EPROTO is also how servers refuse such rings.
 */
int vhu_client_inflight_new(struct vhu_client *client, uint16_t queue_cnt, uint16_t queue_size,
			    struct vhu_client_inflight *ret_inflight, int *ret_fd) VBLK_MUST_CHECK;
/*
 * Have the server go on with one, itself or a copy: of this server, or of one before it that did
 * not end its rings. No ring may run. @fd: borrowed
 */
int vhu_client_inflight_use(struct vhu_client *client, const struct vhu_client_inflight *inflight,
			    int fd) VBLK_MUST_CHECK;

/* Readable: the server is gone, or breaks the protocol, as it says nothing unasked there. */
int vhu_client_fd(const struct vhu_client *client);
/* Readable: call vhu_client_handle_backend(). -1: this server tells nothing by itself. */
int vhu_client_backend_fd(const struct vhu_client *client);
/* Return: 1 the configuration space has changed; 0 nothing of interest; -errno. */
int vhu_client_handle_backend(struct vhu_client *client) VBLK_MUST_CHECK;

#endif
