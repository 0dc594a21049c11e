/* SPDX-License-Identifier: MIT */
/*
 * A server of vhost-user-blk on a disk in memory, which serves one input after the
 * other, and what its clients are made of. Its queue threads run as they like; the
 * control thread is whoever calls. Whatever a client does, the server gets rid of it
 * in time, with all of its descriptors and mappings, and replies are well-formed.
 */
#ifndef FUZZ_VHOST_USER_H
#define FUZZ_VHOST_USER_H

#include "fuzz.h"

#include <stdbool.h>

#include "vblk/vhu/vhu_sock.h"

#define FUZZ_QUEUES	  2u
#define FUZZ_RING_SIZE	  16u
#define FUZZ_PAGE	  4096u
#define FUZZ_DISK_BYTES	  (1u << 20)
#define FUZZ_GADDR	  0x100000ull
#define FUZZ_UADDR(gaddr) ((gaddr) + 0x7f0000000000ull)
#define FUZZ_TURNS_MAX	  200u /* without what is waited for, of up to so many: */
#define FUZZ_TURN_MS	  40
#define FUZZ_EVENTFDS	  (3 * FUZZ_QUEUES) /* kick, call and err of each */

struct fuzz_input {
	const uint8_t *data;
	size_t len;
};

/**
 * struct fuzz_client - what an input's client has
 * @conn_fd: -1: none
 * @arena_fd: memfd; accessed by system calls, as it may be cut
 * @inflight, @inflight_fd: what the server made last; -1: nothing
 * @last_u64: of its last reply
 */
struct fuzz_client {
	int conn_fd;
	int arena_fd;
	int eventfds[FUZZ_EVENTFDS];
	struct vhu_rx rx;
	struct vhu_inflight inflight;
	int inflight_fd;
	uint64_t last_u64;
};

void must(bool ok, const char *what);

/* 0 at the end. */
uint8_t fuzz_take(struct fuzz_input *in);
uint16_t fuzz_take16(struct fuzz_input *in);
uint64_t fuzz_take64(struct fuzz_input *in);
/* The next @max_bytes at most; *@ret_bytes is how many they are. */
const uint8_t *fuzz_take_some(struct fuzz_input *in, size_t max_bytes, size_t *ret_bytes);

/* The first one starts the server. */
void fuzz_client_begin(struct fuzz_client *client, size_t arena_bytes);
/* Closes everything, and sees that nothing of it is left in the server. */
void fuzz_client_end(struct fuzz_client *client);
void fuzz_connect(struct fuzz_client *client);
/* Waits until the server has let go of it. */
void fuzz_disconnect(struct fuzz_client *client);

/* Lets the control thread do what there is to do, waiting up to @wait_ms for some. */
void fuzz_pump(int wait_ms);
/* The server may have closed the connection: no matter. */
void fuzz_send(struct fuzz_client *client, const struct vhu_msg *msg);
void fuzz_send_bytes(struct fuzz_client *client, const void *data, size_t bytes);
/* Reads what the server has said. Returns how many messages. */
unsigned int fuzz_read_replies(struct fuzz_client *client);
/*
 * Sends it with need_reply, and waits for the answer or for the end of the connection.
 * Is all right? Not for requests with a reply of their own.
 */
bool fuzz_tell(struct fuzz_client *client, struct vhu_msg *msg);
void fuzz_poke(const struct fuzz_client *client, uint64_t at, const void *data, size_t bytes);
void fuzz_kick(const struct fuzz_client *client, unsigned int idx);
void fuzz_resize(uint64_t capacity_bytes);

/* Messages of a client that means well. */
void fuzz_msg_state(struct vhu_msg *msg, uint32_t request, uint32_t idx, uint32_t num);
void fuzz_msg_eventfd(const struct fuzz_client *client, struct vhu_msg *msg, uint32_t request,
		      unsigned int idx);
/* What negotiation comes to: @features of the device beside VERSION_1 and protocol features. */
bool fuzz_negotiate(struct fuzz_client *client, uint64_t features);

#endif
