#!/bin/bash
# SPDX-License-Identifier: MIT
#
# packaging.sh - the packages have the version of the project and need for their
# build what CMake looks for and install-packages.sh installs; the configuration
# that they show as an example is right.
#
# usage: packaging.sh BUILD_DIR

build=${1:-${VBLKD_BUILD_DIR:-build}/dev}
build=$(realpath -- "$build")

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=packaging/install-packages.sh
. packaging/install-packages.sh

control=packaging/debian/control
spec=packaging/vblkd.spec

version=$(sed -nE 's/^project\(vblkd VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)
[ -n "$version" ] || finding "CMakeLists.txt: no version found"
debian=$(sed -nE '1s/^vblkd \(([^)]*)-[^-)]*\).*/\1/p' packaging/debian/changelog)
[ "$debian" = "$version" ] ||
	finding "packaging/debian/changelog:1: version '$debian', CMakeLists.txt has $version"
rpm=$(sed -nE 's/^Version: +//p' "$spec")
[ "$rpm" = "$version" ] || finding "$spec: version '$rpm', CMakeLists.txt has $version"

for package in "${BUILD_PACKAGES[@]}"; do
	case $package in
	gcc | libc6-dev) continue ;;	# in build-essential, which every build has
	esac
	sed -n '/^Build-Depends:/,/^[A-Z]/p' "$control" |
		grep -qE "^ $package( \(.*\))?,?$" ||
		finding "$control: no build dependency $package, install-packages.sh has it"
done

# "libnl-genl-3.0>=3.7" is "pkgconfig(libnl-genl-3.0) >= 3.7" there.
while read -r module at_least; do
	line="BuildRequires:  pkgconfig($module)${at_least:+ >= $at_least}"
	grep -qxF -- "$line" "$spec" || finding "$spec: no line '$line', CMakeLists.txt asks for it"
done < <(grep -ohE 'pkg_check_modules\([^)]*\)' CMakeLists.txt src/CMakeLists.txt |
	sed -E 's/.* ([^ ]+)\)$/\1/; s/>=/ /')

"$build/bin/vblkd" --check-config packaging/example.conf >/dev/null ||
	finding "packaging/example.conf is not right"
lint_end
