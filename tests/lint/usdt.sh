#!/bin/bash
# SPDX-License-Identifier: MIT
#
# usdt.sh - vblkd has the probes that vblkd(7) promises, with their arguments.
#
# usage: usdt.sh BUILD_DIR

build=${1:-${VBLKD_BUILD_DIR:-build}/dev}
build=$(realpath -- "$build")

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs readelf
grep -qs '^VBLK_HAVE_SDT:INTERNAL=1' "$build/CMakeCache.txt" ||
	lint_skip "built without sys/sdt.h (package systemtap-sdt-dev)"

notes=$(readelf -nW "$build/bin/vblkd")

# probe NAME ARGUMENTS: is there, with so many, and with a semaphore
probe()
{
	local found

	found=$(awk -v name="$1" '
		/Provider:/ { ours = $NF == "vblkd" }
		/Name:/ { hit = ours && $2 == name }
		/Semaphore:/ && hit { semaphore = $NF }
		/Arguments:/ && hit { print NF - 1, semaphore }
		' <<<"$notes" | sort -u)
	[ -n "$found" ] || { finding "vblkd has no probe '$1'"; return; }
	while read -r args semaphore; do
		[ "$args" = "$2" ] || finding "probe '$1' has $args arguments, not $2"
		[[ $semaphore =~ ^0x0*[1-9a-f] ]] || finding "probe '$1' has no semaphore"
	done <<<"$found"
}

probe submit 5
probe complete 7
lint_end
