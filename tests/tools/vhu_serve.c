/* SPDX-License-Identifier: MIT */
/*
 * vhu-serve - the server of this repository without a daemon around it, to be killed.
 *
 * usage: vhu-serve SOCKET BACKEND QUEUES QUEUE_SIZE
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vhu_child.h"

int main(int argc, char **argv)
{
	struct vhu_child_params params;

	if (argc != 5) {
		fprintf(stderr, "usage: vhu-serve SOCKET BACKEND QUEUES QUEUE_SIZE\n");
		return 2;
	}
	/* Whatever user the client has. */
	(void)umask(0);
	(void)unlink(argv[1]);
	params = (struct vhu_child_params){
		.listen_fd = vhu_child_listen(argv[1]),
		.backend = argv[2],
		.queue_cnt = (uint16_t)atoi(argv[3]),
		.queue_size = (uint16_t)atoi(argv[4]),
	};
	vhu_child_serve(&params);
}
