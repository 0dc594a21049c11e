#!/bin/bash
# SPDX-License-Identifier: MIT
# timeout: 240
# The backend hangs while the kernel puts the disk on its bus, which it does
# with locks of the whole host: at the deadline the I/O fails, the attach with
# it, and others who wait for those locks go on.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd dmsetup
requires_module dm-mod

make_loop "$(make_image 32M)"
dmsetup create vblkd-hung --table "0 65536 linear $loop 0"
cleanup_fn 'dmsetup remove --retry vblkd-hung'
dmsetup mknodes
dmsetup suspend --noflush vblkd-hung
cleanup_fn 'dmsetup resume vblkd-hung'

is_attaching()
{
	[ "$(state hung state)" = attaching ]
}

started=$SECONDS
vblkctl attach --name hung --direct --attach-timeout=5 /dev/mapper/vblkd-hung \
	>"$work/hung.out" 2>"$work/hung.err" &
hung_pid=$!
cleanup_fn "vblkctl detach --force hung"
wait_until 20 is_attaching
# Waits for the kernel's locks until the first one is given up.
attach other mem:16M
printf 'the other device was there after %d s\n' $((SECONDS - started))
assert_le $((SECONDS - started)) 40 "seconds that others waited"
rc=0
wait $hung_pid || rc=$?
cat "$work/hung.err"
assert_eq $rc 1 "exit code of the attach"
assert_eq "$(cat "$work/hung.out")" "" "output of the attach"
grep -q "not attached the device in time" "$work/hung.err" || fail "no reason was given"
[ ! -e /sys/bus/vdpa/devices/hung ] || wait_until 20 not test -e /sys/bus/vdpa/devices/hung
dd if="$disk" of=/dev/null bs=64K count=1 iflag=direct status=none
detach other

# The daemon ends as soon as the backend lets it.
dmsetup resume vblkd-hung
check_nothing_left 40
attach hung --direct /dev/mapper/vblkd-hung
detach hung
check_nothing_left
