# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154,SC2209 # variables go from file to file
# SPDX-License-Identifier: MIT
#
# targets.sh - what makes a disk out of a store. Sourced, never run.
#
# target_up NAME, on the store that is up, sets
#	$disk		the node
#	$daemon_pids	processes that serve it; none where the kernel does
#	$attach_us	from the first command to the node that can be opened
# It fails with $why: "-" where the target has no such store (not an error),
# else the reason. target_down sets $detach_us.
#
# A rival is measured as it is installed, and tuned as vblkd tunes itself:
# scheduler none, SCHED_BATCH. All get one queue.
#
# To add a target (ublk): NAME_up, NAME_down and its name below.

ALL_TARGETS='floor loop vblkd qsd qsd-tuned nbdkit nbdkit-tuned qemu-nbd qemu-nbd-tuned'
EXTRA_TARGETS='vblkd-base vblkd-1q qsd-none ublk'
QUICK_TARGETS='loop vblkd qsd-tuned nbdkit'
NAME=vblkdperf

target_variant=

target_up()
{
	local start=$EPOCHREALTIME base=$1

	disk=
	daemon_pids=()
	why=
	target_variant=
	case $base in
	*-tuned | *-none | vblkd-*) target_variant=${base##*-}; base=${base%-*} ;;
	esac
	if ! "${base//-/_}_up"; then
		[ "$why" = - ] || why=${why:-"did not start: $(tail -n 1 "$work/target.log" 2>/dev/null)"}
		return 1
	fi
	target_base=$base
	wait_for can_open "$disk" || { why="${disk:-no node} cannot be opened"; return 1; }
	attach_us=$(us_since "$start")
	tune
}

target_down()
{
	local start=$EPOCHREALTIME

	[ -n "${target_base:-}" ] || return 0
	"${target_base//-/_}_down" >>"$work/target.log" 2>&1 || say "$target_base: cannot be taken away"
	detach_us=$(us_since "$start")
	target_base=
}

can_open()
{
	[ -b "$1" ] && dd if="$1" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null
}

tune()
{
	local queue=/sys/block/${disk##*/}/queue pid

	case $target_variant in
	tuned | none) echo none >"$queue/scheduler" ;;
	esac
	if [ "$target_variant" = tuned ]; then
		for pid in "${daemon_pids[@]}"; do
			chrt --batch --all-tasks --pid 0 "$pid"
		done
	fi
}

# in_background COMMAND...: sets $daemon_pids
in_background()
{
	"$@" >"$work/target.log" 2>&1 </dev/null &
	daemon_pids=($!)
}

is_running()
{
	[ -d "/proc/$1" ] && ! grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null
}

end_daemon()
{
	local pid

	for pid in "${daemon_pids[@]}"; do
		kill -TERM "$pid" 2>/dev/null || :
	done
	for pid in "${daemon_pids[@]}"; do
		wait_for not is_running "$pid" || { kill -KILL "$pid"; wait_for not is_running "$pid"; }
		wait "$pid" 2>/dev/null || :
	done
}

# ---- the kernel's own ----

# The floor: fio and the block layer, nothing else. The same on every store.
floor_up()
{
	null_blk_up vblkdperf1 && disk=/dev/vblkdperf1
}

floor_down()
{
	null_blk_down vblkdperf1
}

loop_up()
{
	local direct=off

	[ "$store_kind" != null ] || { why=-; return 1; }
	[ -z "$store_direct" ] || direct=on
	disk=$(losetup --find --show --direct-io=$direct "$store_path" 2>"$work/target.log")
}

loop_down()
{
	losetup -d "$disk"
}

# ---- vblkd ----

vblkd_up()
{
	local args=(--name "$NAME") bin=$VBLKD_PERF_BIN state=/run/vblkd/$NAME/state.json

	case $target_variant in
	base)
		bin=${VBLKD_PERF_BASE_BIN:-}
		[ -n "$bin" ] || { why="only with --compare"; return 1; }
		;;
	1q) args+=(--queues 1) ;;
	esac
	vblkctl_in=$bin
	[ -z "$store_direct" ] || args+=(--direct)
	if [ "$store_kind" = null ]; then
		args+=("null:${STORE_MB}M")
	else
		args+=("$store_path")
	fi
	disk=$(PATH=$bin:$PATH vblkctl attach "${args[@]}" 2>"$work/target.log") || return 1
	mapfile -t daemon_pids < <(sed -nE 's/.*"(worker_)?pid": *([0-9]+).*/\2/p' "$state")
}

vblkd_down()
{
	PATH=$vblkctl_in:$PATH vblkctl detach "$NAME"
}

# ---- qemu-storage-daemon, vduse-blk ----

# qemu_node: the block node in the words of QEMU
qemu_node()
{
	local cache=cache.direct=off

	[ -z "$store_direct" ] || cache=cache.direct=on
	case $store_kind in
	null) echo "driver=null-co,size=$((STORE_MB << 20))" ;;
	file) echo "driver=file,filename=$store_path,aio=io_uring,$cache" ;;
	device) echo "driver=host_device,filename=$store_path,aio=io_uring,$cache" ;;
	esac
}

qsd_up()
{
	local dev=/sys/bus/vdpa/devices/$NAME

	in_background qemu-storage-daemon --blockdev "$(qemu_node),node-name=disk" \
		--export "vduse-blk,id=disk,name=$NAME,node-name=disk,writable=on,num-queues=1"
	wait_for qsd_is_there || return 1
	wait_for vdpa dev add name "$NAME" mgmtdev vduse || return 1
	wait_for compgen -G "$dev/virtio*/block/*" || return 1
	disk=$(compgen -G "$dev/virtio*/block/*")
	disk=/dev/${disk##*/}
}

qsd_is_there()
{
	[ -e "/dev/vduse/$NAME" ] || ! is_running "${daemon_pids[0]}"
}

qsd_down()
{
	vdpa dev del "$NAME"
	end_daemon
}

# ---- NBD ----

nbd_connect()
{
	local dir

	modprobe nbd 2>/dev/null || { why="no nbd in this kernel"; return 1; }
	for dir in /sys/block/nbd*; do
		[ -e "$dir/pid" ] || break
	done
	wait_for test -S "$work/nbd.sock" || return 1
	nbd-client -unix "$work/nbd.sock" "/dev/${dir##*/}" >>"$work/target.log" 2>&1 || return 1
	disk=/dev/${dir##*/}
}

nbd_down()
{
	nbd-client -d "$disk"
	end_daemon
	rm -f "$work/nbd.sock"
}

# It has no O_DIRECT: what it does with a device goes through the page cache.
nbdkit_up()
{
	local plugin=(file "$store_path")

	[ "$store_kind" != null ] || plugin=(null "${STORE_MB}M")
	in_background nbdkit --foreground --unix "$work/nbd.sock" "${plugin[@]}"
	nbd_connect
}

nbdkit_down()
{
	nbd_down
}

qemu_nbd_up()
{
	in_background qemu-nbd --socket="$work/nbd.sock" --persistent --image-opts "$(qemu_node)"
	nbd_connect
}

qemu_nbd_down()
{
	nbd_down
}

# ---- ublk: no server that Debian 12 has; the place for one ----

ublk_up()
{
	why="no ublk server"
	return 1
}

ublk_down()
{
	:
}
