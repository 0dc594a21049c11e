#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# As fence.sh, for a disk on a socket, where no kernel device keeps a second worker out: I/O of a
# killed worker ends before a successor serves, also when its keeper was killed with it and the
# next one is started by hand.
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../serve/functions.sh"

requires_cmd dmsetup
requires_module dm-mod

held_s=10
serve_pid=

# A try whether it can discard would wait for writes in the filesystem.
serve_it()
{
	serve fence --direct --discard=off --queues=1 "$work/mnt/disk.img"
}

has_in_flight()
{
	[ "$(live fence inflight)" -ge "$1" ]
}

# kill_in_flight PID...: with requests that the device below holds back
kill_in_flight()
{
	dmsetup suspend --noflush --nolockfs vblkd-held
	wait_until 60 has_in_flight 8
	kill -STOP "$verify_pid"
	kill -KILL "$@"
}

# ends_after COMMAND...: it is true when the device has done what it held, and not before
ends_after()
{
	not poll $held_s "$@"
	dmsetup resume vblkd-held
	wait_until 60 "$@"
	kill -CONT "$verify_pid"
	more_is_done fence "$(writes_of fence)"
}

has_served()
{
	pid_is_gone "$serve_pid"
}

# A file: of a block device the kernel lets nobody else have it for writing anyhow.
make_loop "$(make_image 64M)"
dmsetup create vblkd-held --table "0 131072 linear $loop 0"
cleanup_fn 'dmsetup remove --retry vblkd-held'
dmsetup mknodes
mkfs.ext4 -q -O ^has_journal /dev/mapper/vblkd-held
mounted /dev/mapper/vblkd-held "$work/mnt" noatime,lazytime
head -c 16M /dev/zero >"$work/mnt/disk.img"
sync -f "$work/mnt"
cleanup_fn 'dmsetup resume vblkd-held'
serve_it
keeper=$(state fence pid)
worker=$(state fence worker_pid)
start_verify depth=8
more_is_done fence 0

kill_in_flight "$worker"
ends_after worker_is_new fence "$worker"
assert_eq "$(state fence restarts)" 1 restarts

worker=$(state fence worker_pid)
kill_in_flight "$worker" "$keeper"
serve_it &
serve_pid=$!
ends_after has_served
wait "$serve_pid"
end_verify 2
vblkctl detach fence
# The file of the socket stays where the daemon's user may not remove it.
wait_until 15 not test -e "$RUN_DIR/fence"
