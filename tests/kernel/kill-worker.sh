#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 600
# SIGKILL of the worker at random moments, 208 times (1,000 with --long, or as
# VBLKD_KILLS says): 1 and 2 queues, file on XFS and memory-backed block device,
# page cache and O_DIRECT. No I/O error, all that fio wrote is there, what
# lincheck's readers and writers saw is linearizable, and how long I/O stood
# still is printed.
# shellcheck source=tests/kernel/kill.inc
. "$(dirname -- "${BASH_SOURCE[0]}")/kill.inc"

cells=8
kills=$((($(kills_of 208 1000) + cells - 1) / cells))
dev=kw

# try BACKEND BLOCK_SIZE OPTION...
try()
{
	local backend=$1 block=$2

	shift 2
	printf '%s %s\n' "${backend##*/}" "$*"
	attach kw --block-size=512 "$@" "$backend"
	harm worker "$kills" --block-size "$block" --delay-ms 250
	assert_ge "$(state kw restarts)" "$kills" "restarts"
	detach kw
}

make_fs xfs 300M "$work/xfs"
truncate -s 32M -- "$work/xfs/disk.img"
make_null_blk vblkdkill0 32

for queues in 1 2; do
	for direct in '' --direct; do
		try "$work/xfs/disk.img" 4K --queues=$queues $direct
		try "$null" 512 --queues=$queues $direct
	done
done
gap_figures "worker killed"
