/* SPDX-License-Identifier: MIT */
#include "bus.h"

#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

/* FileDescriptorName= of the unit */
#define BUS_NAME "vdpa"

int bus_find(void)
{
	char **names = NULL;
	int cnt = sd_listen_fds_with_names(1, &names), found = -1;

	for (int i = 0; i < cnt; i++) {
		if (found < 0 && !strcmp(names[i], BUS_NAME))
			found = SD_LISTEN_FDS_START + i;
		else
			close(SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
	return found;
}
