#!/bin/bash
# SPDX-License-Identifier: MIT
# A flush makes all completed writes durable, also those of other queues.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

truncate -s 64M -- "$work/block.img"
make_loop "$work/block.img"
[ "$(nproc)" -ge 2 ] || skip "needs two processors"

# counter QUEUE GROUP OPERATION
counter()
{
	vblkctl show --json flush | jq ".per_queue[$1].requests.$2"
}

try()
{
	local sectors flushes

	printf 'flush %s\n' "$*"
	attach flush --queues=2 "$@" "$loop"
	sectors=$(disk_stat "$loop" 7)
	taskset -c 0 dd if=/dev/urandom of="$disk" bs=64K count=8 oflag=direct conv=notrunc status=none
	flushes=$(disk_stat "$loop" 16)
	assert_eq "$(counter 1 flush)" 0 "flushes through queue 1 before"
	taskset -c 1 sync -- "$disk"
	assert_ge "$(counter 0 write)" 1 "writes through queue 0"
	assert_ge "$(counter 1 flush)" 1 "flushes through queue 1"
	assert_ge "$(disk_stat "$loop" 16)" $((flushes + 1)) "flushes of the backing disk"
	assert_ge "$(disk_stat "$loop" 7)" $((sectors + 1024)) "sectors on the backing disk"
	detach flush
}

try
try --direct

# The same through a file: its filesystem has to flush the disk below.
make_fs ext4 128M "$work/ext4"
below=$loop
image=$work/ext4/disk.img
truncate -s 32M -- "$image"
attach flush "$image"
fill "$disk" 1M
flushes=$(disk_stat "$below" 16)
sync -- "$disk"
assert_ge "$(disk_stat "$below" 16)" $((flushes + 1)) "flushes of the disk below the file"
detach flush
