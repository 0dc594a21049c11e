/* SPDX-License-Identifier: MIT */
/*
 * The host swaps to the disk: its memory gets free by what the worker writes, so what the worker
 * needs for that must be there already. The kernel keeps a reserve, and lets real-time tasks have
 * half of it; so all threads of the worker are real-time then, those of its rings in the kernel,
 * too, and so are we, who have to start its successor: what a fork shares is copied when written
 * to. Without such a disk nobody is, as they would take the CPU from everybody.
 */
#include "keeper_internal.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "privileges.h"
#include "vblk/host/host_disk.h"
#include "vblk/host/host_process.h"
#include "vblk/host/host_vdpa.h"
#include "vblk/util/log.h"

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
	keeper->swaps_fd = open("/proc/swaps", O_RDONLY | O_CLOEXEC);
	/* Of what has changed since it was opened or told last. */
	if (keeper->swaps_fd >= 0 &&
	    sd_event_add_io(keeper->event, NULL, keeper->swaps_fd, EPOLLPRI, on_swaps, keeper) < 0)
		log_warning("cannot watch what the host swaps to");
	look(keeper);
}
