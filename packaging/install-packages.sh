# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# install-packages.sh - to be sourced: what the project needs of Debian, by use,
# and how it is installed. Quick when nothing is missing.

# shellcheck disable=SC2034 # used by those who source this
{
BUILD_PACKAGES=(cmake ninja-build gcc libc6-dev pkgconf libnl-3-dev libnl-genl-3-dev
	liburing-dev libcap-ng-dev libseccomp-dev libsystemd-dev libjansson-dev libini-config-dev systemtap-sdt-dev)
DEB_PACKAGES=(debhelper dpkg-dev fakeroot systemd)
RPM_PACKAGES=(rpm systemd)
DEMO_PACKAGES=(e2fsprogs util-linux mount kmod)
}

# Where apt writes; a caller may set another file before it installs.
INSTALL_LOG=/dev/null
install_lists_updated=

# "apt-get update", once; false when that was done already.
update_package_lists()
{
	[ -z "$install_lists_updated" ] || return 1
	install_lists_updated=1
	printf 'updating the package lists\n' >&2
	apt-get -q update >>"$INSTALL_LOG" 2>&1 ||
		printf 'note: apt-get update had errors, going on\n' >&2
}

# install_packages PACKAGE...: those that are missing. Without dpkg nothing is
# known of packages: true, and what then lacks tells so itself.
install_packages()
{
	local get package missing=()

	command -v dpkg-query >/dev/null || return 0
	for package; do
		[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			missing+=("$package")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ]; then
		printf 'not installed, and only root can install: %s\n' "${missing[*]}" >&2
		return 1
	fi
	printf 'installing %s\n' "${missing[*]}" >&2
	get=(env DEBIAN_FRONTEND=noninteractive
		apt-get -q -y --no-install-recommends install "${missing[@]}")
	"${get[@]}" >>"$INSTALL_LOG" 2>&1 </dev/null && return
	update_package_lists && "${get[@]}" >>"$INSTALL_LOG" 2>&1 </dev/null && return
	printf 'cannot install %s\n' "${missing[*]}" >&2
	return 1
}

# export_tree DIR: the files of the project, from the root of its tree; without
# git all but builds
export_tree()
{
	if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
		git ls-files -z --cached --others --exclude-standard |
			while IFS= read -rd '' file; do
				[ ! -e "$file" ] || printf '%s\0' "$file"
			done | tar --null -T - -cf -
	else
		tar --exclude='./build*' -cf - .
	fi | tar -C "$1" -xf -
}
