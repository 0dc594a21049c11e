/* SPDX-License-Identifier: MIT */
/*
 * vblkctl doctor: can this host make disks? What system calls tell is gathered first
 * (doctor_facts.c); the checks are functions of that and of files below a root directory,
 * so that tests give them any host.
 */
#ifndef VBLKCTL_DOCTOR_H
#define VBLKCTL_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "device.h"
#include "vblk/util/compiler.h"
#include "vblk/vduse/vduse_probe.h"

enum doctor_verdict {
	DOCTOR_OK,
	DOCTOR_WARNING, /* disks work, something is worse than it could be */
	DOCTOR_PROBLEM, /* no disk can be made, or one needs a hand */
};

/* Who daemons run as, if there is such a user. */
#define DOCTOR_USER "vblkd"

/* A result that could not be had: not asked, as it needs root or something else first. */
#define DOCTOR_NOT_ASKED 1

/**
 * struct doctor_facts - answers of the kernel to this process
 * @caps: effective capabilities, bit n: CAP_n
 * @nofile, @memlock: as getrlimit(2)
 * @ring: of loop_probe(), with @ring_missing
 * @vduse_result: of vduse_probe(), or DOCTOR_NOT_ASKED; with @vduse
 * @netlink: 0 the vdpa bus offers VDUSE block devices; -ENODEV it does not; -ETIMEDOUT no
 *           answer; other -errno; DOCTOR_NOT_ASKED
 * @has_program: the program vblkd is there
 * @has_user: so is the user that daemons run as, with @user_gid
 */
struct doctor_facts {
	uid_t euid;
	uint64_t caps;
	struct rlimit nofile;
	struct rlimit memlock;
	int ring;
	char ring_missing[128];
	int vduse_result;
	struct vduse_probe vduse;
	int netlink;
	bool has_program;
	bool has_user;
	gid_t user_gid;
};

/* May take seconds when generic netlink hangs. */
void doctor_gather(struct doctor_facts *ret_facts);

/**
 * struct doctor - one examination
 * @root: "" on the host
 * @devices: those of vblkd, @device_cnt of them
 * @lines: what was found: objects of "check", "verdict", "text"; NULL without memory
 * @worst: of all lines
 */
struct doctor {
	const char *root;
	const struct doctor_facts *facts;
	const struct device *devices;
	size_t device_cnt;
	json_t *lines;
	enum doctor_verdict worst;
};

/* One line. @check: a word that stays the same, for scripts. */
void doctor_say(struct doctor *doctor, enum doctor_verdict verdict, const char *check,
		const char *fmt, ...) VBLK_PRINTF(4, 5);

/* Each says one line or more. */
void doctor_check_kernel(struct doctor *doctor);
void doctor_check_process(struct doctor *doctor);
void doctor_check_host(struct doctor *doctor);
/* All of them. */
void doctor_check(struct doctor *doctor);

/* Small files of the kernel with one number. Return: it; @missing when it cannot be read. */
int64_t doctor_read_number(const struct doctor *doctor, const char *path, int64_t missing);

void doctor_print(FILE *f, const struct doctor *doctor);
/* Return: an owned object; NULL without memory. */
json_t *doctor_json(const struct doctor *doctor);

#endif
