/* SPDX-License-Identifier: MIT */
/* What a backend tells by itself: another size, and that its server has gone or is back. */
#include "keeper_internal.h"

#include "message_ids.h"
#include "vblk/util/clock.h"
#include "vblk/util/log.h"

/* Until it can be taken in, and to the next; not as often as a backend may like. */
#define RETRY_US (100 * USEC_PER_MSEC)
#define PAUSE_US USEC_PER_SEC
/* A server that comes and goes all the time is told of now and then. */
#define SERVER_BURST	5u
#define SERVER_INTERVAL (60 * NSEC_PER_SEC)

/*
 * The disk waits for it by itself; whoever looks after the server has to hear of it.
 * Return: false: something is to be said, but not yet.
 */
static bool look_at_server(struct keeper *keeper)
{
	char why[BDEV_WHY_MAX];
	bool is_gone = bdev_server(keeper->bdev, why) < 0;

	if (is_gone == keeper->news.server_is_gone)
		return true;
	if (!ratelimit_allows(&keeper->news.limit, clock_now_ns()))
		return false;
	keeper->news.server_is_gone = is_gone;
	if (is_gone)
		log_event(LOG_LEVEL_WARNING, &(struct log_fields){ MESSAGE_SERVER_GONE, -1 },
			  "the backend's server is gone, and requests wait for it: %s", why);
	else
		log_event(LOG_LEVEL_NOTICE, &(struct log_fields){ MESSAGE_SERVER_BACK, -1 },
			  "the backend's server is back: requests go on");
	keeper_publish_state(keeper);
	return true;
}

static int on_news_again(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED,
			 void *userdata)
{
	struct keeper *keeper = userdata;
	int r = 0;

	if (!look_at_server(keeper))
		r = keeper_arm_timer(keeper, &keeper->news.timer, PAUSE_US, on_news_again);
	return r < 0 ? r : sd_event_source_set_enabled(keeper->news.source, SD_EVENT_ON);
}

static int on_news(sd_event_source *source, int fd VBLK_UNUSED, uint32_t revents VBLK_UNUSED,
		   void *userdata)
{
	struct keeper *keeper = userdata;
	uint64_t pause_us;
	int r;

	(void)look_at_server(keeper);
	pause_us = keeper_take_told_size(keeper) ? PAUSE_US : RETRY_US;
	r = sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return r < 0 ? r : keeper_arm_timer(keeper, &keeper->news.timer, pause_us, on_news_again);
}

int keeper_watch_news(struct keeper *keeper)
{
	int fd = bdev_news_fd(keeper->bdev);

	keeper->news.limit =
		(struct ratelimit){ .interval_ns = SERVER_INTERVAL, .burst = SERVER_BURST };
	return fd < 0 ? 0
		      : sd_event_add_io(keeper->event, &keeper->news.source, fd, EPOLLIN, on_news,
					keeper);
}
