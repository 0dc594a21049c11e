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

delay_ms=8000

# Without processes, which can take longer to start than a worker.
now_ms()
{
	local up

	read -r up _ </proc/uptime
	printf -v ms '%d' $((10#${up/./} * 10))
}

is_in_flight()
{
	local counts

	read -ra counts <"/sys/block/${disk##*/}/inflight"
	[ "${counts[1]}" -gt 0 ]
}

has_new_worker()
{
	local json

	json=$(<"$RUN_DIR/fence/state.json")
	[[ $json =~ \"worker_pid\":\ *([0-9]+) ]] || return 1
	[ "${BASH_REMATCH[1]}" != "$victim" ] && [ "${BASH_REMATCH[1]}" != 0 ]
}

make_loop "$(make_image 32M)"
# Reads at once, writes late.
dmsetup create vblkd-slow --table \
	"0 65536 delay $loop 0 0 $loop 0 $delay_ms"
cleanup_fn 'dmsetup remove --retry vblkd-slow'
dmsetup mknodes
attach fence --direct --queues=1 /dev/mapper/vblkd-slow
victim=$(state fence worker_pid)

head -c 65536 /dev/urandom >"$work/old"
head -c 65536 /dev/urandom >"$work/new"
dd if="$work/old" of="$disk" bs=64K oflag=direct status=none &
old=$!
wait_until 30 is_in_flight
now_ms
started=$ms
kill -KILL "$victim"
wait_until 30 has_new_worker
now_ms
gap=$((ms - started))
printf 'the successor began %d ms after the write\n' "$gap"
assert_ge "$gap" $((delay_ms * 3 / 4)) "gap in ms, with a write of $delay_ms ms in flight"

# The request is done again by the successor; then the newer one must stay.
wait $old
dd if="$work/new" of="$disk" bs=64K oflag=direct status=none
dd if="$disk" of="$work/read" bs=64K count=1 iflag=direct status=none
cmp -- "$work/new" "$work/read"
assert_eq "$(state fence restarts)" 1 restarts
detach fence
