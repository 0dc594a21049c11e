# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# lib.sh - what tests/vm/prepare and tests/vm/run have in common.
#
# Sourced, never run. Gives the layout of the cache, the name of the guest
# kernel in use and the messages.
#
# Layout of the cache ($VBLKD_VM_CACHE, default ~/.cache/vblkd/vm):
#	current-FLAVOUR		one word: the kernel version in use
#	kernel-VERSION/		vmlinux, lib/modules/VERSION, initrd-KEY
#	busybox			static, unpacked from its package
#	lock			held while the cache is being filled

# The exit codes of "run" which are not the command's own. 126 and 127 come
# from the shell in the guest, as usual.
# shellcheck disable=SC2034 # used by the scripts that source this file
{
VM_EXIT_USAGE=2
VM_EXIT_BROKEN=96	# no guest: qemu did not start, or the guest died early
VM_EXIT_KERNEL=97	# the guest's kernel complained
VM_EXIT_NO_REBOOT=98
VM_EXIT_TIMEOUT=124
}

VM_SRC=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
VM_CACHE=${VBLKD_VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vblkd/vm}

# The end of a Debian package name: linux-image-FLAVOUR. "6.12-amd64" has 9p
# and every module; the "cloud" flavours have no 9p and cannot be used.
VM_FLAVOUR=${VBLKD_VM_KERNEL:-6.12-amd64}

vm_msg()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

vm_die()
{
	local code=$1

	shift
	vm_msg "$*"
	exit "$code"
}

# The comment at the top of a script, below the licence, is its manual.
vm_help()
{
	awk 'NR > 3 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# vm_locate - set VM_KVER, VM_KDIR, VM_KERNEL, VM_MODULES and VM_INITRD from
# the cache. False when something is missing or does not fit the present
# scripts any more; then only "prepare" can help.
vm_locate()
{
	local key

	[ -s "$VM_CACHE/current-$VM_FLAVOUR" ] || return 1
	VM_KVER=$(<"$VM_CACHE/current-$VM_FLAVOUR")
	VM_KDIR=$VM_CACHE/kernel-$VM_KVER
	VM_KERNEL=$VM_KDIR/vmlinux
	VM_MODULES=$VM_KDIR/lib/modules
	[ -s "$VM_KERNEL" ] && [ -x "$VM_CACHE/busybox" ] || return 1

	key=$(cat "$VM_SRC/init" "$VM_SRC/prepare" "$VM_CACHE/busybox" | sha256sum)
	VM_INITRD=$VM_KDIR/initrd-${key:0:16}
	[ -s "$VM_INITRD" ]
}
