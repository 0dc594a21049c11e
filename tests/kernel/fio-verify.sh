#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# Random reads, writes and trims of mixed sizes at depth 64 lose nothing: on a
# file and on a block device, 1 and 2 queues, O_DIRECT and page cache.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd fio

size=${long:+512M}
size=${size:-16M}
sizes=512/10:4k/50:32k/20:256k/15:2M/5

# Written and verified next to where blocks are trimmed and written at the same
# time: a trim that goes astray is found. (fio's own trim_backlog crashes it.)
fio_run()
{
	local log=$work/fio-$1.log

	cat >"$work/fio.job" <<-EOF
	[global]
	filename=$disk
	ioengine=libaio
	direct=1
	iodepth=64
	bssplit=$sizes
	size=$size
	serialize_overlap=1
	randseed=7
	verify_state_save=0

	[mixed]
	rw=randrw
	rwmixread=40
	offset=0
	verify=crc32c
	verify_fatal=1

	[trims]
	rw=randtrimwrite
	offset=$size
	verify=crc32c
	EOF
	fio "$work/fio.job" >"$log" 2>&1 || {
		tail -n 30 "$log"
		fail "fio $1 on $disk"
	}
	! grep -qE 'err= *[1-9]|verify: bad' "$log" || fail "fio reports an error: $log"
	grep -q 'TRIM: bw=' "$log" || fail "fio made no trims"
}

# verify_on WHAT BACKEND OPTION...
verify_on()
{
	local what=$1 backend=$2

	shift 2
	printf '%s %s\n' "$what" "$*"
	attach fio --block-size=512 "$@" "$backend"
	fio_run "$what"
	detach fio
}

make_fs xfs 700M "$work/xfs"
make_fs ext4 400M "$work/ext4"
truncate -s 128M -- "$work/xfs/disk.img" "$work/ext4/disk.img" "$work/block.img"
make_loop "$work/block.img"

for queues in 1 2; do
	for direct in '' --direct; do
		verify_on xfs "$work/xfs/disk.img" --queues=$queues $direct
		verify_on ext4 "$work/ext4/disk.img" --queues=$queues $direct
		verify_on loop "$loop" --queues=$queues $direct
	done
done
