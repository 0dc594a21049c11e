#!/bin/bash
# SPDX-License-Identifier: MIT
# A disk in use is not taken away: the message names the user. --force does it
# and says what it risks.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

requires_cmd dmsetup
image=$(make_image 48M)
attach busy "$image"

# refused REGEX
refused()
{
	expect_error 1 "$1" vblkctl detach busy
	[ -b "$disk" ] || fail "$disk is gone although the detach was refused"
	assert_eq "$(state busy state)" ready "state after a refused detach"
}

mkfs.ext4 -q -F "$disk"
mounted "$disk" "$work/mnt"
refused "mounted on $work/mnt"
umount "$work/mnt"

# In another mount namespace.
unshare -m --propagation private bash -c 'mount "$1" /mnt && : >"$2" && exec tail -f /dev/null' \
	- "$disk" "$work/there" &
holder=$!
cleanup_fn "kill $holder"
wait_until 20 test -e "$work/there"
refused 'mounted on /mnt'
kill $holder
wait $holder || :

modprobe dm-mod
dmsetup create vblkd-busy --table "0 1000 linear $disk 0"
cleanup_fn 'dmsetup remove vblkd-busy'
refused 'held by dm-[0-9]+.*vblkd-busy'
dmsetup remove vblkd-busy

mkswap -q "$disk"
swapon "$disk"
cleanup_fn "swapoff $disk"
refused 'swap'
swapoff "$disk"

exec 7<"$disk"
refused "open in .*pid $$"
exec 7<&-

# With force: done, with one line that says what is at risk.
exec 7<"$disk"
vblkctl detach --force busy 2>"$work/err"
cat "$work/err"
assert_eq "$(wc -l <"$work/err")" 1 "lines of the warning"
grep -qE 'lost|loses?' "$work/err" || fail "the warning does not name the risk"
exec 7<&-
check_nothing_left
