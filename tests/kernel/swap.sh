#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 700
# group: low-memory
# Swap on the disk itself, and a program that uses more memory than the machine
# has: it ends with every page right, also when the worker is killed meanwhile.
# Nobody is killed for want of memory, and nothing hangs. As vblkd(7) says: with
# --direct, on a block device or on an image whose filesystem is mounted with
# lazytime, and the kernel keeps a reserve, of which the data path has its share
# because it is real-time for as long as there is swap on the disk, and because its
# keeper gives back what it took when there was enough.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd mem-hog mkswap jq mkfs.ext4 mkfs.xfs
requires_module ext4 xfs
[ -b /dev/sda ] || skip "needs a disk /dev/sda that may be overwritten"
total_mb=$(($(awk '/^MemTotal:/ { print $2 }' /proc/meminfo) / 1024))
[ "$total_mb" -le 600 ] || skip "needs a machine with little memory: tests/vm/run --mem 400"
# The daemon has 65 MB and ballast locked, the reserve and the rest of the system need 70.
hog_mb=$((total_mb - 124))
passes=${long:+10}
passes=${passes:-2}
kills=${long:+50}
kills=${kills:-4}
sysctl -q vm.min_free_kbytes=24576 vm.watermark_boost_factor=0

field()
{
	awk -v f="$1" '$1 == f { print $2 }' /proc/vmstat
}

swaps_on()
{
	[ "$(field pswpout)" -gt "$swapped" ] || pid_is_gone "$hog"
}

# Not by the state file: that needs a process, which takes long now.
has_new_worker()
{
	local json

	json=$(<"$RUN_DIR/swap/state.json")
	[[ $json =~ \"worker_pid\":\ *([0-9]+) ]] || return 1
	worker=${BASH_REMATCH[1]}
	[ "$worker" != "$victim" ] && [ "$worker" != 0 ]
}

# threads PID REAL_TIME_OR_NOT: all of its threads are so; without a process, as above
threads()
{
	local stat policy

	for stat in "/proc/$1/task/"*/stat; do
		{ read -r stat <"$stat"; } 2>/dev/null || continue
		# shellcheck disable=SC2086 # fields
		set -- "$1" "$2" ${stat##*) }
		policy=${41}
		[ "$2" = $((policy == 2)) ] || return 1
	done
}

# keeper_holds MORE_KB LESS_KB: memory of its own beyond what it had before swapon. Not to be
# taken exactly: the kernel counts for each CPU and adds up now and then.
keeper_holds()
{
	local key kb rest

	while read -r key kb rest; do
		[ "$key" != RssAnon: ] || break
	done <"/proc/$keeper/status"
	[ $((kb - keeper_kb)) -ge "$1" ] && [ $((kb - keeper_kb)) -lt "$2" ]
}

# try KILLS BACKEND OPTION...
try()
{
	local i queues keeper keeper_kb worker victim=0 ooms ballast_kb

	printf 'swap %s\n' "$*"
	attach swap "${@:3}" "$2"
	mkswap -q "$disk"
	cleanup_fn "swapoff $disk"
	has_new_worker
	keeper=$(state swap pid)
	wait_until 10 threads "$worker" 0
	keeper_kb=$(awk '$1 == "RssAnon:" { print $2 }' "/proc/$keeper/status")
	queues=("/sys/block/${disk##*/}/mq/"*)
	ballast_kb=$((4096 + 6144 * ${#queues[@]}))
	swapon "$disk"
	wait_until 10 threads "$worker" 1
	wait_until 10 threads "$keeper" 1
	wait_until 10 keeper_holds $((ballast_kb - 2000)) 1000000
	ooms=$(field oom_kill)
	mem-hog "$hog_mb" "$passes" >"$work/hog.log" 2>&1 &
	hog=$!
	cleanup_fn "kill -KILL $hog"
	for ((i = 0; i < $1; i++)); do
		swapped=$(($(field pswpout) + 2000))
		wait_until 200 swaps_on
		! pid_is_gone "$hog" || break
		victim=$worker
		kill -KILL "$victim"
		wait_until 100 has_new_worker
	done
	wait $hog || fail "mem-hog: exit code $?: $(tail -n 1 "$work/hog.log")"
	assert_eq "$(tail -n 1 "$work/hog.log")" "pass $passes" "last line of mem-hog"
	assert_eq "$(field oom_kill)" "$ooms" "processes killed for want of memory"
	printf '%s pages out, %s in\n' "$(field pswpout)" "$(field pswpin)"
	assert_ge "$(field pswpout)" 10000 "pages swapped out"
	[ "$1" = 0 ] || assert_ge "$(state swap restarts)" $((i < 3 ? i : 3)) "restarts"
	has_new_worker
	threads "$worker" 1 || fail "a new worker is not real-time"
	threads "$keeper" 1 || fail "the keeper is not real-time"
	swapoff "$disk"
	wait_until 10 threads "$worker" 0
	wait_until 10 threads "$keeper" 0
	wait_until 10 keeper_holds -2000 2000
	detach swap
}

# try_image KILLS FILESYSTEM: all its blocks have been written before
try_image()
{
	"mkfs.$2" -q /dev/sda
	mounted /dev/sda "$work/mnt" lazytime
	fallocate -l 700M "$work/mnt/image"
	dd if=/dev/zero of="$work/mnt/image" bs=1M count=700 oflag=direct conv=notrunc status=none
	try "$1" "$work/mnt/image" --direct
	umount "$work/mnt"
	wipefs -q -a /dev/sda
}

try "$kills" /dev/sda --direct
wipefs -q -a /dev/sda
try_image "$kills" ext4
try_image "$kills" xfs
check_nothing_left
