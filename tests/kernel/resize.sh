#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 600
# A disk gets another size while it is used: a file grown by truncate and by
# SIZE, a loop device, ext4 and XFS grown under verified load, the refusals and
# --force, an orphan whose image changed, and SIGKILL of worker, keeper or both
# around resizes under verified load: afterwards kernel, show and data agree, and
# nobody is told what he knows.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd fio jq losetup resize2fs xfs_growfs fsfreeze
requires_module ext4 xfs loop
kills=${long:+200}
kills=${kills:-8}
MIB=1048576

kernel_mib()
{
	printf '%d' $(($(<"/sys/block/${disk##*/}/size") * 512 / MIB))
}

# size_in TEXT: "size_bytes" of a JSON object, in MiB; without a process
size_in()
{
	[[ $1 =~ \"size_bytes\":\ ([0-9]+) ]] || fail "no size in: $1"
	printf '%d' $((BASH_REMATCH[1] / MIB))
}

show_mib()
{
	size_in "$(vblkctl show --json rs)"
}

# has_size MIB: so say kernel, daemon and state file
has_size()
{
	assert_eq "$(kernel_mib)" "$1" "MiB as the kernel shows"
	assert_eq "$(show_mib)" "$1" "MiB as show tells"
	assert_eq "$(size_in "$(<"$RUN_DIR/rs/state.json")")" "$1" "MiB in the state file"
}

# says REGEX COMMAND...: succeeds, with one line on stdout and nothing on stderr
says()
{
	local regex=$1 out

	shift
	out=$("$@" 2>"$work/says.err") || fail_at_caller "failed: $*: $(cat "$work/says.err")"
	printf '%s\n' "$out"
	[[ $out =~ $regex ]] || fail_at_caller "'$out' does not match '$regex': $*"
	[ ! -s "$work/says.err" ] || fail_at_caller "on stderr: $(cat "$work/says.err")"
}

# write_at MIB, read_at MIB: 4 KiB at the start of that MiB
write_at()
{
	dd if=/dev/urandom of="$disk" bs=4K count=1 seek=$(($1 * 256)) oflag=direct \
		conv=notrunc status=none
}

read_at()
{
	dd if="$disk" of=/dev/null bs=4K count=1 skip=$(($1 * 256)) iflag=direct status=none
}

# start_fio FILE [OPTION]...: verified writes to its first 8 MiB until stopped
start_fio()
{
	fio --name=rs --filename="$1" --ioengine=libaio --direct=1 --iodepth=16 --size=8M \
		--rw=randwrite --bssplit=4k/70:64k/30 --serialize_overlap=1 --verify=crc32c \
		--verify_fatal=1 --verify_backlog=64 --verify_state_save=0 "${@:2}" \
		>"$work/fio.log" 2>&1 &
	fio_pid=$!
	cleanup_fn "kill $fio_pid 2>/dev/null"
}

end_fio()
{
	wait "$fio_pid" || { cat "$work/fio.log"; fail "fio found an error"; }
	not grep -qE 'verify: bad|err= *[1-9]|error' "$work/fio.log" ||
		fail "$(tail -n 5 "$work/fio.log")"
}

fio_runs()
{
	kill -0 "$fio_pid" 2>/dev/null
}

# ---- a file, and every mistake ----

image=$(make_image 32M)
attach rs --queues=2 "$image"
expect_error 2 'needs a NAME' vblkctl resize
expect_error 2 "SIZE is a number of bytes.*'0'" vblkctl resize rs 0
expect_error 2 "SIZE is a number of bytes.*'10X'" vblkctl resize rs 10X
expect_error 2 'too many' vblkctl resize rs 40M 50M
expect_error 1 "no device.*nosuch" vblkctl resize nosuch
expect_error 1 'not a multiple of its block size, 512' vblkctl resize rs 33554433
says "^rs: $disk is 32M, as it was$" vblkctl resize rs

truncate -s 48M -- "$image"
has_size 32
not read_at 40 2>"$work/err" || fail "a block behind the end was read"
says "^rs: $disk is 48M now \(was 32M\)$" vblkctl resize rs
has_size 48
write_at 47

says "^rs: $disk is 64M now \(was 48M\)$" vblkctl resize "$disk" 64M
has_size 64
assert_eq "$(stat -c %s -- "$image")" $((64 * MIB)) "bytes of the image"
write_at 63
expect_error 1 'from 64M to 60M would cut off 4194304 bytes.*--force' vblkctl resize rs 60M
has_size 64
truncate -s 62M -- "$image"
expect_error 1 'from 64M to 62M would cut off 2097152 bytes' vblkctl resize rs
has_size 64
says '^rs: .* is 64M, as it was$' vblkctl resize rs 64M
assert_eq "$(stat -c %s -- "$image")" $((64 * MIB)) "bytes of the image that was cut"

says '^rs: .* is 32M now \(was 64M\)$' vblkctl resize --force rs 32M
has_size 32
assert_eq "$(stat -c %s -- "$image")" $((64 * MIB)) "bytes of the image after --force"
not read_at 33 2>"$work/err" || fail "a block that was cut off was read"
read_at 31
says '^rs: .* is 33558528 bytes now \(was 33554432 bytes\)$' vblkctl resize rs 33558528
detach rs

# ---- read-only ----

attach rs --read-only "$image"
has_size 64
expect_error 1 'attached read-only' vblkctl resize rs 80M
truncate -s 80M -- "$image"
says 'is 72M now' vblkctl resize rs 72M
says 'is 80M now' vblkctl resize rs
has_size 80
detach rs

# ---- a block device ----

back=$(make_image 32M back.img)
make_loop "$back"
attach rs --direct "$loop"
expect_error 1 "'$loop' has only 33554432 bytes" vblkctl resize rs 64M
truncate -s 64M -- "$back"
losetup -c "$loop"
has_size 32
says 'is 48M now' vblkctl resize rs 48M
says 'is 64M now' vblkctl resize rs
has_size 64
write_at 63
read_at 63
detach rs
losetup -d "$loop"

# ---- filesystems, mounted and under load ----

# online FS: what is written while it grows is right afterwards
online()
{
	local before

	image=$(make_image 320M "$1.img")
	attach rs --queues=2 "$image"
	case $1 in
	ext4) mkfs.ext4 -q "$disk" ;;
	xfs) mkfs.xfs -q "$disk" ;;
	esac
	mounted "$disk" "$work/mnt"
	before=$(stat -f -c %b "$work/mnt")
	start_fio "$work/mnt/f" --time_based --runtime=3
	says 'is 640M now' vblkctl resize rs 640M
	case $1 in
	ext4) resize2fs "$disk" ;;
	xfs) xfs_growfs "$work/mnt" ;;
	esac >"$work/grow" 2>&1 || { cat "$work/grow"; fail "$1 could not be grown"; }
	assert_ge "$(stat -f -c %b "$work/mnt")" $((before * 3 / 2)) "blocks of $1"
	fio_runs || fail "the load ended before $1 was grown"
	end_fio
	umount "$work/mnt"
	case $1 in
	ext4) e2fsck -fn "$disk" ;;
	xfs) xfs_repair -n "$disk" ;;
	esac >"$work/fsck" 2>&1 || { cat "$work/fsck"; fail "$1 is not clean"; }
	detach rs
	rm -f -- "$image"
}

