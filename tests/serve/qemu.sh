#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 3600
# QEMU is the client: a guest has the image as its virtio disk, with split and then with packed rings
# on two queues, and makes a filesystem there. Under fio --verify the program is replaced, workers are
# killed and the disk grows; no error reaches the guest, and the filesystem is clean.
#
# usage: qemu.sh [in-guest]: the part inside the guest
# shellcheck source=tests/serve/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

# ---- inside the guest ----

is_size()
{
	[ "$(blockdev --getsize64 /dev/vda)" = "$1" ]
}

verify_until_stop()
{
	local rounds=0

	while [ ! -e "$VBLKD_OUT/stop" ]; do
		fio --name=verify --directory="$1" --rw=randrw --bsrange=512-64k --size=8M --numjobs=2 \
			--ioengine=libaio --direct=1 --iodepth=16 --verify=crc32c --verify_fatal=1 \
			--serialize_overlap=1 --randseed=$rounds --output="$work/fio" ||
			fail "fio: $(cat "$work/fio")"
		rounds=$((rounds + 1))
		echo $rounds >"$VBLKD_OUT/rounds"
	done
}

in_guest()
{
	local size

	modprobe ext4
	wait_until 30 test -b /dev/vda
	assert_eq "$(find /sys/block/vda/mq -mindepth 1 -maxdepth 1 -type d | wc -l)" 2 "hardware queues"
	assert_eq "$(cat /sys/block/vda/serial)" QEMUTEST "serial"
	assert_ge "$(cat /sys/block/vda/queue/discard_max_bytes)" 4096 "discard"
	mkfs.ext4 -q -F /dev/vda
	mkdir "$work/mnt"
	mount /dev/vda "$work/mnt"
	cleanup_fn "umount '$work/mnt'"
	: >"$VBLKD_OUT/started"
	verify_until_stop "$work/mnt"
	size=$(cat "$VBLKD_OUT/stop")
	wait_until 30 is_size "$size"
	resize2fs /dev/vda 2>&1
	assert_ge "$(df -B1 --output=size "$work/mnt" | tail -n 1)" $((size * 8 / 10)) "size of the filesystem"
	fstrim -v "$work/mnt"
	umount "$work/mnt"
	e2fsck -fn /dev/vda
}

if [ "${1-}" = in-guest ]; then
	in_guest
	exit
fi

# ---- outside ----

requires_cmd qemu-system-x86_64 fio mkfs.ext4 resize2fs
[ "$(uname -m)" = x86_64 ] || skip "the guest is x86-64, this machine is not"
tests/vm/prepare >/dev/null || skip "there is no guest"

guest_is_gone()
{
	! kill -0 "$guest_pid" 2>/dev/null
}

# until CONDITION...: the guest lives as long
until_guest()
{
	local end=$((SECONDS + 900))

	until "$@"; do
		! guest_is_gone || fail_at_caller "the guest: $(tail -n 20 "$work/guest")"
		[ $SECONDS -lt $end ] || fail_at_caller "$*: not within 900 s"
		pause
	done
}

has_done_more()
{
	[ "$(vblkctl stats --json qemu 2>/dev/null | jq ".total.requests.write // 0")" -gt "$1" ]
}

# run_guest OPTION: of the device
run_guest()
{
	local i writes worker kills=${VBLKD_KILLS:-3}

	image=$(make_image 64M)
	serve qemu --queues=2 --serial=QEMUTEST "$image"
	rm -rf -- "$work/out"
	mkdir "$work/out"
	tests/vm/run --smp 2 --mem 1024 --timeout 1500 --out "$work/out" --scan-io-errors \
		--vhost-user "$sock,num-queues=2,$1" -- bash "${BASH_SOURCE[0]}" in-guest >"$work/guest" 2>&1 &
	guest_pid=$!
	cleanup_fn "kill $guest_pid"
	until_guest test -e "$work/out/started"
	assert_eq "$(live qemu queues_running)" 2 "running queues"
	for ((i = 0; i <= kills; i++)); do
		worker=$(state qemu worker_pid)
		if [ "$i" = 0 ]; then
			vblkctl upgrade qemu
		else
			kill -KILL "$worker"
		fi
		until_guest worker_is_new qemu "$worker"
		until_guest is_live qemu connected true
		writes=$(vblkctl stats --json qemu | jq ".total.requests.write // 0")
		until_guest has_done_more $((writes + 100))
	done
	vblkctl resize qemu 96M
	echo $((96 << 20)) >"$work/out/stop.new"
	mv "$work/out/stop.new" "$work/out/stop"
	wait "$guest_pid" || fail "the guest: $(tail -n 40 "$work/guest")"
	assert_ge "$(cat "$work/out/rounds")" 1 "rounds of fio"
	wait_until 20 is_live qemu connected false
	vblkctl detach qemu
	check_gone qemu
	e2fsck -fn "$image" >"$work/fsck" 2>&1 || fail "$(cat "$work/fsck")"
	rm "$image"
}

run_guest packed=off
run_guest packed=on
