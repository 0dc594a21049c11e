#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 400
# SIGKILL of worker, keeper, both, or the helper that asks the kernel, at random
# moments of a detach: afterwards the device is gone, or can be taken over and
# detached; nothing hangs, no process is stuck in the kernel, and what was written
# is in the image. The death of a helper is not even noticed.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd jq
rounds=${VBLKD_KILLS:-${long:+60}}
rounds=${rounds:-4}
image=$(make_image 16M)

now_ms()
{
	awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime
}

pause_ms()
{
	local s

	printf -v s '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
	read -rt "$s" -u "$never" || :
}

attach_it()
{
	vblkctl attach --name kd --msg-timeout=10 "$image"
}

# Whatever is left can be taken away; how, depends on the moment.
settled()
{
	! nothing_left || return 0
	vblkctl detach kd || { attach_it && vblkctl detach kd; } || :
	nothing_left
}

# Nobody waits in the kernel for ever. A moment of it is nothing.
nobody_waits()
{
	! grep -lsE '^State:.D' /proc/[0-9]*/status
}

# Sets $helper: the keeper's child that is not the worker, while there is one.
find_helper()
{
	local children='' child

	helper=
	{ read -r children <"/proc/$keeper/task/$keeper/children"; } 2>/dev/null || :
	for child in $children; do
		[ "$child" = "$worker" ] || helper=$child
	done
	[ -n "$helper" ]
}

# kill_after MS WHO
kill_after()
{
	local ms=$1 who=$2 keeper worker detach helper pids rc=0 most=1 tries=0 start

	disk=$(attach_it)
	head -c 64K /dev/urandom >"$work/data"
	dd if="$work/data" of="$disk" bs=64K oflag=direct status=none
	keeper=$(state kd pid)
	worker=$(state kd worker_pid)
	case $who in
	worker) pids=("$worker") ;;
	keeper) pids=("$keeper") ;;
	both) pids=("$keeper" "$worker") ;;
	helper) pids=() most=0 ;;
	esac
	vblkctl detach kd >"$work/out" 2>&1 &
	detach=$!
	pause_ms "$ms"
	if [ "$who" = helper ]; then
		# Without a pause: it may live for some milliseconds only.
		while ! find_helper; do
			((++tries % 100)) || ! pid_is_gone "$detach" || break
		done
		[ -z "$helper" ] || { pids=("$helper"); helpers=$((helpers + 1)); }
	fi
	[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null || :
	start=$(now_ms)
	poll 60 pid_is_gone $detach || fail "vblkctl detach hangs after $who was killed"
	wait $detach || rc=$?
	assert_le $rc "$most" "exit code of the detach"
	poll 60 settled || fail "after $who was killed at $ms ms there is left: $(leftovers)"
	wait_until 10 nobody_waits
	printf '%s killed after %d ms: detach ended with %d, all gone %d ms later: %s\n' "$who" \
		"$ms" $rc $(($(now_ms) - start)) "$(head -n 1 "$work/out")"
	cmp -n 65536 "$work/data" "$image"
}

cleanup_fn 'attach_it; vblkctl detach --force kd'
attach_it
start=$(now_ms)
vblkctl detach kd
took=$(($(now_ms) - start))
printf 'a detach takes %d ms here\n' $took

helpers=0
for ((i = 0; i < rounds; i++)); do
	for who in worker keeper both; do
		kill_after $((RANDOM % (took + took / 4 + 1))) $who
	done
	kill_after $((RANDOM % (took / 4 + 1))) helper
done
printf '%d helpers killed\n' $helpers
assert_ge $helpers 1 "helpers that were killed"
check_nothing_left