online ext4
online xfs

# ---- an orphan keeps its size, whatever became of the image ----

# kill_all: keeper and worker
kill_all()
{
	kill -KILL "$(state rs pid)" "$(state rs worker_pid)"
	wait_until 10 pid_is_gone "$(state rs pid)"
	wait_until 10 pid_is_gone "$(state rs worker_pid)"
}

image=$(make_image 32M orphan.img)
attach rs --queues=2 "$image"
node=$disk
says 'is 48M now' vblkctl resize rs 48M
kill_all
expect_error 1 "its daemon is gone; take it over first: vblkctl attach" vblkctl resize rs
truncate -s 64M -- "$image"
attach rs --queues=2 "$image"
assert_eq "$disk" "$node" "node"
has_size 48
write_at 47
says 'is 64M now' vblkctl resize rs
kill_all
truncate -s 40M -- "$image"
attach rs --queues=2 "$image" 2>"$work/warning"
grep -q "has only 41943040 bytes left" "$work/warning" || fail "no warning: $(cat "$work/warning")"
has_size 64
read_at 39
not read_at 40 2>"$work/err" || fail "a block that is missing was read"
says 'is 64M, as it was' vblkctl resize rs 64M
read_at 63

# ---- killed around resizes, under load ----

has_new_worker()
{
	local pid

	pid=$(state rs worker_pid)
	[ "$pid" != "$worker" ] && [ "$pid" != 0 ] && [ "$(state rs state)" = ready ]
}

