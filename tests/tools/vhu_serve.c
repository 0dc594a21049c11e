/* SPDX-License-Identifier: MIT */
/*
 * vhu-serve - the server of this repository without a daemon around it, to be killed.
 *
 * usage: vhu-serve SOCKET BACKEND QUEUES QUEUE_SIZE [erase]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhu_child.h"

int main(int argc, char **argv)
{
	struct vhu_child_params params;

	if (argc != 5 && (argc != 6 || strcmp(argv[5], "erase") != 0)) {
		fprintf(stderr, "usage: vhu-serve SOCKET BACKEND QUEUES QUEUE_SIZE [erase]\n");
		return 2;
	}
	/* Whatever user the client has. */
	(void)umask(0);
	(void)unlink(argv[1]);
	params = (struct vhu_child_params){
		.erases = argc == 6,
		.listen_fd = vhu_child_listen(argv[1]),
		.backend = argv[2],
		.queue_cnt = (uint16_t)atoi(argv[3]),
		.queue_size = (uint16_t)atoi(argv[4]),
	};
	vhu_child_serve(&params);
}
