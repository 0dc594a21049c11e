/* SPDX-License-Identifier: MIT */
/* The command line of vblkd. */
#ifndef VBLKD_OPTIONS_H
#define VBLKD_OPTIONS_H

#include "config.h"

enum options_result {
	OPTIONS_RUN,   /* @config is complete */
	OPTIONS_DONE,  /* --help, --version or --check-config was answered: exit 0 */
	OPTIONS_USAGE, /* a mistake was reported: exit 2 */
};

enum options_result options_parse(int argc, char **argv, struct vblkd_config *config);

#endif
