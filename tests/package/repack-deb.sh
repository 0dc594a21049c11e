#!/bin/bash
# SPDX-License-Identifier: MIT
#
# repack-deb.sh - make packages of higher versions from a Debian package, without
# building everything again.
#
# usage: tests/package/repack-deb.sh PACKAGE.deb DIR
#
# DIR/old.deb is PACKAGE, DIR/new.deb one with a revision of 2, in the control file
# and in what the programs tell, and DIR/broken.deb with a revision of 3 and a vblkd
# that cannot take over.

set -euo pipefail

package=$1
out=$2
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

version=$(dpkg-deb -f "$package" Version)
[[ $version == *-1 ]] || { echo "the revision is not 1: $version" >&2; exit 1; }
mkdir -p -- "$out"
cp -- "$package" "$out/old.deb"
dpkg-deb -R "$package" "$work/tree"

# pack REVISION FILE
pack()
{
	sed -i "s/^Version: .*/Version: ${version%1}$1/" "$work/tree/DEBIAN/control"
	(cd "$work/tree" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' |
		xargs -0 md5sum >DEBIAN/md5sums)
	dpkg-deb --root-owner-group -Znone -b "$work/tree" "$out/$2.deb" >/dev/null
}

# Of the same length, so that it can be done in the programs.
for program in vblkd vblkctl; do
	grep -qF -- "$version" "$work/tree/usr/sbin/$program"
	sed -i "s/${version//./\\.}/${version%1}2/g" "$work/tree/usr/sbin/$program"
done
pack 2 new
printf '#!/bin/sh\necho vblkd: no luck today >&2\nexit 1\n' >"$work/tree/usr/sbin/vblkd"
pack 3 broken
