#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 600
# Mixed load with trims and flushes beside lincheck, and all kinds of kills, for
# about a minute; for 30 minutes with --long, or VBLKD_SOAK_MINUTES. Memory,
# descriptors and threads of keeper and worker, and the kernel's memory, do not
# grow: they are compared where a fresh worker has served for a moment.
# shellcheck source=tests/kernel/kill.inc
. "$(dirname -- "${BASH_SOURCE[0]}")/kill.inc"

minutes=${VBLKD_SOAK_MINUTES:-${long:+30}}
seconds=$((${minutes:-0} * 60))
[ $seconds -gt 0 ] || seconds=40
round_s=$((seconds < 240 ? seconds / 8 : 60))
dev=soak

make_fs xfs 300M "$work/xfs"
image=$work/xfs/disk.img
truncate -s 32M -- "$image"
revive="vblkctl attach --name soak --queues=2 --direct $image >/dev/null"

of()
{
	awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status"
}

# Its own threads. Those that the kernel adds for io_uring come with a burst of
# requests that block and go after a few seconds of rest.
threads_of()
{
	cat "/proc/$1/task/"*/comm 2>/dev/null | grep -cv '^iou-'
}

# What the kernel cannot give back, without the test's own files.
kernel_kb()
{
	awk '/^(SUnreclaim|KernelStack|PageTables|Percpu):/ { n += $2 } END { print n }' /proc/meminfo
}

# sample: sets $sample, the figures of now by name
declare -A sample
take_sample()
{
	local who pid

	for who in keeper worker; do
		pid=$(state soak "$([ $who = worker ] && echo worker_)pid")
		sample[$who.rss_kb]=$(of "$pid" VmRSS)
		sample[$who.threads]=$(threads_of "$pid")
		sample[$who.descriptors]=$(find "/proc/$pid/fd" -type l | wc -l)
	done
	sample[kernel_kb]=$(kernel_kb)
	for who in "${!sample[@]}"; do
		printf '%s %s\n' "$who" "${sample[$who]}"
	done | sort | paste -sd' ' | sed "s/^/SOAK after $SECONDS s: restarts $(state soak restarts) /"
}

# round HARMS
round()
{
	harm "$1" --seconds="$round_s" --delay-ms 500 --pause-ms 1000 --burst 4 --revive "$revive"
	harm worker 1
	take_sample
}

# until_s SECONDS HARMS: rounds, the last sample compared with the first
until_s()
{
	local end=$1 name limit
	local -A first

	round "$2"
	for name in "${!sample[@]}"; do
		first[$name]=${sample[$name]}
	done
	round "$2"
	while [ $SECONDS -lt "$end" ]; do
		round "$2"
	done
	for name in "${!sample[@]}"; do
		case $name in
		kernel_kb) limit=$((first[$name] + 8192)) ;;
		*_kb) limit=$((first[$name] + 512)) ;;
		*) limit=${first[$name]} ;;
		esac
		assert_le "${sample[$name]}" "$limit" "$name, which was ${first[$name]}"
	done
}

attach soak --queues=2 --direct "$image"
start=$SECONDS
# Trimmed and written beside what is verified.
fio_args=(--fsync=16 --name=trims --filename="$disk" --ioengine=libaio --direct=1 --iodepth=8
	--rw=randtrimwrite --offset=8M --size=4M --bs=16k --fsync=32 --loops=3)
# One keeper sees it all, then they come and go.
until_s $((start + seconds / 2)) worker,stop-worker,early,stop-keeper,stop-kill,stop-keeper-kill
until_s $((start + seconds)) worker,both,early,keeper
gap_figures "of the soak"
detach soak
