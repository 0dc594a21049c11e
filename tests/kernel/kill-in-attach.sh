#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 400
# SIGKILL at any moment of an attach: the next attach of that name works, and at
# the end nothing is left.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 16M)
head -c 1M /dev/urandom >"$work/data"

keeper_pid()
{
	state kill pid 2>/dev/null || our_pids | head -n 1
}

# Moments, in the order in which they come.
has_process() { [ -n "$(pgrep -x vblkd)" ]; }
has_lock() { [ -s "$RUN_DIR/kill/lock" ]; }
has_vduse() { [ -e "$VDUSE_DIR/kill" ]; }
has_state() { [ -e "$RUN_DIR/kill/state.json" ]; }
has_vdpa() { [ -e /sys/bus/vdpa/devices/kill ]; }
has_disk() { compgen -G '/sys/bus/vdpa/devices/kill/virtio*/block/vd*' >/dev/null; }

# victims WHO: pids
victims()
{
	local lock worker

	lock=$(cat "$RUN_DIR/kill/lock" 2>/dev/null) || :
	worker=$(state kill worker_pid 2>/dev/null) || :
	case $1 in
	all) pgrep -x vblkd ;;
	keeper) printf '%s\n' "$lock" ;;
	worker) [ "${worker:-0}" = 0 ] || printf '%s\n' "$worker" ;;
	esac
}

# kill_at MOMENT WHO
kill_at()
{
	local moment=$1 who=$2 pid starter rc=0 end=$((SECONDS + 60))

	vblkctl attach --name kill --msg-timeout=10 "$image" >"$work/out" 2>"$work/err" &
	starter=$!
	until "$moment" || ! kill -0 $starter 2>/dev/null; do
		[ $SECONDS -lt $end ] || fail "$moment never came"
	done
	for pid in $(victims "$who"); do
		kill -KILL "$pid" 2>/dev/null || :
	done
	wait $starter || rc=$?
	printf '%s %s: attach ended with %d: %s\n' "$moment" "$who" $rc "$(head -c 300 "$work/err")"
	assert_le $rc 1 "exit code of the attach"
	# A worker is replaced, so that attach may have succeeded all the same.
	if [ $rc = 0 ] && vblkctl detach kill 2>"$work/err"; then
		check_nothing_left
	fi

	poll 30 attach_again || fail "a new attach fails: $(cat "$work/err")"
	dd if="$work/data" of="$disk" bs=64K oflag=direct conv=notrunc status=none
	cmp -n $((1 << 20)) "$work/data" "$disk"
	detach kill
	check_nothing_left 30
}

# The kernel may still be busy with the dead one for a moment.
attach_again()
{
	disk=$(vblkctl attach --name kill --msg-timeout=10 "$image" 2>"$work/err")
}

# Not in a subshell: it sets $disk.
poll()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ $SECONDS -le $end ] || return 1
		pause
	done
}

cleanup_fn 'vblkctl attach --name kill --msg-timeout=10 "$image"; vblkctl detach --force kill'
for moment in has_process has_lock has_vduse has_state has_vdpa has_disk; do
	for who in all keeper worker; do
		kill_at $moment $who
	done
done
