# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154,SC2209 # variables go from file to file
# SPDX-License-Identifier: MIT
#
# targets.sh - what makes a disk out of a store. Sourced, never run.
#
# target_up NAME, on the store that is up, sets
#	$disk		the node
#	@disks		all that get I/O: mostly that one
#	$daemon_pids	processes that serve them; none where the kernel does
#	$attach		what it took, from the first command to the node that can be
#			opened: "US CPU_NS HOST_REQUESTS", see cost_since
#	$target_fio	arguments for fio
# It fails with $why: "-" where the target has no such store (not an error),
# else the reason. target_down sets $detach.
#
# A rival is measured as it is installed, and tuned as vblkd tunes itself:
# scheduler none, SCHED_BATCH. All get one queue.
#
# vblkd-VARIANT:
#	base		the programs of --compare
#	1q, 2q		queues
#	poll		2 queues, one of them polled by the driver and by vblkd
#	bridge		the disk of qemu-storage-daemon's vhost-user-blk export
#	rings		the disk of vblkd --socket, which works on the kernel's rings
#	noseccomp, noinflight, nostats, nochecks	without a safety feature: what it costs
#	4d, 64d ...	so many devices; one gets I/O, the others are idle
#	4a, 64a ...	so many devices, and all get I/O
#
# To add a target (ublk): NAME_up, NAME_down and its name below.

ALL_TARGETS='floor loop vblkd qsd qsd-tuned nbdkit nbdkit-tuned qemu-nbd qemu-nbd-tuned'
SAFETY_TARGETS='vblkd-noseccomp vblkd-noinflight vblkd-nostats vblkd-nochecks'
DEVICES_TARGETS='vblkd-4d vblkd-16d vblkd-64d vblkd-4a vblkd-16a vblkd-64a'
EXTRA_TARGETS="vblkd-base vblkd-1q vblkd-2q vblkd-poll vblkd-bridge vblkd-rings $SAFETY_TARGETS $DEVICES_TARGETS qsd-none ublk"
QUICK_TARGETS='loop vblkd qsd-tuned nbdkit-tuned'
SMP2_TARGETS='loop vblkd-1q vblkd-2q vblkd-poll qsd-tuned nbdkit-tuned'
NAME=vblkdperf

target_variant=

# cost_now, cost_since "COST": time in us, what ran meanwhile in ns, requests to the host
cost_now()
{
	local now=$EPOCHREALTIME

	echo "${now/./} $(system_cpu_ns) $(host_requests)"
}

cost_since()
{
	local now

	now=$(cost_now)
	awk '{ print $4 - $1, $5 - $2, $6 - $3 }' <<<"$1 $now"
}

target_up()
{
	local before base=$1

	disk=
	disks=()
	daemon_pids=()
	target_fio=()
	why=
	target_variant=
	case $base in
	*-tuned | *-none | vblkd-*) target_variant=${base##*-}; base=${base%-*} ;;
	esac
	before=$(cost_now)
	if ! "${base//-/_}_up"; then
		[ "$why" = - ] || why=${why:-"did not start: $(tail -n 1 "$work/target.log" 2>/dev/null)"}
		return 1
	fi
	target_base=$base
	wait_for can_open "$disk" || { why="${disk:-no node} cannot be opened"; return 1; }
	attach=$(cost_since "$before")
	[ ${#disks[@]} -gt 0 ] || disks=("$disk")
	tune
}

target_down()
{
	local before

	[ -n "${target_base:-}" ] || return 0
	before=$(cost_now)
	"${target_base//-/_}_down" >>"$work/target.log" 2>&1 || say "$target_base: cannot be taken away"
	detach=$(cost_since "$before")
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
	local args=() cnt=1 all=

	vblkctl_in=$VBLKD_PERF_BIN
	case $target_variant in
	base)
		vblkctl_in=${VBLKD_PERF_BASE_BIN:-}
		[ -n "$vblkctl_in" ] || { why="only with --compare"; return 1; }
		;;
	[12]q) args=(--queues "${target_variant%q}") ;;
	poll)
		vblkd_can_poll || return 1
		args=(--queues 2 --poll=on)
		;;
	noseccomp) args=(--seccomp=off) ;;
	no*)
		vblkctl_in=${VBLKD_PERF_SAFETY_BIN:-}/${target_variant#no}/bin
		[ -x "$vblkctl_in/vblkd" ] || { why="only with --safety"; return 1; }
		;;
	*[0-9]d) cnt=${target_variant%d} ;;
	*[0-9]a) cnt=${target_variant%a}; all=1 ;;
	rings) args=(--direct-rings) ;;
	esac
	case $target_variant in
	bridge | rings) bridged_up || return 1 ;;
	*) [ -z "$store_direct" ] || args+=(--direct) ;;
	esac
	if ! vblkd_attach_others $((cnt - 1)) "$all" || ! vblkd_attach "$NAME" "${args[@]}"; then
		bridged_down
		return 1
	fi
	daemon_pids+=("${bridged_pids[@]}")
}

