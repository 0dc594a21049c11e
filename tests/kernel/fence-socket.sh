#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# As fence.sh, for a disk on a socket, where no kernel device keeps a second worker out: I/O of a
# killed worker ends before a successor serves, also when its keeper was killed with it and the
# next one is started by hand.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../serve/functions.sh"

requires_cmd dmsetup
requires_module dm-delay

delay_ms=8000

# Writes that the device below holds back. Its other counters begin behind the delay.
in_flight()
{
	dmsetup status vblkd-slow | awk '{ print $5 }'
}

is_in_flight()
{
	[ "$(in_flight)" -gt 0 ]
}

# kill_in_flight PID...: while writes are; nothing new comes from the client until goes_on
kill_in_flight()
{
	wait_until 60 is_in_flight
	kill -STOP "$verify_pid"
	kill -KILL "$@"
	assert_ge "$(in_flight)" 1 "writes of the dead worker"
}

# goes_on: a successor serves, hence must have waited; the client finds all that it wrote
goes_on()
{
	assert_eq "$(in_flight)" 0 "writes of the dead worker, with a successor"
	kill -CONT "$verify_pid"
	more_is_done fence "$(writes_of fence)"
}

# table MS: reads at once, and writes so late
table()
{
	printf '0 131072 delay %s 0 0 %s 0 %d' "$loop" "$loop" "$1"
}

slow_by()
{
	dmsetup suspend --noflush --nolockfs vblkd-slow
	dmsetup load vblkd-slow --table "$(table "$1")"
	dmsetup resume vblkd-slow
}

serve_it()
{
	serve fence --direct --queues=1 "$work/mnt/disk.img"
}

# A file: of a block device the kernel lets nobody else have it for writing anyhow. Nothing but its
# data is written, so that nothing else is in flight.
make_loop "$(make_image 64M)"
dmsetup create vblkd-slow --table "$(table 0)"
cleanup_fn 'dmsetup remove --retry vblkd-slow'
dmsetup mknodes
mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=0 /dev/mapper/vblkd-slow
mounted /dev/mapper/vblkd-slow "$work/mnt" noatime,lazytime
head -c 16M /dev/zero >"$work/mnt/disk.img"
sync -f "$work/mnt"
writeback=$(</proc/sys/vm/dirty_writeback_centisecs)
cleanup_fn "echo $writeback >/proc/sys/vm/dirty_writeback_centisecs"
echo 0 >/proc/sys/vm/dirty_writeback_centisecs
cleanup_fn 'slow_by 0'
slow_by $delay_ms
serve_it
keeper=$(state fence pid)
worker=$(state fence worker_pid)
start_verify depth=8

kill_in_flight "$worker"
wait_until 60 worker_is_new fence "$worker"
goes_on
assert_eq "$(state fence restarts)" 1 restarts

worker=$(state fence worker_pid)
kill_in_flight "$worker" "$keeper"
serve_it
goes_on
end_verify 2
vblkctl detach fence
# The file of the socket stays where the daemon's user may not remove it.
wait_until 15 not test -e "$RUN_DIR/fence"
