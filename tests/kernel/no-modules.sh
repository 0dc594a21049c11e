#!/bin/bash
# SPDX-License-Identifier: MIT
# group: no-modules
# Kernels without VDUSE, with its modules not loaded, and with one of them missing: each answer is one
# line that says what to do; the doctor says the same.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 16M)
[ ! -e $VDUSE_DIR/control ] || skip "the modules are loaded"
modules=/lib/modules/$(uname -r)

# refused REGEX: by attach and by vblkd in one line, and by the doctor
refused()
{
	expect_error 1 "$1" vblkctl attach --name x "$image"
	expect_error 1 "$1" vblkd --name x "$image"
	not vblkctl doctor >"$work/doctor"
	grep -E '^problem' "$work/doctor"
	grep -qE "^problem +modules +.*$1" "$work/doctor" ||
		fail_at_caller "the doctor does not say '$1'"
	[ ! -e $RUN_DIR/x ] || fail_at_caller "$RUN_DIR/x is left"
}

# Not loaded.
refused "modprobe -a vduse virtio_vdpa virtio_blk'"
vblkctl list >"$work/list"
assert_eq "$(wc -l <"$work/list")" 1 "lines of an empty list"

# A kernel that was built without: another list of modules, seen from this mount namespace.
mkdir "$work/modules"
grep -v vdpa "$modules/modules.dep" >"$work/modules/modules.dep"
mount --bind "$work/modules" "$modules"
cleanup_fn "umount '$modules'"
refused 'comes without vduse, virtio_vdpa: install the package linux-image-6.12-amd64 and reboot'
rm "$work/modules/modules.dep"
refused 'reboot if the kernel was updated'
umount "$modules"

# One after the other.
modprobe vduse
refused "virtio_vdpa.*modprobe -a virtio_vdpa"
modprobe virtio_blk
modprobe virtio_vdpa
vblkctl doctor
attach x "$image"
fill "$disk" 64K
detach x
check_nothing_left 15
