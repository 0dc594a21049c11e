/* SPDX-License-Identifier: MIT */
/*
 * The server's interrupts on their way to the driver. A thread that does nothing else: what the
 * server is asked meanwhile, and how long it takes to answer, holds up no interrupt.
 *
 * The eventfds are not read: each write is an edge of its own, and those that come while one is
 * passed on are one. Who has more to say than a driver can hear is not made to wait, either.
 */
#include "bdev_vhost_user.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vblk/util/thread.h"

#define RELAY_STACK_BYTES (64u * 1024u)
#define EVENTS_MAX	  16
#define QUIT		  UINT32_MAX

struct vu_relay {
	pthread_t thread;
	int epoll_fd;
	int quit_fd;
	void (*inject)(void *ctx, unsigned int idx);
	void *ctx; /* ordered by @inject */
};

static void pass_on(struct vu_relay *relay, unsigned int idx)
{
	/* Pairs with vu_relay_use(). */
	void (*inject)(void *ctx, unsigned int idx) =
		__atomic_load_n(&relay->inject, __ATOMIC_ACQUIRE);

	if (inject)
		inject(relay->ctx, idx);
}

static void *relay_main(void *arg)
{
	struct vu_relay *relay = arg;
	struct epoll_event events[EVENTS_MAX];

	(void)pthread_setname_np(pthread_self(), "relay");
	for (;;) {
		int cnt = epoll_wait(relay->epoll_fd, events, EVENTS_MAX, -1);

		for (int i = 0; i < cnt; i++) {
			if (events[i].data.u32 == QUIT)
				return NULL;
			pass_on(relay, events[i].data.u32);
		}
	}
}

static int watch(struct vu_relay *relay, int fd, uint32_t data, uint32_t flags)
{
	struct epoll_event ev = { .events = EPOLLIN | flags, .data.u32 = data };

	return epoll_ctl(relay->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int relay_init(struct vu_relay *relay, const int *call_fds, unsigned int cnt)
{
	int r;

	relay->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (relay->epoll_fd < 0)
		return -errno;
	relay->quit_fd = eventfd(0, EFD_CLOEXEC);
	if (relay->quit_fd < 0)
		return -errno;
	r = watch(relay, relay->quit_fd, QUIT, 0);
	for (unsigned int i = 0; r == 0 && i < cnt; i++)
		r = watch(relay, call_fds[i], i, EPOLLET);
	return r < 0 ? r : thread_start(&relay->thread, RELAY_STACK_BYTES, relay_main, relay);
}

static void relay_close(struct vu_relay *relay)
{
	if (relay->epoll_fd >= 0)
		(void)close(relay->epoll_fd);
	if (relay->quit_fd >= 0)
		(void)close(relay->quit_fd);
	free(relay);
}

int vu_relay_new(const int *call_fds, unsigned int cnt, struct vu_relay **ret_relay)
{
	struct vu_relay *relay = calloc(1, sizeof(*relay));
	int r;

	if (!relay)
		return -ENOMEM;
	relay->epoll_fd = relay->quit_fd = -1;
	r = relay_init(relay, call_fds, cnt);
	if (r < 0) {
		relay_close(relay);
		return r;
	}
	*ret_relay = relay;
	return 0;
}

void vu_relay_free(struct vu_relay *relay)
{
	if (!relay)
		return;
	vu_signal(relay->quit_fd);
	(void)pthread_join(relay->thread, NULL);
	relay_close(relay);
}

void vu_relay_use(struct vu_relay *relay, void (*inject)(void *ctx, unsigned int idx), void *ctx)
{
	if (__atomic_load_n(&relay->inject, __ATOMIC_RELAXED) == inject)
		return;
	relay->ctx = ctx;
	/* Pairs with pass_on(). */
	__atomic_store_n(&relay->inject, inject, __ATOMIC_RELEASE);
}
