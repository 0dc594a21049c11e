/* SPDX-License-Identifier: MIT */
#include "bus.h"

#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

int bus_find(int kept_fd)
{
	char **names = NULL;
	int cnt = sd_listen_fds_with_names(1, &names), found = -1;

	for (int i = 0; i < cnt; i++) {
		if (found < 0 && !strcmp(names[i], BUS_FD_NAME))
			found = SD_LISTEN_FDS_START + i;
		else if (SD_LISTEN_FDS_START + i != kept_fd)
			close(SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	free(names);
	return found;
}
