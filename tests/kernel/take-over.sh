#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# The keeper is killed, then keeper and worker together, under verified load:
# 'vblkctl attach' of the same name takes the device over, the I/O goes on, and
# with other options it says why it does not.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd fio jq

image=$(make_image 32M)

io_count()
{
	awk '{ print $1 + $5 }' "/sys/block/${disk##*/}/stat"
}

has_moved()
{
	[ "$(io_count)" -gt "$seen" ]
}

under_load()
{
	seen=$(io_count)
	wait_until 60 has_moved
}

attach over --queues=2 --serial=OVER1 "$image"
node=$disk
fio --name=over --filename="$disk" --ioengine=libaio --direct=1 --iodepth=32 --size=8M \
	--rw=randwrite --bssplit=4k/70:64k/30 --serialize_overlap=1 --verify=crc32c \
	--verify_fatal=1 --verify_backlog=64 --verify_state_save=0 --loops=30 \
	>"$work/fio.log" 2>&1 &
fio_pid=$!
cleanup_fn "kill $fio_pid 2>/dev/null"
under_load

# The keeper alone: the worker serves on.
kill -KILL "$(state over pid)"
wait_until 10 pid_is_gone "$(state over pid)"
under_load
expect_error 1 "'over' is an orphan.*--queues" vblkctl attach --name over --queues=1 --serial=OVER1 "$image"
under_load
attach over --queues=2 --serial=OVER1 "$image"
assert_eq "$disk" "$node" "node after the keeper was killed"
under_load

# Both: I/O waits until somebody takes the device over.
kill -KILL "$(state over pid)" "$(state over worker_pid)"
wait_until 10 pid_is_gone "$(state over pid)"
vblkctl list | grep -q '^over .*orphan' || fail "list does not show the orphan: $(vblkctl list)"
attach over --queues=2 --serial=OVER1 "$image"
assert_eq "$disk" "$node" "node after both were killed"
under_load

wait $fio_pid || { cat "$work/fio.log"; fail "fio found an error"; }
not grep -qE 'verify: bad|err= *[1-9]|error' "$work/fio.log" || fail "$(tail -n 5 "$work/fio.log")"
detach over
check_nothing_left
