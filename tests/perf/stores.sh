# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154,SC2209 # variables go from file to file
# SPDX-License-Identifier: MIT
#
# stores.sh - what lies below the disks. Sourced, never run.
#
# store_up NAME sets
#	$store_kind	file, device or null
#	$store_path	of the image or the device; none for null
#	$store_direct	1 where the targets are to bypass the page cache
# or $why and fails. store_down takes it away. Everything is in memory.

ALL_STORES='xfs ext4 tmpfs direct null'
QUICK_STORES='xfs direct'

STORE_MB=128
store_undo=()

# store_defer COMMAND...: at store_down, the last one first
store_defer()
{
	store_undo+=("$(printf '%q ' "$@")")
}

store_down()
{
	local i

	for ((i = ${#store_undo[@]} - 1; i >= 0; i--)); do
		eval "${store_undo[i]}" || say "cleaning up store: ${store_undo[i]}"
	done
	store_undo=()
}

store_up()
{
	store_kind=
	store_path=
	store_direct=
	why=
	"store_up_$1" || return 1
	[ "$store_kind" != file ] ||
		dd if=/dev/zero of="$store_path" bs=1M count=$STORE_MB conv=fsync status=none
}

store_up_tmpfs()
{
	store_kind=file
	store_path=/dev/shm/vblkd-perf.img
	store_defer rm -f "$store_path"
}

store_up_xfs()
{
	modprobe xfs 2>/dev/null || { why="no xfs in this kernel"; return 1; }
	store_filesystem xfs -q -f
}

store_up_ext4()
{
	modprobe ext4 2>/dev/null || { why="no ext4 in this kernel"; return 1; }
	store_filesystem ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0
}

# store_filesystem TYPE MKFS-ARGS...
store_filesystem()
{
	local type=$1 dir=$work/mnt-$1

	shift
	store_memory_device || return 1
	mkdir -p "$dir"
	"mkfs.$type" "$@" "$memory_device" || { why="mkfs.$type failed"; return 1; }
	mount "$memory_device" "$dir" || { why="mount failed"; return 1; }
	store_defer umount "$dir"
	store_kind=file
	store_path=$dir/img
}

# Sets $memory_device: a RAM disk of our own, a loop device on tmpfs where the
# RAM disk's module is in use by others.
store_memory_device()
{
	local mb=400

	if [ ! -d /sys/module/brd ] &&
		modprobe brd rd_nr=1 rd_size=$((mb << 10)) max_part=0 2>/dev/null; then
		store_defer modprobe -r brd
		memory_device=/dev/ram0
		wait_for test -b $memory_device
		return
	fi
	truncate -s "${mb}M" /dev/shm/vblkd-perf.disk
	store_defer rm -f /dev/shm/vblkd-perf.disk
	memory_device=$(losetup --find --show --direct-io=off /dev/shm/vblkd-perf.disk) ||
		{ why="no RAM disk and no loop device"; return 1; }
	store_defer losetup -d "$memory_device"
}

# A block device that does nothing, at once: what is left is the cost of the
# target itself. The content is lost, so this is for speed only.
store_up_direct()
{
	store_kind=device
	store_direct=1
	null_blk_up vblkdperf0 || return 1
	store_path=/dev/vblkdperf0
	store_defer null_blk_down vblkdperf0
}

store_up_null()
{
	store_kind=null
}

null_blk_up()
{
	local dir=/sys/kernel/config/nullb/$1

	modprobe null_blk nr_devices=0 2>/dev/null || { why="no null_blk in this kernel"; return 1; }
	[ -d /sys/kernel/config/nullb ] || mount -t configfs configfs /sys/kernel/config
	mkdir "$dir" || { why="null_blk refuses $1"; return 1; }
	echo $((STORE_MB * 2)) >"$dir/size"
	echo 512 >"$dir/blocksize"
	echo 256 >"$dir/hw_queue_depth"
	echo 1 >"$dir/power"
	wait_for test -b "/dev/$1"
}

null_blk_down()
{
	echo 0 >"/sys/kernel/config/nullb/$1/power" && rmdir "/sys/kernel/config/nullb/$1"
}
