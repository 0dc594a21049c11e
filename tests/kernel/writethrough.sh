#!/bin/bash
# SPDX-License-Identifier: MIT
# With --cache=writethrough a completed write is on the backing disk and flushed
# there, without a flush of the user; with writeback it need not be.
# 
# The backing disk is a loop device: it counts sectors written and flushes, and
# the page cache is between it and vblkd unless somebody syncs.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

truncate -s 64M -- "$work/block.img"
make_loop "$work/block.img"

# write_once: sets $sectors and $flushes, what one write of 64 KiB costs below
write_once()
{
	local sectors_before flushes_before

	sync
	sectors_before=$(disk_stat "$loop" 7)
	flushes_before=$(disk_stat "$loop" 16)
	dd if=/dev/urandom of="$disk" bs=64K count=1 seek=3 oflag=direct conv=notrunc status=none
	sectors=$(($(disk_stat "$loop" 7) - sectors_before))
	flushes=$(($(disk_stat "$loop" 16) - flushes_before))
}

try()
{
	printf 'writethrough %s\n' "$*"
	attach wt --cache=writethrough "$@" "$loop"
	assert_eq "$(sysfs queue/write_cache)" "write through" "write_cache"
	assert_eq "$(state wt cache)" writethrough "cache in the state"
	write_once
	assert_ge "$sectors" 128 "sectors below when the write is complete"
	assert_ge "$flushes" 1 "flushes below when the write is complete"
	detach wt
}

try
try --direct

# The other mode, so that the counters are known to tell a difference.
attach wb "$loop"
assert_eq "$(sysfs queue/write_cache)" "write back" "write_cache"
write_once
assert_eq "$flushes" 0 "flushes below without a flush from above"
detach wb
