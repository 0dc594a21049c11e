# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# functions.sh - what the kernel tests have in common. Sourced, never run.
#
# A test is a small bash script that sources this file. Any command that fails
# unexpectedly ends it as failed, with file and line; so does fail(). Cleanups
# run at every exit, the last one first. Time is never waited for: wait_until
# polls a condition.
#
# Environment: VBLKD_BIN_DIR, where vblkd and vblkctl are (in PATH otherwise);
# VBLKD_LONG, not empty for the longer forms.

set -Eeuo pipefail

[ -z "${VBLKD_BIN_DIR:-}" ] || PATH=$VBLKD_BIN_DIR:$PATH
export PATH LC_ALL=C.UTF-8

EXIT_SKIP=77
VDUSE_DIR=/dev/vduse
RUN_DIR=/run/vblkd
# shellcheck disable=SC2034 # for the tests
long=${VBLKD_LONG:-}

# Own directory of the test, on tmpfs, removed at the end.
work=$(mktemp -d /tmp/vblkd-test.XXXXXX)
# The daemon's user runs programs from here (upgrade.sh), but is not to list it.
chmod 711 "$work"
disk=		# set by attach
loop=		# set by make_loop
cleanups=("rm -rf -- '$work'")

# ---- ends ----

fail()
{
	printf 'FAIL at %s:%s: %s\n' "${BASH_SOURCE[1]##*/}" "${BASH_LINENO[0]}" "$*" >&2
	trap - ERR
	exit 1
}

skip()
{
	printf 'skip: %s\n' "$*"
	trap - ERR
	exit $EXIT_SKIP
}