# The server whose disk vblkd takes, tuned as vblkd tunes itself.
bridged_pids=()
bridged_up()
{
	if [ "$target_variant" = rings ]; then
		in_background "$vblkctl_in/vblkd" --name "$NAME-server" --socket "$work/bridged.sock" \
			--queues 1 --poll=off "${store_path:-null:${STORE_MB}M}"
	else
		in_background qemu-storage-daemon --blockdev "$(qemu_node),node-name=disk" \
			--export "vhost-user-blk,id=disk,node-name=disk,writable=on,num-queues=1,addr.type=unix,addr.path=$work/bridged.sock"
	fi
	bridged_pids=("${daemon_pids[@]}")
	wait_for test -S "$work/bridged.sock" || { bridged_down; return 1; }
	[ "$target_variant" = rings ] || chrt --batch --all-tasks --pid 0 "${bridged_pids[0]}"
}

bridged_down()
{
	[ ${#bridged_pids[@]} -gt 0 ] || return 0
	daemon_pids=("${bridged_pids[@]}")
	end_daemon
	bridged_pids=()
	rm -f "$work/bridged.sock"
}

# vblkd_attach NAME ARGS...: with the store's backend, or a null one where that is in use
vblkd_attach()
{
	local name=$1 backend=$store_path state=/run/vblkd/$1/state.json pids

	shift
	[ "$store_kind" != null ] && [ "$name" = "$NAME" ] || backend=null:${STORE_MB}M
	[ ${#bridged_pids[@]} = 0 ] || backend=vhost-user:$work/bridged.sock
	disk=$(PATH=$vblkctl_in:$PATH vblkctl attach --name "$name" "$@" "$backend" 2>"$work/target.log") ||
		return 1
	names+=("$name")
	disks+=("$disk")
	mapfile -t pids < <(sed -nE 's/.*"(worker_)?pid": *([0-9]+).*/\2/p' "$state")
	daemon_pids+=("${pids[@]}")
}

# vblkd_attach_others COUNT ALL: more devices; if not ALL they are idle and nobody counts them
vblkd_attach_others()
{
	local i

	names=()
	others=$1
	for ((i = 1; i <= others; i++)); do
		vblkd_attach "$NAME-$i" --queues 1 || { vblkd_detach_others; return 1; }
	done
	if [ -z "$2" ]; then
		names=()
		disks=()
		daemon_pids=()
	fi
}

vblkd_detach_others()
{
	local i

	for ((i = 1; i <= others; i++)); do
		PATH=$vblkctl_in:$PATH vblkctl detach "$NAME-$i"
	done
	others=0
}

# The driver takes the number of its poll queues when it is loaded.
vblkd_can_poll()
{
	"$vblkctl_in/vblkd" --help | grep -q -- --poll || { why=-; return 1; }
	if ! modprobe -r virtio_blk || ! modprobe virtio_blk poll_queues=1; then
		why="virtio_blk is in use and cannot get a poll queue"
		return 1
	fi
	target_fio=(--hipri)
}

vblkd_down()
{
	local rc=0

	PATH=$vblkctl_in:$PATH vblkctl detach "$NAME" || rc=$?
	vblkd_detach_others
	bridged_down
	if [ "$target_variant" = poll ]; then
		modprobe -r virtio_blk && modprobe virtio_blk
	fi
	return $rc
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
