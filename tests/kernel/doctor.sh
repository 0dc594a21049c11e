#!/bin/bash
# SPDX-License-Identifier: MIT
# vblkctl doctor on a host that works: every line ok or a warning, exit 0; then with an orphan, a
# switch and a privilege that are in the way, without root, in another network namespace.
# shellcheck source=tests/kernel/functions.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/functions.sh"

image=$(make_image 16M)
requires_cmd jq setpriv unshare

# examine CODE [COMMAND]...: run the doctor, by that command; its output in $work/out
examine()
{
	local code=$1 rc=0

	shift
	"$@" vblkctl doctor >"$work/out" || rc=$?
	cat "$work/out"
	[ "$rc" = "$code" ] || fail_at_caller "exit code $rc, not $code"
	grep -qvE '^(ok|warning|problem) |^$|^This host|^See the' "$work/out" &&
		fail_at_caller "a line without verdict"
	return 0
}

says()
{
	grep -qE "$1" "$work/out" || fail_at_caller "it does not say '$1'"
}

finds_orphan()
{
	vblkctl doctor >"$work/out" || :
	grep -q '^problem .*has no daemon' "$work/out"
}

examine 0
for check in kernel modules vduse umem netlink limits io_uring program; do
	says "^ok +$check "
done
if getent passwd vblkd >/dev/null; then
	says '^ok +user .*daemons run as vblkd'
else
	says '^warning +user .*systemd-sysusers'
fi
check_nothing_left 15
assert_eq "$(vblkctl doctor --json | jq -r '.checks | length')" \
	"$(grep -cE '^(ok|warning|problem) ' "$work/out")" "lines of --json"

# Beside a live device, which is not disturbed.
attach db --direct "$image"
examine 0
says '^ok +devices +1, all served'
fill "$disk" 1M

# Each thing that is in the way.
sysctl -qw kernel.io_uring_disabled=2
examine 1
says '^problem +io_uring .*sysctl kernel.io_uring_disabled=0'
sysctl -qw kernel.io_uring_disabled=0
examine 1 setpriv --bounding-set=-net_admin --inh-caps=-net_admin
says '^problem +user .*CAP_NET_ADMIN'
examine 1 setpriv --reuid=65534 --regid=65534 --clear-groups
says '^problem +user .*sudo vblkctl doctor'
examine 1 unshare --net
says '^problem +netlink .*network namespace'

# An orphan: the line has the command that takes it over.
kill -KILL "$(state db pid)"
kill -KILL "$(state db worker_pid)"
wait_until 20 finds_orphan
command=$(sed -n "s/^problem  devices .*waits: run '\(.*\)'$/\1/p" "$work/out")
[[ $command == "vblkctl attach --name=db"* ]] || fail "no command in the orphan's line: $command"
bash -c "$command"
examine 0
detach db
check_nothing_left 15
