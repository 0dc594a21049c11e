#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 180
# I/O of a killed worker is fenced: no successor serves before it has ended, so
# an old write cannot come after a new one. And while it has not ended the
# keeper goes on answering.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd dmsetup dd jq
requires_module dm-delay

delay_ms=5000

now_ms()
{
	awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime
}

is_in_flight()
{
	[ "$(awk '{ print $2 }' "/sys/block/${disk##*/}/inflight")" -gt 0 ]
}

has_new_worker()
{
	local pid

	pid=$(state fence worker_pid)
	[ "$pid" != "$victim" ] && [ "$pid" != 0 ] && [ "$(state fence state)" = ready ]
}

make_loop "$(make_image 32M)"
# Reads at once, writes late.
dmsetup create vblkd-slow --table \
	"0 65536 delay $loop 0 0 $loop 0 $delay_ms"
cleanup_fn 'dmsetup remove --retry vblkd-slow'
dmsetup mknodes
attach fence --direct --queues=1 /dev/mapper/vblkd-slow

head -c 65536 /dev/urandom >"$work/old"
head -c 65536 /dev/urandom >"$work/new"
dd if="$work/old" of="$disk" bs=64K oflag=direct status=none &
old=$!
wait_until 30 is_in_flight
started=$(now_ms)
victim=$(state fence worker_pid)
kill -KILL "$victim"
wait_until 30 has_new_worker
gap=$(($(now_ms) - started))
printf 'the successor served %d ms after the write began\n' "$gap"
assert_ge "$gap" $((delay_ms * 8 / 10)) "gap in ms, with a write of $delay_ms ms in flight"

# The request is done again by the successor; then the newer one must stay.
wait $old
dd if="$work/new" of="$disk" bs=64K oflag=direct status=none
dd if="$disk" of="$work/read" bs=64K count=1 iflag=direct status=none
cmp -- "$work/new" "$work/read"
assert_eq "$(state fence restarts)" 1 restarts
detach fence
