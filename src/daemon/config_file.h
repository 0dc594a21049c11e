/* SPDX-License-Identifier: MIT */
/* Configuration files of vblkd, see vblkd.conf(5): the options of the command line as keys. */
#ifndef VBLKD_CONFIG_FILE_H
#define VBLKD_CONFIG_FILE_H

#include "config.h"

/* The section that all keys stand in. */
#define CONFIG_FILE_SECTION "device"

/* Logs each mistake with file and line. Return: 0; -EINVAL there were some; other -errno, logged.
 */
int config_file_read(const char *path, struct vblkd_config *config) VBLK_MUST_CHECK;

/* As config_file_read(), and all that can be known without starting the device. */
int config_file_check(const char *path) VBLK_MUST_CHECK;

#endif
