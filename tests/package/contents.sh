#!/bin/bash
# SPDX-License-Identifier: MIT
#
# contents.sh - the Debian package and the RPM hold the same files, in places of
# the system, among them everything of the tree that belongs there.
#
# usage: tests/package/contents.sh PACKAGE.deb PACKAGE.rpm

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../lint/lib.sh"

deb=$1
rpm=$2
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# The same names for what only the distributions have in different places.
normal()
{
	sed -E 's|^\./|/|; s|^/lib/|/usr/lib/|; s|(/man/.*[0-9])\.gz$|\1|
		s|/zsh/vendor-completions/|/zsh/site-functions/|; /\/$/d
		/\/(\.build-id|licenses|lintian)\//d; /\/doc\/vblkd.*\/(README|copyright|changelog)/d' | sort
}

dpkg-deb -c "$deb" | sed -E 's/ -> .*//' | awk '{ print $6 }' | normal >"$work/deb"
# Directories that the package owns are listed too.
rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$rpm" 2>/dev/null |
	sed -n '/^d/d; s/^[^ ]* //p' | normal >"$work/rpm"
while IFS= read -r line; do
	finding "only in one package (< deb, > rpm): $line"
done < <(diff "$work/deb" "$work/rpm" | grep '^[<>]')

while IFS= read -r line; do
	finding "a place where no package should put anything: $line"
done < <(grep -vE '^/(usr/(s?bin|lib|libexec|share)|etc/vblkd)/' "$work/deb")

# has PATH
has()
{
	grep -qxF -- "$1" "$work/deb" || finding "$1 is not in the packages"
}

for name in sbin/vblkd sbin/vblkctl libexec/vblkd/maintain lib/modules-load.d/vblkd.conf \
	share/bash-completion/completions/{vblkctl,vblkd} share/zsh/site-functions/_vblkctl \
	share/doc/vblkd/examples/example.conf; do
	has "/usr/$name"
done
for file in man/*.[1-8]; do
	has "/usr/share/man/man${file##*.}/${file##*/}"
done
for file in packaging/*.service packaging/*.service.in; do
	name=${file##*/}
	[ ! -e "$file" ] || has "/usr/lib/systemd/system/${name%.in}"
done
[ ! -e packaging/vblkd.sysusers ] || has /usr/lib/sysusers.d/vblkd.conf
for file in packaging/*.rules; do
	[ ! -e "$file" ] || has "/usr/lib/udev/rules.d/${file##*/}"
done

dpkg-deb -f "$deb" Depends | grep -q liburing || finding "the Debian package depends on no library"
rpm -qp --requires "$rpm" 2>/dev/null | grep -q liburing || finding "the RPM depends on no library"
! dpkg-deb -c "$deb" | grep -E '^-(..|.{5})[sS]|^-.{7}w' || finding "modes that should not be"
lint_end
