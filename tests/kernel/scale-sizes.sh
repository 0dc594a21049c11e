#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 900
# What is large: a sparse image of 16 TiB, a depth of 1024, and requests of 1 MiB
# until the memory for data in flight is exhausted, on two queues. No error, and
# nothing stands still. Prints lines SCALE with the figures.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd jq fio mkfs.xfs

# run_fio ARGS...: random writes, read back and verified
run_fio()
{
	fio --name=size --filename="$disk" --ioengine=io_uring --direct=1 --rw=randwrite --verify=crc32c \
		--verify_fatal=1 --group_reporting --output-format=json --output="$work/fio" "$@" ||
		{ tail -n 20 "$work/fio"; fail "fio: $*"; }
}

# Of a write, from its submission to its end.
longest_ms()
{
	sed -n '/^{/,$p' "$work/fio" | jq '[.jobs[].write.lat_ns.max] | max / 1e6 | floor'
}

check_errors()
{
	assert_eq "$(vblkctl stats --json "$1" | jq '.total.errors | length')" 0 errors
}

# ---- 16 TiB ----

large()
{
	local last=$(((16 << 40) - (1 << 20)))

	make_fs xfs 400M "$work/xfs"
	truncate -s 16T -- "$work/xfs/big.img"
	attach big "$work/xfs/big.img"
	assert_eq "$(blockdev --getsize64 "$disk")" $((16 << 40)) "bytes of the disk"
	fill "$disk" 1M "$last"
	fill "$disk" 1M $((7 << 40))
	cmp -n $((1 << 20)) -i "$last" -- "$work/xfs/big.img" "$disk"
	run_fio --bs=64k --iodepth=16 --offset=15T --size=64G --io_size=8M
	filesystem_on_large
	start=${EPOCHREALTIME/./}
	blkdiscard --force -- "$disk"
	printf 'SCALE discard of 16 TiB: %d ms\n' $(((${EPOCHREALTIME/./} - start) / 1000))
	assert_le "$(allocated "$work/xfs/big.img")" $((1 << 20)) "bytes left by a discard of all"
	check_errors big
	detach big
}

filesystem_on_large()
{
	local dir=$work/mnt

	mkfs.xfs -q -f -K -d agcount=32 -l size=64m "$disk"
	mounted "$disk" "$dir"
	head -c 4M /dev/urandom >"$work/data"
	cp -- "$work/data" "$dir/data"
	umount -- "$dir"
	mount -- "$disk" "$dir"
	cmp -- "$work/data" "$dir/data"
	umount -- "$dir"
}

# ---- depth ----

# deep MIN OPTION...: a backend that takes its time holds as many as come
deep()
{
	local min=$1 depth

	shift
	attach deep --queues=1 --queue-size=1024 "$@" "fault:delay=300ms:$image"
	run_fio --bs=4k --iodepth=1024 --size=32M --io_size=8M
	depth=$(vblkctl stats --json deep | jq .total.inflight_max)
	printf 'SCALE queue of 1024%s: %d in flight, longest %d ms\n' "${*:+, $*}" "$depth" "$(longest_ms)"
	assert_ge "$depth" "$min" "requests in flight at once"
	check_errors deep
	detach deep
}

# ---- memory for data in flight ----

# exhaust MIB OPTION...: requests of 1 MiB, so many at once, more than have room
exhaust()
{
	local at_once=$1 mib

	shift
	truncate -s 0 -- "$image"
	truncate -s 256M -- "$image"
	attach full --queues=2 "$@" "fault:delay=20ms:$image"
	mib=$(($(cat "/sys/class/vduse/full/bounce_size" 2>/dev/null || echo $((64 << 20))) >> 20))
	[[ $* != *--bounce-size=4M* ]] || assert_eq "$mib" 4 "MiB for data in flight"
	run_fio --bs=1m --iodepth=64 --numjobs=2 --size=$((at_once / 2))M --offset_increment=128M
	[ "$mib" -lt "$at_once" ] || fail "there is room for all: $mib MiB"
	printf 'SCALE %d MiB at once with room for %d%s: %s in flight, longest %d ms\n' "$at_once" "$mib" "${*:+, $*}" \
		"$(vblkctl stats --json full | jq -c '[.per_queue[].inflight_max]')" "$(longest_ms)"
	check_errors full
	detach full
}

large
image=$(make_image 64M)
deep 256
deep 512 --indirect=on
exhaust 128
exhaust 32 --bounce-size=4M
exhaust 32 --bounce-size=4M --umem=on
