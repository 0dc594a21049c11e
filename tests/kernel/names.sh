#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 300
# Names that udev gives: they appear, follow the device to another vdX, show its partitions and
# vanish; scheduler, rotational flag and owner are set again when the kernel makes the disk anew.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

UDEVD=/lib/systemd/systemd-udevd
requires_cmd udevadm
[ -x $UDEVD ] || skip "$UDEVD is not installed"
requires_module vduse virtio_vdpa virtio_blk

rules=$(dirname -- "${BASH_SOURCE[0]}")/../../packaging/60-vblkd.rules
if ! udevadm control --ping 2>/dev/null; then
	mkdir -p /run/udev/rules.d
	cp -- "$rules" /run/udev/rules.d/
	$UDEVD --daemon
	cleanup_fn 'udevadm control --exit; rm -rf /run/udev'
	wait_until 20 udevadm control --ping
fi

# points NAME NODE: the link is there and leads to the node
points()
{
	[ "$(readlink -f -- "$1")" = "$2" ]
}

# is_tuned ROTATIONAL
is_tuned()
{
	[ "$(sysfs queue/rotational)" = "$1" ] && [[ $(sysfs queue/scheduler) == *'[none]'* ]]
}

owner()
{
	stat -c %U "$1"
}

# has_owner_of_device NAME: its disk
has_owner_of_device()
{
	[ "$(owner "/dev/vduse/$1")" = "$(owner "$disk")" ]
}

first=$(make_image 16M first.img)
second=$(make_image 16M second.img)
attach one --queues=1 --serial=SER-1 "$first"
one=$disk
attach two --queues=1 --serial=SER-2 "$second"
two=$disk
wait_until 30 points /dev/vblkd/one "$one"
wait_until 30 points /dev/vblkd/two "$two"
wait_until 30 points /dev/disk/by-id/virtio-SER-1 "$one"
wait_until 30 points /dev/disk/by-id/virtio-SER-2 "$two"
assert_eq "$(stat -c '%U %G %a' /dev/vduse/control)" "root root 600" "the control node"
assert_eq "$(stat -c '%a' /dev/vduse/two)" 600 "mode of /dev/vduse/two"
assert_eq "$(owner "$two")" "$(owner /dev/vduse/two)" "owner of $two"
assert_eq "$(stat -c '%G %a' "$two")" "disk 660" "group and mode of $two"

# The other takes the node that became free.
detach one
wait_until 30 test ! -L /dev/vblkd/one
wait_until 30 test ! -L /dev/disk/by-id/virtio-SER-1
detach two
wait_until 30 test ! -L /dev/vblkd/two
attach two --queues=1 --serial=SER-2 "$second"
not [ "$disk" = "$two" ] || fail "the disk has not moved, so this shows nothing"
wait_until 30 points /dev/vblkd/two "$disk"
wait_until 30 points /dev/disk/by-id/virtio-SER-2 "$disk"

# A program may use any of the names, and partitions have them as well.
# One of 1 MiB at 1 MiB, as a table for DOS has it.
printf '\0\0\0\0\x83\0\0\0\0\x08\0\0\0\x08\0\0' |
	dd of=/dev/vblkd/two bs=1 seek=446 conv=notrunc status=none
printf '\x55\xaa' | dd of=/dev/vblkd/two bs=1 seek=510 conv=notrunc status=none
blockdev --rereadpt /dev/vblkd/two
wait_until 30 points /dev/vblkd/two-part1 "${disk}1"
assert_eq "$(vblkctl show /dev/vblkd/two | sed -n 's/^name: //p')" two "name of /dev/vblkd/two"

# What the kernel makes anew has none of what the attach set.
is_tuned 0 || fail "the attach has not tuned the disk"
echo 1 >"/sys/block/${disk##*/}/queue/rotational"
chown root "$disk"
echo two >/sys/bus/vdpa/drivers/virtio_vdpa/unbind
wait_until 30 test ! -L /dev/vblkd/two
echo two >/sys/bus/vdpa/drivers/virtio_vdpa/bind
# The directory may be empty, and gone, for a moment.
wait_until 30 test -b /dev/vblkd/two
udevadm settle
disk=$(readlink -f /dev/vblkd/two)
wait_until 30 is_tuned 0
wait_until 30 has_owner_of_device two

# So it knows that it is mounted, of its own and not of vblkctl, when it is told to end.
mkfs.ext4 -q -F "${disk}"
mounted "$disk" "$work/mnt"
keeper=$(state two pid)
kill -TERM "$keeper"
wait_until 30 is_ready two
not pid_is_gone "$keeper" || fail "the disk was taken from under its filesystem"
touch "$work/mnt/file"
umount "$work/mnt"
wait_until 60 pid_is_gone "$keeper"
check_nothing_left 15
wait_until 30 test ! -L /dev/vblkd/two

# A backend whose seeks take time.
dir=/sys/kernel/config/nullb/vblkdrot
null=/dev/vblkdrot
modprobe -q null_blk nr_devices=0 || skip "no null_blk: the rotational flag was not tried"
[ -d "${dir%/*}" ] || mount -t configfs configfs /sys/kernel/config
mkdir "$dir"
cleanup_fn "echo 0 >$dir/power; rmdir $dir"
echo 64 >"$dir/size"
echo 1 >"$dir/memory_backed"
echo 1 >"$dir/power"
wait_until 20 test -b "$null"
echo 1 >"/sys/block/${null##*/}/queue/rotational"
attach three --queues=1 "$null"
is_tuned 1 || fail "the attach has not made the disk rotational"
wait_until 30 points /dev/vblkd/three "$disk"
echo three >/sys/bus/vdpa/drivers/virtio_vdpa/unbind
wait_until 30 test ! -L /dev/vblkd/three
echo three >/sys/bus/vdpa/drivers/virtio_vdpa/bind
wait_until 30 test -b /dev/vblkd/three
udevadm settle
disk=$(readlink -f /dev/vblkd/three)
wait_until 30 is_tuned 1
detach three