on_error()
{
	local rc=$? i=1 where

	where="${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]}"
	while [ $i -lt $((${#BASH_SOURCE[@]} - 1)) ]; do
		where+=" from ${BASH_SOURCE[i + 1]##*/}:${BASH_LINENO[i]}"
		i=$((i + 1))
	done
	printf 'FAIL at %s: exit code %d of: %s\n' "$where" "$rc" "$BASH_COMMAND" >&2
}

run_cleanups()
{
	local rc=$? i

	trap - EXIT ERR
	set +e
	for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do
		eval "${cleanups[i]}" >>"$work.cleanup" 2>&1
	done
	rm -f -- "$work.cleanup"
	exit "$rc"
}

# What the programs of the test have said, when it takes too long.
show_logs()
{
	local log

	for log in "$work"/*.log; do
		[ ! -s "$log" ] || printf -- '-- %s:\n%s\n' "${log##*/}" "$(tail -n 5 -- "$log")"
	done
}

trap on_error ERR
trap run_cleanups EXIT
trap 'show_logs; exit 143' TERM INT HUP

# cleanup_fn 'COMMAND': run it at the end; it may fail
cleanup_fn()
{
	cleanups+=("$1")
}

requires_cmd()
{
	local cmd

	for cmd; do
		command -v "$cmd" >/dev/null || skip "$cmd is not installed"
	done
}

requires_module()
{
	local module

	for module; do
		modprobe "$module" 2>/dev/null || skip "this kernel has no module $module"
	done
}

# ---- checks ----

assert_eq()
{
	[ "$1" = "$2" ] ||
		fail_at_caller "${3:-value}: is '$1', not '$2'"
}

assert_ge()
{
	[ "$1" -ge "$2" ] || fail_at_caller "${3:-value}: is $1, not at least $2"
}

assert_le()
{
	[ "$1" -le "$2" ] || fail_at_caller "${3:-value}: is $1, not at most $2"
}

fail_at_caller()
{
	printf 'FAIL at %s:%s: %s\n' "${BASH_SOURCE[2]##*/}" "${BASH_LINENO[1]}" "$*" >&2
	trap - ERR
	exit 1
}

# find_disk DEVICE: sets $disk when the kernel has made the disk of that device
find_disk()
{
	local path

	path=$(compgen -G "/sys/bus/vdpa/devices/$1/virtio*/block/vd*") || return 1
	disk=/dev/${path##*/}
	[ -b "$disk" ]
}

# A short sleep without a process: nobody ever writes to that pipe.
exec {never}<> <(:)
pause()
{
	read -rt 0.05 -u "$never" || :
}

# poll SECONDS COMMAND...: true as soon as the command is
poll()
{
	local end=$((SECONDS + $1))

	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -le $end ] || return 1
		pause
	done
}

# wait_until SECONDS COMMAND...: as poll, but the test fails if it never is
wait_until()
{
	poll "$@" || fail_at_caller "did not happen in $1 s: ${*:2}"
}

not()
{
	! "$@"
}

# expect_error CODE REGEX COMMAND...: fails with this exit code and exactly one
# line on stderr, which matches, and nothing on stdout
expect_error()
{
	local code=$1 regex=$2 rc=0 lines out

	shift 2
	out=$("$@" 2>"$work/expect.err" </dev/null) || rc=$?
	mapfile -t lines <"$work/expect.err"
	printf '[%s] %s\n' "$rc" "$*"
	printf '\t%s\n' "${lines[@]}"
	[ "$rc" = "$code" ] || fail_at_caller "exit code $rc, not $code: $*"
	[ ${#lines[@]} = 1 ] || fail_at_caller "${#lines[@]} lines on stderr, not one: $*"
	[ -z "$out" ] || fail_at_caller "output on stdout: $*"
	[[ ${lines[0]} =~ $regex ]] ||
		fail_at_caller "the message does not match '$regex': $*"
}

# ---- devices ----

# make_image SIZE [NAME]: prints the path of a new sparse image
make_image()
{
	local path=$work/${2:-disk.img}

	truncate -s "$1" -- "$path"
	printf '%s' "$path"
}

# make_loop FILE: sets $loop to a loop device over it
make_loop()
{
	loop=$(losetup --find --show -- "$1")
	cleanup_fn "losetup -d $loop"
}

# attach NAME [OPTION]... BACKEND: sets $disk to the node
attach()
{
	local name=$1

	shift
	cleanup_fn "vblkctl detach --force $name"
	disk=$(vblkctl attach --name "$name" "$@")
	[[ $disk =~ ^/dev/vd[a-z]+$ ]] || fail_at_caller "attach printed '$disk'"
	[ -b "$disk" ] || fail_at_caller "$disk is no block device"
}

detach()
{
	vblkctl detach "$1"
}

# state NAME FIELD: of the device's state file
state()
{
	jq -r ".$2" "$RUN_DIR/$1/state.json"
}

# io_count: requests that $disk has finished
io_count()
{
	awk '{ print $1 + $5 }' "/sys/block/${disk##*/}/stat"
}

io_has_moved()
{
	[ "$(io_count)" -gt "$io_seen" ]
}

# io_goes_on: waits until $disk has finished one more
io_goes_on()
{
	io_seen=$(io_count)
	wait_until 60 io_has_moved
}

# is_ready NAME: for wait_until, which looks again
is_ready()
{
	[ "$(state "$1" state)" = ready ]
}

# sysfs PATH: an attribute of $disk, as in sysfs queue/write_cache
sysfs()
{
	cat "/sys/block/${disk##*/}/$1"
}

pid_is_gone()
{
	[ ! -d "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null
}

# The pids of all processes of vblkd and vblkctl. One find, as starting a
# program takes long in the guest.
our_pids()
{
	find /proc/[0-9]*/exe -maxdepth 0 \( -lname '*/vblkd' -o -lname '*/vblkctl' \
		-o -lname '*/vblkd (deleted)' -o -lname '*/vblkctl (deleted)' \) \
		-printf '%h\n' 2>/dev/null | sed 's|/proc/||' || :
}

# leftovers: print what vblkd left behind; nothing if all is gone
leftovers()
{
	local pid path

	for pid in $(our_pids); do
		printf 'process %s: %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline")"
	done
	for path in "$VDUSE_DIR"/* /sys/bus/vdpa/devices/* /sys/block/vd* "$RUN_DIR"/*; do
		[ "$path" = "$VDUSE_DIR/control" ] || [ ! -e "$path" ] || printf '%s\n' "$path"
	done
}

nothing_left()
{
	[ -z "$(leftovers)" ]
}

# Processes may be on their way out when vblkctl has returned.
check_nothing_left()
{
	poll "${1:-15}" nothing_left || fail_at_caller "left behind: $(leftovers | tr '\n' ';')"
}

# ---- data ----

# make_tree DIR: about 30 MB in some 500 files, with links, holes and odd names
make_tree()
{
	local dir=$1 i

	mkdir -p -- "$dir/small" "$dir/deep/er/still"
	head -c 16M /dev/urandom >"$dir/big"
	split -b 40000 -a 3 -- "$dir/big" "$dir/small/file-"
	for i in {1..60}; do
		printf 'file %d\n' "$i" >"$dir/deep/er/still/tiny-$i"
	done
	ln -- "$dir/small/file-aaa" "$dir/hard link"
	ln -s -- ../big "$dir/deep/symlink"
	: >"$dir/empty"
	truncate -s 3M -- "$dir/sparse"
	printf 'end' | dd of="$dir/sparse" bs=1 seek=2000000 conv=notrunc status=none
}

# same_tree DIR DIR
same_tree()
{
	diff -r --no-dereference -- "$1" "$2" >"$work/diff" ||
		fail_at_caller "trees differ: $(head -n 5 "$work/diff" | tr '\n' ';')"
	assert_eq "$(cd "$1" && find . ! -name lost+found -printf '%p %m %s %n %y\n' | grep -v ' d$' | sort | cksum)" \
		"$(cd "$2" && find . ! -name lost+found -printf '%p %m %s %n %y\n' | grep -v ' d$' | sort | cksum)" \
		"modes, sizes, link counts"
}

# mounted DEVICE DIR [OPTIONS]
mounted()
{
	mkdir -p -- "$2"
	cleanup_fn "umount '$2'"
	mount ${3:+-o "$3"} -- "$1" "$2"
}

# make_fs TYPE SIZE DIR: a filesystem on a loop device, mounted at DIR
make_fs()
{
	requires_module "$1" loop
	truncate -s "$2" -- "$3.img"
	make_loop "$3.img"
	case $1 in
	ext4) mkfs.ext4 -q -F "$loop" ;;
	xfs) mkfs.xfs -q -f "$loop" ;;
	esac
	mounted "$loop" "$3"
}

# fill FILE_OR_DEVICE BYTES [SEEK_BYTES]: random data, past the page cache of a device
fill()
{
	local direct=()

	[ ! -b "$1" ] || direct=("oflag=direct,seek_bytes")
	[ -b "$1" ] || direct=(oflag=seek_bytes)
	head -c "$2" /dev/urandom |
		dd of="$1" bs=64K iflag=fullblock "${direct[@]}" seek="${3:-0}" conv=notrunc status=none
}

# is_zero FILE OFFSET BYTES
is_zero()
{
	cmp -s -n "$3" -i "$2:0" -- "$1" /dev/zero
}

# allocated FILE: bytes that it takes on its filesystem
allocated()
{
	local blocks

	blocks=$(stat -c %b -- "$1")
	printf '%d' $((blocks * 512))
}

# disk_stat DEVICE FIELD: of /sys/block/DEVICE/stat, counted from 1 (7: sectors
# written, 16: flushes)
disk_stat()
{
	awk -v f="$2" '{ print $f }' "/sys/block/${1##*/}/stat"
}

# kib_of PID NAME FIELD: sum of a field of smaps over all mappings of that name
kib_of()
{
	awk -v name="$2" -v field="$3:" '
		/^[0-9a-f]+-[0-9a-f]+ / { ours = index($0, name); next }
		ours && $1 == field { sum += $2 }
		END { print sum + 0 }' "/proc/$1/smaps"
}
