#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 600
# The host loses power: dm-log-writes under the backend records what a disk with
# a volatile cache would have kept. At flush points of that log, and between two
# of them with a random half of what followed, the filesystem on the disk mounts,
# is clean, and has every file that was fsynced before. Also with workers killed
# on the way.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_module dm-mod dm-log-writes loop
requires_cmd dmsetup jq mkfs.ext4 mkfs.xfs xfs_repair log-replay
files=${long:+40}
files=${files:-6}
points_max=${long:+100000}	# flush points that are looked at
points_max=${points_max:-2}
seed=$RANDOM

# setup FSTYPE BYTES: $base below $log_dev below /dev/mapper/vblkd-power
setup()
{
	truncate -s "$2" -- "$work/base.img"
	truncate -s 512M -- "$work/log.img"
	case $1 in
	ext4) mkfs.ext4 -q -F -E lazy_itable_init=0 "$work/base.img" ;;
	xfs) mkfs.xfs -q "$work/base.img" ;;
	esac
	cp --sparse=always -- "$work/base.img" "$work/replay.img"
	base=$(losetup --find --show -- "$work/base.img")
	log_dev=$(losetup --find --show -- "$work/log.img")
	dmsetup create vblkd-power --table "0 $(($2 / 512)) log-writes $base $log_dev"
	dmsetup mknodes
}

# Completes the log, too: it is only then that all of it is written.
teardown()
{
	dmsetup remove --retry vblkd-power
	losetup -d "$base"
	losetup -d "$log_dev"
}
cleanup_fn 'teardown'

# Changes of all kinds, with and without fsync, until the disk is gone.
noise()
{
	local i

	for ((i = 0; ; i++)); do
		head -c $((i % 7 * 30000 + 100)) "$work/random" >"$work/mnt/noise-$((i % 5))"
		[ $((i % 3)) != 0 ] || sync -d "$work/mnt/noise-$((i % 5))"
		mv -f "$work/mnt/noise-$((i % 5))" "$work/mnt/renamed-$((i % 3))"
		[ $((i % 4)) != 0 ] || rm -f "$work/mnt/renamed-1"
	done
}

has_new_worker()
{
	local pid

	pid=$(state cut worker_pid)
	[ "$pid" != "$victim" ] && [ "$pid" != 0 ]
}

# The load: file by file, each with a mark in the log once it is fsynced.
load()
{
	local kills=$1 i noise_pid victim=0

	noise 2>/dev/null &
	noise_pid=$!
	for ((i = 1; i <= files; i++)); do
		if [ "$kills" = kill ] && [ $((i % 3)) = 0 ]; then
			victim=$(state cut worker_pid)
			kill -KILL "$victim"
		fi
		head -c $((i * 7919 % 150000 + 1)) "$work/random" >"$work/want/file-$i"
		dd if="$work/want/file-$i" of="$work/mnt/file-$i" bs=64K conv=fsync status=none
		echo "line $i" >>"$work/mnt/journal"
		sync "$work/mnt/journal"
		dmsetup message vblkd-power 0 mark "$i"
		[ "$kills" = no ] || wait_until 60 has_new_worker
	done
	kill $noise_pid
	wait $noise_pid || :
}

# check WANTED: of $work/replay.img; a copy, as the mount changes it
check()
{
	local wanted=$1 i names=()

	for ((i = 1; i <= wanted; i++)); do
		names+=("file-$i")
	done
	cp --sparse=always -- "$work/replay.img" "$work/check.img"
	[ -z "${2-}" ] || log-replay apply "$work/log.img" "$work/check.img" "$2" "$3" "$seed"
	mount -o "loop$mount_more" -- "$work/check.img" "$work/there" || fail "does not mount: $here"
	if [ "$wanted" -gt 0 ]; then
		(cd "$work/want" && cksum "${names[@]}") >"$work/want.sums"
		(cd "$work/there" && cksum "${names[@]}") >"$work/there.sums" 2>&1 || :
		cmp -s "$work/want.sums" "$work/there.sums" ||
			fail "fsynced files are lost: $here: $(diff "$work/want.sums" "$work/there.sums" | tr '\n' ';')"
		[ "$(head -n "$wanted" "$work/there/journal" | tail -n 1)" = "line $wanted" ] ||
			fail "a fsynced line is lost: $here: $(tail -n 1 "$work/there/journal")"
	fi
	umount "$work/there"
	case $fs in
	ext4) e2fsck -fn "$work/check.img" >"$work/fsck" 2>&1 ;;
	xfs) xfs_repair -n "$work/check.img" >"$work/fsck" 2>&1 ;;
	esac || fail "not clean: $here: $(tail -n 5 "$work/fsck" | tr '\n' ';')"
	checked=$((checked + 1))
}

# What the log held at a mark is a state as well: the flush must have come before.
replay()
{
	local number kind text step done_to=0 next=0 marks=0 points=() wanted=() i

	log-replay list "$work/log.img" >"$work/list"
	while read -r number kind _ _ text; do
		case $kind in
		mark)
			[ "$text" != dm-log-writes-end ] || continue
			marks=$text
			points+=("$number")
			wanted+=("$marks")
			;;
		*flush* | *fua*)
			points+=($((number + 1)))
			wanted+=("$marks")
			;;
		esac
	done <"$work/list"
	assert_eq "$marks" "$files" "marks in the log"
	assert_ge ${#points[@]} $((files * 2)) "flush points and marks in the log"
	step=$((${#points[@]} / points_max))
	[ "$step" -ge 1 ] || step=1
	checked=0
	for ((i = 0; i < ${#points[@]}; i++)); do
		[ $((i % step)) = 0 ] || [ $i = $((${#points[@]} - 1)) ] || continue
		log-replay apply "$work/log.img" "$work/replay.img" "$done_to" "${points[i]}"
		done_to=${points[i]}
		here="entry $done_to of $(wc -l <"$work/list"), seed $seed"
		check "${wanted[i]}"
		next=${points[i + 1]-$done_to}
		[ "$next" -le $((done_to + 1)) ] || check "${wanted[i]}" "$done_to" $((next - 1))
	done
	printf '%s flush points and marks in %s entries, %s states checked (at %s s)\n' \
		"${#points[@]}" "$(wc -l <"$work/list")" "$checked" "$SECONDS"
}

# try FSTYPE KILLS OPTION...
try()
{
	local kills=$2

	fs=$1
	mount_more=
	printf 'power-loss %s\n' "$*"
	mkdir -p "$work/mnt" "$work/want" "$work/there"
	case $fs in
	ext4) setup ext4 $((64 << 20)) ;;
	xfs) setup xfs $((320 << 20)) ;;
	esac
	attach cut --queues=2 "${@:3}" /dev/mapper/vblkd-power
	mount -o discard -- "$disk" "$work/mnt"
	load "$kills"
	wait_until 60 umount "$work/mnt"
	[ "$kills" = no ] || assert_ge "$(state cut restarts)" $((files / 3)) "restarts"
	detach cut
	teardown
	replay
	rm -rf "$work"/*.img "${work:?}"/want
}

cleanup_fn "umount '$work/there'"
head -c 300000 /dev/urandom >"$work/random"
modprobe -a ext4 xfs
cleanup_fn "umount '$work/mnt'"
try ext4 no
try xfs no --direct
try ext4 kill --direct
try ext4 no --direct --cache=writethrough
[ -z "$long" ] || try xfs kill
[ -z "$long" ] || try xfs kill --direct --cache=writethrough
[ -z "$long" ] || try ext4 no --cache=writethrough