agree()
{
	[ "$(kernel_mib)" = "$(show_mib)" ]
}

now_ms()
{
	awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime
}

# kill_in_resize MIB WHO: they die at a random moment of a resize to that size
kill_in_resize()
{
	local new=$1 who=$2 ms=$((RANDOM % took)) s client pids

	fio_runs || { end_fio; start_fio "$disk" --loops=10; }
	keeper=$(state rs pid)
	worker=$(state rs worker_pid)
	case $who in
	worker) pids=("$worker") ;;
	keeper) pids=("$keeper") ;;
	both) pids=("$keeper" "$worker") ;;
	esac
	printf -v s '%d.%03d' $((ms / 1000)) $((ms % 1000))
	vblkctl resize rs "${new}M" >"$work/resize.log" 2>&1 &
	client=$!
	read -rt "$s" -u "$never" || :
	kill -KILL "${pids[@]}"
	if [ "$who" = worker ]; then
		wait_until 30 has_new_worker
		# It was asked again, if need be.
		wait "$client" || { cat "$work/resize.log"; fail "resize failed"; }
	else
		wait_until 10 pid_is_gone "$keeper"
		wait "$client" || :
		attach rs --queues=2 "$image" 2>"$work/attach.log"
	fi
	# Decided or not, all of them know the same.
	wait_until 20 agree
	printf '%s killed after %d of %d ms: %d of %d MiB\n' "$who" "$ms" "$took" "$(kernel_mib)" "$new"
	[[ $(kernel_mib) =~ ^($((new - 1))|$new)$ ]] || fail "$(kernel_mib) MiB"
	says "is ${new}M" vblkctl resize rs "${new}M"
	has_size "$new"
	write_at $((new - 1))
}

start_fio "$disk" --loops=10
took=$(now_ms)
says 'is 65M now' vblkctl resize rs 65M
took=$(($(now_ms) - took))
victims=(worker keeper worker both)
for ((n = 0; n < kills; n++)); do
	kill_in_resize $((66 + n)) "${victims[n % 4]}"
done
end_fio
detach rs

# ---- a backend that hangs is not waited for ----

make_fs ext4 128M "$work/ext4"
image=$work/ext4/disk.img
truncate -s 32M -- "$image"
attach rs --queues=2 "$image"
fsfreeze -f "$work/ext4"
cleanup_fn "fsfreeze -u $work/ext4"
expect_error 1 'does not tell its size' vblkctl resize rs 64M
expect_error 1 'an earlier resize still waits' vblkctl resize rs 64M
# The keeper supervises all the same. A new worker has no news for the driver.
news_cnt()
{
	dmesg | grep -c 'new size' || :
}
news=$(news_cnt)
worker=$(state rs worker_pid)
kill -KILL "$worker"
wait_until 30 has_new_worker
has_size 32
read_at 31
fsfreeze -u "$work/ext4"
grown()
{
	vblkctl resize rs 64M >"$work/grown" 2>&1
}
wait_until 20 grown
has_size 64
write_at 63
assert_eq "$(news_cnt)" $((news + 1)) "messages of the kernel about a new size"

# ---- decided, and the worker dies before it hears of it ----

asks_backend()
{
	local children=''

	read -r children <"/proc/$keeper/task/$keeper/children" || :
	[ "${children% }" != "$worker" ]
}

is_decided()
{
	[ "$(size_in "$(<"$RUN_DIR/rs/state.json")")" = 80 ]
}

kernel_knows()
{
	[ "$(kernel_mib)" = 80 ]
}

keeper=$(state rs pid)
worker=$(state rs worker_pid)
fsfreeze -f "$work/ext4"
vblkctl resize rs 80M >"$work/resize.log" 2>&1 &
client=$!
wait_until 10 asks_backend
kill -STOP "$worker"
# It would ask the next worker again.
kill -KILL "$client"
fsfreeze -u "$work/ext4"
wait_until 20 is_decided
assert_eq "$(kernel_mib)" 64 "MiB before a worker has told"
kill -KILL "$worker"
wait_until 30 has_new_worker
wait_until 20 kernel_knows
has_size 80
write_at 79
detach rs
check_nothing_left 15
