#!/bin/bash
# SPDX-License-Identifier: MIT
#
# build-rpm.sh - build the RPM packages of this tree.
#
# usage: packaging/build-rpm.sh [OUTPUT_DIR]
#
# What git knows, or would take, becomes the source; packaging/vblkd.spec says the
# rest. Packages are put into OUTPUT_DIR [build/rpm], which is emptied of others.
# On Debian, where rpm cannot know what is installed, dependencies are not looked
# at, and what packaging/install-packages.sh names is installed when run by root.

set -euo pipefail

case "${1:-}" in
-h | --help)
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0"
	exit 0
	;;
-*)
	echo "build-rpm.sh: unknown option '$1' (see --help)" >&2
	exit 2
	;;
esac

top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m -- "${1:-$top/build/rpm}")
cd -- "$top"
# shellcheck source=packaging/install-packages.sh
. packaging/install-packages.sh
install_packages "${BUILD_PACKAGES[@]}" "${RPM_PACKAGES[@]}"
nodeps=()
[ ! -e /etc/debian_version ] || nodeps=(--nodeps)

version=$(sed -nE 's/^Version: +//p' packaging/vblkd.spec)
work=$out/work
[ ! -d "$work" ] || rm -rf -- "$work"
mkdir -p -- "$work/SOURCES" "$work/vblkd-$version"
rm -f -- "$out"/*.rpm
export_tree "$work/vblkd-$version"
tar -C "$work" -czf "$work/SOURCES/vblkd-$version.tar.gz" "vblkd-$version"
rpmbuild -ba --define "_topdir $work" "${nodeps[@]}" packaging/vblkd.spec
find "$work/RPMS" "$work/SRPMS" -name '*.rpm' -exec mv -t "$out" {} +
rm -rf -- "$work"
ls -- "$out"/*.rpm
