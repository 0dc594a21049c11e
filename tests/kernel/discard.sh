#!/bin/bash
# SPDX-License-Identifier: MIT
# Discard gives space back, write-zeroes reads back zeroes, what is beside stays.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

MiB=$((1024 * 1024))

# try_on IMAGE [OPTION]...
try_on()
{
	local image=$1 before copy=$work/copy

	shift
	head -c 32M /dev/urandom >"$image"
	sync -- "$image"
	cp -- "$image" "$copy"
	attach trim "$@" "$image"
	assert_ge "$(sysfs queue/discard_max_bytes)" 1 "discard_max_bytes"
	assert_ge "$(sysfs queue/write_zeroes_max_bytes)" 1 "write_zeroes_max_bytes"
	before=$(allocated "$image")

	blkdiscard -o $((4 * MiB)) -l $((8 * MiB)) "$disk"
	assert_le "$(allocated "$image")" $((before - 8 * MiB)) "allocated bytes after the discard"
	blkdiscard -z -o $((16 * MiB)) -l $((4 * MiB)) "$disk"
	is_zero "$disk" $((16 * MiB)) $((4 * MiB)) || fail "not zero after blkdiscard -z"
	is_zero "$image" $((16 * MiB)) $((4 * MiB)) || fail "the image is not zero"
	# No multiple of a page: the ends must not be rounded outwards.
	blkdiscard -z -o $((24 * MiB + 512)) -l 1536 "$disk"
	detach trim

	is_zero "$image" $((24 * MiB + 512)) 1536 || fail "a small range is not zero"
	dd if=/dev/zero of="$copy" bs=1M seek=16 count=4 conv=notrunc status=none
	dd if=/dev/zero of="$copy" bs=512 seek=$((24 * 2048 + 1)) count=3 conv=notrunc status=none
	cmp -n $((4 * MiB)) -- "$image" "$copy"
	cmp -i $((12 * MiB)) -- "$image" "$copy"
}

make_fs ext4 256M "$work/ext4"
try_on "$work/tmpfs.img"
try_on "$work/ext4/disk.img"
try_on "$work/ext4/disk.img" --direct

image=$(make_image 32M off.img)
attach trim --discard=off "$image"
assert_eq "$(sysfs queue/discard_max_bytes)" 0 "discard_max_bytes with --discard=off"
not blkdiscard "$disk" 2>"$work/err" || fail "discard works with --discard=off"
detach trim
