#!/bin/bash
# SPDX-License-Identifier: MIT
# A read-only disk refuses writes, and its image may be read-only too.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

make_fs ext4 64M "$work/ext4"
image=$work/ext4/disk.img
truncate -s 16M -- "$image"
mkfs.ext4 -q -F "$image"
before=$(sha256sum <"$image")

try()
{
	attach ro --read-only "$image"
	assert_eq "$(blockdev --getro "$disk")" 1 "blockdev --getro"
	assert_eq "$(sysfs ro)" 1 "/sys ro"
	not dd if=/dev/zero of="$disk" bs=4k count=1 oflag=direct status=none 2>"$work/err" ||
		fail "a write succeeds"
	not blkdiscard -f "$disk" 2>"$work/err" || fail "a discard succeeds"
	mounted "$disk" "$work/mnt" ro
	umount "$work/mnt"
	detach ro
	assert_eq "$(sha256sum <"$image")" "$before" "checksum of the image"
}

try
mount -o remount,ro "$work/ext4"
try
