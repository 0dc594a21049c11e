/* SPDX-License-Identifier: MIT */
/* Text to values. All refuse empty text, signs, spaces and trailing text. */
#ifndef VBLK_UTIL_PARSE_H
#define VBLK_UTIL_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vblk/util/compiler.h"

/* Longest device name; iproute2's vdpa tool prints names into 64-byte buffers. */
#define DEVICE_NAME_MAX 63

/**
 * parse_u64() - decimal number in [@min, @max]
 * Return: 0; -EINVAL not a number; -ERANGE outside.
 */
int parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value) VBLK_MUST_CHECK;

/**
 * parse_size_bytes() - "4096", "64K", "10M", "1G", "2T": powers of 1024,
 * either case, no "B"
 * Return: 0; -EINVAL not a size; -ERANGE does not fit 63 bits.
 */
int parse_size_bytes(const char *text, uint64_t *ret_bytes) VBLK_MUST_CHECK;

/* "on"/"off". Return: 0; -EINVAL. */
int parse_on_off(const char *text, bool *ret_on) VBLK_MUST_CHECK;

/**
 * parse_device_name() - check a device name; nothing is copied
 * 1 to DEVICE_NAME_MAX of [A-Za-z0-9_.-], begins with a letter, digit or '_',
 * and is none of the names that the kernel uses in the same places
 * ("control", "power", "uevent", "subsystem", "dev", "vqN", ...).
 * Return: 0; -EINVAL bad character, empty or reserved; -ENAMETOOLONG.
 */
int parse_device_name(const char *name) VBLK_MUST_CHECK;

/* 1 to 20 of [A-Za-z0-9_-] (virtio-blk's serial). Return: 0; -EINVAL; -ENAMETOOLONG. */
int parse_serial(const char *serial) VBLK_MUST_CHECK;

/* Room for any text of format_size_bytes(). */
#define FORMAT_SIZE_MAX 32

/* "512B", "64K", "1.5G": at most three digits after rounding down. Returns @buf. */
const char *format_size_bytes(uint64_t bytes, char buf[FORMAT_SIZE_MAX]);

#endif
