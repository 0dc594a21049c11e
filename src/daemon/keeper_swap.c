/* SPDX-License-Identifier: MIT */
/*
 * The host swaps to the disk: its memory gets free by what the worker writes, so what the worker
 * needs for that must be there already. The kernel keeps a reserve, and lets real-time tasks have
 * half of it; so all threads of the worker are real-time then, those of its rings in the kernel,
 * too, and so are we, who have to start its successor: what a fork shares is copied when written
 * to. Without such a disk nobody is, as they would take the CPU from everybody.
 *
 * Between the death of a worker and its successor the kernel goes on to swap, and may use up the
 * reserve to below what real-time tasks may have of it. So while there is time we take memory
 * ourselves, and give it back when a worker dies: only who may use the reserve can have it then.
 */
#include "keeper_internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "privileges.h"
#include "vblk/host/host_disk.h"
#include "vblk/host/host_process.h"
#include "vblk/host/host_vdpa.h"
#include "vblk/util/log.h"

/* What a worker needs until it serves, with some for each of its queues. */
#define BALLAST_BYTES	    (4u << 20)
#define BALLAST_QUEUE_BYTES (6u << 20)
#define FILL_INTERVAL_US    (100 * USEC_PER_MSEC)

static void set_thread(pid_t tid, void *ctx)
{
	const struct keeper *keeper = ctx;

	privileges_set_real_time(tid, keeper->is_swap);
}

/* New threads are like those that make them, so the second look finds what the first missed. */
static void set_worker(struct keeper *keeper)
{
	if (!keeper->worker_pid)
		return;
	for (unsigned int i = 0; i < 2; i++)
		host_process_each_thread("", keeper->worker_pid, set_thread, keeper);
}

/* The reserve: while more is free nobody waits for a page. Not known: no page is taken. */
static uint64_t floor_bytes(const struct keeper *keeper)
{
	char text[32];
	ssize_t len = pread(keeper->reserve_fd, text, sizeof(text) - 1, 0);

	if (len <= 0)
		return UINT64_MAX;
	text[len] = '\0';
	return strtoull(text, NULL, 10) * 1024;
}

static int on_fill(sd_event_source *source VBLK_UNUSED, uint64_t usec VBLK_UNUSED, void *userdata)
{
	struct keeper *keeper = userdata;

	if (ballast_fill(&keeper->ballast, floor_bytes(keeper)))
		return 0;
	return keeper_arm_timer(keeper, &keeper->ballast_source, FILL_INTERVAL_US, on_fill);
}

static void take_ballast(struct keeper *keeper)
{
	size_t len = BALLAST_BYTES + keeper->blk.queue_cnt * BALLAST_QUEUE_BYTES;

	if (!keeper->ballast.addr &&
	    (keeper->reserve_fd < 0 || ballast_init(&keeper->ballast, len) < 0))
		log_warning("cannot keep memory for the next worker");
	(void)on_fill(NULL, 0, keeper);
}

void keeper_swap_follow(struct keeper *keeper)
{
	if (keeper->is_swap && keeper->serving) {
		take_ballast(keeper);
		return;
	}
	keeper_disarm_timer(&keeper->ballast_source);
	ballast_drop(&keeper->ballast);
}

static void tell(const struct keeper *keeper)
{
	if (!keeper->is_swap)
		log_info("the host no longer swaps to the disk");
	else if (keeper->config->bdev.direct)
		log_notice(
			"the host swaps to the disk: the data path is real-time, for its share of the memory that the kernel keeps back");
	else
		log_warning(
			"the host swaps to the disk, which is attached without --direct: it may stand still when memory is short, see vblkd(7)");
}

static void look(struct keeper *keeper)
{
	char disk[HOST_NODE_MAX];
	bool is_swap =
		host_vdpa_disk("", keeper->config->name, disk) == 0 && host_disk_is_swap("", disk);

	if (is_swap == keeper->is_swap)
		return;
	keeper->is_swap = is_swap;
	set_thread(0, keeper);
	set_worker(keeper);
	keeper_swap_follow(keeper);
	tell(keeper);
}

static int on_swaps(sd_event_source *source VBLK_UNUSED, int fd VBLK_UNUSED,
		    uint32_t revents VBLK_UNUSED, void *userdata)
{
	look(userdata);
	return 0;
}

void keeper_watch_swaps(struct keeper *keeper)
{
	keeper->reserve_fd = open("/proc/sys/vm/min_free_kbytes", O_RDONLY | O_CLOEXEC);
	keeper->swaps_fd = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
	/* Of what has changed since it was opened or told last. */
	if (keeper->swaps_fd >= 0 &&
	    sd_event_add_io(keeper->event, NULL, keeper->swaps_fd, EPOLLPRI, on_swaps, keeper) < 0)
		log_warning("cannot watch what the host swaps to");
	look(keeper);
}
