#!/bin/bash
# SPDX-License-Identifier: MIT
# group: host
# Restart of the host with a device attached, each in a guest of its own: with a
# live daemon nothing waits, also under load; with a dead or stopped one the kernel
# waits --msg-timeout for each device, used or not, as vblkd(8) says; with a stuck
# backend until the daemon refuses the reset. The figures are printed.
#
# usage: tests/kernel/reboot.sh [CASE]	with CASE: the part inside the guest
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

TIMEOUT_S=5
# What the guest needs beside waiting; it is slow, and so may be the machine.
SLACK_MS=4000

# ---- inside the guest ----

busybox=/run/vblkd-vm/busybox

reboot_now()
{
	printf '<1>reboot now\n' >/dev/kmsg
	# The system call alone: a sync would wait for a dead disk, and for ever.
	exec $busybox reboot -n -f
}

writes_go_on()
{
	[ "$(disk_stat "$disk" 7)" -gt 1000 ]
}

has_request()
{
	[ "$(disk_stat "$disk" 9)" -gt 0 ]
}

under_load()
{
	mkfs.ext4 -q -F "$disk"
	mounted "$disk" "$work/mnt"
	while :; do
		dd if=/dev/zero of="$work/mnt/file" bs=64K count=64 oflag=direct status=none
	done &
	wait_until 60 writes_go_on
}

kill_both()
{
	local pids=("$(state "$1" pid)" "$(state "$1" worker_pid)")

	kill "-$2" "${pids[@]}"
	[ "$2" != KILL ] || wait_until 20 pid_is_gone "${pids[1]}"
}

in_guest()
{
	modprobe ext4
	attach boot1 --msg-timeout=$TIMEOUT_S "$(make_image 64M)"
	case $1 in
	live) ;;
	live-load) under_load ;;
	dead) kill_both boot1 KILL ;;
	dead-load)
		under_load
		kill_both boot1 KILL
		;;
	stopped) kill_both boot1 STOP ;;
	dead-two)
		attach boot2 --msg-timeout=$TIMEOUT_S "$(make_image 64M second.img)"
		kill_both boot1 KILL
		kill_both boot2 KILL
		;;
	killed-by-init)
		under_load
		# As init does it before it calls the kernel. Not this shell, nor process 1.
		trap '' TERM
		kill -TERM -1
		kill -KILL -1
		;;
	stuck)
		make_loop "$(make_image 32M stuck.img)"
		dmsetup create vblkd-stuck --table "0 65536 linear $loop 0"
		dmsetup mknodes
		attach stuck --msg-timeout=$TIMEOUT_S --direct /dev/mapper/vblkd-stuck
		dmsetup suspend --noflush vblkd-stuck
		dd if=/dev/zero of="$disk" bs=4K count=1 oflag=direct status=none &
		wait_until 20 has_request
		;;
	esac
	reboot_now
}

# ---- outside ----

# try CASE MIN_MS MAX_MS
try()
{
	local ms rc=0

	ms=$(tests/vm/run --mem 1024 --timeout 200 --reboots -- \
		bash tests/kernel/reboot.sh "$1" 2>"$work/err") || rc=$?
	if [ $rc != 0 ]; then
		printf '%s\n' "$ms"
		cat "$work/err"
		fail "$1: no restart (exit code $rc)"
	fi
	ms=$(sed -n 's/^rebooted after \([0-9]*\) ms$/\1/p' <<<"$ms")
	printf '%-15s %6d ms\n' "$1" "$ms"
	assert_ge "$ms" "$2" "$1: time to the restart in ms"
	assert_le "$ms" "$3" "$1: time to the restart in ms"
}

if [ $# -gt 0 ]; then
	in_guest "$1"
	fail "still here"
fi
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
wait_ms=$((TIMEOUT_S * 1000))
# The kernel counts in ticks of its own.
least_ms=$((wait_ms - 100))
try live 0 $SLACK_MS
try live-load 0 $SLACK_MS
try dead $least_ms $((wait_ms + SLACK_MS))
try dead-load $least_ms $((wait_ms + SLACK_MS))
try killed-by-init $least_ms $((wait_ms + SLACK_MS))
if [ -n "$long" ]; then
	try stopped $least_ms $((wait_ms + SLACK_MS))
	# Refused at 80 % of it.
	try stuck $((wait_ms * 8 / 10 - 100)) $((wait_ms + SLACK_MS))
	try dead-two $((2 * least_ms)) $((2 * wait_ms + SLACK_MS))
fi
