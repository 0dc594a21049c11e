#!/bin/bash
# SPDX-License-Identifier: MIT
#
# build-deb.sh - build the Debian package of this tree.
#
# usage: packaging/build-deb.sh [OUTPUT_DIR]
#
# What git knows, or would take, is copied, packaging/debian becomes debian/, and
# source and binary packages are built without root. They are put into OUTPUT_DIR
# [build/deb], which is emptied first. Needs what packaging/install-packages.sh
# names for it, installed here when run by root.

set -euo pipefail

case "${1:-}" in
-h | --help)
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0"
	exit 0
	;;
-*)
	echo "build-deb.sh: unknown option '$1' (see --help)" >&2
	exit 2
	;;
esac

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m -- "${1:-$top/build/deb}")
cd -- "$top"
# shellcheck source=packaging/install-packages.sh
. packaging/install-packages.sh
install_packages "${BUILD_PACKAGES[@]}" "${DEB_PACKAGES[@]}"

version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
upstream=${version%-*}
tree=$out/work/vblkd-$upstream

[ ! -d "$out/work" ] || rm -rf -- "$out/work"
mkdir -p -- "$tree"
rm -f -- "$out"/*.deb "$out"/*.dsc "$out"/*.changes "$out"/*.buildinfo "$out"/*.tar.*
export_tree "$tree"
tar -C "$out/work" -cJf "$out/work/vblkd_$upstream.orig.tar.xz" "vblkd-$upstream"
cp -r -- packaging/debian "$tree/debian"
(cd -- "$tree" && dpkg-buildpackage --no-sign)
find "$out/work" -maxdepth 1 -type f -exec mv -t "$out" {} +
rm -rf -- "$out/work"
ls -- "$out"/*.deb
