# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# install-packages.sh - to be sourced: what the project needs of Debian, by use,
# and install_packages, which installs what is missing and is quick when nothing is.

# shellcheck disable=SC2034 # used by those who source this
BUILD_PACKAGES=(cmake ninja-build gcc libc6-dev pkgconf libnl-3-dev libnl-genl-3-dev
	liburing-dev libcap-ng-dev libsystemd-dev libjansson-dev)
# shellcheck disable=SC2034
DEMO_PACKAGES=(e2fsprogs util-linux mount kmod)
install_packages() {
	local missing=() name
	for name in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed ||
			missing+=("$name")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	export DEBIAN_FRONTEND=noninteractive
	if ! apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
		apt-get update -qq
		apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
	fi
}
