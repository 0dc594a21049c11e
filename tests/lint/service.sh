#!/bin/bash
# SPDX-License-Identifier: MIT
#
# service.sh BUILD_DIR - systemd understands the units, and finds the service exposed
# by 2.0 at most.

# shellcheck source=tests/lint/lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

lint_needs systemd-analyze
[ "$(systemd-analyze --version | awk '{ print $2; exit }')" -ge 250 ] ||
	lint_skip "systemd-analyze cannot look at files (250 can)"
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
for unit in service socket; do
	file=$(find "$1/packaging" packaging -name "vblkd@.$unit" | head -n 1)
	[ -n "$file" ] || lint_skip "the units are not built"
	# The program need not be installed here.
	sed 's|^\(ExecStart=[^/]*\)[^ ]*|\1/bin/true|' "$file" >"$work/vblkd@x.$unit"
done
systemd-analyze security --offline=true --threshold=20 "$work/vblkd@x.service" >"$work/score" ||
	finding "vblkd@.service: $(tail -n 1 "$work/score")"
tail -n 1 "$work/score"
systemd-analyze verify --man=no "$work"/vblkd@x.{service,socket} 2>"$work/verify" || :
grep "^$work\|vblkd@x" "$work/verify" && finding "systemd-analyze verify is not content"
lint_end
