#!/bin/bash
# SPDX-License-Identifier: MIT
#
# quickstart.sh - install what is needed, build, and show the main job: a disk
# image becomes /dev/vdX and is taken away again.
#
# usage: packaging/quickstart.sh
#
# Where the running kernel has VDUSE the demonstration happens right here, on a
# scratch image; elsewhere a virtual machine with Debian's 6.12 kernel is booted
# for it. Needs root (to install packages and to attach) and Debian 12 or newer.

set -euo pipefail

case "${1:-}" in
"") ;;
-h | --help)
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0"
	exit 0
	;;
*)
	echo "quickstart.sh takes no arguments (see --help)" >&2
	exit 2
	;;
esac

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
# shellcheck source=packaging/install-packages.sh
. packaging/install-packages.sh

say() { printf '\n==> %s\n' "$*"; }

has_vduse() {
	[ -e /dev/vduse/control ] && return 0
	modprobe -q vduse 2>/dev/null && modprobe -q virtio_vdpa 2>/dev/null &&
		modprobe -q virtio_blk 2>/dev/null && [ -e /dev/vduse/control ]
}

if [ "$(id -u)" != 0 ]; then
	echo "quickstart.sh: needs root to install packages and to attach a disk: try with sudo" >&2
	exit 1
fi

say "Installing what the build needs"
install_packages "${BUILD_PACKAGES[@]}" "${DEMO_PACKAGES[@]}"

say "Building"
cmake --preset release -DBUILD_TESTING=OFF -B build/quickstart -Wno-dev >/dev/null
cmake --build build/quickstart
export VBLKD_BIN_DIR="$top/build/quickstart/bin"

if has_vduse; then
	say "This kernel has VDUSE: the demonstration runs right here"
	exec packaging/quickstart-demo.sh
fi
say "This kernel has no VDUSE: a virtual machine with Debian's kernel is booted for it"
exec tests/vm/run --smp 2 --mem 2048 --timeout 600 -- packaging/quickstart-demo.sh
