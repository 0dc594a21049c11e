#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 400
# The driver goes and comes back while I/O runs: unbound and bound again, its
# modules unloaded and loaded. The kernel refuses what it must (a module in
# use); otherwise applications see errors of a disk that went, nothing hangs,
# the same worker serves the next disk, and what was flushed before is there.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd jq dd yes rmmod
cleanup_fn 'modprobe -a vduse virtio_vdpa virtio_blk'

driver=/sys/bus/vdpa/drivers/virtio_vdpa
rounds=${VBLKD_ROUNDS:-10}
[ -z "$long" ] || rounds=${VBLKD_ROUNDS:-30}
M=$((1 << 20))

disk_is_gone()
{
	! compgen -G '/sys/bus/vdpa/devices/rebind/virtio*/block/vd*' >/dev/null
}

# Data that the next disk must have: new in each round, the last write of it flushed.
write_flushed()
{
	head -c $M /dev/urandom >"$work/data"
	dd if="$work/data" of="$disk" bs=128K conv=nocreat,notrunc,fsync status=none
}

check_flushed()
{
	cmp -n $M "$work/data" "$disk"
}

# numbered MODE AT FLAGS CONV: 64 KiB of a number, then of the next one, until a write fails; the
# last that worked is in $work/MODE. No file may come to be in place of the node.
numbered()
{
	local n=1

	while dd if=<(yes "$(printf '%07d' $n)") of="$disk" bs=64K count=1 seek="$2" iflag=fullblock \
		oflag="seek_bytes$3" conv="nocreat,notrunc$4" status=none; do
		printf '%d\n' $n >"$work/$1"
		n=$((n + 1))
	done
}

# What was acknowledged is there; the write that failed may be, in part.
check_numbered()
{
	local n found want

	n=$(<"$work/$1")
	found=$(dd if="$disk" bs=64K count=1 skip="$2" iflag=skip_bytes,direct status=none | sort -u)
	printf -v want '%07d(\n%07d)?|%07d' "$n" $((n + 1)) $((n + 1))
	[[ $found =~ ^($want)$ ]] || fail "$1: $n was acknowledged, on the disk is: $found"
}

# Queues that are seldom empty. Not fio: it takes seconds to start in the guest, and takes a read
# behind the end for one that worked, which the end of a disk that goes is.
load()
{
	dd if=/dev/zero of="$disk" bs=4K seek=$((128 * M)) oflag=direct,seek_bytes \
		conv=nocreat,notrunc status=none &
	dd if=/dev/zero of="$disk" bs=128K seek=$((256 * M)) oflag=direct,seek_bytes \
		conv=nocreat,notrunc status=none &
	dd if="$disk" of=/dev/null bs=4K iflag=direct status=none &
	dd if="$disk" of=/dev/null bs=16K skip=$((16 * M)) iflag=direct,skip_bytes status=none &
	wait
}

io_runs()
{
	local reads writes

	read -r reads writes <"/sys/block/${disk##*/}/inflight"
	[ -s "$work/buffered" ] && [ -s "$work/direct" ] && [ "$reads" -ge 1 ] && [ "$writes" -ge 1 ]
}

# Each in a process that says when it has ended: waited for with "read", which starts no program.
start_io()
{
	: >"$work/buffered"
	: >"$work/direct"
	exec {buffered}< <(numbered buffered $((8 * M)) "" ,fsync 2>"$work/buffered.err"; echo end)
	exec {direct}< <(numbered direct $((9 * M)) ,direct "" 2>"$work/direct.err"; echo end)
	exec {load}< <(load 2>"$work/load.err"; echo end)
	poll 60 io_runs || fail "I/O does not run: $(<"/sys/block/${disk##*/}/inflight"); $(tail -n 3 \
		"$work"/{buffered,direct}{,.err} "$work/load.err")"
}

nobody_in_d()
{
	! grep -l '^State:.*D (' /proc/[0-9]*/status 2>/dev/null
}

# The applications have ended by themselves, with errors of the disk.
io_ended()
{
	local fd

	for fd in "$buffered" "$direct" "$load"; do
		read -rt 60 -u "$fd" || fail "I/O of the disk that went hangs: $(ps --ppid 2 -p 2 -N -o pid,stat,wchan:32,args)"
		exec {fd}<&-
	done
	[ -s "$work/load.err" ] || fail "a load of writes ended without an error"
	[ -s "$work/buffered.err" ] || fail "buffered writes ended without an error"
	[ -s "$work/direct.err" ] || fail "direct writes ended without an error"
	poll 30 nobody_in_d || fail "in D state: $(nobody_in_d || :)"
}

# timely COMMAND...: it ends in a minute; its exit code is in $rc
timely()
{
	local fd

	exec {fd}< <(rc=0; "$@" 2>"$work/timely" || rc=$?; echo $rc)
	read -rt 60 -u "$fd" rc || fail "hangs: $*: $(ps --ppid 2 -p 2 -N -o pid,stat,wchan:32,args)"
	exec {fd}<&-
}

works()
{
	timely "$@"
	[ "$rc" = 0 ] || fail "exit code $rc of $*: $(<"$work/timely")"
}

# refused COMMAND...: module in use
refused()
{
	timely "$@"
	[ "$rc" != 0 ] || fail "worked: $*"
	[[ $(<"$work/timely") =~ "in use" ]] || fail "not 'in use' of $*: $(<"$work/timely")"
}

to_sysfs()
{
	printf '%s' "$1" >"$2"
}

# The same worker, data as it was flushed, and the disk takes more.
is_back()
{
	local show

	wait_until 30 find_disk rebind
	find_disk rebind
	check_flushed
	show=$(vblkctl show --json rebind)
	for field in '"broken": false' '"state": "ready"' '"restarts": 0' "\"worker_pid\": $worker," \
		"\"node\": \"$disk\""; do
		[[ $show == *"$field"* ]] || fail "round $round, no $field: $show"
	done
	[ -e "/proc/$worker/exe" ] || fail "the worker is gone"
	write_flushed
}

# back_after_io: as is_back, and what the applications were told is true
back_after_io()
{
	is_back
	check_numbered buffered $((8 * M))
	check_numbered direct $((9 * M))
}

rebind_under_io()
{
	start_io
	works to_sysfs rebind $driver/unbind
	wait_until 30 disk_is_gone
	io_ended
	works to_sysfs rebind $driver/bind
	back_after_io
}

# virtio_blk is in use while somebody has the disk open, so it stays then; virtio_vdpa never is.
reload_under_io()
{
	start_io
	refused rmmod virtio_blk
	works rmmod virtio_vdpa
	wait_until 30 disk_is_gone
	io_ended
	works modprobe virtio_vdpa
	back_after_io
}

reload_idle()
{
	refused rmmod vduse
	for module in virtio_blk virtio_vdpa; do
		works rmmod $module
		wait_until 30 disk_is_gone
		works modprobe $module
		wait_until 30 find_disk rebind
	done
	is_back
}

attach rebind --queues=2 "$(make_image 2G)"
worker=$(state rebind worker_pid)
write_flushed
for ((round = 1; round <= rounds; round++)); do
	rebind_under_io
	if [ -n "$long" ] || ((round % 2 == 0)); then
		reload_under_io
	fi
	if [ -n "$long" ] || ((round % 5 == 0)); then
		reload_idle
	fi
	printf 'round %d: %d s\n' $round $SECONDS
done
check_flushed
detach rebind
cmp -n $M "$work/data" "$work/disk.img"
# shellcheck disable=SC2119 # the default limit
check_nothing_left
